"""A destroy that is under way, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field

from geusemaker.models.plan import Event, Plan
from geusemaker.models.state import DeploymentState
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.destroy.plan import Planned
from geusemaker.services.operation import Operation


@dataclass
class Reached:
    """How far it has come, by which its errors tell what state things are in."""

    may_have_changed: bool = False
    """Whether services may have been stopped, or anything be deleted."""
    stopped: bool = False
    """Whether services may have been stopped; the lease is given back then."""
    deletes_data: bool = False
    """Whether the engine was told to delete the data as well."""


@dataclass(frozen=True)
class Act:
    """A destroy that is under way."""

    collaborators: Collaborators
    state: DeploymentState
    planned: Planned
    operation: Operation
    host: Host | None
    """The agent, where there is an instance to take the lease through."""
    started: float
    delete_data: bool
    """Whether the data goes as well, and then the stack with its history."""
    reached: Reached = field(default_factory=Reached)

    @property
    def plan(self) -> Plan:
        """What is to go."""
        return self.planned.plan

    @property
    def last(self) -> str:
        """What a deploy later on will find as the last operation in the lease on the file system.

        This one, if there was an instance to take it through.
        """
        return self.operation.id if self.host is not None else self.state.last_operation_id or self.operation.id

    @property
    def deadline_seconds(self) -> float:
        """How long the engine may take."""
        return self.plan.config.rollback.deadline_minutes * 60.0

    def warn(self, message: str) -> None:
        """Tell what does not go as it should and stops nothing."""
        self.collaborators.on_event(Event(kind="warning", message=message))
