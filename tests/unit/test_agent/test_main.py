"""The agent as a program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import geusemaker
from geusemaker.agent.__main__ import main, perform
from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Document
from geusemaker.agent.verbs import lease as verbs_lease
from geusemaker.agent.version import agent_version
from tests.unit.test_agent.conftest import Program
from tests.unit.test_agent.support import DirectAgent


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["lease", "more"], ["--root"], ["--other", "x", "lease"]])
def test_arguments_it_does_not_know_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage" in capsys.readouterr().err


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == agent_version()


def test_another_version_than_the_expected_one_refuses_to_run(run: Program) -> None:
    status, lines = run("lease", {}, "--expect", "0000")
    assert (status, lines[-1]["code"]) == (1, "outdated")
    assert run("lease", {}, "--expect", agent_version())[1][-1]["code"] == "not_mounted"


def test_an_unforeseen_failure_is_one_line_and_not_a_traceback(
    agent: DirectAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(agent: Agent, document: Document) -> dict[str, Any]:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(verbs_lease, "lease", broken)
    assert perform(agent, "lease", lambda: "{}") == 1
    assert agent.reporter.lines[-1]["code"] == "internal"
    assert "ZeroDivisionError: division by zero (test_main.py, line " in agent.reporter.lines[-1]["message"]


def test_no_verb_begins_with_loading_what_takes_longer_than_the_agent_itself() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import geusemaker.agent.__main__\n"
        "from importlib import import_module; from geusemaker.agent.verbs import VERBS\n"
        "for name in VERBS.values(): import_module(f'geusemaker.agent.verbs.{name}')\n"
        "print(*{'dataclasses', 'inspect', 'hashlib', 'http.client', 'shutil', 'tempfile'} & sys.modules.keys())"
    )
    root = str(Path(geusemaker.__file__).parent.parent)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, root], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")
