"""Lines of styled text, and the printer that writes them to a terminal or a pipe."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from geusemaker.cli.output.wrapping import Line as Line
from geusemaker.cli.output.wrapping import Row as Row
from geusemaker.cli.output.wrapping import text_width as text_width
from geusemaker.cli.output.wrapping import wrapped

if TYPE_CHECKING:
    from rich.console import Console


# What a container or a remote end wrote must not be able to drive the terminal: no escape sequences, no controls.
_CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Nor to show another text than it is: what turns the direction of writing, ends a line or is not seen at all is shown
# as its number. Joiners stay: words and emoji are written with them.
_UNSEEN = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_DIGEST = re.compile(r"@sha256:([0-9a-f]{12})[0-9a-f]{52}")
_ASCII = str.maketrans(
    {"→": "->", "…": "...", "✓": "+", "✗": "x", "–": "-", "●": "*", "↩": "<", "├": "|", "└": "`", "—": "-", "·": "-"}
)


def line(text: str = "", style: str = "") -> Line:
    """A line of one piece. Line breaks in what somebody typed do not make further ones."""
    return [(one_line(text), style)]


def plain(pieces: Line) -> str:
    """The line's text, without styles, trailing blanks or control characters."""
    return printable("".join(text for text, _ in pieces)).rstrip()


def printable(text: str) -> str:
    """The text without escape sequences and controls (tabs and newlines stay), and with what is unseen in sight."""
    return _UNSEEN.sub(_number, _CONTROLS.sub("", text))


def one_line(text: str) -> str:
    """The text without line breaks, which could pretend to be lines of ours."""
    return " ".join(printable(text).split("\n"))


def _number(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def verbatim(text: str, style: str = "") -> Line:
    """A line of one piece that is never wrapped: a command, a path, a line of somebody else's."""
    return Row([(one_line(text), style)], None)


def quoted(path: object) -> str:
    """A path in a sentence: as a shell takes it, so that one with a blank is one word there and here."""
    return shlex.quote(str(path))


def columns(
    rows: Sequence[Sequence[tuple[str, str]]], indent: int = 0, gap: int = 2, *, whole: bool = False
) -> list[Line]:
    """Rows of cells as aligned lines. A pipe sees them whole; a terminal has the last column wrapped within itself.

    Args:
        rows: them.
        indent: blanks before each.
        gap: blanks between two columns.
        whole: what stands in them is there to be copied, so they are never wrapped.
    """
    if not rows:
        return []
    rows = [[(one_line(text), style) for text, style in row] for row in rows]
    widths = [0] * max(len(row) for row in rows)
    for row in rows:
        for index, (text, _) in enumerate(row):
            widths[index] = max(widths[index], text_width(text))
    hang = indent + sum(width + gap for width in widths[:-1])
    lines: list[Line] = []
    for row in rows:
        pieces: list[tuple[str, str]] = [(" " * indent, "")]
        for index, (text, style) in enumerate(row):
            pieces.append((text, style))
            if index < len(row) - 1:
                pieces.append((" " * (widths[index] - text_width(text) + gap), ""))
        lines.append(Row(pieces, None if whole else hang))
    return lines


def short_digest(text: str) -> str:
    """The text with SHA-256 digests cut to twelve digits, as Docker shows them."""
    return _DIGEST.sub(r"@sha256:\1…", text)


def duration(seconds: float | None) -> str:
    """``3.2s``, ``75s``, ``4m 10s`` or ``1h 05m``; ``-`` when unknown."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def moment(value: datetime | None) -> str:
    """A point in time in the operator's own time zone, to the minute; ``-`` when unknown."""
    return value.astimezone().strftime("%Y-%m-%d %H:%M") if value else "-"


def instant(value: datetime | None) -> str:
    """A point in time in the operator's own time zone, to the second, with the zone's name; ``-`` when unknown."""
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if value else "-"


def count(number: int, noun: str) -> str:
    """``1 check`` or ``2,000 checks``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(number: int) -> str:
    """``512 B``, ``1.4 KiB`` … ``3.0 TiB``."""
    amount, units = float(number), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        del units[0]
    return f"{number} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


class Printer:
    """Writes lines to one stream: styled on a terminal, plain elsewhere, under ``NO_COLOR`` and on a dumb terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.terminal = stream.isatty() and os.environ.get("TERM", "") != "dumb"
        self._styled = self.terminal and not os.environ.get("NO_COLOR")
        self._console: Console | None = None
        self.lost: OSError | None = None
        """Why nothing that is written arrives any more."""

    @property
    def console(self) -> Console:
        """The rich console on the same stream."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(file=self.stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
        return self._console

    @property
    def width(self) -> int | None:
        """The terminal's columns; None elsewhere: a pipe or a file gets its lines whole."""
        if not self.stream.isatty():
            return None
        with contextlib.suppress(KeyError, ValueError):
            return int(os.environ["COLUMNS"])
        with contextlib.suppress(OSError, ValueError):
            return os.get_terminal_size(self.stream.fileno()).columns or 80
        return 80

    def line(self, pieces: Line | str = "", style: str = "") -> None:
        """Write one line; on a terminal as many as it takes, broken between words."""
        pieces = line(pieces, style) if isinstance(pieces, str) else pieces
        width = self.width
        if width is None:
            self._write_line(pieces)
            return
        hang = pieces.hang if isinstance(pieces, Row) else -1
        clean = [(printable(text), styled) for text, styled in pieces]
        for each in wrapped(clean if hang == -1 else Row(clean, hang), width):
            self._write_line(each)

    def _write_line(self, pieces: Line) -> None:
        if self._styled:
            from rich.text import Text

            with self.steadily():
                self.console.print(
                    Text.assemble(*((printable(text), styled) for text, styled in pieces)), soft_wrap=True
                )
        else:
            self.write(plain(pieces) + "\n")

    def lines(self, lines: Iterable[Line]) -> None:
        """Write several lines."""
        for pieces in lines:
            self.line(pieces)

    def write(self, text: str) -> None:
        """Write text as it is, as far as the stream's encoding can express it."""
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            text = text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
        with self.steadily():
            self.stream.write(text)
            self.stream.flush()

    @contextlib.contextmanager
    def steadily(self) -> Iterator[None]:
        """Stop nothing because of a reader that went away (``| head``), a terminal that was closed or a full disk.

        The stream leads nowhere from then on: what it holds would fail again at the end, and change the exit code.
        """
        try:
            yield
        except OSError as error:
            self.lost = error
            with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), self.stream.fileno())

    def can_ask(self) -> bool:
        """Whether somebody can see a question here and type the answer."""
        return self.stream.isatty() and sys.stdin.isatty()

    def ask(self, question: str) -> str:
        """Ask, and return the answer as typed; empty at the end of input."""
        width = self.width
        if width is not None and question.strip():
            asked = [plain(each) for each in wrapped(line(question), width)]
            question = "\n".join(asked) + question[len(question.rstrip()) :]
        self.write(question)
        answer = sys.stdin.readline()
        if not answer.endswith("\n"):
            self.write("\n")
        return answer.strip()
