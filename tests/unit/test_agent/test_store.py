from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.agent.errors import AgentError
from geusemaker.agent.store import Store
from tests.unit.test_agent.support import DirectAgent, do


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def refused(call: Callable[[], Any]) -> AgentError:
    with pytest.raises(AgentError) as caught:
        call()
    return caught.value


def applied(store: Store, operation: str, outcome: str = "done", expects: str | None = None) -> None:
    """A whole operation."""
    store.begin(operation, expects, None, {})
    store.take_for_apply(operation, expects, None, {"instance_id": "i-1"})
    store.end(operation, outcome)


def test_one_operation_holds_the_deployment(store: Store) -> None:
    facts = {"kind": "update", "actor": "ann", "owner": {"host": "laptop", "pid": 7}}
    store.begin("op-1", None, None, facts)
    error = refused(lambda: store.begin("op-2", None, None, {}))
    assert (error.code, error.detail["holder"]["operation"]) == ("lease_held", "op-1")
    assert "update by ann (pid 7 on laptop)" in error.message


def test_beginning_again_is_fine(store: Store) -> None:
    assert store.begin("op-1", None, None, {}) == store.begin("op-1", "op-0", None, {})


def test_after_the_end_the_next_may_begin(store: Store) -> None:
    applied(store, "op-1")
    assert store.begin("op-2", "op-1", None, {})["previous"] == "op-1"


def test_a_deployment_that_was_changed_since_is_not_changed_again(store: Store) -> None:
    applied(store, "op-1")
    applied(store, "op-2", expects="op-1")
    error = refused(lambda: store.begin("op-3", "op-1", None, {}))
    assert (error.code, "op-2" in error.message) == ("lease_held", True)


def test_an_operation_that_changed_nothing_does_not_hide_the_last_one_that_did(store: Store) -> None:
    applied(store, "op-1")
    store.begin("op-2", "op-1", None, {})
    store.end("op-2", "abandoned")
    assert store.begin("op-3", "op-1", None, {})["operation"] == "op-3"
    store.end("op-3", "abandoned")
    assert store.begin("op-4", "op-3", None, {})["operation"] == "op-4"


Take = Callable[[Store, str, str | None, str | None], dict[str, Any]]


def by_begin(store: Store, operation: str, expects: str | None, takeover: str | None) -> dict[str, Any]:
    return store.begin(operation, expects, takeover, {})


def by_apply(store: Store, operation: str, expects: str | None, takeover: str | None) -> dict[str, Any]:
    return store.take_for_apply(operation, expects, takeover, {"instance_id": "i-1"})


@pytest.mark.parametrize("take", [by_begin, by_apply])
@pytest.mark.parametrize("held", ["op-1", "op-2"])
def test_a_takeover_has_what_the_operation_it_names_or_one_before_that_held(
    store: Store, take: Take, held: str
) -> None:
    """The one it names may never have reached the instance: then the lease is an earlier one's."""
    store.begin(held, None, None, {})
    lease = take(store, "op-3", "op-2", "op-2")
    assert (lease["operation"], lease["state"], lease["previous"]) == ("op-3", "held", held)


@pytest.mark.parametrize("take", [by_begin, by_apply])
def test_a_takeover_never_has_what_a_newer_operation_holds(store: Store, take: Take) -> None:
    store.begin("op-4", None, None, {})
    assert refused(lambda: take(store, "op-3", "op-2", "op-2")).code in ("lease_held", "lease_lost")
    assert (store.lease() or {})["operation"] == "op-4"


@pytest.mark.parametrize("take", [by_begin, by_apply])
def test_a_takeover_has_any_lease_that_was_given_back(store: Store, take: Take) -> None:
    """Clocks differ: an earlier operation of another machine may have the later id."""
    applied(store, "op-9")
    assert refused(lambda: take(store, "op-3", "op-2", None)).code in ("lease_held", "lease_lost")
    assert take(store, "op-3", "op-2", "op-2")["previous"] == "op-9"


def test_a_takeover_names_whom_it_takes_over(store: Store) -> None:
    store.begin("op-1", None, None, {})
    assert refused(lambda: store.begin("op-2", None, "op-0", {})).code == "lease_held"
    assert store.begin("op-2", None, "op-1", {})["previous"] == "op-1"
    assert refused(lambda: store.require("op-1", held=False)).code == "lease_lost"


def test_what_was_taken_over_in_the_middle_counts_as_a_change(store: Store) -> None:
    applied(store, "op-1")
    store.begin("op-2", "op-1", None, {})
    store.take_for_apply("op-2", "op-1", None, {"instance_id": "i-1"})
    store.begin("op-3", None, "op-2", {})
    store.end("op-3", "abandoned")
    assert refused(lambda: store.begin("op-4", "op-1", None, {})).code == "lease_held"
    assert store.begin("op-4", "op-2", None, {})["operation"] == "op-4"


def test_apply_takes_the_lease_where_there_is_none(store: Store) -> None:
    lease = store.take_for_apply("op-1", None, None, {"instance_id": "i-1"})
    assert (lease["taken_by"], lease["serving"], lease["changed"]) == ("apply", "i-1", True)


def test_apply_takes_a_released_lease_only_if_it_expects_its_operation(store: Store) -> None:
    applied(store, "op-1")
    assert refused(lambda: store.take_for_apply("op-2", None, None, {"instance_id": "i-1"})).code == "lease_lost"
    assert refused(lambda: store.take_for_apply("op-2", "op-0", None, {"instance_id": "i-1"})).code == "lease_lost"
    assert store.take_for_apply("op-2", "op-1", None, {"instance_id": "i-1"})["operation"] == "op-2"


def test_apply_never_takes_what_another_operation_holds_unless_it_names_it(store: Store) -> None:
    store.begin("op-1", None, None, {})
    assert refused(lambda: store.take_for_apply("op-2", "op-1", None, {"instance_id": "i-1"})).code == "lease_lost"
    assert store.take_for_apply("op-2", "op-0", "op-1", {"instance_id": "i-1"})["operation"] == "op-2"


def test_a_plain_up_may_run_a_finished_operation_again_but_not_a_failed_one(store: Store) -> None:
    applied(store, "op-1", "done")
    assert store.take_for_apply("op-1", None, None, {"instance_id": "i-1"})["state"] == "held"
    store.end("op-1", "failed")
    for takeover in (None, "op-0"):  # one that took over stays as failed as any other
        error = refused(partial(store.take_for_apply, "op-1", None, takeover, {"instance_id": "i-1"}))
        assert (error.code, "already ended (failed)" in error.message) == ("lease_lost", True)


def test_a_lease_is_needed_and_for_some_verbs_a_held_one(store: Store) -> None:
    assert "does not hold" in refused(lambda: store.require("op-1", held=False)).message
    applied(store, "op-1")
    assert store.require("op-1", held=False)["operation"] == "op-1"
    assert refused(lambda: store.require("op-1", held=True)).code == "lease_lost"


def test_only_its_own_lease_is_ended_and_again_is_fine(store: Store) -> None:
    store.begin("op-1", None, None, {})
    assert refused(lambda: store.end("op-2", "done")).code == "lease_lost"
    store.end("op-1", "failed")
    assert store.end("op-1", "done")["outcome"] == "done"


@pytest.mark.parametrize("damaged", ["{", "", "[]", "{}", '{"operation": "op-1"}', '{"operation": 1, "state": "held"}'])
def test_a_lease_that_cannot_be_read_is_never_taken_for_none_and_set_aside_when_asked(
    store: Store, damaged: str
) -> None:
    store.begin("op-1", None, None, {})
    store.lease_file.write_text(damaged)
    for use in (
        lambda: store.begin("op-2", None, None, {}),
        lambda: store.require("op-1", held=True),
        lambda: store.end("op-1", "done"),
        lambda: store.take_for_apply("op-1", None, None, {"instance_id": "i-1"}),
    ):
        assert refused(use).code == "lease_damaged"
    lease, why = store.read_lease()
    assert lease is None and why is not None and "lease.json" in why
    assert store.begin("op-2", "op-1", None, {}, salvage=True)["operation"] == "op-2"
    assert (store.folder / "lease.json.damaged-op-2").read_text() == damaged


def test_a_lease_that_can_be_read_is_not_set_aside(store: Store) -> None:
    store.begin("op-1", None, None, {})
    assert refused(lambda: store.begin("op-2", None, None, {}, salvage=True)).code == "lease_held"


def _race(folder: str, number: int, results: Any) -> None:
    try:
        Store(Path(folder)).begin(f"op-{number}", None, None, {})
        results.put(number)
    except AgentError:
        results.put(None)


def test_of_many_that_begin_at_once_exactly_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    racers = [context.Process(target=_race, args=(str(tmp_path), number, results)) for number in range(8)]
    for racer in racers:
        racer.start()
    winners = [one for one in (results.get(timeout=20) for _ in racers) if one is not None]
    for racer in racers:
        racer.join()
    lease = Store(tmp_path).lease()
    assert lease is not None
    assert [f"op-{number}" for number in winners] == [lease["operation"]]


def test_a_lock_that_is_never_given_back_is_not_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geusemaker.agent.store.folder.LOCK_PATIENCE", 0.1)
    store.begin("op-1", None, None, {})
    with store._locked():
        assert "locked" in refused(lambda: store.end("op-1", "done")).message


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "takeover", "apply", "apply over", "end"]),
        st.integers(0, 4),
        st.none() | st.integers(0, 4),
    ),
    max_size=25,
)


@given(STEPS)
def test_no_sequence_lets_two_operations_change_the_deployment(steps: list[tuple[str, int, int | None]]) -> None:
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        holder: str | None = None
        for verb, number, other in steps:
            operation, named = f"op-{number}", None if other is None else f"op-{other}"
            try:
                if verb == "begin":
                    store.begin(operation, named, None, {})
                elif verb == "takeover":
                    store.begin(operation, None, named, {})
                elif verb == "apply":
                    store.take_for_apply(operation, named, None, {"instance_id": "i-1"})
                elif verb == "apply over":
                    store.take_for_apply(operation, named, named, {"instance_id": "i-1"})
                else:
                    store.end(operation, "failed")
            except AgentError:
                continue
            if verb == "end":
                assert holder in (None, operation)
                holder = None
            else:
                over = named if verb in ("takeover", "apply over") else None
                assert holder is None or holder == operation or (over is not None and holder <= over)
                holder = operation


# sentinel


def test_the_sentinel_is_written_once(store: Store) -> None:
    assert store.ensure_sentinel("prod", "fs-1") is True
    before = store.sentinel()
    assert store.ensure_sentinel("prod", "fs-1") is False
    assert store.sentinel() == before


@pytest.mark.parametrize(("deployment", "file_system"), [("other", "fs-1"), ("prod", "fs-2")])
def test_the_data_of_another_deployment_is_refused(store: Store, deployment: str, file_system: str) -> None:
    store.ensure_sentinel("prod", "fs-1")
    assert refused(lambda: store.ensure_sentinel(deployment, file_system)).code == "foreign_data"


def test_a_sentinel_that_is_gone_is_not_written_anew(store: Store) -> None:
    store.ensure_sentinel("prod", "fs-1")
    store.begin("op-1", None, None, {})
    store.sentinel_file.unlink()
    assert refused(lambda: store.ensure_sentinel("prod", "fs-1")).code == "data_loss"


def test_that_there_was_a_database_is_remembered_once_there_is_one(store: Store) -> None:
    store.ensure_sentinel("prod", "fs-1")
    store.mark_database()
    assert "postgresql" not in (store.sentinel() or {})
    (store.efs / "postgresql/pgdata").mkdir(parents=True)
    (store.efs / "postgresql/pgdata/PG_VERSION").write_text("16\n")
    store.mark_database()
    assert (store.sentinel() or {})["postgresql"] is True


# journal


def test_the_journal_survives_a_line_that_was_cut_short(store: Store) -> None:
    store.append_journal({"operation": "op-1"})
    with store.journal_file.open("a") as file:
        file.write('{"operation": "op-')
    store.append_journal({"operation": "op-3"})
    assert store.journal(10) == [{"operation": "op-1"}, {"operation": "op-3"}]
    assert store.journal(1) == [{"operation": "op-3"}]
    assert store.journal_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", [b"\xff\xfe{", b"[" * 100_000, b'{"operation_id": "op-', b"null", b"\0"])
def test_whatever_is_in_the_journal_the_rest_is_read(store: Store, damage: bytes) -> None:
    store.append_journal({"operation_id": "op-1"})
    with store.journal_file.open("ab") as file:
        file.write(damage)
    store.append_journal({"operation_id": "op-3", "reason": "a\u2028b"})
    assert [entry["operation_id"] for entry in store.journal(10)] == ["op-1", "op-3"]
    assert store.journal_of(["op-3"]) == [{"operation_id": "op-3", "reason": "a\u2028b"}]


def test_what_holds_detail_only_is_read_leniently(store: Store) -> None:
    store.append_journal({})
    store.served_file.write_bytes(b"\xff")
    store.record_served({"n8n": "n8nio/n8n:1@sha256:0"}, "op-1")
    assert json.loads(store.served_file.read_text())["n8n"]["operation"] == "op-1"
    checkpoint = store.checkpoints / "v1" / "op-1"
    checkpoint.mkdir(parents=True)
    (checkpoint / "checkpoint.json").write_text("")
    assert store.list_checkpoints() == []
    assert store.collect_checkpoints([1]) == [] and checkpoint.exists()


def test_the_journal_verb_appends_and_reads(mounted: DirectAgent) -> None:
    assert do(mounted, "journal", append={"a": 1}, tail=0) == {"entries": []}
    assert do(mounted, "journal", append=None, tail=5) == {"entries": [{"a": 1}]}


# verbs


def test_begin_end_and_lease_work_on_the_mounted_file_system(mounted: DirectAgent) -> None:
    assert do(mounted, "lease") == {"lease": None, "lease_damaged": None, "operations_running": []}
    do(mounted, "begin", operation="op-1", kind="deploy", actor="ann", owner=None, instance_id="i-1")
    assert do(mounted, "lease")["lease"]["kind"] == "deploy"
    assert do(mounted, "end", operation="op-1", outcome="done")["lease"]["state"] == "released"


def test_without_the_mount_there_is_no_lease(agent: DirectAgent) -> None:
    (agent.root / "mnt/efs/.geusemaker").mkdir(parents=True)
    (agent.root / "mnt/efs/.geusemaker/lease.json").write_text(json.dumps({"operation": "op-0", "state": "held"}))
    for verb in ("begin", "lease", "end", "journal"):
        assert refused(partial(do, agent, verb, operation="op-1", outcome="done")).code == "not_mounted"


def test_a_lease_that_gives_way_is_taken_by_a_rollback_or_a_recovery_and_by_nobody_else(store: Store) -> None:
    store.begin("op-1", None, None, {"kind": "update"})
    store.take_for_apply("op-1", None, None, {"instance_id": "i-1"})
    assert refused(lambda: store.begin("op-2", "op-1", None, {"kind": "rollback"})).code == "lease_held"
    store.give_way("op-1")
    store.give_way("op-1")
    for kind in ("update", "restore", "destroy", None):
        assert refused(partial(store.begin, "op-2", "op-1", None, {"kind": kind})).code == "lease_held"
    assert refused(lambda: store.begin("op-2", "op-0", None, {"kind": "rollback"})).code == "lease_held"
    taken = store.begin("op-2", "op-1", None, {"kind": "rollback"})
    assert (taken["operation"], taken["previous"], taken.get("gives_way")) == ("op-2", "op-1", None)
    assert refused(lambda: store.give_way("op-1")).code == "lease_lost"
    assert refused(lambda: store.begin("op-3", "op-2", None, {"kind": "rollback"})).code == "lease_held"
