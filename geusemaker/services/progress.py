"""What an operation reports while it works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
