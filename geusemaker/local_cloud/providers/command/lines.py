"""Splitting output into lines as Go's ``bufio.Scanner`` does, which pulumi-command reads with."""

from __future__ import annotations

from typing import Final

LONGEST_LINE: Final = 64 * 1024
"""Bytes, newline included; bufio.MaxScanTokenSize."""


class LineTooLongError(Exception):
    """A line that makes the real provider hang for good; the stand-in fails instead, so that it is seen."""

    def __init__(self) -> None:
        super().__init__("a line of output is longer than 64 KiB, on which pulumi-command hangs")


class LineSplitter:
    """Turns chunks of bytes into lines; standard output and error may be fed alternately, as into one pipe."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, chunk: bytes) -> list[str]:
        """The lines completed by this chunk, without their ends.

        Raises:
            LineTooLongError: a line has reached :data:`LONGEST_LINE`.
        """
        self._pending.extend(chunk)
        *complete, rest = self._pending.split(b"\n")
        self._pending = bytearray(rest)
        if len(rest) >= LONGEST_LINE or any(len(line) >= LONGEST_LINE for line in complete):
            raise LineTooLongError
        return [_line(line) for line in complete]

    def rest(self) -> list[str]:
        """The last line where it had no newline; empty otherwise."""
        return [_line(self._pending)] if self._pending else []


def _line(data: bytes | bytearray) -> str:
    return bytes(data).removesuffix(b"\r").decode(errors="replace")
