"""Every command that geusemaker tells somebody to type is one that its command line takes.

The table is collected from the source and the documentation, so that no new one is forgotten: whatever stands in
backticks in a text and begins with ``geusemaker``, and what stands in the indented and fenced blocks of the docs.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import geusemaker
from geusemaker.cli.app import app

PACKAGE = Path(geusemaker.__file__).parent
ROOT = PACKAGE.parent

SAMPLES = (
    # What an expression in a text stands for, by the words in it; the first that fits.
    (r"number|version|target|good|choice", "2"),
    (r"checkpoint|taken", "v2/op-20260101000000-1"),
    (r"left_out|service|ill\[0\]|failing", "n8n"),
    (r"verb", "update"),
    (r"rotations", "ssh"),
    (r"near", "prod"),
    (r"size|gib", "40"),
    (r"file_system|volume", "fs-0123456789abcdef0"),
    (r"region", "eu-central-1"),
    (r"where", "--target aws --region eu-central-1"),
    (r"cidrs", "--ssh-cidr 203.0.113.7/32"),
    (r"name|deployment|state|plan", "prod"),
)


_QUOTED = r"(?<!`)`(geusemaker [^`]+)`(?!`)"
"""In one backtick on each side; two are a docstring's."""


def _texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every text in a module, with the names of what is put into it in braces."""
    parts: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts.update(id(value) for value in node.values)
            yield (
                node.lineno,
                "".join(
                    f"{{{ast.unparse(value.value)}}}"
                    if isinstance(value, ast.FormattedValue)
                    else str(ast.literal_eval(value))
                    for value in node.values
                ),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.lineno, node.value


def _part(value: ast.expr) -> str:
    return f"{{{ast.unparse(value.value)}}}" if isinstance(value, ast.FormattedValue) else str(ast.literal_eval(value))


def _sample(match: re.Match[str]) -> str:
    expression = match[0].casefold()
    for words, sample in SAMPLES:
        if re.search(words, expression.rpartition(".")[2]) or re.search(words, expression):
            return sample
    raise AssertionError(f"say in SAMPLES what {match[0]} stands for")


def _typed(text: str) -> list[str]:
    """The commands of a line for a shell that are geusemaker's, as their words."""
    words = shlex.split(text, comments=True)
    commands: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", "||", ";", "|", "\\"):
            commands.append([])
        else:
            commands[-1].append(word)
    return [shlex.join(command[1:]) for command in commands if command[:1] == ["geusemaker"] and len(command) > 1]


def collect() -> dict[str, str]:
    """Command → where it stands."""
    found: dict[str, str] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for line, text in _texts(ast.parse(file.read_text())):
            for quoted in re.findall(_QUOTED, text):
                given = re.sub(r"\{[^{}]+\}", _sample, quoted)
                for command in _typed(given):
                    found.setdefault(command, f"{file.relative_to(ROOT)}:{line}")
    for file in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        fenced = False
        for line, text in enumerate(file.read_text().splitlines(), 1):
            fenced ^= text.startswith("```")
            shown = re.findall(_QUOTED, text)
            if (fenced or text.startswith("    ")) and text.strip().startswith(("geusemaker ", "$ geusemaker ")):
                shown.append(text.strip().removeprefix("$ "))
            for quoted in shown:
                if "…" not in quoted and "VERB" not in quoted:
                    for command in _typed(_placeholders(quoted)):
                        found.setdefault(command, f"{file.relative_to(ROOT)}:{line}")
    return found


def _placeholders(text: str) -> str:
    """Documentation writes what is to be filled in in capitals."""
    for name, sample in (("GIB", "40"), ("NAME", "prod"), (" N", " 2"), ("SERVICE", "n8n"), ("VERSION", "2")):
        text = re.sub(rf"{name}\b(?!=|_)", sample, text)
    return re.sub(r"[\[\]]", "", text)


COMMANDS = collect()


def test_the_table_is_not_empty() -> None:
    verbs = {command.split()[0] for command in COMMANDS}
    assert {"recover", "rollback", "status", "restore", "history", "deploy", "destroy", "doctor"} <= verbs
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_next_step_is_one_that_the_command_line_takes(command: str) -> None:
    words = shlex.split(command)
    verb: Any = typer.main.get_command(app)
    try:
        context = verb.make_context("geusemaker", list(words))
        while hasattr(verb, "resolve_command"):
            assert words, f"{COMMANDS[command]}: `geusemaker {command}` names no verb"
            name, verb, words = verb.resolve_command(context, words)
            if not hasattr(verb, "resolve_command"):
                verb.make_context(name, words, parent=context)
    except typer.Exit as ended:  # --help, --version
        assert ended.exit_code == 0
    except Exception as error:
        said = error.format_message() if hasattr(error, "format_message") else repr(error)
        raise AssertionError(f"{COMMANDS[command]}: `geusemaker {command}`: {said}") from error


def test_releases_that_the_docs_name_can_follow_the_defaults() -> None:
    """An older Qdrant on a newer one's data is refused, so a command of the docs with one would be."""
    from geusemaker.catalog import SERVICES
    from geusemaker.catalog.service import release

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
