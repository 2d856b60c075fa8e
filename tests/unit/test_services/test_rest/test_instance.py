"""The instance itself stopped on purpose: nothing starts it by itself, and ``start`` brings all back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from geusemaker.errors import (
    DeclinedError,
    EngineError,
    EnvironmentProblemError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
    InvalidInputError,
    RefusedError,
)
from geusemaker.models.history import TAG_CHARACTERS, StackTags, StoppedInstance
from geusemaker.models.inspection import InstanceState
from geusemaker.models.plan import RestPlan
from geusemaker.models.state import DeploymentState
from geusemaker.services.rest.at_rest import at_rest
from tests.unit.fakes import Killed, World

WHO = "its instance is stopped on purpose, by ann since 2025-01-21 02:"
NOTE = StoppedInstance(id="i-1", by="ann", since=datetime(2026, 11, 30, 20, tzinfo=UTC))


def state_of_instance(world: World) -> str:
    assert world.cloud.instance is not None
    return world.cloud.instance.state


@pytest.fixture
def resting(deployed: World) -> World:
    assert deployed.stop(instance=True).success
    return deployed


def test_services_first_then_the_instance(deployed: World) -> None:
    plans: list[RestPlan] = []

    def confirm(plan: RestPlan) -> bool:
        plans.append(plan)
        return True

    result = deployed.stop(instance=True, confirm=confirm)
    assert plans[0].summary.endswith(
        "and then i-1 stops, and stays so until `geusemaker start prod`: nothing starts it by itself"
    )
    assert result.success and result.changes[-1] == "the instance: running -> stopped on purpose"
    assert result.undo == "geusemaker start prod"
    assert deployed.calls.index("host.stop") < deployed.calls.index("engine.set_stopped")
    assert deployed.calls.index("engine.set_stopped") < deployed.calls.index("host.end")
    assert (deployed.cloud.stopped, state_of_instance(deployed)) == (["i-1"], "stopped")
    lease = deployed.machine.lease
    assert lease is not None and (lease["state"], lease["outcome"]) == ("released", "done")


def test_status_is_calm_and_names_who_and_what_starts_it(resting: World) -> None:
    found = resting.inspect()
    assert (found.status, found.exit_code) == ("stopped", 7)
    assert found.summary.startswith(f"v1 is active, and {WHO}")
    assert found.summary.endswith("(moving the database). `geusemaker start prod` starts it again.")
    assert not found.repairs and not found.problems


def test_start_brings_all_back(resting: World) -> None:
    plans: list[RestPlan] = []

    def confirm(plan: RestPlan) -> bool:
        plans.append(plan)
        return True

    resting.boot_seconds = 3
    result = resting.start(confirm=confirm)
    assert plans[0].summary.startswith("i-1 starts, and then postgresql, ")
    assert result.success and all(result.health_status.values()) and result.undo == "geusemaker stop prod --instance"
    assert resting.state().stopped is None
    assert resting.inspect().status == "healthy"
    assert resting.n8n("1.101.0").success, "and the next change is an ordinary one"


def test_one_service_alone_starts_with_what_it_needs(resting: World) -> None:
    assert resting.start("n8n").changes[:2] == ["postgresql: stopped -> running", "n8n: stopped -> running"]
    assert resting.inspect().status == "stopped" and resting.machine.state_of("n8n") == "healthy"
    assert resting.start().success and resting.inspect().status == "healthy"


@pytest.mark.parametrize("verb", ["update", "rollback", "deploy"])
def test_changes_are_refused_with_the_command(deployed: World, verb: str) -> None:
    deployed.n8n("1.101.0")
    deployed.stop(instance=True)
    verbs: dict[str, Any] = {
        "update": lambda: deployed.n8n("1.102.0"),
        "rollback": deployed.rollback,
        "deploy": deployed.deploy,
    }
    with pytest.raises(RefusedError) as refused:
        verbs[verb]()
    if verb != "deploy":  # of a deployment that is there it says that by itself
        assert WHO in refused.value.message and "geusemaker start prod" in refused.value.next_step
    assert "engine.up" not in deployed.calls and state_of_instance(deployed) == "stopped"


def test_recover_leaves_it(resting: World) -> None:
    result = resting.recover()
    assert result.success and resting.messages("note")[0].startswith(f"Nothing to repair: {WHO}")
    assert state_of_instance(resting) == "stopped" and "engine.up" not in resting.calls
    assert resting.recover(dry_run=True).success and state_of_instance(resting) == "stopped"


def test_twice_changes_nothing(resting: World) -> None:
    assert resting.stop(instance=True).operation_id == "" and resting.stop("n8n").operation_id == ""
    assert resting.messages("note")[0].startswith(f"All is stopped already: {WHO}")


def test_what_is_stopped_already_is_followed_by_the_instance(deployed: World) -> None:
    deployed.stop()
    assert deployed.stop(instance=True).changes == ["the instance: running -> stopped on purpose"]
    assert "host.stop" not in deployed.calls and state_of_instance(deployed) == "stopped"
    assert deployed.start().success and deployed.inspect().status == "healthy"


def test_no_single_service_with_it(deployed: World) -> None:
    with pytest.raises(InvalidInputError, match="with all of its services"):
        deployed.stop("n8n", instance=True)


def test_declined(deployed: World) -> None:
    with pytest.raises(DeclinedError):
        deployed.stop(instance=True, confirm=lambda plan: False)
    assert state_of_instance(deployed) == "running"
    deployed.stop(instance=True)
    with pytest.raises(DeclinedError):
        deployed.start(confirm=lambda plan: False)
    assert state_of_instance(deployed) == "stopped" and deployed.state().stopped is not None


@pytest.mark.parametrize(
    "phase",
    ["host.stop", "engine.set_stopped", "host.end", "cloud.stop", "engine.set_intent:done", "journal.append"],
)
def test_a_stop_that_is_killed_anywhere(deployed: World, phase: str) -> None:
    stop = deployed.cloud.stop_instance

    def dies_after(instance_id: str) -> None:
        stop(instance_id)
        raise Killed

    if phase == "cloud.stop":
        deployed.cloud.stop_instance = dies_after  # type: ignore[method-assign]
    else:
        deployed.kill_at = phase
    with pytest.raises(Killed):
        deployed.stop(instance=True)
    deployed.kill_at = ""
    deployed.cloud.stop_instance = stop  # type: ignore[method-assign]
    assert deployed.inspect().summary
    assert deployed.recover().success
    assert deployed.inspect().status == ("healthy" if phase == "host.stop" else "stopped")
    assert deployed.stop(instance=True).success and state_of_instance(deployed) == "stopped"
    assert deployed.start().success and deployed.inspect().status == "healthy"
    assert deployed.state().stopped is None


@pytest.mark.parametrize("phase", ["engine.set_intent:begun", "engine.set_stopped", "host.begin", "host.start"])
def test_a_start_that_is_killed_anywhere(resting: World, phase: str) -> None:
    resting.kill_at = phase
    with pytest.raises(Killed):
        resting.start()
    resting.kill_at = ""
    assert resting.inspect().summary
    assert resting.start().success
    assert resting.inspect().status == "healthy" and resting.state().stopped is None
    assert resting.n8n("1.101.0").success


def test_recover_after_a_killed_start_has_the_instance_up(resting: World) -> None:
    resting.kill_at = "host.begin"
    with pytest.raises(Killed):
        resting.start()
    assert resting.recover().success
    assert resting.inspect().status == "stopped" and state_of_instance(resting) == "running"
    assert resting.start().success and resting.inspect().status == "healthy"


def test_no_capacity_leaves_it_at_rest(resting: World) -> None:
    resting.cloud.capacity_gone = True
    with pytest.raises(EnvironmentProblemError, match="no capacity") as refused:
        resting.start()
    assert "geusemaker start prod" in refused.value.next_step
    assert resting.inspect().status == "stopped" and resting.recover().success
    resting.cloud.capacity_gone = False
    assert resting.start().success and resting.inspect().status == "healthy"


def test_one_that_is_still_stopping_is_waited_for(resting: World) -> None:
    assert resting.cloud.instance is not None
    resting.cloud.instance = resting.cloud.instance.model_copy(update={"state": "stopping"})
    assert resting.inspect().status == "stopped"
    assert resting.start().success


def test_an_instance_that_does_not_come_back_is_told(resting: World) -> None:
    resting.host_failures["health"] = HostError("It cannot be reached.", code="unreachable")
    result = resting.start()
    assert (result.success, result.exit_code) == (False, 4)
    assert "It cannot be reached." in (result.error_message or "") and "geusemaker status prod" in result.next_step
    resting.host_failures.clear()
    assert resting.start().success and resting.inspect().status == "healthy"


def test_an_instance_that_aws_does_not_stop_is_told(deployed: World) -> None:
    def refuse(instance_id: str) -> None:
        raise EnvironmentProblemError("AWS refused a question (StopInstances): one-time Spot Instance request.")

    deployed.cloud.stop_instance = refuse  # type: ignore[method-assign]
    result = deployed.stop(instance=True)
    assert result.exit_code == 4 and "one-time" in (result.error_message or "")
    assert deployed.state().stopped is None and deployed.inspect().status == "stopped"
    assert deployed.start().success and deployed.inspect().status == "healthy"


def test_an_instance_that_is_gone_by_then_is_told(resting: World) -> None:
    def starts_and_goes(instance_id: str) -> None:
        resting.cloud.instance = None

    resting.cloud.start_instance = starts_and_goes  # type: ignore[method-assign]
    assert "is gone" in (resting.start().error_message or "")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), EngineError("no"), KeyboardInterrupt()])
def test_without_an_intent_nothing_starts(resting: World, error: BaseException) -> None:
    resting.fail_at("engine.set_intent:begun", error)
    with pytest.raises(GeusemakerError):
        resting.start()
    assert resting.inspect().status == "stopped"


def test_ctrl_c_while_it_starts(resting: World) -> None:
    resting.fail_at("engine.set_stopped", KeyboardInterrupt())
    with pytest.raises(InterruptedOperationError) as interrupted:
        resting.start()
    assert "geusemaker start prod" in interrupted.value.next_step
    assert resting.start().success


def test_ctrl_c_while_it_boots(resting: World) -> None:
    resting.fail_at("host.health", KeyboardInterrupt())
    with pytest.raises(InterruptedOperationError, match="while the instance of prod started"):
        resting.start()
    assert state_of_instance(resting) == "running"
    assert resting.start().success and resting.inspect().status == "healthy"


def test_a_note_that_a_killed_stop_left_is_forgotten_by_the_next_change(deployed: World) -> None:
    deployed.kill_at = "host.end"
    with pytest.raises(Killed):
        deployed.stop(instance=True)
    assert deployed.state().stopped is not None and state_of_instance(deployed) == "running"
    assert deployed.recover().success
    assert deployed.state().stopped is None


def test_a_destroyed_one_has_no_rest(resting: World) -> None:
    assert resting.destroy().success
    assert resting.inspect().status == "destroyed"
    assert resting.deploy().success and resting.inspect().status == "healthy"


@pytest.mark.parametrize(
    ("state", "reason", "instance", "rests"),
    [
        ("stopped", "Client.UserInitiatedShutdown", "i-1", True),
        ("stopping", "", "i-1", True),
        ("running", "", "i-1", False),
        ("stopped", "Server.SpotInstanceShutdown", "i-1", False),
        ("stopped", "Client.UserInitiatedShutdown", "i-2", False),
    ],
)
def test_the_note_holds_while_that_instance_is_stopped_by_a_user(
    state: str, reason: str, instance: str, rests: bool
) -> None:
    found = InstanceState(id=instance, type="t3.large", state=state, address="", reason=reason)
    assert (at_rest(DeploymentState(name="prod", stopped=NOTE), found) is not None) is rests
    assert at_rest(DeploymentState(name="prod"), found) is None
    assert at_rest(DeploymentState(name="prod", stopped=NOTE), None) is None


def test_the_note_fits_a_tag_and_one_that_cannot_be_read_is_none() -> None:
    note = NOTE.model_copy(update={"reason": 'the "weekend" ' * 40, "by": "ann-with-a-long-name@and-a-host"})
    assert len(note.to_tag()) <= TAG_CHARACTERS
    read = StackTags.read(intent=None, marks=None, verdicts=None, notes={}, stopped=note.to_tag())
    assert read.stopped is not None and read.stopped.reason.startswith('the "weekend" the')
    assert StackTags.read(intent=None, marks=None, verdicts=None, notes={}, stopped="{").stopped is None
