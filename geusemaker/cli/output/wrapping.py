"""Lines of styled text, broken at a terminal's width: between words, and never in what is there to be copied."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

Line = Sequence[tuple[str, str]]
"""One line of output: pieces of text, each with a rich style (empty: none)."""


class Row(list[tuple[str, str]]):
    """A line that says where it goes on when it is wrapped."""

    def __init__(self, pieces: Iterable[tuple[str, str]], hang: int | None) -> None:
        super().__init__(pieces)
        self.hang = hang
        """Blanks before what goes on below; None: it is never wrapped, as it is there to be copied."""


_LEAST_COLUMN = 24
"""A last column narrower than this is not kept: its text goes on below the first column."""
_LEAST_WIDTH = 20
_WORD = re.compile(r"(?P<whole>[^\s`']*(?:`[^`]*`|'/[^']*')\S*)|\S+")
_PART = re.compile(r"[^\s@]+(?=@sha256:)|\S+")


def text_width(text: str) -> int:
    """How many columns of a terminal a text takes: characters of East Asia two, what is put on others none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def wrapped(pieces: Line, width: int) -> list[Line]:
    """The line as lines of at most ``width`` columns, broken between words.

    What stands in backticks is one word, and so is a path that ``text.quoted`` has put into quotes: a line break of
    ours in a command or a path would be copied with it. A word that is longer than a line is left whole, on lines of
    its own: a terminal breaks it at its edge, and copies it as one. What goes on is set in as the line is, or as its
    row says.
    """
    text = "".join(piece for piece, _ in pieces)
    width = max(width, _LEAST_WIDTH)
    if text_width(text) <= width or (isinstance(pieces, Row) and pieces.hang is None):
        return [pieces]
    own = len(text) - len(text.lstrip(" "))
    hang = pieces.hang if isinstance(pieces, Row) and pieces.hang is not None else own
    if width - hang < _LEAST_COLUMN:
        hang = min(own + 4, width - _LEAST_COLUMN) if isinstance(pieces, Row) else own
    hang = max(hang, 0)
    spans: list[tuple[int, int]] = []
    start, end = 0, own
    for first, last in _words(text, width - hang):
        lead = 0 if not spans else hang
        if end > (start if spans else own) and lead + text_width(text[start:last]) > width:
            spans.append((start, end))
            start = first
        end = last
    spans.append((start, end))
    return [
        [*([(" " * hang, "")] if index else []), *_slice(pieces, first, last)]
        for index, (first, last) in enumerate(spans)
    ]


def _words(text: str, most: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the words; a command in backticks is one, and an image with its digest up to ``most`` columns."""
    for match in _WORD.finditer(text):
        if text_width(match[0]) > most and match["whole"] is None:
            for part in _PART.finditer(match[0]):
                yield match.start() + part.start(), match.start() + part.end()
        else:
            yield match.span()


def _slice(pieces: Line, start: int, end: int) -> Iterator[tuple[str, str]]:
    at = 0
    for text, style in pieces:
        part = text[max(start - at, 0) : max(end - at, 0)]
        if part:
            yield part, style
        at += len(text)
