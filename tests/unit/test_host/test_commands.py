from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from geusemaker.host.commands import agent_command, agent_source, agent_version, install_command, packed_agent
from tests.unit.test_host.fakes import Machine


def shell(machine: Machine, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", command], input=stdin, capture_output=True, text=True, env=machine.environment, timeout=60
    )


def installed(machine: Machine) -> Path:
    return machine.root / "opt/geusemaker/agent.py"


def test_the_agent_is_installed_and_says_its_version(machine: Machine) -> None:
    done = shell(machine, install_command(""), packed_agent())
    assert (done.returncode, done.stdout.strip()) == (0, agent_version()), done.stderr
    assert installed(machine).read_text() == agent_source()
    assert installed(machine).stat().st_mode & 0o777 == 0o755
    assert [path.name for path in installed(machine).parent.iterdir()] == ["agent.py"]


def test_what_is_appended_to_the_agent_does_not_make_it_another_version(machine: Machine) -> None:
    done = shell(machine, install_command(""), packed_agent() + "\n# installed on i-1\n")
    assert (done.returncode, done.stdout.strip()) == (0, agent_version())
    assert installed(machine).read_text() == agent_source()


@pytest.mark.parametrize("part", ["", packed_agent()[:5000], packed_agent()[:5001], packed_agent()[:-30], "no agent"])
def test_an_agent_that_arrives_in_part_replaces_nothing(machine: Machine, part: str) -> None:
    installed(machine).write_text("the one before")
    done = shell(machine, install_command(""), part)
    assert done.returncode == 1
    assert "incomplete" in done.stderr
    assert installed(machine).read_text() == "the one before"


def test_a_verb_runs_below_the_instances_root(machine: Machine) -> None:
    shell(machine, install_command(""), packed_agent())
    done = shell(machine, agent_command("", "lease", expect=agent_version()), "{}")
    assert '"not_mounted"' in done.stdout
    outdated = shell(machine, agent_command("", "lease", expect="another"), "{}")
    assert '"outdated"' in outdated.stdout


def test_on_a_real_machine_the_root_is_the_root() -> None:
    command = agent_command("sudo -n", "apply")
    script = command.replace("sudo -n python3 -I -S -c", "printf '%s\\n'", 1)
    words = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, env={}).stdout.splitlines()
    assert words[1:] == ["/opt/geusemaker", "--root", "/", "apply"]
    assert command.startswith("sudo -n python3 ")
