"""Versions that a history restored from an older copy has lost, and the file system remembers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from geusemaker.agent.protocol.reading import read
from geusemaker.agent.protocol.stored import Lease
from geusemaker.errors import ValidationFailedError
from geusemaker.models.history import Intent
from geusemaker.services.lost import find_lost, lost_operation
from tests.unit.fakes import Shown, World
from tests.unit.samples import NIGHT, config, intent, provenance, state, version

RELEASED: dict[str, Any] = {"state": "released", "operation": "op-7", "changed": True, "last_changed": "op-7"}


def record(number: int, **more: Any) -> dict[str, Any]:
    values = {
        "operation_id": f"op-{number}",
        "deployment": "prod",
        "kind": "update",
        "number": number,
        "actor": "ann",
        "started_at": NIGHT.isoformat(),
        "success": True,
        "config": config(n8n=f"1.{number}.0").to_json(),
        "provenance": provenance(number).model_dump(mode="json"),
    }
    return values | more


@pytest.mark.parametrize(
    ("lease", "expected"),
    [
        (None, ""),
        (RELEASED, "op-7"),
        (RELEASED | {"state": "held"}, ""),
        (RELEASED | {"operation": "op-8", "changed": False}, "op-7"),
        (RELEASED | {"operation": "op-8", "changed": False, "last_changed": None}, ""),
        (RELEASED | {"operation": "op-6", "last_changed": "op-6"}, ""),
        ({}, ""),
    ],
)
def test_what_the_lease_tells(lease: dict[str, Any] | None, expected: str) -> None:
    assert lost_operation(state(version(5), version(6)), None if lease is None else read(Lease, lease)) == expected


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (intent(operation_id="op-7", outcome="done"), "op-7"),  # it ended well, and stands nowhere
        (intent(operation_id="op-7", outcome="failed"), ""),
        (intent(operation_id="op-7", outcome=""), ""),
        (intent(operation_id="op-7", outcome="done", kind="restore"), ""),
    ],
)
def test_what_the_intent_tells(of: Intent, expected: str) -> None:
    assert lost_operation(state(version(6), intent=of), read(Lease, RELEASED)) == expected


def test_a_history_by_a_later_geusemaker_has_lost_nothing() -> None:
    assert lost_operation(state(version(6), unreadable="config: x"), read(Lease, RELEASED)) == ""


def test_what_the_journal_tells() -> None:
    entries = ["cut short", {"a": 1}, record(6), record(5, success=False), record(7)]
    found = find_lost(state(version(4), highest_number=4), read(Lease, RELEASED), entries)
    assert found is not None and found.can_return and found.is_version
    assert (found.number, found.actor, found.highest_number, found.others) == (7, "ann", 7, (6,))
    assert str(found) == "v7 (update op-7 of ann)"
    assert find_lost(state(version(7)), read(Lease, RELEASED), entries) is None


@pytest.mark.parametrize(
    ("of_it", "expected"),
    [
        (record(7), "v7 (update op-7 of ann)"),
        (record(7, kind="stop"), ""),
        (record(7, kind="restore"), ""),
        (record(7, success=False), ""),
        ({"operation_id": "op-5"}, ""),
    ],
)
@pytest.mark.parametrize("heard", ["op-9", "op-8"])
def test_of_what_an_operation_left_that_changed_nothing(of_it: dict[str, Any], expected: str, heard: str) -> None:
    """The intent tells of the later one now: what made no version stands nowhere else."""
    lease = read(Lease, RELEASED | {"operation": "op-9", "changed": False, "idle": ["op-8"]})
    later = intent(operation_id=heard, outcome="abandoned")
    found = find_lost(state(version(6), intent=later), lease, [of_it])
    assert ("" if found is None else str(found)) == expected


def test_a_record_without_its_config_cannot_bring_it_back() -> None:
    for more in ({"config": None}, {"config": {"schema_version": 99}}, {"success": False}):
        found = find_lost(state(version(6)), read(Lease, RELEASED), [record(7, **more)])
        assert found is not None and found.number == 7 and not found.can_return
    unrecorded = read(Lease, RELEASED | {"number": 7, "kind": "rollback", "actor": "bob"})
    nothing = find_lost(state(version(6)), unrecorded, [])
    assert nothing is not None and str(nothing) == "v7 (rollback op-7 of bob)" and not nothing.can_return
    of_old = find_lost(state(version(6), highest_number=6), read(Lease, RELEASED), [])
    assert of_old is not None and str(of_old) == "what runs (operation op-7)" and of_old.highest_number == 6


Backup = Callable[[], None]


def restored(world: World, changes: Callable[[], object]) -> None:
    """Let the workspace be as before these changes, as from a backup; AWS and the file system go on."""
    engine = world.engine
    names = ("entries", "intent_tag", "bad", "pinned", "notes", "stack_file", "state")
    before = {name: copy.deepcopy(getattr(engine, name)) for name in names}
    changes()
    for name, value in before.items():
        setattr(engine, name, value)
    world.records.records.clear()


def test_the_lost_version_comes_back_as_it_was(deployed: World) -> None:
    deployed.update(environment={"n8n": {"A": "1"}})
    restored(deployed, lambda: deployed.update(environment={"n8n": {"A": "2"}}))

    seen = deployed.inspect()
    assert seen.status == "drifted" and "v3 (update" in seen.summary and "geusemaker recover prod" in seen.summary
    with pytest.raises(ValidationFailedError, match=r"knows v3 .* and the history here does not"):
        deployed.update(environment={"n8n": {"A": "3"}})
    last = deployed.state().intent
    assert last is not None and last.number == 2, "no number was given"

    shown = Shown()
    result = deployed.recover(confirm=shown)
    assert result.success and result.version == 3 and shown.plans[0].number == 3
    state = deployed.state()
    assert [found.number for found in state.versions] == [1, 2, 3] and state.active is not None
    assert state.active.number == 3 and state.active.provenance.kind == "update"
    assert state.active.config.services["n8n"].environment["A"] == "2"
    assert deployed.inspect().status == "healthy"
    assert deployed.update(environment={"n8n": {"A": "3"}}).version == 4


def test_several_lost_versions_the_last_comes_back_and_the_others_are_named(deployed: World) -> None:
    def changes() -> None:
        deployed.update(environment={"n8n": {"A": "1"}})
        deployed.update(environment={"n8n": {"A": "2"}})
        deployed.update(environment={"n8n": {"A": "3"}})

    restored(deployed, changes)
    assert "v2, v3 before it are lost" in deployed.inspect().summary
    assert deployed.recover().version == 4
    assert [found.number for found in deployed.state().versions] == [1, 4]
    assert deployed.update(environment={"n8n": {"A": "4"}}).version == 5


def test_a_lost_version_that_nobody_recorded_is_named_and_its_number_is_not_given_again(deployed: World) -> None:
    deployed.update(environment={"n8n": {"A": "1"}})
    restored(deployed, lambda: deployed.update(environment={"n8n": {"A": "2"}}))
    for entry in deployed.machine.journal:
        entry.pop("config", None)
    result = deployed.recover()
    assert result.success and result.version == 4
    active = deployed.state().active
    assert active is not None and active.provenance.source_version == 2
    assert active.config.services["n8n"].environment["A"] == "1"


def test_a_number_that_was_given_again_meanwhile_is_not_given_twice(deployed: World) -> None:
    deployed.update(environment={"n8n": {"A": "1"}})
    restored(deployed, lambda: deployed.update(environment={"n8n": {"A": "2"}}))
    taken = copy.deepcopy(deployed.engine.entries[0])
    other = provenance(3, operation_id="op-other").model_dump_json()
    taken |= {"result": "failed", "provenance": other}
    deployed.engine.entries.insert(0, taken)
    assert [found.number for found in deployed.state().versions] == [1, 2, 3]
    result = deployed.recover()
    assert result.success and result.version == 4
    active = deployed.state().active
    assert active is not None and active.config.services["n8n"].environment["A"] == "2"


@pytest.mark.parametrize("after", ["stop", "restore", "rotate"])
def test_a_lost_version_comes_back_whatever_came_after_it(deployed: World, after: str) -> None:
    """What came last made no version: it is not that which runs."""
    deployed.n8n("1.101.0")

    verbs: dict[str, Callable[[], Any]] = {
        "stop": lambda: deployed.stop("n8n"),
        "restore": deployed.restore,
        "rotate": lambda: deployed.rotate("rotate-database"),
    }

    def changes() -> None:
        deployed.update(environment={"n8n": {"A": "2"}})
        assert verbs[after]().success

    restored(deployed, changes)
    seen = deployed.inspect()
    assert seen.status == "drifted" and "v3 (update" in seen.summary
    assert deployed.recover().version == 3
    active = deployed.state().active
    assert active is not None and active.config.services["n8n"].environment["A"] == "2"
    assert deployed.inspect().status == ("stopped" if after == "stop" else "healthy")
    assert deployed.update(environment={"n8n": {"A": "3"}}).version == 4


def test_a_lost_restore_is_acknowledged(deployed: World) -> None:
    deployed.update(images={"n8n": "n8nio/n8n:1.101.0"})
    restored(deployed, deployed.restore)
    with pytest.raises(ValidationFailedError, match="knows what runs"):
        deployed.update(environment={"n8n": {"A": "3"}})
    result = deployed.recover()
    assert result.success and deployed.state().active is not None
    assert deployed.update(environment={"n8n": {"A": "3"}}).success


def test_an_instance_that_cannot_be_asked_is_no_reason_not_to_recover(deployed: World) -> None:
    deployed.update(environment={"n8n": {"A": "1"}})
    assert deployed.cloud.instance is not None
    deployed.cloud.instance = deployed.cloud.instance.model_copy(update={"state": "stopped"})
    assert deployed.recover().success
