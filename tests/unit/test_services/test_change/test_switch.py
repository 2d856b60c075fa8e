"""SSH's own way is given up only where Session Manager's was tried."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from geusemaker.errors import EnvironmentProblemError, HostError
from geusemaker.host.connection import Login
from geusemaker.host.session import Command, Finished
from geusemaker.models.request import DeployRequest, UpdateRequest
from geusemaker.models.stack import Target
from geusemaker.services.change.switch import switch
from geusemaker.services.update.service import UpdateService
from tests.unit.fakes import Shown, World, yes


class Installing:
    """What is run on the instance over SSH, and by which way it is asked."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done = Finished(0)
        self.commands: list[str] = []
        self.ways: list[str] = []
        self.refusals: list[HostError] = []
        opened = world._open_host

        def run(login: Login, command: Command, given: bytes) -> Finished:
            assert login.address and b"amazon-ssm-agent" in given
            self.commands.append(command.line)
            return self.done

        def open_host(address: str, target: Target, secrets: Any) -> Any:
            self.ways.append(target.connect)
            if target.connect == "ssm" and self.refusals:
                raise self.refusals.pop()
            return opened(address, target, secrets)

        monkeypatch.setattr("geusemaker.host.session.run", run)
        monkeypatch.setattr("geusemaker.services.connecting.choose_port", lambda name: 20001)
        monkeypatch.setattr(world, "_open_host", open_host)


@pytest.fixture
def installing(deployed: World, monkeypatch: pytest.MonkeyPatch) -> Installing:
    return Installing(deployed, monkeypatch)


def connect(world: World) -> tuple[str, int]:
    target = world.state().target
    assert target is not None
    return target.connect, target.forward_port


def test_there_and_back(deployed: World, installing: Installing) -> None:
    shown = Shown()
    assert deployed.n8n("1.101.0").success
    installing.ways.clear()
    assert deployed.update(connect="ssm", confirm=shown).success
    assert "connect: ssh -> ssm" in [str(change) for change in shown.plans[0].changes]
    assert installing.commands == ["python3 - us-east-1 amazonaws.com"]
    assert installing.ways[0] == "ssh" and installing.ways[-1] == "ssm"
    assert connect(deployed)[0] == "ssm" and connect(deployed)[1] > 0
    port = connect(deployed)[1]
    installing.ways.clear()
    assert deployed.rollback().success, "which does not bring it back"
    assert connect(deployed) == ("ssm", port) and set(installing.ways) == {"ssm"}
    installing.ways.clear()
    assert deployed.update(connect="ssh").success
    assert connect(deployed) == ("ssh", port) and set(installing.ways) == {"ssm"}, "until it is done"
    assert len(installing.commands) == 1


def test_a_first_deploy_installs_nothing_over_ssh(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    installing = Installing(world, monkeypatch)
    assert world.deploy(DeployRequest(connect="ssm")).success
    assert installing.commands == [] and set(installing.ways) <= {"ssm"} and connect(world)[0] == "ssm"


def test_an_agent_that_takes_its_time_is_waited_for(deployed: World, installing: Installing) -> None:
    installing.refusals = [HostError("It is not connected.", code="unreachable")] * 2
    assert deployed.update(connect="ssm").success and not installing.refusals


def test_what_keeps_it_from_being_taken_changes_nothing(deployed: World, installing: Installing) -> None:
    installing.done = Finished(1, b"", b"AWS's key has not signed it.\n")
    with pytest.raises(HostError, match="could not be installed: AWS's key has not signed it") as failed:
        deployed.update(connect="ssm")
    assert "Nothing was changed" in failed.value.state
    installing.done = Finished(0)
    installing.refusals = [HostError("It is not connected.", code="unreachable")] * 500
    with pytest.raises(HostError, match="It is not connected"):
        deployed.update(connect="ssm")
    assert "up.apply" not in deployed.calls
    installing.refusals = [HostError("Another host key.", code="host_key_mismatch")]
    with pytest.raises(HostError, match="Another host key"):
        deployed.update(connect="ssm")
    assert connect(deployed) == ("ssh", 0)


def test_a_machine_from_which_nothing_leads_there_changes_nothing(deployed: World) -> None:
    class Missing:
        def keep(self, port: int) -> Any:
            raise EnvironmentProblemError("AWS's program is not on this machine.")

    without = replace(deployed.collaborators(), forwarding=lambda target: Missing())  # type: ignore[arg-type, return-value]
    with pytest.raises(EnvironmentProblemError, match="not on this machine") as refused:
        UpdateService(without).update(UpdateRequest(settle_seconds=3), yes)
    assert "Nothing was changed" in refused.value.state and "up.apply" not in deployed.calls
    assert deployed.update(settle_seconds=3).success, "the lease was given back"


def test_an_instance_that_was_stopped_is_started_and_switched(deployed: World, installing: Installing) -> None:
    assert deployed.cloud.instance is not None
    deployed.cloud.instance = deployed.cloud.instance.model_copy(update={"state": "stopped"})
    assert deployed.update(connect="ssm").success and len(installing.commands) == 1


def test_an_instance_that_does_not_answer_is_not_switched(deployed: World) -> None:
    before = deployed.state().target
    assert before is not None
    asked = SimpleNamespace(state=SimpleNamespace(target=before), name="prod")
    change = SimpleNamespace(target=before.model_copy(update={"connect": "ssm", "forward_port": 20001}))
    work = SimpleNamespace(
        asked=asked,
        change=change,
        found=SimpleNamespace(instance=deployed.cloud.instance),
        connection=SimpleNamespace(host=None),
    )
    with pytest.raises(HostError, match="AWS's agent is installed on it over SSH") as refused:
        switch(work)  # type: ignore[arg-type]
    assert "geusemaker recover prod" in refused.value.next_step
