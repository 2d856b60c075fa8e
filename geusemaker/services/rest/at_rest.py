"""Whether the instance itself is stopped on purpose, and what is said of it. Pure."""

from __future__ import annotations

from typing import Final

from geusemaker.errors import RefusedError
from geusemaker.models.history import StoppedInstance
from geusemaker.models.inspection import InstanceState
from geusemaker.models.state import DeploymentState

_BY_A_USER: Final = ("", "Client.UserInitiatedShutdown")
"""EC2's codes for an instance that somebody stopped. One that AWS took away has another, as
``Server.SpotInstanceShutdown`` (docs.aws.amazon.com/AWSEC2/latest/APIReference/API_StateReason.html)."""


def at_rest(state: DeploymentState, instance: InstanceState | None) -> StoppedInstance | None:
    """The note that the instance was stopped on purpose, while that holds: AWS has that one, stopped by a user."""
    note = state.stopped
    if note is None or instance is None or instance.id != note.id:
        return None
    return note if instance.state in ("stopping", "stopped") and instance.reason in _BY_A_USER else None


def told(note: StoppedInstance) -> str:
    """``its instance is stopped on purpose, by ann since 2026-11-30 20:00:00 UTC (the weekend)``"""
    why = f" ({note.reason})" if note.reason else ""
    return f"its instance is stopped on purpose, by {note.by} since {note.since:%Y-%m-%d %H:%M:%S} UTC{why}"


def require_awake(state: DeploymentState, instance: InstanceState | None, untouched: str) -> None:
    """Refuse what would have to start an instance that is stopped on purpose.

    Raises:
        RefusedError
    """
    if (note := at_rest(state, instance)) is not None:
        raise RefusedError(
            f"{state.name} is at rest: {told(note)}.",
            state=untouched,
            next_step=f"Run `geusemaker start {state.name}` first.",
        )
