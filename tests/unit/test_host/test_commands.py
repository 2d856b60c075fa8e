from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from geusemaker.host.bundle import agent_bundle, agent_version, packed_agent
from geusemaker.host.commands import agent_command, install_command
from tests.unit.test_agent.fakes import Machine


def shell(machine: Machine, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", command], input=stdin, capture_output=True, text=True, env=machine.environment, timeout=60
    )


def home(machine: Machine) -> Path:
    return machine.root / "opt/geusemaker"


def sources(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.py")}


def link_to(machine: Machine, version: str) -> None:
    """An agent of another version, and the link to it."""
    (home(machine) / "agents" / version).mkdir(parents=True)
    (home(machine) / "agent").unlink(missing_ok=True)
    (home(machine) / "agent").symlink_to(f"agents/{version}")


def test_the_agent_is_installed_and_says_its_version(machine: Machine) -> None:
    done = shell(machine, install_command(""), packed_agent())
    assert (done.returncode, done.stdout.strip()) == (0, agent_version()), done.stderr
    assert (home(machine) / "agent").readlink() == Path("agents") / agent_version()
    assert sources(home(machine) / "agent") == json.loads(agent_bundle())
    assert {path.stat().st_mode & 0o777 for path in (home(machine) / "agent/geusemaker").rglob("*.py")} == {0o644}
    assert sorted(path.name for path in home(machine).iterdir()) == ["agent", "agents"]


def test_one_version_is_one_folder_with_what_python_made_of_it(machine: Machine) -> None:
    shell(machine, install_command(""), packed_agent())
    compiled = home(machine) / "agents" / agent_version() / "geusemaker/agent/__pycache__"
    assert list(compiled.glob("__main__.*.pyc"))
    assert not list((home(machine) / "agents").rglob("*.new"))


def test_what_is_appended_to_the_agent_does_not_make_it_another_version(machine: Machine) -> None:
    done = shell(machine, install_command(""), packed_agent() + "\n# installed on i-1\n")
    assert (done.returncode, done.stdout.strip()) == (0, agent_version())
    assert sources(home(machine) / "agent") == json.loads(agent_bundle())


@pytest.mark.parametrize("part", ["", packed_agent()[:5000], packed_agent()[:5001], packed_agent()[:-30], "no agent"])
def test_an_agent_that_arrives_in_part_replaces_nothing(machine: Machine, part: str) -> None:
    link_to(machine, "of-before")
    done = shell(machine, install_command(""), part)
    assert done.returncode == 1
    assert "incomplete" in done.stderr
    assert (home(machine) / "agent").readlink() == Path("agents/of-before")
    assert [path.name for path in (home(machine) / "agents").iterdir()] == ["of-before"]


def test_the_version_before_stays_and_those_before_it_go(machine: Machine) -> None:
    """An agent that runs may have modules still to load."""
    for version in ("first", "second"):
        link_to(machine, version)
    for _ in range(2):
        assert shell(machine, install_command(""), packed_agent()).returncode == 0
        left = sorted(path.name for path in (home(machine) / "agents").iterdir())
        assert left == sorted(["second", agent_version()])


def test_a_damaged_agent_is_mended(machine: Machine) -> None:
    shell(machine, install_command(""), packed_agent())
    folder = home(machine) / "agent/geusemaker/agent"
    (folder / "document.py").unlink()
    (folder / "clock.py").write_text("")
    assert shell(machine, agent_command("", "lease"), "{}").returncode == 1
    assert shell(machine, install_command(""), packed_agent()).stdout.strip() == agent_version()
    assert sources(home(machine) / "agent") == json.loads(agent_bundle())


def test_a_geusemaker_of_before_still_finds_its_agent(machine: Machine) -> None:
    """It was one file beside where the link is now, and run in this way."""
    (home(machine) / "agent.py").write_text("def main(arguments):\n    return print('of before', *arguments)\n")
    shell(machine, install_command(""), packed_agent())
    run = "import sys; sys.path.insert(0, sys.argv[1]); import agent; sys.exit(agent.main(sys.argv[2:]))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", run, home(machine), "lease"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "of before lease\n"), done.stderr


def test_the_agent_is_of_itself_and_the_standard_library() -> None:
    for name, source in json.loads(agent_bundle()).items():
        for node in ast.walk(ast.parse(source)):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                own = f"{module}.".startswith("geusemaker.agent.")
                assert own or module.partition(".")[0] in sys.stdlib_module_names, (name, module)


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
    assert words[1:] == ["/opt/geusemaker/agent", "--root", "/", "apply"]
    assert command.startswith("sudo -n python3 ")
