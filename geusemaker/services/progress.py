"""What an operation reports while it works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from geusemaker.host.instance import read_event
from geusemaker.models.plan import Event
from geusemaker.services.collaborators import OnEvent


@contextmanager
def phase(on_event: OnEvent, name: str, message: str = "") -> Iterator[None]:
    """Report a phase's start, and its end or failure."""
    on_event(Event(kind="phase", name=name, state="started", message=message))
    try:
        yield
    except BaseException:
        on_event(Event(kind="phase", name=name, state="failed"))
        raise
    on_event(Event(kind="phase", name=name, state="done"))


def agent_lines(on_event: OnEvent) -> Callable[[dict[str, Any]], None]:
    """What turns the agent's lines about services into events."""

    def on_line(line: dict[str, Any]) -> None:
        event = read_event(line)
        if event is not None and event.kind == "service":
            on_event(event)

    return on_line
