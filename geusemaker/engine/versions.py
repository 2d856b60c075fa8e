"""From Pulumi's history to numbered versions. Pure: nothing is read or written here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from geusemaker.models.history import HistoryEntry, StackTags
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import RollbackRecord, Version, VersionStatus


def read_state(name: str, entries: Iterable[HistoryEntry], tags: StackTags) -> DeploymentState:
    """The state of a deployment, from its stack's history (newest first) and tags.

    Only untargeted updates make versions. Refresh and destroy entries carry a config as well and also say
    succeeded, so they count for nothing but whether the deployment was destroyed since.
    """
    oldest_first = list(reversed(list(entries)))
    updates = [entry for entry in oldest_first if entry.kind == "update" and entry.provenance and entry.config]
    last = updates[-1] if updates else None
    versions = _versions(updates, tags)
    destroyed = False
    for entry in oldest_first:
        if entry.kind == "destroy" and entry.result == "succeeded":
            destroyed = True
        elif entry.kind == "update":
            destroyed = False
    intent = tags.intent
    known = {version.provenance.operation_id for version in versions}
    targets = [entry.target for entry in oldest_first if entry.target is not None]
    return DeploymentState(
        name=name,
        versions=tuple(archive(versions, destroyed)),
        target=targets[-1] if targets else None,
        intent=intent,
        interrupted=intent is not None and not intent.outcome and intent.operation_id not in known,
        last_failed=last is not None and last.result != "succeeded",
        last_operation_id=intent.operation_id
        if intent is not None
        else (last.provenance.operation_id if last is not None and last.provenance is not None else ""),
        destroyed=destroyed,
    )


def _versions(updates: Sequence[HistoryEntry], tags: StackTags) -> list[Version]:
    """One version an operation; an operation with several updates is what its last one came to."""
    by_operation: dict[str, HistoryEntry] = {}
    for entry in updates:
        assert entry.provenance is not None
        by_operation[entry.provenance.operation_id] = entry
    active = next((entry for entry in reversed(list(by_operation.values())) if entry.result == "succeeded"), None)
    versions = []
    for entry in by_operation.values():
        assert entry.provenance is not None and entry.config is not None
        healthy = entry.result == "succeeded"
        status: VersionStatus = "active" if entry is active else "superseded" if healthy else "failed"
        versions.append(
            Version(
                provenance=entry.provenance,
                config=entry.config,
                status=status,
                healthy=healthy,
                bad=entry.provenance.number in tags.bad,
                pinned=entry.provenance.number in tags.pinned,
                duration_seconds=(entry.ended_at - entry.started_at).total_seconds() if entry.ended_at else None,
            )
        )
    return sorted(versions, key=lambda version: version.number)


def archive(versions: Sequence[Version], destroyed: bool = False) -> list[Version]:
    """Mark what is past retention. The active version and pinned ones never are."""
    active = next((version for version in versions if version.status == "active"), None)
    if active is None:
        return list(versions)
    kept = {
        version.number
        for version in sorted(
            (version for version in versions if version.healthy and not version.bad),
            key=lambda version: version.number,
            reverse=True,
        )[: active.config.rollback.retention]
    }
    kept.add(active.number)
    return [
        version.model_copy(
            update={
                "archived": version.number not in kept and not version.pinned,
                "status": "superseded" if destroyed and version is active else version.status,
            }
        )
        for version in versions
    ]


def rollback_records(versions: Sequence[Version], details: dict[str, RollbackRecord]) -> list[RollbackRecord]:
    """The rollbacks among the versions, oldest first.

    The history alone says which there were and how they ended; ``details`` (operation id → record, from the journal)
    adds what only the run itself knew. So a machine without the journal still sees every rollback.
    """
    records = []
    for position, version in enumerate(versions):
        if version.provenance.kind != "rollback":
            continue
        provenance = version.provenance
        if provenance.operation_id in details:
            records.append(details[provenance.operation_id])
            continue
        previous = versions[position - 1].number if position else 0
        records.append(
            RollbackRecord(
                timestamp=provenance.created_at,
                trigger=provenance.trigger,
                success=version.healthy,
                error_message=None if version.healthy else "the update failed",
                previous_state_version=previous,
                version=version.number,
                source_version=provenance.source_version,
                operation_id=provenance.operation_id,
                actor=provenance.actor,
                reason=provenance.reason,
                duration_seconds=version.duration_seconds,
            )
        )
    return records
