"""What each step of a change works with, once its plan was said yes to."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from geusemaker.models.plan import Event, Plan
from geusemaker.services import progress
from geusemaker.services.change.away import Away
from geusemaker.services.change.connection import Connection
from geusemaker.services.change.findings import Findings
from geusemaker.services.change.model import Asked, Change
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.operation import Operation


@dataclass(frozen=True)
class Work:
    """A change that is under way."""

    collaborators: Collaborators
    found: Findings
    plan: Plan
    operation: Operation
    connection: Connection
    started: float
    """When the change began, on the clock for durations."""
    away: Away
    """How long services were away."""

    @property
    def asked(self) -> Asked:
        """What was asked for."""
        return self.found.asked

    @property
    def change(self) -> Change:
        """The change itself."""
        return self.found.asked.change

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return round(self.collaborators.clock.monotonic() - self.started, 3)

    def phase(self, name: str, message: str = "") -> AbstractContextManager[None]:
        """Report a phase."""
        return progress.phase(self.collaborators.on_event, name, message)

    def warn(self, message: str) -> None:
        """Warn."""
        self.collaborators.on_event(Event(kind="warning", message=message))

    def after_failure(self) -> Host | None:
        """The agent, where it can be asked after all."""
        return self.connection.after_failure(self.plan, self.change.target)
