"""What an instance is given for the months to come, and that it never restarts a container."""

from __future__ import annotations

import pytest

from geusemaker.agent.errors import AgentError
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import DirectAgent, do, mount_document


def test_docker_and_what_it_runs_containers_with_are_held_back(agent: DirectAgent, machine: Machine) -> None:
    machine.update(packages=["containerd", "runc"])
    do(agent, "mount", **mount_document())
    assert machine.calls("apt-mark") == [
        ["apt-mark", "hold", "containerd", "docker-cli", "docker-compose", "docker.io", "runc"]
    ]
    assert not [call for call in machine.calls("systemctl") if "restart" in call[1] and "docker" in " ".join(call)]


def test_logs_are_bounded_and_updates_come_by_themselves(mounted: DirectAgent, machine: Machine) -> None:
    etc = machine.root / "etc"
    assert "SystemMaxUse=500M" in (etc / "systemd/journald.conf.d/geusemaker.conf").read_text()
    updates = (etc / "apt/apt.conf.d/52geusemaker").read_text()
    assert 'APT::Periodic::Unattended-Upgrade "1";' in updates
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in updates
    assert "qr(^docker)} = 0;" in (etc / "needrestart/conf.d/geusemaker.conf").read_text()
    assert ["systemctl", "try-restart", "systemd-journald.service"] in machine.calls()


def test_a_setting_that_somebody_removed_is_put_back(mounted: DirectAgent, machine: Machine) -> None:
    (machine.root / "etc/apt/apt.conf.d/52geusemaker").unlink()
    assert do(mounted, "mount", **mount_document())["unchanged"] is False
    assert (machine.root / "etc/apt/apt.conf.d/52geusemaker").exists()


def test_the_clock_is_set_by_what_sets_it_already(mounted: DirectAgent, machine: Machine) -> None:
    # The fake systemctl says of everything that it runs, once Docker does.
    machine.update(packages=["docker.io", "docker-cli", "docker-compose", "nfs-common"])
    do(mounted, "mount", **mount_document(instance_id="i-2"))
    assert "chrony" not in machine.state["packages"] and "unattended-upgrades" in machine.state["packages"]


def test_where_nothing_sets_the_clock_chrony_does(agent: DirectAgent, machine: Machine) -> None:
    do(agent, "mount", **mount_document())
    assert "chrony" in machine.state["packages"]
    source = machine.root / "etc/chrony/sources.d/geusemaker.sources"
    assert "server 169.254.169.123 prefer iburst" in source.read_text()
    assert ["systemctl", "restart", "chrony.service"] in machine.calls()


def test_a_container_has_the_clock_of_the_machine_below(agent: DirectAgent, machine: Machine) -> None:
    marker = machine.root / "run/systemd/container"
    marker.parent.mkdir(parents=True)
    marker.write_text("docker\n")
    do(agent, "mount", **mount_document())
    assert "chrony" not in machine.state["packages"]


@pytest.mark.parametrize("fails", ["apt-mark", "systemctl restart chrony.service"])
def test_what_fails_on_a_new_instance_is_told(agent: DirectAgent, machine: Machine, fails: str) -> None:
    machine.fail(fails, "it does not work")
    if fails == "apt-mark":
        with pytest.raises(AgentError, match="could not be held back: it does not work"):
            do(agent, "mount", **mount_document())
        assert not agent.host(), "the next run does it again"
        return
    do(agent, "mount", **mount_document())
    assert agent.reporter.notes() == ["Nothing sets the instance's clock: it does not work"]


def test_what_fails_on_an_instance_that_works_stops_nothing(mounted: DirectAgent, machine: Machine) -> None:
    machine.fail("apt-mark", "it does not work")
    assert do(mounted, "mount", **mount_document(instance_id="i-2"))["mounted"]
    assert mounted.reporter.notes()[-1].startswith("Security updates could not be set up: ")
