"""How long services were away while they were changed, by what the instance told at the time."""

from __future__ import annotations

from collections.abc import Collection

from geusemaker.models.plan import Event
from geusemaker.services.collaborators import Clock, OnEvent


class Away:
    """Passes events on, and notes from when to when each service was away.

    Away is from when its container is told to stop until the gate finds it ready, as seen from here: rather longer than
    what users notice.

    Args:
        clock: the time.
        on_event: whom events are passed on to.
        running: the services that ran before; one that is new was not away.
    """

    def __init__(self, clock: Clock, on_event: OnEvent, running: Collection[str]) -> None:
        self._clock = clock
        self._on_event = on_event
        self._running = running
        self._since: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        """Service → seconds, of those that came back."""

    def event(self, event: Event) -> None:
        """Note what it says of a service, and pass it on."""
        if event.kind == "service" and event.name in self._running:
            if event.state == "stopping":
                self._since.setdefault(event.name, self._clock.monotonic())
            elif event.state == "healthy" and event.name in self._since:
                away = self._clock.monotonic() - self._since.pop(event.name)
                self.seconds[event.name] = round(self.seconds.get(event.name, 0.0) + away, 1)
        self._on_event(event)
