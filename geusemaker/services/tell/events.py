"""What is told: an operation's event and its document. Pure."""

from __future__ import annotations

from typing import Any, Final, Literal

from geusemaker.models.history import Intent
from geusemaker.models.parts import parts_told
from geusemaker.models.record import OperationRecord

EventName = Literal["before-change", "after-change", "failed", "rolled-back", "interrupted", "gave-up"]
EVENTS: Final = ("before-change", "after-change", "failed", "rolled-back", "interrupted", "gave-up")

_LEFT_OUT: Final = {"manifest_before", "manifest_after", "config", "provenance", "rollback"}
"""Of a record: long, or told by other fields."""


def of_record(record: OperationRecord) -> tuple[EventName, dict[str, Any]]:
    """What is told of an operation that has ended."""
    by_itself = record.kind == "rollback" and record.trigger != "manual"
    event: EventName = "failed"
    if record.success:
        event = "rolled-back" if by_itself else "after-change"
    told = record.model_dump(mode="json", exclude=_LEFT_OUT)
    return event, {"event": event, "text": _sentence(record, by_itself=by_itself), **told}


def of_intent(event: EventName, deployment: str, intent: Intent) -> dict[str, Any]:
    """What is told of an operation that begins, or that was found killed."""
    did = {"before-change": "begins", "interrupted": "was interrupted"}.get(event, event)
    what = f"{deployment}: {intent.kind} (v{intent.number}) of {intent.actor} {did}."
    if event == "interrupted":
        what += f" `geusemaker status {deployment}` tells what state things are in."
    return {
        "event": event,
        "text": what,
        "deployment": deployment,
        "operation_id": intent.operation_id,
        "kind": intent.kind,
        "number": intent.number,
        "actor": intent.actor,
        "trigger": intent.trigger,
        "started_at": intent.started_at.isoformat(),
    }


def _sentence(record: OperationRecord, *, by_itself: bool) -> str:
    """The document in one or two sentences, for people."""
    what = f"{record.deployment}: {record.kind}"
    if not record.success:
        return f"{what} (v{record.number}) of {record.actor} failed. {record.error_message or ''}".strip()
    to = f" to the config of v{record.source_version}" if record.source_version else ""
    to += f" ({parts})" if (parts := parts_told(record.services_from)) else ""
    how = f"went back by itself ({record.trigger})" if by_itself else "done"
    if record.kind == "recover" and record.trigger != "manual":
        how += f" ({record.trigger})"
    changes = f" {', '.join(record.changes)}." if record.changes else ""
    return f"{what}{to} {how}: v{record.number} is active, by {record.actor}.{changes}"
