"""Every command that geusemaker tells somebody to type, collected from its source and its documentation.

So that no new one is forgotten: whatever stands in backticks in a text and begins with ``geusemaker``, a text that is
such a command as a whole, or after ``next:`` or in round brackets, and what stands in the indented and fenced blocks of
the docs.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import geusemaker
from geusemaker.cli.app import app

PACKAGE = Path(geusemaker.__file__).parent
ROOT = PACKAGE.parent

CHECKPOINT = "v2/op-20260101000000-1"
"""What a checkpoint is called in a collected command."""

SAMPLES = (
    # What an expression in a text stands for, by the words in it; the first that fits.
    (r"instance_type", "t3.xlarge"),
    (r"labelled", "--label customer=acme"),
    (r"replaces", " --allow-replace"),
    (r"path", "FILE"),
    (r"replaces", " --allow-replace"),
    (r"database", "postgresql"),
    (r"number|version|target|good|choice", "2"),
    (r"checkpoint|taken", CHECKPOINT),
    (r"left_out|only|service|ill\[0\]|failing", "n8n"),
    (r"verb", "update"),
    (r"^secret$|secret\b", "n8n.SMTP_PASS"),
    (r"rotations", "rotate ssh"),
    (r"variable", "n8n.SMTP_PASS"),
    (r"near", "prod"),
    (r"size|gib", "40"),
    (r"file_system|volume", "fs-0123456789abcdef0"),
    (r"backup", "latest"),
    (r"region", "eu-central-1"),
    (r"where", "--target aws --region eu-central-1"),
    (r"cidrs", "--ssh-cidr 203.0.113.7/32"),
    (r"\bsecret\b", "crawl4ai_token"),
    (r"name|deployment|state|plan", "prod"),
)


_QUOTED = r"(?<!`)`(geusemaker [^`]+)`(?!`)"
"""In one backtick on each side; two are a docstring's."""

_GROUPS = {group.name for group in app.registered_groups}
_VERBS = {command.name for command in app.registered_commands} | _GROUPS
_BARE = rf"(?:^|^undo: |^next: |\(|^[^`]*&& )(geusemaker (?:{'|'.join(sorted(map(str, _VERBS)))})\b[^`();]*)"
"""A text that is a command as a whole, or ends with one; an example among other commands."""


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


def hidden() -> dict[str, str]:
    """Commands in sentences of the package that ``collect`` does not see, as they stand in no backticks → where."""
    named = rf"geusemaker (?:{'|'.join(sorted(map(str, _VERBS)))})\b"
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for line, text in _texts(ast.parse(file.read_text())):
            for match in re.finditer(named, re.sub(rf"``[^`]*``|`[^`]*`|{_BARE}", "", text)):
                found[match[0]] = f"{file.relative_to(ROOT)}:{line}"
    return found


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
        if word in ("&&", "||", ";", "|", "\\", "<", ">"):
            commands.append([])
        else:
            commands[-1].append(word)
    ours = (command[1:] for command in commands if command[:1] == ["geusemaker"])
    return [shlex.join(words) for words in ours if words and {*words} - _GROUPS]


def collect() -> dict[str, str]:
    """Command → where it stands."""
    found: dict[str, str] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for line, text in _texts(ast.parse(file.read_text())):
            for quoted in [*re.findall(_QUOTED, text), *re.findall(_BARE, text)]:
                given = re.sub(r"(?<=--checkpoint )\{[^{}]+\}", CHECKPOINT, quoted)
                given = _placeholders(re.sub(r"\{[^{}]+\}", _sample, given))
                for command in _typed(given):
                    found.setdefault(command, f"{file.relative_to(ROOT)}:{line}")
    for file in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for line, quoted in _shown(file.read_text()):
            if "…" not in quoted and "VERB" not in quoted:
                for command in _typed(_placeholders(quoted)):
                    found.setdefault(command, f"{file.relative_to(ROOT)}:{line}")
    return found


def _shown(page: str) -> Iterator[tuple[int, str]]:
    """(line, command) of a page: those in its blocks, and those in backticks, which a paragraph may break."""
    fenced, paragraph, began = False, "", 0
    for line, text in enumerate([*page.splitlines(), ""], 1):
        fence = text.startswith("```")
        if fence or not text.strip():
            yield from ((began, quoted) for quoted in re.findall(_QUOTED, paragraph))
            paragraph = ""
        elif fenced or text.startswith("    "):
            if text.strip().startswith(("geusemaker ", "$ geusemaker ")):
                yield line, text.strip().removeprefix("$ ")
        else:
            began = began if paragraph else line
            paragraph = f"{paragraph} {text.strip()}"
        fenced ^= fence


def in_the_docs() -> dict[str, str]:
    """What else stands in blocks of the documentation, typed as a program of a clone or of the demo → where."""
    found: dict[str, str] = {}
    for file in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for line, text in enumerate(file.read_text().splitlines(), 1):
            typed = re.match(r"\s*(?:\$ )?(?:\.demo/|\.venv/bin/)(geusemaker .*)", text)
            for command in _typed(_placeholders(typed[1])) if typed else ():
                found.setdefault(command, f"{file.relative_to(ROOT)}:{line}")
    return found


def _placeholders(text: str) -> str:
    """Documentation writes what is to be filled in in capitals."""
    for name, sample in (
        ("GIB", "40"),
        ("NAME", "prod"),
        (" N", " 2"),
        ("VERB", "rollback"),
        ("SERVICE", "n8n"),
        ("VERSION", "2"),
    ):
        text = re.sub(rf"{name}\b(?!=|_)", sample, text)
    return re.sub(r"[\[\]]", "", text)
