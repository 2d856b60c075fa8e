"""What Ctrl-C does, and what it does when it is pressed again. SIGTERM and SIGHUP ask politely for the same."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from threading import Event
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_listening = Event()
"""Whether this process is the command, and no test of one."""


def listen() -> None:
    """Have a polite request to end handled as Ctrl-C is."""
    _listening.set()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish stays
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def until_pressed() -> Iterator[None]:
    """What goes on until Ctrl-C, which is its good end, however often it is pressed."""
    try:
        yield
    except KeyboardInterrupt:
        over()


def over() -> None:
    """What went on until Ctrl-C has ended: pressed twice, it is no interruption of what little is left to say."""

    def done(number: int, frame: FrameType | None) -> None:
        """Nothing is left to be ended."""

    if _listening.is_set():
        _handle(done)


def end_when_told_again(code: int) -> None:
    """Have whoever presses Ctrl-C once more, when all is told, wait for no thread, and see no traceback of one."""

    def end(number: int, frame: FrameType | None) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    _handle(end)


def _handle(handler: object) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)  # type: ignore[arg-type]
