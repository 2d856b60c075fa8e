"""What a look at a running operation tells beyond the look before, as the events of progress."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from geusemaker.cli.output.inspection import told_interruption
from geusemaker.models.plan import Event

if TYPE_CHECKING:
    from geusemaker.models.inspection import Inspection

_WORDS = {
    "mount": "mounting the data",
    "prefetch": "pulling images while all goes on running",
    "checkpoint": "copying data",
    "hold": "stopping services in order",
    "apply": "replacing containers that differ",
    "gate": "waiting until all services are healthy, and stay so",
    "restore": "putting a checkpoint's data in place",
    "restart": "starting services that hang once more",
    "manifest": "looking at the data",
    "gc": "removing old images",
}
"""Verb of the agent → what it is about."""
ENGINE, SETTLE = "engine", "settle"


class Watching:
    """Turns looks into events: a phase for each step of the instance, and services as their state changes."""

    def __init__(self) -> None:
        self._phase = ""
        self._services: dict[str, tuple[str, str]] = {}
        self._told = ""

    def events(self, found: Inspection) -> Iterator[Event]:
        """What is new in this look."""
        running = found.interruption if found.interruption is not None and found.interruption.running else None
        if running is not None and running.operation_id != self._told:
            self._told = running.operation_id
            yield Event(kind="note", message=told_interruption(running.model_copy(update={"step": ""})))
        if running is not None:
            phase = running.step or ENGINE
            message = _WORDS.get(phase, "") if running.step else _meanwhile(found)
        else:
            phase, message = (SETTLE, found.summary) if found.status == "settling" else ("", "")
        if phase != self._phase:
            yield from self.end()
            self._phase = phase
            if phase:
                yield Event(kind="phase", name=phase, state="started", message=message)
        for name, service in found.services.items() if phase else ():
            state = ("healthy" if service.healthy else service.state, service.detail if not service.healthy else "")
            if self._services.get(name) != state:
                self._services[name] = state
                yield Event(kind="service", name=name, state=state[0], message=state[1])

    def end(self) -> Iterator[Event]:
        """The end of the phase there is."""
        if self._phase:
            yield Event(kind="phase", name=self._phase, state="done")
        self._phase, self._services = "", {}


def _meanwhile(found: Inspection) -> str:
    """What goes on while the instance does nothing for the operation, as far as it can be told from here."""
    if found.instance is not None and not found.instance.may_answer:
        return f"the instance is {found.instance.state}"
    if found.problems:
        return found.problems[0]
    return "nothing on the instance at this moment: Pulumi works, or the machine that runs the operation"
