"""The operation lease on the instance's file system, taken and given back: one operation at a time, on all machines."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from geusemaker.agent.protocol.documents import BeginDocument
from geusemaker.agent.protocol.stored import Lease, Owner
from geusemaker.agent.store.lease import GO_BEFORE
from geusemaker.errors import DeploymentBusyError, GeusemakerError, HostError, PlanRefusedError, RefusedError
from geusemaker.host.instance import failure_detail
from geusemaker.models.plan import Event
from geusemaker.services.bookkeeping import insist
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.states import is_left_behind, with_article

_UNHEARD = ("unreachable", "timeout", "agent_died")
"""Codes of errors after which the agent may have done what it was asked."""
REHEARSAL: Final[Literal["rehearse"]] = "rehearse"
"""The kind of what runs beside all else, and is worth nothing once somebody has to go back."""
_NOT_HAD = ("lease_lost", "not_mounted")
"""Codes with which the agent says that the lease is not this operation's."""


def take(
    collaborators: Collaborators,
    host: Host,
    operation_id: str,
    kind: str,
    *,
    expects: str | None,
    takeover: str | None,
    instance_id: str,
    untouched: str,
    owner_is_gone: bool = False,
    number: int = 0,
    salvage: bool = False,
) -> None:
    """Take the lease for an operation, also from one whose process on this machine is gone.

    Args:
        expects: the operation that is to have been the last; None: whichever.
        takeover: the operation whose lease may be taken although it was not given back.
        untouched: says that nothing was changed, for errors.
        owner_is_gone: the operator's word for a process of another machine.
        number: the version that the operation makes; the lease remembers it, should the history lose it.
        salvage: set a lease that cannot be read aside, and make a new one.

    Raises:
        DeploymentBusyError: another operation has it, and it is no rehearsal that gives way.
        PlanRefusedError: another operation was the last.
        HostError: the instance or its file system does not answer.
    """
    document = BeginDocument(
        operation_id,
        kind,
        collaborators.actor,
        owner=collaborators.owner,
        instance_id=instance_id,
        number=number,
        expects=expects,
        salvage=salvage,
    )

    def begin(takeover: str | None) -> None:
        try:
            host.begin(replace(document, takeover=takeover), collaborators.on_event)
        except KeyboardInterrupt:
            _withdraw(collaborators, host, operation_id)
            raise
        except HostError as error:
            if error.code in _UNHEARD:
                _withdraw(collaborators, host, operation_id)
            raise

    try:
        begin(takeover)
    except HostError as error:
        holder = failure_detail(error).holder or Lease()
        gives_way = holder.state == "held" and holder.kind == REHEARSAL and kind in GO_BEFORE
        left = is_left_behind(collaborators, holder, owner_is_gone=owner_is_gone)
        if error.code != "lease_held" or not (left or gives_way):
            raise _refusal(collaborators.deployment, error, untouched) from error
        if holder.owner != Owner(**collaborators.owner):
            note = f"The operation {holder.operation} was left unfinished; taking over from it."
            if not left:
                note = f"The rehearsal of {holder.actor} gives way to this {kind}, and is ended."
            collaborators.on_event(Event(kind="note", message=note))
        begin(holder.operation)


def _withdraw(collaborators: Collaborators, host: Host, operation_id: str) -> None:
    """Give back what was asked for and perhaps had: nobody heard the answer."""
    try:
        host.cancel(operation_id)
        host.end(operation_id, "abandoned")
    except HostError as error:
        if error.code not in _NOT_HAD:
            message = (
                f"Whether the lease is held cannot be told: {error.message} If it is, "
                f"`geusemaker recover {collaborators.deployment}` gives it back."
            )
            collaborators.on_event(Event(kind="warning", message=message))


def give_back(collaborators: Collaborators, host: Host, operation_id: str, outcome: str) -> None:
    """Give the lease back; that it could not be is a warning.

    What the operation came to matters more, and the next one takes a dead owner's lease over.
    """

    def end() -> None:
        try:
            host.end(operation_id, outcome)
        except HostError as error:
            if error.code != "lease_lost":  # another's already: it is not held by this operation
                raise

    insist(collaborators.on_event, "The lease was not given back", end)


def damage_notice(name: str, why: str) -> str:
    """What is said of a lease that cannot be read, and what to type."""
    return (
        f"The lease beside the data cannot be read, so that nobody can tell whether an operation is under way: "
        f"{why.rstrip('.')}. `geusemaker recover {name}` sets it aside and makes a new one."
    )


def changed_meanwhile(name: str, untouched: str) -> PlanRefusedError:
    """The plan was made of a state that is not any more."""
    return PlanRefusedError(
        f"{name} was changed by somebody else since this plan was made.",
        state=untouched,
        next_step="Run the command again to see the new plan.",
    )


def _refusal(name: str, error: HostError, untouched: str) -> GeusemakerError:
    if error.code == "lease_damaged":
        return RefusedError(damage_notice(name, error.message), state=untouched)
    if error.code != "lease_held":
        return error.completed(state=untouched)
    holder = failure_detail(error).holder or Lease()
    if holder.state != "held":
        return changed_meanwhile(name, untouched)
    return busy(name, holder)


def busy(name: str, holder: Lease) -> DeploymentBusyError:
    """Another operation has the lease."""
    if holder.gives_way:
        return DeploymentBusyError(
            f"{name} is watched by {with_article(str(holder.kind))} of {holder.actor} (a bake of v{holder.number}, "
            f"which is active: process {holder.owner.pid} on {holder.owner.host}, since {holder.taken_at}).",
            state="Nothing was changed by this one.",
            next_step=f"Wait for it, or run `geusemaker recover {name}`, which ends the bake and keeps that version.",
        )
    return DeploymentBusyError(
        f"{name} is held by {with_article(str(holder.kind))} of {holder.actor} "
        f"(process {holder.owner.pid} on {holder.owner.host}) since {holder.taken_at}.",
        state="Nothing was changed by this one.",
        next_step=f"Wait for it, or watch it with `geusemaker status {name}`. If that process is gone, "
        f"run `geusemaker recover {name}` on {holder.owner.host} (--owner-is-gone: from anywhere).",
    )
