"""Waiting for another operation's end: whom it is said for, what is looked at, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geusemaker.agent.protocol.stored import Lease
from geusemaker.errors import (
    DeploymentBusyError,
    DeploymentNotFoundError,
    HostError,
    InterruptedOperationError,
    RefusedError,
)
from geusemaker.models.history import LockOwner
from geusemaker.models.plan import Plan
from geusemaker.services.operation import Operation
from geusemaker.services.waiting import holder, in_turn
from tests.unit.fakes import HOST_NAME, Killed, Shown, World

BOB = 77
"""A process of somebody else."""


def waiting(world: World, seconds: float, shown: Shown | None = None, **request: Any) -> Any:
    """An update that waits; the notes of all its attempts are kept in ``world.told``."""
    request = request or {"images": {"n8n": "n8nio/n8n:1.102.0"}}
    return in_turn(lambda: world.update(shown or Shown(), **request), lambda: seen(world), seconds)


def seen(world: World) -> Any:
    """As the wiring makes it: what others call is not forgotten by it."""
    kept = world.events
    made = world.collaborators()
    return type(made)(**{**vars(made), "on_event": kept.append})


@pytest.fixture
def bobs(deployed: World) -> World:
    """Somebody's update of v1 has begun, and its process lives."""
    deployed.kill_at = "up.apply"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    deployed.alive.add(deployed.pid)
    return deployed


def ends(world: World, looks: int, how: Callable[[], None]) -> list[int]:
    """After so many looks the other operation has come to its end; returns what counts them."""
    count = [0]

    def one_more() -> None:
        count[0] += 1
        if count[0] == looks:
            how()

    world.clock.on_sleep = one_more
    return count


def lease_of(world: World, owner: str = HOST_NAME, kind: str = "update", actor: str = "bob") -> None:
    world.machine.lease = {
        "operation": "op-of-bob",
        "state": "held",
        "changed": False,
        "last_changed": None,
        "kind": kind,
        "actor": actor,
        "owner": {"host": owner, "pid": BOB},
        "started_at": "02:00",
    }


def freed(world: World) -> None:
    """The lease is as it was before."""
    assert world.machine.lease is not None
    world.machine.lease = {**world.machine.lease, "operation": world.state().last_operation_id, "state": "released"}


# --- not asked for ---------------------------------------------------------------------------------------------------


def test_without_it_is_refused_at_once(bobs: World) -> None:
    count = ends(bobs, 1, lambda: None)
    with pytest.raises(DeploymentBusyError, match=rf"update \(v2\) of ann: process {bobs.pid} on box") as error:
        waiting(bobs, 0)
    assert error.value.exit_code == 6 and count == [0]


def test_what_is_free_is_done_without_a_word(deployed: World) -> None:
    def nobody() -> Any:
        raise AssertionError("there is nothing to wait for")

    assert in_turn(lambda: deployed.n8n("1.101.0"), nobody, 600).success


def test_another_error_is_not_waited_on(deployed: World) -> None:
    with pytest.raises(RefusedError, match="no version 9"):
        in_turn(lambda: deployed.rollback(to_version=9), lambda: deployed.collaborators(), 600)


# --- it waits --------------------------------------------------------------------------------------------------------


def test_it_goes_on_with_a_look_and_a_plan_of_its_own(deployed: World) -> None:
    """Somebody's update is under way; when it has ended, v2 is active, and the plan starts from there."""
    shown, first = Shown(), deployed.state()
    intent = deployed.engine.intent_tag

    def done() -> None:
        deployed.engine.intent_tag = intent
        assert deployed.update(instance_type="t3.xlarge").success

    deployed.alive.add(BOB)
    under_way = {"pid": BOB, "born": "", "kind": "update", "number": 2}
    assert first.intent is not None
    deployed.engine.set_intent(first.intent.model_copy(update={**under_way, "outcome": ""}))
    count = ends(deployed, 3, done)
    notes: list[str] = []

    def attempt() -> Any:
        return deployed.update(shown, images={"n8n": "n8nio/n8n:1.102.0"})

    made = deployed.collaborators()
    with_ = type(made)(**{**vars(made), "on_event": lambda event: notes.append(event.message)})
    result = in_turn(attempt, lambda: with_, 600)

    assert result.success and result.version == 3 and count == [3]
    [plan] = shown.plans
    assert plan.active_version == 2 and plan.config.instance_type == "t3.xlarge"
    assert [change.path for change in plan.changes] == ["n8n.image"]
    assert len(notes) == 2 and notes[1] == "It is free. All is looked at anew."
    assert notes[0].startswith("Waiting, 10 min at most: prod is held by an update (v2) of ann: process 77 on box")


def test_a_killed_one_is_not_waited_for_any_longer_and_refuses_as_ever(bobs: World) -> None:
    ends(bobs, 2, lambda: bobs.alive.clear())
    with pytest.raises(RefusedError, match="was killed before it was done"):
        waiting(bobs, 600)


def test_after_the_time_it_is_the_same_refusal(bobs: World) -> None:
    count = ends(bobs, 10**6, lambda: None)
    with pytest.raises(DeploymentBusyError) as now:
        waiting(bobs, 0)
    with pytest.raises(DeploymentBusyError) as later:
        waiting(bobs, 60)
    assert (later.value.message, later.value.next_step) == (now.value.message, now.value.next_step)
    assert later.value.exit_code == 6 and 5 < count[0] < 40, "it looked again and again, seconds apart"


def test_ctrl_c_while_waiting_changes_nothing(bobs: World) -> None:
    before = (bobs.engine.intent_tag, len(bobs.engine.entries), bobs.machine.lease)

    def interrupt() -> None:
        raise KeyboardInterrupt

    ends(bobs, 2, interrupt)
    with pytest.raises(InterruptedOperationError, match=r"waiting for another operation\. prod is held by") as error:
        waiting(bobs, 600)
    assert error.value.state == "Nothing was changed by this one." and error.value.exit_code == 130
    assert before == (bobs.engine.intent_tag, len(bobs.engine.entries), bobs.machine.lease)


def test_a_lease_that_was_taken_after_the_plan_is_waited_for_and_the_plan_is_made_again(deployed: World) -> None:
    """Nobody but the lease knows of an operation from another backend."""
    deployed.alive.add(BOB)
    plans: list[Plan] = []

    def confirm(plan: Plan) -> bool:
        plans.append(plan)
        if len(plans) == 1:
            lease_of(deployed)
        return True

    ends(deployed, 2, lambda: freed(deployed))
    operation = lambda: deployed.update(confirm, images={"n8n": "n8nio/n8n:1.101.0"})  # noqa: E731
    assert in_turn(operation, lambda: seen(deployed), 600).success
    assert len(plans) == 2 and plans[0].operation_id != plans[1].operation_id


def test_whom_it_waits_for_is_said_anew_when_that_changes(deployed: World) -> None:
    deployed.alive.add(BOB)
    lease_of(deployed)
    notes: list[str] = []
    made = deployed.collaborators()
    with_ = type(made)(**{**vars(made), "on_event": lambda event: notes.append(event.message)})
    count = [0]

    def step() -> None:
        count[0] += 1
        if count[0] == 3:
            lease_of(deployed, kind="restore", actor="eve")
        if count[0] == 6:
            freed(deployed)

    deployed.clock.on_sleep = step
    assert in_turn(lambda: deployed.n8n("1.101.0"), lambda: with_, 90).success
    assert [note.partition(": ")[2].partition(" (")[0] for note in notes[:2]] == [
        "prod is held by an update of bob",
        "prod is held by a restore of eve",
    ]
    assert len(notes) == 3 and notes[0].startswith("Waiting, 8") and " s at most" in notes[0]


def test_the_time_is_one_for_all_of_it(deployed: World) -> None:
    """Somebody is always first: it does not begin to count anew each time."""
    deployed.alive.add(BOB)
    attempts = [0]

    def always_late() -> Any:
        attempts[0] += 1
        raise DeploymentBusyError(f"attempt {attempts[0]}")

    with pytest.raises(DeploymentBusyError):
        in_turn(always_late, lambda: seen(deployed), 30)
    assert 1 < attempts[0] < 15


def test_one_that_was_removed_meanwhile_is_asked_again(deployed: World) -> None:
    attempts = [0]

    def removed() -> str:
        attempts[0] += 1
        if attempts[0] == 1:
            raise DeploymentBusyError("held")
        return "as it is now"

    def gone() -> Any:
        raise DeploymentNotFoundError("There is no deployment prod.")

    assert in_turn(removed, gone, 30) == "as it is now"


# --- who holds it ----------------------------------------------------------------------------------------------------


def test_nobody(deployed: World) -> None:
    assert holder(deployed.collaborators()) is None


def test_an_engine_whoever_runs_it(deployed: World) -> None:
    deployed.engine.lock = LockOwner(pid=1, user="bob", host="elsewhere", since="now")
    found = holder(deployed.collaborators())
    assert found is not None and "process 1 of bob on elsewhere" in found.message
    assert holder(deployed.collaborators(), owner_is_gone=True) is None


def test_an_operation_of_another_machine_until_that_is_known_to_be_gone(deployed: World) -> None:
    intent = deployed.state().intent
    assert intent is not None
    deployed.engine.set_intent(intent.model_copy(update={"host": "elsewhere", "outcome": "", "number": 2}))
    found = holder(deployed.collaborators())
    assert found is not None and "on elsewhere" in found.message
    assert holder(deployed.collaborators(), owner_is_gone=True) is None


def test_the_lease_of_one_that_lives_and_not_of_one_that_is_gone(deployed: World) -> None:
    lease_of(deployed)
    assert holder(deployed.collaborators()) is None
    deployed.alive.add(BOB)
    found = holder(deployed.collaborators())
    assert found is not None and "held by an update of bob (process 77 on box)" in found.message


def test_what_cannot_be_asked_holds_nobody_up(deployed: World) -> None:
    deployed.host_failures["lease"] = HostError("No answer.", code="unreachable")
    assert holder(deployed.collaborators()) is None
    assert deployed.cloud.instance is not None
    deployed.cloud.instance = deployed.cloud.instance.model_copy(update={"state": "stopped"})
    assert holder(deployed.collaborators()) is None
    deployed.destroy()
    assert holder(deployed.collaborators()) is None


def test_one_that_is_not_there(world: World) -> None:
    assert holder(world.collaborators()) is None


def test_a_lease_is_told_as_where_it_is_refused(deployed: World) -> None:
    """The same sentence, whether it was met or looked at."""
    deployed.alive.add(BOB)
    lease_of(deployed)
    made = deployed.collaborators()
    assert deployed.cloud.instance is not None
    state = deployed.state()
    assert state.target is not None
    with made.open_host(deployed.cloud.instance.address, state.target, made.engine.load_secrets()) as host:
        with pytest.raises(DeploymentBusyError) as refused:
            Operation(made, "op-9", "update", 2).take_lease(host, "i-1", expects=None, takeover=None)
        assert isinstance(host.lease().lease, Lease)
    found = holder(made)
    assert found is not None and str(found) == str(refused.value)
