"""From Pulumi's history to numbered versions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from geusemaker.engine.standing import archive, rollback_records
from geusemaker.engine.versions import read_state
from geusemaker.models.history import HistoryEntry, StackTags, Verdicts
from geusemaker.models.version import RollbackRecord, Version, WayBack
from tests.unit.samples import NIGHT, config, failed, intent, provenance, state, version
from tests.unit.samples import target as where


def entry(number: int, kind: str = "update", result: str = "succeeded", **more: Any) -> HistoryEntry:
    """An entry of the history that carries version ``number``."""
    values: dict[str, Any] = {
        "kind": kind,
        "result": result,
        "started_at": NIGHT,
        "ended_at": NIGHT + timedelta(seconds=40),
        "config": config(n8n=f"1.{number}.0"),
        "provenance": provenance(number),
        "target": where(),
    }
    return HistoryEntry(**(values | more))


def newest_first(*entries: HistoryEntry) -> list[HistoryEntry]:
    """Entries given oldest first, as Pulumi lists them."""
    return list(reversed(entries))


def statuses(versions: tuple[Version, ...] | list[Version]) -> list[tuple[int, str]]:
    """Number and status of each."""
    return [(found.number, found.status) for found in versions]


def test_only_updates_make_versions() -> None:
    found = read_state(
        "prod",
        newest_first(entry(1), entry(2), entry(2, "refresh"), entry(3, result="failed"), entry(3, "refresh", "failed")),
        StackTags(bad=(1,), pinned=(2,)),
    )

    assert statuses(found.versions) == [(1, "superseded"), (2, "active"), (3, "failed")]
    assert [(known.healthy, known.bad, known.pinned) for known in found.versions] == [
        (True, True, False),
        (True, False, True),
        (False, False, False),
    ]
    assert found.versions[0].duration_seconds == 40.0
    assert found.last_failed and found.unsettled and not found.interrupted and not found.destroyed
    assert found.last_operation_id == "op-3" and found.next_number == 4
    assert found.active is not None and found.active.number == 2


def test_a_way_back_is_as_foreseen_or_as_it_turned_out() -> None:
    foreseen = WayBack(to_version=1, kind="with-data", because=("n8n 1.2.0 migrates its database",))
    entries = [
        entry(1),
        entry(2, provenance=provenance(2, way_back=foreseen)),
        entry(3, provenance=provenance(3, way_back=foreseen)),
        entry(4, result="failed", provenance=provenance(4, way_back=foreseen)),
    ]
    found = read_state("prod", newest_first(*entries), StackTags(verdicts=Verdicts(returns={3: "rollback"})))
    assert [known.way_back for known in found.versions] == [None, "with-data", "rollback", None]


def test_nothing_yet() -> None:
    found = read_state("prod", [], StackTags())
    assert (found.versions, found.active, found.next_number, found.target, found.last_operation_id) == (
        (),
        None,
        1,
        None,
        "",
    )
    assert not found.unsettled


def test_an_update_that_succeeded_and_fell_ill_is_as_one_that_failed() -> None:
    history = newest_first(entry(1, config=config(retention=1)), entry(2, config=config(n8n="1.2.0", retention=1)))
    assert [one.archived for one in read_state("prod", history, StackTags()).versions] == [True, False]

    found = read_state("prod", history, StackTags(), fell_ill="op-2")

    assert statuses(found.versions) == [(1, "active"), (2, "failed")] and found.last_failed
    assert not found.versions[0].archived, "what is gone back to is within retention"


def test_an_operation_with_several_updates_is_what_its_last_one_came_to() -> None:
    found = read_state("prod", newest_first(entry(1), entry(1, result="failed"), entry(1, ended_at=None)), StackTags())
    assert statuses(found.versions) == [(1, "active")]
    assert found.versions[0].duration_seconds is None


def test_a_destroy_leaves_the_versions_and_no_active_one() -> None:
    found = read_state("prod", newest_first(entry(1), entry(2, result="failed"), entry(2, "destroy")), StackTags())

    assert found.destroyed and found.active is None and found.last_healthy is not None
    assert statuses(found.versions) == [(1, "superseded"), (2, "failed")]
    assert not found.unsettled, "nothing is left that could be repaired"


@pytest.mark.parametrize("result", ["failed", "in-progress"])
def test_a_destroy_that_failed_destroyed_nothing(result: str) -> None:
    assert not read_state("prod", newest_first(entry(1), entry(1, "destroy", result)), StackTags()).destroyed


def test_a_destroy_by_a_machine_that_has_not_seen_the_latest_version_destroys_that() -> None:
    entries = newest_first(entry(1), entry(2), entry(3), entry(1, "destroy"))
    found = read_state("prod", entries, StackTags())
    assert found.destroyed and found.active is None
    again = read_state("prod", [*newest_first(entry(4)), *entries], StackTags())
    assert not again.destroyed and again.active is not None and again.active.number == 4


def test_an_update_after_a_destroy_is_a_deployment_again() -> None:
    found = read_state("prod", newest_first(entry(1), entry(1, "destroy"), entry(2)), StackTags())
    assert not found.destroyed and found.active is not None and found.active.number == 2


def test_taking_protection_off_makes_no_version_and_is_not_remembered() -> None:
    unprotected = entry(2, target=where(protect=False))
    found = read_state("prod", newest_first(entry(1), entry(2, result="failed"), unprotected), StackTags())

    assert statuses(found.versions) == [(1, "active"), (2, "failed")]
    assert found.target == where() and found.last_failed


@pytest.mark.parametrize(
    ("tag", "interrupted", "last_failed"),
    [
        pytest.param(intent("op-3", 3), True, False, id="killed"),
        pytest.param(intent("op-2", 2), False, False, id="killed after its update was done"),
        pytest.param(intent("op-3", 3, "abandoned"), False, False, id="given up before anything changed"),
        pytest.param(intent("op-3", 3, "abandoned", unsettled=True), True, False, id="given up while repairing"),
        pytest.param(intent("op-3", 3, "failed"), False, True, id="its engine was killed at the deadline"),
        pytest.param(intent("op-2", 2, "done"), False, False, id="done"),
        pytest.param(intent("op-3", 3, kind="destroy"), True, False, id="a killed destroy"),
    ],
)
def test_what_the_intent_tells(tag: Any, interrupted: bool, last_failed: bool) -> None:
    found = read_state("prod", newest_first(entry(1), entry(2)), StackTags(intent=tag))

    assert (found.interrupted, found.last_failed) == (interrupted, last_failed)
    assert found.next_number == tag.number + 1, "a number once given is not given again"
    assert found.last_operation_id == tag.operation_id


def test_a_destroy_killed_after_its_work_is_destroyed() -> None:
    found = read_state(
        "prod", newest_first(entry(1), entry(1, "destroy")), StackTags(intent=intent("op-2", 1, kind="destroy"))
    )
    assert found.destroyed and not found.unsettled


def test_an_update_that_runs_is_pending_and_one_that_stayed_so_was_killed() -> None:
    entries = newest_first(entry(1), entry(2, result="in-progress", ended_at=None))

    running = read_state("prod", entries, StackTags(intent=intent("op-2", 2)))
    assert statuses(running.versions) == [(1, "active"), (2, "pending")]
    assert running.interrupted and not running.last_failed
    later = read_state("prod", entries, StackTags(intent=intent("op-3", 3)))
    assert statuses(later.versions)[:2] == [(1, "active"), (2, "interrupted")]


def test_a_killed_operations_config_is_known_from_a_later_refresh() -> None:
    found = read_state("prod", newest_first(entry(1), entry(2, "refresh"), entry(3)), StackTags())
    assert statuses(found.versions) == [(1, "superseded"), (2, "interrupted"), (3, "active")]
    assert not found.versions[1].healthy


def test_an_unreadable_newest_version_is_told_and_its_number_is_used() -> None:
    unreadable = entry(2, config=None, unreadable="config: schema 2")
    found = read_state("prod", newest_first(entry(1), unreadable), StackTags())

    assert found.unreadable == "config: schema 2" and found.next_number == 3
    assert read_state("prod", newest_first(unreadable, entry(3)), StackTags()).unreadable == ""


# --- retention ---------------------------------------------------------------------------------------------------


def archived(*versions: Version) -> list[int]:
    """The numbers that are past retention."""
    return [found.number for found in state(*versions).versions if found.archived]


def kept(count: int) -> Any:
    """A config with that retention."""
    return config(n8n="9.9.9", retention=count)


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        pytest.param([version(n) for n in (1, 2, 3, 4, 5)], [], id="five are kept"),
        pytest.param([version(n) for n in (1, 2, 3, 4, 5, 6, 7)], [1, 2], id="older ones are archived"),
        pytest.param([version(1), version(2, config=kept(1))], [1], id="the active one always stays"),
        pytest.param([version(1, pinned=True), version(2), version(3, config=kept(1))], [2], id="pinned ones stay"),
        pytest.param([version(1), failed(2), failed(3), version(4, config=kept(2))], [], id="failures take no place"),
        pytest.param([failed(1), version(2), version(3, config=kept(2))], [1], id="old failures go"),
        pytest.param(
            [version(1), version(2, bad=True), version(3, config=kept(2))], [], id="bad ones take no place, and stay"
        ),
        pytest.param([version(1, bad=True), version(2), version(3, config=kept(2))], [1], id="old bad ones go"),
        pytest.param([version(1), version(2, bad=True, config=kept(1))], [1], id="an active one that is bad stays"),
        pytest.param(
            [version(1), version(2), version(3), version(4, source=2), version(5, source=1, config=kept(3))],
            [],
            id="going back takes no place",
        ),
        pytest.param([failed(1), failed(2)], [], id="nothing healthy, nothing archived"),
    ],
)
def test_retention(versions: list[Version], expected: list[int]) -> None:
    assert archived(*versions) == expected


def test_archiving_a_destroyed_deployment_keeps_its_last_healthy_version() -> None:
    versions = [version(1), version(2, status="active", config=kept(1))]
    assert [(found.status, found.archived) for found in archive(versions, destroyed=True)] == [
        ("superseded", True),
        ("superseded", False),
    ]


# --- rollback records --------------------------------------------------------------------------------------------


def test_rollbacks_are_known_from_the_history_alone() -> None:
    versions = [version(1), version(2), version(3, kind="rollback", source=1), failed(4, kind="rollback", source=2)]

    first, second = rollback_records(versions, {})

    assert (first.success, first.error_message, first.previous_state_version, first.source_version) == (
        True,
        None,
        2,
        1,
    )
    assert (second.success, second.error_message, second.version) == (False, "the update failed", 4)


def test_the_journal_adds_what_only_the_run_knew() -> None:
    detail = RollbackRecord(timestamp=NIGHT, trigger="timeout", success=True, previous_state_version=2)
    versions = [version(3, kind="rollback", source=1)]

    assert rollback_records(versions, {"op-3": detail}) == [detail]
    assert rollback_records(versions, {"op-9": detail})[0].previous_state_version == 0


def test_the_latest_is_the_highest_number_whatever_the_clocks_say() -> None:
    """v3 was made on a machine whose clock is behind, so Pulumi lists it before v2."""
    listed = newest_first(entry(1), entry(3, result="failed"), entry(2))
    found = read_state("prod", listed, StackTags())
    assert statuses(found.versions) == [(1, "superseded"), (2, "active"), (3, "failed")]
    assert found.last_failed, "v3 is the last"

    found = read_state("prod", newest_first(entry(1), entry(3), entry(2)), StackTags())
    assert found.active is not None and found.active.number == 3 and found.last_operation_id == "op-3"


def test_a_destroy_is_the_end_of_the_number_that_it_carries_whatever_the_clocks_say() -> None:
    destroyed = read_state("prod", newest_first(entry(2, "destroy"), entry(1), entry(2)), StackTags())
    assert not destroyed.destroyed, "of one number the clock decides: it is one machine's, most often"
    again = read_state("prod", newest_first(entry(1), entry(3), entry(2), entry(2, "destroy")), StackTags())
    assert not again.destroyed and again.active is not None and again.active.number == 3
    unnumbered = read_state("prod", newest_first(entry(1), entry(1, "destroy", provenance=None)), StackTags())
    assert unnumbered.destroyed


def test_what_cannot_be_read_of_the_history_is_told_and_hides_nothing_else() -> None:
    damaged = HistoryEntry(kind="damaged", result="", started_at=NIGHT, unreadable="prod-2.history.json: EOF")
    found = read_state("prod", newest_first(entry(1), damaged, entry(3)), StackTags())
    assert statuses(found.versions) == [(1, "superseded"), (3, "active")]
    assert found.damaged == ("prod-2.history.json: EOF",) and not found.unsettled
