"""What the agent's lines tell while it works, as events."""

from __future__ import annotations

from collections.abc import Callable

from geusemaker.agent.protocol.reading import Json
from geusemaker.models.plan import Event

OnEvent = Callable[[Event], None]
OnLine = Callable[[Json], None]


def read_event(line: Json) -> Event | None:
    """What a line of the agent's tells while it works; None: it is of another kind.

    Its phases are steps of what runs on the instance (``resource``); ``phase`` is what the whole operation is at.
    """
    kind, message = line.get("event"), str(line.get("message") or "")
    if kind == "service":
        return Event(kind="service", name=line["service"], state=line["state"], message=str(line.get("detail") or ""))
    if kind == "phase":
        return Event(kind="resource", name=line["name"], state=line["state"], message=message)
    return Event(kind="note", message=message) if kind == "note" else None


def tell_services(on_event: OnEvent | None) -> OnLine:
    """Tell what becomes of the services. What the agent is at beside them, whoever asked it says in own words."""

    def on_line(line: Json) -> None:
        event = read_event(line)
        if on_event is not None and event is not None and event.kind == "service":
            on_event(event)

    return on_line


def tell_all(on_event: OnEvent | None) -> OnLine:
    """Tell both what becomes of services and what the agent is at."""
    both = tell_services(on_event), tell_waits(on_event)

    def on_line(line: Json) -> None:
        for tell in both:
            tell(line)

    return on_line


def tell_waits(on_event: OnEvent | None) -> OnLine:
    """Tell what is waited for: before the lease can be had, or while packages are installed."""

    def on_line(line: Json) -> None:
        event = read_event(line)
        if on_event is not None and event is not None and event.kind == "resource" and event.state == "started":
            on_event(Event(kind="note", message=event.message))

    return on_line
