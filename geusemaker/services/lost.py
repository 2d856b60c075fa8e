"""Versions that ran, and that this backend's history does not know: it was restored from an older copy, or damaged.

The file system remembers: its lease names the last operation that changed the deployment, its copy of the journal what
that made. Decisions are pure functions; ``read_lost`` asks the agent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import ValidationError

from geusemaker.agent.protocol.stored import Lease
from geusemaker.models.base import Model
from geusemaker.models.record import OperationRecord
from geusemaker.models.state import DeploymentState
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.states import load_state

_TAIL: Final = 200
_MAKE_VERSIONS: Final = ("deploy", "update", "rollback", "recover")


class Lost(Model):
    """The operation that made what runs, where the history does not know it."""

    operation_id: str
    kind: str = ""
    actor: str = ""
    number: int = 0
    """The number of its version; 0: not known."""
    record: OperationRecord | None = None
    """What the journal's copy knows of it; None: nothing that can be brought back."""
    highest_number: int = 0
    """The highest number that the file system knows to have been given."""
    others: tuple[int, ...] = ()
    """Versions between those of the history and this one, which are lost as well."""

    @property
    def is_version(self) -> bool:
        """Whether it made a version; a restore does not."""
        return self.kind in _MAKE_VERSIONS or not self.kind

    @property
    def can_return(self) -> bool:
        """Whether the version can be put back into the list just as it was."""
        record = self.record
        return record is not None and record.success and record.config is not None and record.provenance is not None

    def __str__(self) -> str:
        what = f"v{self.number}" if self.number and self.is_version else "what runs"
        made = " of ".join(part for part in (f"{self.kind or 'operation'} {self.operation_id}", self.actor) if part)
        return f"{what} ({made})"


def lost_operation(state: DeploymentState, lease: Lease | None) -> str:
    """The last operation that changed what runs, if the history does not know it; empty where it does.

    A lease that is held is that of an operation under way, or of a killed one: those are told by the intent.
    """
    if lease is None or lease.state != "released" or state.unreadable:
        return ""
    last = (lease.operation if lease.changed else lease.last_changed) or ""
    known = {version.provenance.operation_id for version in state.versions}
    intent = state.intent
    # One that ended well stands in the history, if it made a version. A restore does not.
    if intent is not None and not (intent.outcome == "done" and intent.kind in _MAKE_VERSIONS):
        known.add(intent.operation_id)
    return "" if last in known else last


def find_lost(state: DeploymentState, lease: Lease | None, entries: Iterable[Any]) -> Lost | None:
    """What the file system knows of the lost operation; None where the history knows all.

    Args:
        state: what the history tells.
        lease: the lease on the file system.
        entries: of the journal's copy there, oldest first.
    """
    operation = lost_operation(state, lease)
    if not operation or lease is None:
        return None
    records = _records(entries)
    record = records.get(operation)
    known = {version.provenance.operation_id for version in state.versions}
    is_last = lease.operation == operation
    if (
        not is_last
        and _heard_of_later(state, lease)
        and not (record and record.success and record.kind in _MAKE_VERSIONS)
    ):
        # A restore, a stop or a start stands nowhere, nor does what was killed: the intent told of it until the next.
        return None
    kind = record.kind if record is not None else lease.kind or "" if is_last else ""
    made = [
        one
        for one in records.values()
        if one.kind in _MAKE_VERSIONS
        and one.success
        and one.operation_id not in known
        and one.number > state.highest_number
    ]
    if kind and kind not in _MAKE_VERSIONS and made:
        # A stop or a restore came last, and the version that it was done to is lost as well: that is what runs.
        record = max(made, key=lambda one: one.number)
        operation, kind = record.operation_id, record.kind
    number = record.number if record is not None else lease.number if is_last else 0
    given = [one.number for one in records.values()]
    return Lost(
        operation_id=operation,
        kind=kind,
        actor=record.actor if record is not None else lease.actor or "" if is_last else "",
        number=number,
        record=record,
        highest_number=max([*given, number, lease.number, state.highest_number]),
        others=tuple(sorted({one.number for one in made if one.number != number})),
    )


def _heard_of_later(state: DeploymentState, lease: Lease) -> bool:
    """Whether the backend knows an operation that changed nothing, after the last one that changed what runs."""
    return state.intent is not None and state.intent.operation_id in (lease.operation, *lease.idle)


def read_lost(collaborators: Collaborators, host: Host, state: DeploymentState, lease: Lease | None) -> Lost | None:
    """As ``find_lost``; the agent is asked for the journal's copy only if something is lost.

    Before anything is called lost the whole history is read anew: it may have been made since ``state`` was read, or
    stand on an older page of it.

    Raises:
        HostError: the instance does not answer.
    """
    if not lost_operation(state, lease):
        return None
    state = load_state(collaborators, whole=True)
    if not lost_operation(state, lease):
        return None
    return find_lost(state, lease, host.journal(tail=_TAIL).entries)


def notice(name: str, lost: Lost) -> str:
    """What is said of it, and what to type."""
    also = f" v{', v'.join(map(str, lost.others))} before it are lost as well." if lost.others else ""
    return (
        f"The data's file system knows {lost}, and the history here does not: it was restored from an older copy, or "
        f"damaged.{also} `geusemaker recover {name}` brings both together."
    )


def _records(entries: Iterable[Any]) -> dict[str, OperationRecord]:
    found = {}
    for entry in entries:
        try:
            record = OperationRecord.model_validate(entry)
        except ValidationError:
            try:  # by a geusemaker with another config: all else of it still tells
                record = OperationRecord.model_validate({**entry, "config": None, "provenance": None})
            except (ValidationError, TypeError):
                continue
        found[record.operation_id] = record
    return found
