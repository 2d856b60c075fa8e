"""Marks and pins: what they change, and what becomes of them when somebody else writes at the same time."""

from __future__ import annotations

import pytest

from geusemaker.errors import (
    ChangeFailedError,
    DeploymentBusyError,
    DeploymentNotFoundError,
    EngineError,
    HostError,
    RefusedError,
)
from geusemaker.models.result import MarkResult
from geusemaker.services.mark.service import MarkService
from tests.unit.fakes import Killed, World
from tests.unit.samples import intent


@pytest.fixture
def three(world: World) -> World:
    """v1, v2 and v3, all healthy; v3 is active."""
    world.deploy()
    world.n8n("1.101.0")
    world.n8n("1.102.0")
    return world


def mark(world: World, number: int, *, bad: bool = True, reason: str = "") -> MarkResult:
    return MarkService(world.collaborators()).mark(number, bad=bad, reason=reason)


def pin(world: World, number: int, *, pinned: bool = True, reason: str = "") -> MarkResult:
    return MarkService(world.collaborators()).pin(number, pinned=pinned, reason=reason)


def test_a_bad_version_is_no_default_target(three: World) -> None:
    result = mark(three, 2, reason="loses\nwebhooks")
    assert (result.bad, result.changed, result.default_target) == (True, True, 1)
    assert result.note == "loses webhooks (ann)"
    assert three.rollback().source_version == 1


def test_good_takes_the_mark_and_its_reason_away(three: World) -> None:
    mark(three, 2, reason="slow")
    result = mark(three, 2, bad=False)
    assert (result.bad, result.changed, result.default_target, result.note) == (False, True, 2, "")
    assert three.engine.notes == {}


def test_the_same_again_writes_nothing(three: World) -> None:
    mark(three, 2, reason="slow")
    result = mark(three, 2)
    assert (result.bad, result.changed, result.note) == (True, False, "slow (ann)")
    assert not [call for call in three.calls if call.startswith("engine.set_")]


def test_a_pinned_version_is_never_archived(three: World) -> None:
    assert pin(three, 1, reason="before the migration").pinned
    for minor in (103, 104, 105, 106, 107):
        three.n8n(f"1.{minor}.0")
    assert [version.number for version in three.state().versions if version.archived] == [2, 3]
    assert pin(three, 1, pinned=False).archived


def test_a_pin_and_a_mark_stand_side_by_side(three: World) -> None:
    pin(three, 1, reason="why")
    result = mark(three, 1)
    assert (result.bad, result.pinned, result.note) == (True, True, "why (ann)")
    assert mark(three, 1, bad=False).pinned


def test_an_unknown_version_is_refused(three: World) -> None:
    with pytest.raises(RefusedError, match="no version 9; there are: v1, v2, v3"):
        mark(three, 9)
    with pytest.raises(RefusedError, match="no version 0"):
        pin(three, 0)


def test_without_a_deployment_there_is_nothing_to_mark(world: World) -> None:
    world.engine.created = True
    with pytest.raises(DeploymentNotFoundError):
        mark(world, 1)


def test_while_an_operation_runs_nothing_is_written(three: World) -> None:
    three.alive.add(7)
    three.engine.intent_tag = intent().to_tag()
    with pytest.raises(DeploymentBusyError):
        mark(three, 2)
    assert three.engine.bad == ()


def test_a_write_that_was_lost_is_written_again(three: World) -> None:
    three.engine.lost_writes = 4
    assert mark(three, 2).bad


def test_a_write_that_never_stays_is_an_error(three: World) -> None:
    three.engine.lost_writes = 5
    with pytest.raises(EngineError, match="written 5 times"):
        mark(three, 2)


def test_a_mark_is_written_under_the_lease_and_gives_it_back(three: World) -> None:
    last = three.machine.lease
    assert last is not None
    mark(three, 2)
    calls = three.calls
    assert calls.index("host.begin") < calls.index("engine.set_marks") < calls.index("host.end")
    assert three.machine.lease is not None and three.machine.lease["state"] == "released"
    assert three.n8n("1.103.0").success, "the next change does not take it for somebody else's change"


def test_a_mark_is_announced_and_put_on_record_and_the_note_of_the_operation_before_comes_back(three: World) -> None:
    before = three.engine.intent_tag
    mark(three, 2, reason="slow")
    calls = [call for call in three.calls if call.startswith("engine.set_")]
    assert calls == ["engine.set_intent:begun", "engine.set_marks", "engine.set_note", "engine.set_intent:done"]
    assert three.engine.intent_tag == before
    [*_, record] = three.records.records
    assert (record.kind, record.number, record.success, record.reason) == ("mark", 2, True, "slow")
    assert record.changes == ["v2: good -> bad"] and record.actor == "ann"
    assert three.machine.journal[-1]["kind"] == "mark", "beside the data, too"
    pin(three, 2)
    assert three.records.records[-1].changes == ["v2: not pinned -> pinned"]


def test_one_that_fails_is_on_record_as_that(three: World) -> None:
    three.fail_at("engine.set_note", EngineError("no space"))
    with pytest.raises(ChangeFailedError):
        mark(three, 2, reason="slow")
    assert (three.records.records[-1].success, three.records.records[-1].error_message) == (False, "no space")


def killed_mark(world: World) -> None:
    world.fail_at("engine.set_marks", Killed())
    with pytest.raises(Killed):
        mark(world, 2)


def test_one_that_was_killed_stands_in_nobodys_way(three: World) -> None:
    killed_mark(three)
    found = three.inspect()
    assert found.status == "healthy" and found.interruption is None
    assert "A mark by ann was killed; nothing that runs was touched" in " ".join([found.summary, *found.problems])
    assert not three.state().unsettled and three.state().next_number == 4

    assert three.recover().version == 3
    assert any("A mark by ann was killed" in text for text in three.messages("note"))
    assert "was killed" not in three.inspect().summary
    killed_mark(three)
    assert three.n8n("1.103.0").success, "nor does it have to be recovered first"


def test_one_that_was_killed_elsewhere_and_had_no_lease_is_waited_for_ten_minutes(three: World) -> None:
    three.cloud.instance = None
    killed_mark(three)
    three.host_name = "another-machine"
    with pytest.raises(DeploymentBusyError, match="held by a mark of ann"):
        three.recover()
    three.clock.sleep(600)
    assert three.recover().success


def test_one_that_was_killed_without_the_lease_is_not_expected_to_have_had_it(three: World) -> None:
    three.host_failures["begin"] = HostError("EFS is not mounted.", code="not_mounted")
    killed_mark(three)
    three.host_failures.clear()
    assert three.n8n("1.103.0").success


def test_what_was_killed_before_is_not_forgotten_with_a_mark_that_was_killed(three: World) -> None:
    three.fail_at("up.apply", Killed())
    with pytest.raises(Killed):
        three.n8n("1.103.0")
    killed_mark(three)
    found = three.state()
    assert found.interrupted and found.next_number == 5, "the killed update was given 4"
    assert "operation before the mark" in three.inspect().summary
    with pytest.raises(RefusedError, match="killed before it was done, and mark"):
        three.n8n("1.104.0")
    assert three.recover().success and not three.state().unsettled


def test_a_lease_that_another_operation_has_is_respected(three: World) -> None:
    assert three.machine.lease is not None
    three.machine.lease |= {"state": "held", "kind": "update", "owner": {"host": "elsewhere", "pid": 7}}
    with pytest.raises(DeploymentBusyError, match="held by an update"):
        mark(three, 2)
    assert three.engine.bad == ()


def test_other_marks_are_waited_for(three: World) -> None:
    held = {"state": "held", "kind": "mark", "owner": {"host": "elsewhere", "pid": 7}}
    assert three.machine.lease is not None
    three.machine.lease |= held

    def other_writes() -> None:
        assert three.machine.lease is not None
        three.engine.pinned = (1,)
        three.machine.lease["state"] = "released"

    three.clock.on_sleep = other_writes
    mark(three, 2)
    assert (three.engine.bad, three.engine.pinned) == ((2,), (1,))

    three.machine.lease |= held
    three.clock.on_sleep = lambda: None
    with pytest.raises(DeploymentBusyError, match="held by a mark"):
        mark(three, 3)


def test_an_instance_that_gives_no_lease_is_told_and_hinders_nothing(three: World) -> None:
    three.host_failures["begin"] = HostError("EFS is not mounted.", code="not_mounted")
    assert mark(three, 2).bad
    assert three.messages("warning") == [
        "Written without the lease, as the instance does not give it: EFS is not mounted."
    ]


def test_a_lease_that_cannot_be_given_back_is_told(three: World) -> None:
    three.host_failures["end"] = HostError("The instance cannot be reached.", code="unreachable")
    assert mark(three, 2).bad
    assert three.messages("warning") == ["The lease was not given back: The instance cannot be reached."]


def test_marks_need_no_instance(three: World) -> None:
    three.host_reachable = False
    three.cloud.reachable = False
    assert mark(three, 2).bad
