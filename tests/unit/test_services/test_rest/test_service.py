"""RestService: what is stopped on purpose stays so, whatever comes, until somebody starts it again."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.errors import (
    DeclinedError,
    DeploymentBusyError,
    DeploymentNotFoundError,
    EngineError,
    GeusemakerError,
    HostError,
    InvalidInputError,
    RefusedError,
)
from geusemaker.models.plan import RestPlan
from geusemaker.services.rest.plan import to_start, to_stop
from tests.unit.fakes import Killed, World
from tests.unit.samples import config

BOTH = ("postgresql", "n8n")


def state_of(world: World, name: str) -> str:
    return world.machine.state_of(name)


def test_stopped_on_purpose_is_told_and_stays(deployed: World) -> None:
    result = deployed.stop("n8n")
    assert (result.success, result.kind, result.version) == (True, "stop", 1)
    assert result.changes == ["n8n: running -> stopped on purpose"]
    found = deployed.inspect()
    assert (found.status, found.exit_code) == ("stopped", 7)
    assert "n8n is stopped on purpose, by ann since 2025-01-21" in found.summary
    assert "(moving the database). `geusemaker start prod n8n` starts it" in found.summary
    assert found.stopped["n8n"].by == "ann"
    lease = deployed.machine.lease
    assert lease is not None and (lease["state"], lease["kind"], lease["outcome"]) == ("released", "stop", "done")

    assert deployed.recover().success and "engine.up" not in deployed.calls
    assert "n8n is stopped on purpose" in deployed.messages("note")[0]
    assert state_of(deployed, "n8n") == "exited"


@pytest.mark.parametrize("change", ["update of another", "update of it", "rollback", "resize", "recover of another"])
def test_changes_leave_it_stopped_and_say_so(deployed: World, change: str) -> None:
    deployed.n8n("1.101.0")
    deployed.stop("n8n")
    shown: list[Any] = []

    def confirm(plan: Any) -> bool:
        shown.append(plan)
        return True

    if change == "update of another":
        result: Any = deployed.update(confirm, images={"qdrant": "qdrant/qdrant:v1.14.2"})
    elif change == "update of it":
        result = deployed.update(confirm, images={"n8n": "n8nio/n8n:1.102.0"})
    elif change == "rollback":
        result = deployed.rollback(confirm)
    elif change == "resize":
        result = deployed.update(confirm, instance_type="t3.xlarge")
    else:
        deployed.machine.exited.add("qdrant")
        result = deployed.recover(confirm)
    assert result.success and "n8n" not in result.health_status
    assert shown[0].stopped and shown[0].stopped[0].startswith("n8n stays stopped: ann stopped it at 2025-01-21")
    assert state_of(deployed, "n8n") in ("exited", "missing")
    assert deployed.inspect().status == "stopped"

    assert deployed.start("n8n").success
    assert deployed.inspect().status == "healthy"
    active = deployed.state().active
    assert active is not None and deployed.machine.services["n8n"] == active.config.images["n8n"]


def test_what_needs_it_stops_with_it_and_all_starts_again(deployed: World) -> None:
    plans: list[RestPlan] = []

    def confirm(plan: RestPlan) -> bool:
        plans.append(plan)
        return True

    deployed.stop("postgresql", confirm=confirm)
    assert plans[0].because == ("n8n stops as well: it needs postgresql",)
    assert sorted(deployed.machine.notes) == ["n8n", "postgresql"]
    result = deployed.start("n8n", confirm=confirm)
    assert plans[1].because == ("postgresql starts as well: n8n needs it",)
    assert result.success and deployed.machine.notes == {} and all(result.health_status.values())


def test_a_failure_of_another_is_still_one(deployed: World) -> None:
    deployed.stop("n8n")
    deployed.machine.exited.add("qdrant")
    assert deployed.inspect().status == "unhealthy"
    assert deployed.recover().success
    assert deployed.inspect().status == "stopped" and state_of(deployed, "qdrant") == "healthy"


def test_a_deploy_starts_everything(deployed: World) -> None:
    deployed.stop()
    assert deployed.inspect().status == "stopped"
    deployed.destroy()
    assert deployed.deploy().success
    assert deployed.machine.notes == {} and deployed.inspect().status == "healthy"


def test_twice_changes_nothing(deployed: World) -> None:
    assert deployed.start().operation_id == ""
    assert deployed.messages("note") == ["All is running already."]
    deployed.stop("n8n")
    note = deployed.machine.notes["n8n"]
    assert deployed.stop("n8n").operation_id == "" and deployed.machine.notes["n8n"] == note
    assert deployed.messages("note") == ["n8n is stopped already."]


def test_what_another_stopped_with_docker_is_noted_and_started(deployed: World) -> None:
    deployed.machine.exited.add("n8n")
    assert deployed.stop("n8n").success and deployed.inspect().status == "stopped"
    assert deployed.start().success and deployed.inspect().status == "healthy"


def test_refusals(world: World, deployed: World) -> None:
    with pytest.raises(InvalidInputError, match="no service 'nginx'"):
        deployed.stop("nginx")
    deployed.update(without=("ollama",))
    with pytest.raises(InvalidInputError, match="ollama is not part of v2"):
        deployed.stop("ollama")
    with pytest.raises(DeclinedError):
        deployed.stop("n8n", confirm=lambda plan: False)
    assert deployed.machine.notes == {}
    deployed.machine.sentinel = {"gone": True, "file_system_id": "fs-1"}
    with pytest.raises(RefusedError, match="the sentinel file on fs-1 is gone"):
        deployed.start("n8n")


def test_there_has_to_be_something_that_runs(world: World) -> None:
    world.engine.create()
    with pytest.raises(DeploymentNotFoundError):
        world.stop()
    world.deploy()
    world.cloud.instance = None
    with pytest.raises(RefusedError, match="The instance of prod is gone"):
        world.stop()
    world.destroy()
    with pytest.raises(RefusedError, match="was destroyed"):
        world.start()


def test_after_a_killed_change_recover_comes_first(deployed: World) -> None:
    deployed.kill_at = "up.apply"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    with pytest.raises(RefusedError, match="killed or failed") as refused:
        deployed.stop("n8n")
    assert "geusemaker recover prod" in refused.value.next_step


@pytest.mark.parametrize("verb", ["stop", "start"])
@pytest.mark.parametrize(
    "phase", ["host.begin", "engine.set_intent:begun", "host.VERB", "engine.set_intent:done", "host.end"]
)
def test_killed_anywhere(deployed: World, verb: str, phase: str) -> None:
    if verb == "start":
        deployed.stop("n8n")
    deployed.kill_at = phase.replace("VERB", verb)
    with pytest.raises(Killed):
        deployed.stop("n8n") if verb == "stop" else deployed.start("n8n")
    deployed.kill_at = ""
    assert deployed.inspect().summary
    assert deployed.recover().success
    assert deployed.inspect().status in ("healthy", "stopped")
    assert (deployed.stop("n8n") if verb == "stop" else deployed.start("n8n")).success
    assert deployed.inspect().status == ("stopped" if verb == "stop" else "healthy")
    assert deployed.n8n("1.102.0").success, "and the next change is an ordinary one"


def test_one_that_does_not_become_healthy_is_told(deployed: World) -> None:
    deployed.stop("n8n")
    deployed.machine.ill.add("n8n")
    result = deployed.start("n8n")
    assert (result.success, result.exit_code) == (False, 4)
    assert result.error_message == "Not all of n8n could be started: Not healthy: n8n."
    assert "geusemaker status prod" in result.next_step
    assert deployed.inspect().status == "unhealthy" and not deployed.state().unsettled


def test_another_operation_holds_it(deployed: World) -> None:
    deployed.kill_at = "host.prefetch"
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    deployed.alive.add(deployed.pid)
    deployed.births[deployed.pid] = f"born-{deployed.pid}"
    with pytest.raises(DeploymentBusyError):
        deployed.stop("n8n")


def test_an_instance_out_of_sight_in_the_middle_is_told(deployed: World) -> None:
    deployed.host_failures["stop"] = HostError("The connection was lost.", code="unreachable")
    result = deployed.stop("n8n")
    assert result.exit_code == 4 and "The connection was lost." in (result.error_message or "")


@pytest.mark.parametrize(
    ("call", "warning"),
    [
        ("journal.append", "The journal was not written: No space left on device."),
        ("engine.set_intent:done", "That this stop has ended was not written down"),
    ],
)
def test_what_cannot_be_written_down_is_a_warning(deployed: World, call: str, warning: str) -> None:
    deployed.fail_at(call, OSError(28, "No space left on device"))
    assert deployed.stop("n8n").success
    assert any(warning in text for text in deployed.messages("warning"))
    assert deployed.machine.lease is not None and deployed.machine.lease["state"] == "released"
    assert deployed.recover().success and deployed.inspect().status == "stopped"
    assert deployed.start("n8n").success and deployed.inspect().status == "healthy"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), EngineError("no"), KeyboardInterrupt()])
def test_without_an_intent_nothing_is_stopped(deployed: World, error: BaseException) -> None:
    deployed.fail_at("engine.set_intent:begun", error)
    with pytest.raises(GeusemakerError) as refused:
        deployed.stop("n8n")
    assert refused.value.state == "Nothing was changed."
    assert state_of(deployed, "n8n") == "healthy" and deployed.inspect().status == "healthy"
    assert deployed.machine.lease is not None and deployed.machine.lease["state"] == "released"
    assert deployed.n8n("1.101.0").success


@pytest.mark.parametrize("verb", ["stop", "start"])
def test_a_change_that_was_given_up_after_it_has_lost_nothing(deployed: World, verb: str) -> None:
    deployed.stop("n8n")
    if verb == "start":
        deployed.start("n8n")
    with pytest.raises(HostError):
        deployed.host_failures["prefetch"] = HostError("no", code="pull_failed")
        deployed.n8n("1.101.0")
    deployed.host_failures.clear()
    assert deployed.inspect().status == ("stopped" if verb == "stop" else "healthy")
    assert deployed.n8n("1.101.0").success


@pytest.mark.parametrize(
    ("named", "services", "why"),
    [
        ((), BOTH, ()),
        (("n8n",), ("n8n",), ()),
        (("postgresql",), BOTH, ("n8n stops as well: it needs postgresql",)),
        (("n8n", "postgresql"), BOTH, ()),
    ],
)
def test_what_stops(named: tuple[Any, ...], services: tuple[str, ...], why: tuple[str, ...]) -> None:
    assert to_stop(config(), named) == (services, why)


@pytest.mark.parametrize(
    ("named", "down", "services", "why"),
    [
        ((), set(), (), ()),
        ((), {"n8n"}, ("n8n",), ()),
        ((), {"n8n", "postgresql"}, BOTH, ()),
        (("n8n",), {"n8n", "postgresql"}, BOTH, ("postgresql starts as well: n8n needs it",)),
        (("postgresql",), {"n8n", "postgresql"}, ("postgresql",), ()),
        (("n8n",), {"postgresql"}, (), ()),
    ],
)
def test_what_starts(named: tuple[Any, ...], down: set[str], services: tuple[str, ...], why: tuple[str, ...]) -> None:
    assert to_start(config(), named, down) == (services, why)
