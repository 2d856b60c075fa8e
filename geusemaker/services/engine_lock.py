"""Pulumi's lock on the stack, which outlives an engine that was killed: whose it is, and when it may be removed."""

from __future__ import annotations

from typing import Final

from geusemaker.errors import DeploymentBusyError
from geusemaker.models.history import LockOwner, short_host
from geusemaker.models.plan import Event
from geusemaker.models.state import DeploymentState
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.states import is_running

_ORPHAN_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.2


def clear_dead_lock(
    collaborators: Collaborators,
    state: DeploymentState,
    *,
    owner_is_gone: bool = False,
    owner: LockOwner | None = None,
) -> None:
    """Remove the lock of a run of the engine whose process is gone. It outlives the geusemaker that started it.

    Raises:
        DeploymentBusyError: its owner lives, or is on another machine, where that cannot be seen.
    """
    if (dead := dead_lock(collaborators, state, owner_is_gone=owner_is_gone, owner=owner)) is not None:
        collaborators.engine.remove_lock(dead)
        collaborators.on_event(Event(kind="note", message=f"Removed the lock of the dead process {dead.pid}."))


def dead_lock(
    collaborators: Collaborators,
    state: DeploymentState,
    *,
    owner_is_gone: bool = False,
    owner: LockOwner | None = None,
) -> LockOwner | None:
    """Whose lock may be removed, because that run of the engine is gone; None where nobody holds one. Changes nothing.

    ``owner_is_gone`` is the operator's word for a process of another machine; one of this machine is looked at.
    ``owner`` is who is known to hold it, where the backend cannot be asked.
    An engine whose geusemaker was killed ends as soon as it has something to say, so it is waited for.

    Raises:
        DeploymentBusyError: its owner lives, or is on another machine, where that cannot be seen.
    """
    if owner is None or not owner.host:
        owner = named_owner(collaborators, state, collaborators.engine.lock_owner())
    if owner is None:
        return None
    elsewhere = owner.host != collaborators.host_name
    if not elsewhere and owner.lives and state.interrupted:
        collaborators.on_event(
            Event(kind="note", message=f"Waiting for the engine that the dead process left behind ({owner.pid}).")
        )
        owner = _wait_for_release(collaborators, state, owner)
        if owner is None:
            return None
    if not owner_is_gone if elsewhere else owner.lives:
        raise DeploymentBusyError(
            f"A run of the engine holds {state.name}: process {owner.pid} of {owner.user} on {owner.host} "
            f"since {owner.since}."
            if owner.host
            else f"A run of the engine holds {state.name}; the backend does not tell whose.",
            state="Nothing was changed.",
            next_step=f"Wait for it. If that process is gone, run `geusemaker recover {state.name}`"
            f"{f' on {owner.host}, or' if owner.host else ''} with --owner-is-gone from anywhere.",
        )
    return owner


def named_owner(collaborators: Collaborators, state: DeploymentState, owner: LockOwner | None) -> LockOwner | None:
    """Who holds the lock, where the backend names nobody (Pulumi Cloud): whoever began the last operation.

    Its process is that of geusemaker; ``lives`` tells whether an engine works on the stack here.
    """
    intent = state.intent
    if owner is None or owner.host or intent is None:
        return owner
    here = intent.host == short_host(collaborators.host_name)
    return owner.model_copy(
        update={
            "pid": intent.pid,
            "user": intent.actor,
            "host": collaborators.host_name if here else intent.host,
            "since": f"{intent.started_at:%Y-%m-%d %H:%M:%S} UTC",
            "lives": owner.lives or (here and is_running(collaborators, intent)),
        }
    )


def _wait_for_release(collaborators: Collaborators, state: DeploymentState, owner: LockOwner) -> LockOwner | None:
    """Whoever holds the lock once its engine has ended, or after a while; None when nobody does any more."""
    clock = collaborators.clock
    deadline = clock.monotonic() + _ORPHAN_SECONDS
    found: LockOwner | None = owner
    while found is not None and found.pid == owner.pid and found.lives and clock.monotonic() < deadline:
        clock.sleep(_POLL_SECONDS)
        found = named_owner(collaborators, state, collaborators.engine.lock_owner())
    return found
