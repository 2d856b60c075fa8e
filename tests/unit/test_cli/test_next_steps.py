"""Every command that geusemaker tells somebody to type (tests/next_steps.py) is one that its command line takes.

``tests/end_to_end/test_next_steps.py`` types them.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer.main

from geusemaker.cli.app import app
from tests.next_steps import ROOT, collect, hidden, in_the_docs

COMMANDS = collect()
DOCUMENTED = {**in_the_docs(), **COMMANDS}
"""Those in the documentation's blocks as well, which need the demo or a clone to be typed."""


def test_the_table_is_not_empty() -> None:
    verbs = {command.split()[0] for command in COMMANDS}
    assert {"recover", "rollback", "status", "restore", "history", "deploy", "destroy", "doctor"} <= verbs
    assert len(COMMANDS) > 40
    assert len(DOCUMENTED) > len(COMMANDS)


def test_a_command_in_a_sentence_stands_in_backticks() -> None:
    assert hidden() == {}


@pytest.mark.parametrize("command", sorted(DOCUMENTED))
def test_a_next_step_is_one_that_the_command_line_takes(command: str) -> None:
    words = shlex.split(command)
    verb: Any = typer.main.get_command(app)
    try:
        context = verb.make_context("geusemaker", list(words))
        while hasattr(verb, "resolve_command"):
            assert words, f"{DOCUMENTED[command]}: `geusemaker {command}` names no verb"
            name, verb, words = verb.resolve_command(context, words)
            if not hasattr(verb, "resolve_command"):
                verb.make_context(name, words, parent=context)
    except typer.Exit as ended:  # --help, --version
        assert ended.exit_code == 0
    except Exception as error:
        said = error.format_message() if hasattr(error, "format_message") else repr(error)
        raise AssertionError(f"{DOCUMENTED[command]}: `geusemaker {command}`: {said}") from error


def test_releases_that_the_docs_name_can_follow_the_defaults() -> None:
    """An older Qdrant on a newer one's data is refused, so a command of the docs with one would be."""
    from geusemaker.catalog import SERVICES
    from geusemaker.catalog.rules import release

    default = release(SERVICES["qdrant"].image.rpartition(":")[2])
    assert default is not None
    named = [
        (path.name, tag)
        for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        for tag in re.findall(r"--image qdrant=\S+?:([\w.-]+)", path.read_text())
    ]
    assert named
    for name, tag in named:
        asked = release(tag)
        assert asked is not None and default[:2] <= asked[:2] <= (default[0], default[1] + 1), (name, tag)
