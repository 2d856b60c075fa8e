from __future__ import annotations

import os
import time
from typing import Any

import pytest

from geusemaker.agent.agent import Agent
from geusemaker.agent.errors import AgentError
from geusemaker.agent.mounting import docker_drop_in
from geusemaker.agent.walls import RULES, put_up_walls
from tests.unit.test_agent.conftest import Program
from tests.unit.test_agent.fakes import FILE_SYSTEM, Machine
from tests.unit.test_agent.support import DirectAgent, do, mount_document


def refused(agent: DirectAgent, **changes: Any) -> AgentError:
    with pytest.raises(AgentError) as caught:
        do(agent, "mount", **mount_document(**changes))
    return caught.value


def test_docker_is_installed_only_after_the_file_system_is_mounted(agent: DirectAgent, machine: Machine) -> None:
    assert do(agent, "mount", **mount_document()) == {"mounted": True, "first": True, "unchanged": False}
    calls = [" ".join(call) for call in machine.calls()]
    installs = [index for index, call in enumerate(calls) if "install" in call]
    mounting = next(index for index, call in enumerate(calls) if "enable --now mnt-efs.mount" in call)
    assert "nfs-common" in calls[installs[0]]
    assert installs[0] < mounting < installs[1]
    assert "chrony docker-cli docker-compose docker.io unattended-upgrades" in calls[installs[1]]


def test_docker_requires_the_mount_from_then_on(mounted: DirectAgent, machine: Machine) -> None:
    drop_in = (machine.root / "etc/systemd/system/docker.service.d/geusemaker.conf").read_text()
    unit = (machine.root / "etc/systemd/system/mnt-efs.mount").read_text()
    assert "RequiresMountsFor=/mnt/efs" in drop_in
    assert f"What={FILE_SYSTEM}.efs.us-east-1.amazonaws.com:/\nWhere=/mnt/efs\nType=nfs4\n" in unit
    assert "Options=nfsvers=4.1,hard,_netdev\n" in unit


def test_docker_starts_behind_the_walls_or_not_at_all(mounted: DirectAgent, machine: Machine) -> None:
    drop_in = (machine.root / "etc/systemd/system/docker.service.d/geusemaker.conf").read_text()
    lines = [line for line in drop_in.splitlines() if line.startswith("ExecStartPre=")]
    assert lines[0] == "ExecStartPre=-iptables --wait --new-chain DOCKER-USER", "only that it is there may fail"
    assert [line[:25] for line in lines[1:]] == ["ExecStartPre=/bin/sh -c '"] * len(RULES)
    assert any("--destination 169.254.0.0/16 --protocol tcp" in line for line in lines)
    rules = machine.state["iptables"]["DOCKER-USER"]
    assert sorted(rules) == sorted(rule.split() for rule in RULES), "also where Docker runs already"
    calls = [" ".join(call) for call in machine.calls()]
    assert max(index for index, call in enumerate(calls) if call.startswith("iptables")) < calls.index(
        "systemctl enable --now docker.service"
    )


def test_walls_that_stand_are_left_and_those_that_cannot_stand_are_an_error(
    agent: DirectAgent, machine: Machine
) -> None:
    put_up_walls(agent)
    before = len(machine.calls("iptables", "--wait", "--insert"))
    put_up_walls(agent)
    assert len(machine.calls("iptables", "--wait", "--insert")) == before == len(RULES)
    machine.fail("iptables --wait --check", "none")
    machine.fail("iptables --wait --insert", "iptables: Permission denied (you must be root)")
    assert "you must be root" in refused(agent).message


def test_docker_is_tried_again_after_a_boot_at_which_nothing_could_be_mounted(
    mounted: DirectAgent, machine: Machine
) -> None:
    unit = (machine.root / "etc/systemd/system/geusemaker-docker.service").read_text()
    assert "ExecStart=systemctl start docker.service\nRestart=on-failure\n" in unit
    assert ["systemctl", "enable", "geusemaker-docker.service"] in machine.calls()


def test_again_it_changes_nothing_and_starts_one_program_at_most(mounted: DirectAgent, machine: Machine) -> None:
    before = len(machine.calls())
    assert do(mounted, "mount", **mount_document())["unchanged"] is True
    assert machine.calls()[before:] == [["systemctl", "is-active", "docker.service"]]


def test_a_unit_that_somebody_changed_is_put_right(mounted: DirectAgent, machine: Machine) -> None:
    drop_in = machine.root / "etc/systemd/system/docker.service.d/geusemaker.conf"
    drop_in.write_text("")
    assert do(mounted, "mount", **mount_document()) == {"mounted": True, "first": False, "unchanged": False}
    assert drop_in.read_text() == docker_drop_in(False)
    assert ["systemctl", "daemon-reload"] in machine.calls()


def test_another_file_system_is_never_mounted_over_the_one_there(mounted: DirectAgent) -> None:
    assert refused(mounted, file_system_id="fs-other").code == "wrong_file_system"


def test_the_data_of_another_deployment_is_refused(mounted: DirectAgent) -> None:
    assert refused(mounted, deployment="staging").code == "foreign_data"
    assert mounted.host()["deployment"] == "prod"


@pytest.mark.parametrize(
    "changes", [{"source": "a\nb:/"}, {"options": "hard\nExecStart=x"}, {"data_volume_id": "a; b"}, {"instance_id": ""}]
)
def test_input_that_would_write_something_else_into_a_unit_is_refused(agent: DirectAgent, changes: Any) -> None:
    assert refused(agent, **changes).code == "bad_input"


def test_it_tries_again_until_the_name_of_the_mount_target_is_known(
    agent: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.fail("systemctl enable --now mnt-efs.mount", "mount.nfs4: Failed to resolve server")

    def resolved(seconds: float) -> None:
        machine.update(fail={})

    monkeypatch.setattr(time, "sleep", resolved)
    assert do(agent, "mount", **mount_document(deadline_seconds=30))["mounted"]
    assert "Failed to resolve server" in agent.reporter.notes()[0]


def test_a_mount_that_never_comes_is_given_up_and_docker_is_not_installed(agent: DirectAgent, machine: Machine) -> None:
    machine.fail("systemctl enable --now mnt-efs.mount", "mount.nfs4: access denied by server")
    error = refused(agent)
    assert (error.code, "access denied by server" in error.message) == ("mount_failed", True)
    assert "docker.io" not in machine.state["packages"]


def test_other_failures_of_systemctl_are_told(agent: DirectAgent, machine: Machine) -> None:
    machine.fail("systemctl daemon-reload", "no bus")
    assert "no bus" in refused(agent).message


# the guarded child


def test_the_file_system_is_not_touched_when_it_is_not_mounted(machine: Machine, run: Program) -> None:
    (machine.root / "mnt/efs").mkdir(parents=True)
    status, lines = run("begin", {"operation": "op-1"})
    assert (status, lines[-1]["code"]) == (1, "not_mounted")
    assert list((machine.root / "mnt/efs").iterdir()) == []


def test_a_file_system_that_does_not_answer_is_given_up(machine: Machine, agent: DirectAgent) -> None:
    machine.mount()
    started = time.monotonic()
    with pytest.raises(AgentError) as caught:
        Agent.on_efs(agent, lambda: time.sleep(30), 0.3)
    assert caught.value.code == "efs_hung"
    assert time.monotonic() - started < 25


def test_what_the_child_finds_or_meets_comes_back(machine: Machine, agent: DirectAgent) -> None:
    machine.mount()

    def refuse() -> None:
        raise AgentError("lease_held", "Held.", holder={"operation": "op-1"})

    assert Agent.on_efs(agent, lambda: {"a": [1, None]}) == {"a": [1, None]}
    assert Agent.on_efs(agent, lambda: None) is None
    with pytest.raises(AgentError) as caught:
        Agent.on_efs(agent, refuse)
    assert (caught.value.code, caught.value.detail) == ("lease_held", {"holder": {"operation": "op-1"}})
    with pytest.raises(AgentError, match="FileNotFoundError") as failed:
        Agent.on_efs(agent, lambda: (machine.root / "none").read_text())
    assert failed.value.code == "efs_failed"


def test_a_child_that_dies_is_no_answer(machine: Machine, agent: DirectAgent) -> None:
    machine.mount()
    with pytest.raises(AgentError) as caught:
        Agent.on_efs(agent, lambda: os._exit(1))
    assert caught.value.code == "efs_hung"
