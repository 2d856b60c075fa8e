"""Waits until no other operation holds the deployment, where that was asked for; else a refusal comes at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from geusemaker.agent.protocol.stored import Lease
from geusemaker.errors import DeploymentBusyError, DeploymentNotFoundError, GeusemakerError, InterruptedOperationError
from geusemaker.models.history import short_host
from geusemaker.models.plan import Event
from geusemaker.models.state import DeploymentState
from geusemaker.services import lease
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.engine_lock import dead_lock
from geusemaker.services.identity import require_account
from geusemaker.services.states import busy, is_left_behind, is_running, load_state

_PAUSE_SECONDS: Final = 2.0
"""From one look to the next; a look takes a run of the engine or two."""

Result = TypeVar("Result")


def in_turn(
    operation: Callable[[], Result],
    collaborators: Callable[[], Collaborators],
    seconds: float,
    *,
    owner_is_gone: bool = False,
) -> Result:
    """Carry an operation out as soon as no other one holds the deployment.

    Where another one does, ``operation`` has changed nothing. Afterwards it is done from its beginning, with a look and
    a plan of its own: nothing that was found before is used.

    Args:
        operation: the whole of it.
        collaborators: what it is waited with, where it is.
        seconds: so long it is waited at most, in all; 0: not at all.
        owner_is_gone: the operator's word for a process of another machine.

    Raises:
        DeploymentBusyError: another operation holds it still; nothing was changed.
        InterruptedOperationError: Ctrl-C while it was waited; nothing was changed.
    """
    deadline: float | None = None
    while True:
        try:
            return operation()
        except DeploymentBusyError as error:
            if seconds <= 0:
                raise
            try:
                with_ = collaborators()
                now = with_.clock.monotonic()
                deadline = now + seconds if deadline is None else deadline
                if now >= deadline:
                    raise
                _await_turn(with_, error, deadline, owner_is_gone)
            except DeploymentNotFoundError:
                continue  # the other one has removed it: the operation itself says what that means for it
            except KeyboardInterrupt as interrupt:
                raise InterruptedOperationError(
                    f"Interrupted while waiting for another operation. {error.message}",
                    state="Nothing was changed by this one.",
                ) from interrupt


def _await_turn(collaborators: Collaborators, error: DeploymentBusyError, deadline: float, owner_is_gone: bool) -> None:
    """Wait until nobody is seen to hold the deployment.

    Raises:
        DeploymentBusyError: somebody does still.
    """
    clock, said = collaborators.clock, ""
    found: DeploymentBusyError | None = error
    while found is not None:
        if (left := deadline - clock.monotonic()) <= 0:
            raise found
        if found.message != said:
            said = found.message
            collaborators.on_event(Event(kind="note", message=f"Waiting, {_span(left)} at most: {said}"))
        clock.sleep(min(_PAUSE_SECONDS, left))
        found = holder(collaborators, owner_is_gone=owner_is_gone)
    collaborators.on_event(Event(kind="note", message="It is free. All is looked at anew."))


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def holder(collaborators: Collaborators, *, owner_is_gone: bool = False) -> DeploymentBusyError | None:
    """The refusal that an operation would meet now, by the intent, the engine's lock and the lease; None: it is free.

    What cannot be asked holds nobody up: the operation itself tells what is the matter.
    """
    try:
        state = load_state(collaborators)
        intent = state.intent
        if intent is not None and is_running(collaborators, intent):
            elsewhere = intent.host != short_host(collaborators.host_name)
            if not (elsewhere and owner_is_gone):
                return busy(state.name, intent)
        dead_lock(collaborators, state, owner_is_gone=owner_is_gone)
        held = _lease(collaborators, state)
    except DeploymentBusyError as error:
        return error
    except DeploymentNotFoundError:
        raise
    except GeusemakerError:
        return None
    if held.state != "held" or is_left_behind(collaborators, held, owner_is_gone=owner_is_gone):
        return None
    return lease.busy(state.name, held)


def _lease(collaborators: Collaborators, state: DeploymentState) -> Lease:
    """The lease beside the data; that of another backend's operation stands nowhere else."""
    if state.target is None or state.destroyed:
        return Lease()
    require_account(collaborators, state.target)
    instance = collaborators.cloud(state.target.region).find_instance(state.name)
    if instance is None or not instance.may_answer:
        return Lease()
    with collaborators.open_host(instance.address, state.target, collaborators.engine.load_secrets()) as host:
        return host.lease().lease or Lease()
