"""What a shell gets that completes a word, in each shell's own form, and where it is known from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from geusemaker.cli import completion, known
from geusemaker.cli.completion import complete
from geusemaker.cli.tree import command_tree

TREE = command_tree()
PROD: dict[str, Any] = {
    "versions": {"2": "superseded, update", "10": "active, rollback"},
    "services": ["n8n", "postgresql"],
    "checkpoints": ["v2/op-1"],
}


def values(line: str, **deployments: dict[str, Any]) -> list[str]:
    """What fits where the line ends."""
    *words, begun = line.split(" ")
    found = complete(words, begun, TREE, deployments or {"prod": PROD})
    return [word.value for word in found if word.value.startswith(begun)]


def test_verbs_and_those_of_a_group() -> None:
    assert {"deploy", "update", "rollback", "help"} <= {*values("")}
    assert values("roll") == ["rollback"]
    assert "rotate" in values("secrets ")


def test_options_of_the_verb_alone() -> None:
    assert "--to-version" in values("rollback prod --") and "--to-version" not in values("update prod --")
    assert values("update --instance-t") == ["--instance-type"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rollback ", ["prod"]),
        ("rollback prod ", ["v10", "v2"]),
        ("rollback prod --to-version ", ["v10", "v2"]),
        ("rollback prod --reason slow --to-version v1", ["v10"]),
        ("rollback prod --to-version=2 --reason ", []),
        ("rollback prod --to-version 2 --service ", ["n8n", "postgresql"]),
        ("update prod --image ", ["n8n=", "postgresql="]),
        ("update prod --env n", ["n8n."]),
        ("logs prod p", ["postgresql"]),
        ("logs prod n8n p", []),
        ("tunnel prod n8n p", ["postgresql"]),
        ("restore prod --checkpoint ", ["v2/op-1"]),
        ("update prod --output ", ["text", "json", "markdown"]),
        ("list --output ", ["text", "json"]),
        ("update prod --retention ", []),
        ("update prod --purchase ", ["on-demand", "spot"]),
        ("update prod --yes ", []),
        ("mark prod ", ["v10", "v2"]),
    ],
)
def test_what_an_option_or_an_argument_takes(line: str, expected: list[str]) -> None:
    assert values(line) == expected


def test_of_two_deployments_the_named_one_counts() -> None:
    both = {"prod": PROD, "shop": {"versions": {"7": "active"}}}
    assert values("rollback ", **both) == ["prod", "shop"]
    assert values("rollback shop ", **both) == ["v7"]
    assert values("rollback --to-version ", **both) == []


def test_what_was_seen_is_remembered_and_added_to(tmp_path: Path) -> None:
    (tmp_path / ".state").mkdir()
    known.remember(tmp_path, "prod", versions={1: "active"}, services=["qdrant", "n8n"])
    known.remember(tmp_path, "prod", versions={2: "active", 1: "superseded"}, checkpoints=["v1/op"])
    assert known.read(tmp_path) == {
        "prod": {
            "versions": {"1": "superseded", "2": "active"},
            "services": ["n8n", "qdrant"],
            "checkpoints": ["v1/op"],
        }
    }


def test_a_workspace_that_nobody_looked_at_has_names_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks/Pulumi.shop.yaml").touch()
    known.remember(tmp_path, "prod", versions={1: ""})  # there is no .state: nothing is made
    assert known.read(tmp_path) == {"shop": {}}


@pytest.mark.parametrize("content", ["", "[]", "{", '{"prod": 3}'])
def test_a_damaged_cache_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / ".state").mkdir()
    (tmp_path / ".state/completion.json").write_text(content)
    assert known.read(tmp_path) == {}


def test_the_workspace_is_found_as_the_verbs_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geusemaker.engine.project import find_home

    monkeypatch.delenv("GEUSEMAKER_HOME", raising=False)
    below = tmp_path / "a/b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert known.home() == find_home(below)
    (tmp_path / "a/Pulumi.yaml").write_text("name: other\n")
    (tmp_path / "Pulumi.yaml").write_text("# ours\nname: geusemaker\nruntime: python\n")
    assert known.home() == find_home(below) == tmp_path
    monkeypatch.setenv("GEUSEMAKER_HOME", str(tmp_path / "elsewhere"))
    assert known.home() == find_home(below) == tmp_path / "elsewhere"


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell whose workspace has one deployment."""
    (tmp_path / ".state").mkdir()
    (tmp_path / ".state/completion.json").write_text(json.dumps({"prod": PROD}))
    return {**os.environ, "GEUSEMAKER_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def asked(shell: dict[str, str], **variables: str) -> subprocess.CompletedProcess[str]:
    code = "from geusemaker.cli.start import main; main()"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={**shell, **variables}, capture_output=True, text=True, timeout=60)


def test_each_shell_gets_its_own_form(shell: dict[str, str]) -> None:
    bash = {"COMP_WORDS": "geusemaker rollback prod v", "COMP_CWORD": "3"}
    assert asked(shell, _GEUSEMAKER_COMPLETE="complete_bash", **bash).stdout == "v10\nv2\n"
    line = {"_TYPER_COMPLETE_ARGS": "geusemaker rollback prod v1"}
    zsh = asked(shell, _GEUSEMAKER_COMPLETE="complete_zsh", **line).stdout
    assert zsh == """_arguments '*: :(("v10":"active, rollback"))'\n"""
    fish = {**line, "_GEUSEMAKER_COMPLETE": "complete_fish"}
    assert asked(shell, **fish, _TYPER_COMPLETE_FISH_ACTION="get-args").stdout == "v10\tactive, rollback\n"
    assert asked(shell, **fish, _TYPER_COMPLETE_FISH_ACTION="is-args").returncode == 0
    nothing = {"_TYPER_COMPLETE_ARGS": "geusemaker rollback nope nope", "_TYPER_COMPLETE_FISH_ACTION": "is-args"}
    assert asked(shell, _GEUSEMAKER_COMPLETE="complete_fish", **nothing).returncode == 1


def test_the_second_time_loads_neither_typer_nor_pydantic(shell: dict[str, str]) -> None:
    code = (
        "import sys; from geusemaker.cli.start import main; main(); "
        "print([name for name in ('typer', 'pydantic', 'yaml', 'pulumi') if name in sys.modules])"
    )
    variables = {"_GEUSEMAKER_COMPLETE": "complete_bash", "COMP_WORDS": "geusemaker roll", "COMP_CWORD": "1"}

    def run() -> str:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env={**shell, **variables}, capture_output=True, text=True, timeout=60)
        return done.stdout

    assert "'typer'" in run()
    assert run() == "rollback\n[]\n"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_a_real_bash_completes(shell: dict[str, str], tmp_path: Path) -> None:
    program = tmp_path / "geusemaker"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from geusemaker.cli.start import main; main()" "$@"\n')
    program.chmod(0o755)
    from typer._completion_shared import get_completion_script

    script = get_completion_script(prog_name="geusemaker", complete_var=completion.ASKED, shell="bash")
    typed = f"""{script}
COMP_WORDS=(geusemaker rollback prod --to-version v1); COMP_CWORD=4
_geusemaker_completion geusemaker; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    environment = {**shell, "PATH": f"{tmp_path}:{shell['PATH']}"}
    done = subprocess.run(["bash", "-c", typed], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "v10\n", done.stderr
