"""Packages are installed beside whoever else installs, and after whatever was cut off."""

from __future__ import annotations

import time
from typing import Any

import pytest

from geusemaker.agent import packages
from geusemaker.agent.errors import AgentError
from geusemaker.agent.packages import install_packages, installed_packages
from geusemaker.agent.processes import Finished
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import DirectAgent

HELD = "E: Could not get lock {lock}. It is held by process 812 (unattended-upgr)\nE: Unable to lock directory"


def phases(agent: DirectAgent) -> list[str]:
    return [line["message"] for line in agent.reporter.lines if line["event"] == "phase"]


def installing(*names: str) -> str:
    return "apt-get -q -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef install" + " ".join(names)


def test_what_cannot_be_installed_is_named(agent: DirectAgent, machine: Machine) -> None:
    machine.fail("apt-get", "E: Unable to fetch some archives")
    with pytest.raises(AgentError, match="nfs-common could not be installed: E: Unable to fetch") as caught:
        install_packages(agent, ["nfs-common"])
    assert caught.value.code == "package_failed"


def test_fresh_package_lists_are_read_again_only_when_an_installation_fails(
    agent: DirectAgent, machine: Machine
) -> None:
    lists = machine.root / "var/lib/apt/lists"
    lists.mkdir(parents=True)
    (lists / "deb_Packages.lz4").touch()
    install_packages(agent, ["nfs-common"])
    assert not [call for call in machine.calls("apt-get") if "update" in call]
    machine.fail(installing(), "E: 404 Not Found")
    with pytest.raises(AgentError):
        install_packages(agent, ["docker.io"])
    assert len([call for call in machine.calls("apt-get") if "update" in call]) == 1


@pytest.mark.parametrize(
    "lock", ["/var/lib/apt/lists/lock", "/var/lib/dpkg/lock-frontend", "/var/cache/apt/archives/lock"]
)
def test_whoever_has_a_lock_is_named_and_waited_for(
    agent: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    machine.fail("apt-get", HELD.format(lock=lock), 100)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            machine.update(fail={})

    monkeypatch.setattr(time, "sleep", wait)
    install_packages(agent, ["nfs-common"])
    assert machine.state["packages"] == ["nfs-common"]
    told = [text for text in phases(agent) if text.startswith("Waiting")]
    assert told == ["Waiting for unattended-upgr (process 812), which uses apt"], "once, however long it takes"


def test_somebody_who_does_not_come_to_an_end_is_named(agent: DirectAgent, machine: Machine) -> None:
    machine.fail("apt-get", HELD.format(lock="/var/lib/dpkg/lock"), 100)
    with pytest.raises(AgentError) as caught:
        packages.apt(agent, "update", patience=0)
    assert caught.value.message == (
        "Nothing can be installed: unattended-upgr (process 812) has been using apt on the instance for 0 seconds."
    )
    machine.fail(
        "apt-get", "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another", 100
    )
    with pytest.raises(AgentError, match="another process has been using apt"):
        packages.apt(agent, "update", patience=0)


def test_what_a_killed_installation_left_is_put_right_once(agent: DirectAgent, machine: Machine) -> None:
    machine.fail("apt-get", "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct it.", 100)
    with pytest.raises(AgentError, match="dpkg was interrupted"):
        install_packages(agent, ["nfs-common"])
    mended = [call for call in machine.calls("dpkg") if "--configure" in call]
    assert len(mended) == 2, "once for each run of apt-get, which says so again where it did not help"


def test_without_packages_nothing_is_asked(agent: DirectAgent, machine: Machine) -> None:
    install_packages(agent, [])
    assert installed_packages(agent, []) == set()
    assert machine.calls() == []


def test_how_far_an_installation_is(agent: DirectAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["Need to get 80.2 MB of archives.", "0 upgraded, 21 newly installed, 0 to remove and 0 not upgraded."]
    said += [f"Setting up package-{number} (1.0) ..." for number in range(21)]

    def stream(command: Any, timeout: float, on_line: Any, code: str) -> Any:
        for line in said:
            on_line(line)
        return Finished(0, "", "")

    monkeypatch.setattr(agent, "stream", stream)
    packages.apt(agent, "install", "docker.io")
    assert phases(agent) == ["Downloading 80.2 MB", "10 of 21 packages are set up", "20 of 21 packages are set up"]
