"""Pieces of Markdown that no text breaks out of, whoever wrote it: a release's name, a reason, a line of a log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from geusemaker.cli.output.text import one_line

_BREAK = "<!-- -->"
"""Nothing, between two characters that would mean something together."""
# What is markup within a line, ends a cell or a heading (https://github.github.com/gfm/, 6, 4.10 and 4.2), or begins a
# formula.
_MARKUP = re.compile(r"[\\`*_~\[\]<>&|#$]")
# What means something together with what follows: mentions, numbers of issues and of other things (GitHub's and
# GitLab's), emoji, addresses on the web. Each notifies somebody, makes a link or shows another text.
_TOGETHER = re.compile(r"[@#!%](?=\w)|[&~$](?=\w)|:(?=//|[\w+-]+:)|(?<=\bwww)(?=\.)|(?<=\bGH-)(?=\d)", re.IGNORECASE)
# What makes a list or a rule of a line that begins with it, besides those.
_FIRST = re.compile(r"(\d{0,9})([-+=.)])")
_COMMAND = re.compile(r"`([^`\s](?:[^`]*[^`\s])?)`")


def prose(text: str) -> str:
    """A text as one line that shows exactly that; what stands in backticks, as commands do, is shown as code."""
    told = _within(text)
    return _FIRST.sub(lambda found: found[1] + _sign(found[2]), told, count=1) if _FIRST.match(told) else told


def _within(text: str) -> str:
    """The same for within a line: in a cell nothing but that is markup."""
    pieces = _COMMAND.split(" ".join(one_line(text).split()))
    return "".join(f"<code>{_inert(piece)}</code>" if at % 2 else _inert(piece) for at, piece in enumerate(pieces))


def _inert(text: str) -> str:
    """The text with what is markup as characters, and what means something together taken apart."""
    apart: list[str] = []
    last = 0
    for found in _TOGETHER.finditer(text):
        apart += [_signs(text[last : found.start()]), "".join(map(_sign, found[0])), _BREAK]
        last = found.end()
    return "".join([*apart, _signs(text[last:])])


def _signs(text: str) -> str:
    return _MARKUP.sub(lambda found: _sign(found[0]), text)


def _sign(character: str) -> str:
    return f"&#{ord(character)};"


def heading(text: str, level: int = 3) -> str:
    """A heading of three to four signs: larger ones are the page's own."""
    return f"{'#' * level} {prose(text)}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, each text in a cell of its own. Columns that are empty, or ``-``, in all rows are left out.

    Empty where no column is left.
    """
    found = [list(row) for row in rows]
    kept = [at for at in range(len(header)) if any(row[at] not in ("", "-") for row in found)]
    if not kept:
        return ""
    lines = [[header[at] for at in kept], *([row[at] for at in kept] for row in found)]
    told = ["| " + " | ".join(_within(cell) for cell in line) + " |" for line in lines]
    return "\n".join([told[0], "|" + "---|" * len(kept), *told[1:]])


def bullets(texts: Iterable[str]) -> str:
    """A list, a text each."""
    return "\n".join(f"- {prose(text)}" for text in texts if text)


def fenced(lines: Iterable[str], language: str = "") -> str:
    """Lines as they are, in a fence that none of them closes."""
    shown = [one_line(text) for text in lines]
    fence = "```"
    while any(fence in text for text in shown):
        fence += "`"
    return "\n".join([fence + language, *shown, fence])


def document(*parts: str) -> str:
    """All parts that are not empty, a blank line between two."""
    return "\n\n".join(filter(None, parts)) + "\n"
