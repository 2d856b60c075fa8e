"""Which systems the agent sets up, what Docker is called there, and that a first boot is waited for."""

from __future__ import annotations

import json
import time

import pytest

from geusemaker.agent.errors import AgentError
from geusemaker.agent.system import await_first_boot, docker_packages, find_system
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import DirectAgent, do, mount_document


def be(machine: Machine, name: str, ident: str, release: str) -> None:
    (machine.root / "etc/os-release").write_text(f'PRETTY_NAME="{name}"\nID={ident}\nVERSION_ID="{release}"\n')


@pytest.mark.parametrize(
    ("name", "ident", "release", "docker"),
    [
        ("Debian GNU/Linux 13 (trixie)", "debian", "13", ("docker.io", "docker-cli", "docker-compose")),
        ("Debian GNU/Linux 14", "debian", "14", ("docker.io", "docker-cli", "docker-compose")),
        ("Ubuntu 24.04.3 LTS", "ubuntu", "24.04", ("docker.io", "docker-compose-v2")),
        ("Ubuntu 26.04 LTS", "ubuntu", "26.04", ("docker.io", "docker-compose-v2")),
    ],
)
def test_systems_that_are_set_up(
    agent: DirectAgent, machine: Machine, name: str, ident: str, release: str, docker: tuple[str, ...]
) -> None:
    be(machine, name, ident, release)
    assert docker_packages(agent, find_system(agent)) == docker


@pytest.mark.parametrize(
    ("name", "ident", "release"),
    [
        ("Debian GNU/Linux 12 (bookworm)", "debian", "12"),
        ("Ubuntu 22.04.5 LTS", "ubuntu", "22.04"),
        ("Amazon Linux 2023.8", "amzn", "2023"),
        ("Debian GNU/Linux forky/sid", "debian", ""),
    ],
)
def test_others_are_refused_by_name_before_anything_is_installed(
    agent: DirectAgent, machine: Machine, name: str, ident: str, release: str
) -> None:
    be(machine, name, ident, release)
    with pytest.raises(AgentError, match="which geusemaker does not set up") as caught:
        do(agent, "mount", **mount_document())
    assert (caught.value.code, name in caught.value.message) == ("unsupported_system", True)
    assert machine.calls("apt-get") == [] and not agent.host()


def test_a_system_that_says_nothing_of_itself_is_refused(agent: DirectAgent, machine: Machine) -> None:
    (machine.root / "etc/os-release").unlink()
    with pytest.raises(AgentError, match="an unknown system"):
        docker_packages(agent, find_system(agent))


def test_an_instance_that_works_goes_on_whatever_it_runs(mounted: DirectAgent, machine: Machine) -> None:
    be(machine, "Something of our own", "own", "1")
    answer = do(mounted, "mount", **mount_document(instance_id="i-2"))
    assert answer["mounted"] and mounted.host()["instance_id"] == "i-2"
    assert mounted.reporter.notes()[-1].startswith("Docker stays as it is: The instance runs Something of our own")


def test_dockers_own_packages_stay(agent: DirectAgent, machine: Machine) -> None:
    machine.update(packages=["docker-ce", "docker-ce-cli"])
    assert docker_packages(agent, find_system(agent)) == ("docker-ce", "docker-ce-cli", "docker-compose-plugin")


def boot(machine: Machine, stage: str | None = None) -> None:
    folder = machine.root / "run/cloud-init"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "enabled").touch()
    if stage:
        (folder / "status.json").write_text(json.dumps({"v1": {"stage": stage}}))


def test_a_first_boot_is_waited_for(agent: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    boot(machine, "modules-config")

    def end(seconds: float) -> None:
        errors = ["('package_update_upgrade_install', ProcessExecutionError())"]
        (machine.root / "run/cloud-init/result.json").write_text(json.dumps({"v1": {"errors": errors}}))

    monkeypatch.setattr(time, "sleep", end)
    await_first_boot(agent)
    assert "cloud-init is at modules-config" in agent.reporter.lines[0]["message"]
    assert agent.reporter.notes()[0].startswith("cloud-init had errors at the first boot: ('package_update")
    await_first_boot(agent)
    assert len(agent.reporter.lines) == 3, "what is over is not told again, its errors are"


def test_a_first_boot_that_never_ends_is_given_up(agent: DirectAgent, machine: Machine) -> None:
    boot(machine)
    with pytest.raises(AgentError) as caught:
        await_first_boot(agent, 0)
    assert caught.value.code == "first_boot"
    assert "within 0 seconds: cloud-init is at its beginning. `cloud-init status --long`" in caught.value.message


def test_an_instance_without_cloud_init_is_not_waited_for(agent: DirectAgent) -> None:
    await_first_boot(agent, 0)
    assert agent.reporter.lines == []
