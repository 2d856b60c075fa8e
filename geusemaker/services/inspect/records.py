"""What the journals' entries tell: records, and the restores among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from geusemaker.models.inspection import RestoreRecord
from geusemaker.models.record import OperationRecord
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version


def read_records(entries: Iterable[Any]) -> dict[str, OperationRecord]:
    """Operation id → record, of those entries that are records this geusemaker can read."""
    records = {}
    for entry in entries:
        try:
            record = OperationRecord.model_validate(entry)
        except ValidationError:
            continue  # another geusemaker's, or cut short
        records[record.operation_id] = record
    return records


def restore_records(records: Iterable[OperationRecord]) -> list[RestoreRecord]:
    """The restores among them, oldest first."""
    return sorted(
        (
            RestoreRecord(
                operation_id=record.operation_id,
                timestamp=record.started_at,
                actor=record.actor,
                version=record.number,
                checkpoint=record.restored,
                taken=str((record.checkpoint or {}).get("checkpoint") or ""),
                changes=record.changes,
                success=record.success,
                duration_seconds=record.duration_seconds,
                reason=record.reason,
                error_message=record.error_message,
            )
            for record in records
            if record.kind == "restore"
        ),
        key=lambda record: record.timestamp,
    )


def with_downtime(versions: Iterable[Version], records: Mapping[str, OperationRecord]) -> list[Version]:
    """The versions, with how long services were away for each: the history does not know that, journals do.

    A version without a record in reach (its file system cannot be read now) says nothing, rather than "never away".
    """
    told = []
    for version in versions:
        record = records.get(version.provenance.operation_id)
        told.append(version.model_copy(update={"away_seconds": record.away_seconds}) if record is not None else version)
    return told


def unused_numbers(state: DeploymentState) -> list[int]:
    """Numbers that were given and have no version; not that of an operation which has not ended yet."""
    intent = state.intent
    highest = state.next_number - 1
    known = {version.number for version in state.versions} | {version.number for version in state.unreadable_versions}
    if intent is not None and not intent.outcome:
        known.add(intent.number)
    return [number for number in range(1, highest + 1) if number not in known]
