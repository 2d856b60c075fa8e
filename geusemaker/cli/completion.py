"""Completion of a word on the command line, before anything of weight is imported: a shell waits for it at each tab.

The scripts that shells load are typer's (``geusemaker --install-completion``); this answers them as they
expect. What verbs and options there are is written down once for each release (``tree.py``), what deployments there are
is what verbs have seen (``known.py``).
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from geusemaker._version import __version__
from geusemaker.cli import known

ASKED: Final = "_GEUSEMAKER_COMPLETE"
"""The variable by which a shell asks."""

_NAMES: Final = frozenset({"NAME"})
_VERSIONS: Final = frozenset({"N", "vN", "vA", "vB", "vA [vB]"})
_COUNTS: Final = frozenset({"--lines", "--retention"})
"""Options whose N is a number of something, and no version."""


class Word(NamedTuple):
    """One that would fit."""

    value: str
    help: str = ""


def answer() -> bool:
    """Answer a shell that asks; False: it is one that only typer knows, or asks for its script."""
    shell = os.environ[ASKED].removeprefix("complete_")
    if shell not in ("bash", "zsh", "fish"):
        return False
    words, begun = _asked(shell)
    found = [word for word in complete(words, begun, _tree(), known.read(known.home())) if word.value.startswith(begun)]
    if shell == "fish" and os.environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        sys.exit(0 if found else 1)
    if shell == "zsh":
        listed = "\n".join(_for_zsh(word) for word in found)
        print(f"_arguments '*: :(({listed}))'" if found else "_files")
    else:
        for word in found:
            print(f"{word.value}\t{word.help}" if shell == "fish" and word.help else word.value)
    return True


def complete(
    words: list[str], begun: str, tree: dict[str, Any], deployments: dict[str, dict[str, Any]]
) -> Iterator[Word]:
    """What could stand where ``begun`` does, after ``words``; those that begin otherwise included."""
    node, given, awaited = tree, [], None
    for word in words:
        if awaited is not None:
            awaited = None
        elif word.startswith("-") and word != "-":
            option = _option(node, word)
            awaited = option if option is not None and option["takes"] and "=" not in word else None
        elif word in node["verbs"]:
            node = node["verbs"][word]
        else:
            given.append(word)
    name = next((word for word in given if word in deployments), next(iter(deployments), ""))
    about = deployments.get(name, {}) if given or len(deployments) == 1 else {}
    if awaited is not None:
        counts = _COUNTS & {*awaited["names"]}
        yield from () if counts else _values(awaited, deployments, about)
    elif begun.startswith("-"):
        for option in node["options"]:
            yield from (Word(spelled, option["help"]) for spelled in option["names"] if spelled.startswith("--"))
    elif node["verbs"]:
        yield from (Word(verb, below["help"]) for verb, below in node["verbs"].items())
    elif node["arguments"]:
        slot = node["arguments"][min(len(given), len(node["arguments"]) - 1)]
        if len(given) < len(node["arguments"]) or slot["takes"].endswith("…"):  # which is taken again and again
            yield from _values(slot, deployments, about)


def _values(slot: dict[str, Any], deployments: dict[str, dict[str, Any]], about: dict[str, Any]) -> Iterator[Word]:
    takes = slot["takes"].strip("[]…")
    if slot["values"]:
        yield from map(Word, slot["values"])
    elif takes in _NAMES:
        yield from map(Word, sorted(deployments))
    elif takes in _VERSIONS:
        numbers = about.get("versions", {})
        yield from (Word(f"v{number}", numbers[number]) for number in sorted(numbers, key=int, reverse=True))
    elif takes.startswith("vN[/"):
        yield from map(Word, about.get("checkpoints", ()))
    elif takes.startswith("SERVICE"):
        after = "=" if takes.startswith("SERVICE=") else "." if takes.startswith("SERVICE.") else ""
        yield from (Word(service + after) for service in about.get("services", ()))


def _option(node: dict[str, Any], word: str) -> dict[str, Any] | None:
    spelled = word.partition("=")[0]
    return next((option for option in node["options"] if spelled in option["names"]), None)


def _asked(shell: str) -> tuple[list[str], str]:
    """The words before the one that is asked for, and what is there of it."""
    if shell == "bash":
        words = _split(os.environ.get("COMP_WORDS", ""))
        at = int(os.environ.get("COMP_CWORD", "1"))
        return words[1:at], words[at] if at < len(words) else ""
    line = os.environ.get("_TYPER_COMPLETE_ARGS", "")
    words = _split(line)[1:]
    return (words[:-1], words[-1]) if words and not line[-1:].isspace() else (words, "")


def _split(line: str) -> list[str]:
    """A line's words; one whose quotation mark is still open counts as well."""
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words = []
    try:
        for word in lexer:
            words.append(word)
    except ValueError:
        words.append(lexer.token)
    return words


def _for_zsh(word: Word) -> str:
    def escaped(text: str) -> str:
        for raw, written in (('"', '""'), ("'", "''"), ("$", "\\$"), ("`", "\\`"), (":", "\\\\:")):
            text = text.replace(raw, written)
        return text

    return f'"{escaped(word.value)}"' + (f':"{escaped(word.help)}"' if word.help else "")


def _tree() -> dict[str, Any]:
    """The command line of this release, from the cache, or worked out and left there."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geusemaker"
    changed = max((file.stat().st_mtime_ns for file in Path(__file__).parent.rglob("*.py")), default=0)
    file = folder / f"completion-{__version__}-{changed}.json"
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError):
        pass  # the first time, or damaged: it is made anew
    from geusemaker.cli.tree import command_tree

    tree = command_tree()
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # without a cache it is just slower
        folder.mkdir(parents=True, exist_ok=True)
        for older in folder.glob("completion-*.json"):
            older.unlink()
        fresh.write_text(json.dumps(tree), encoding="utf-8")
        fresh.replace(file)
    return tree
