"""From Pulumi's history to numbered versions. Pure: nothing is read or written here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from geusemaker.engine.updates import damage
from geusemaker.models.history import HistoryEntry, StackTags
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import RollbackRecord, UnreadableVersion, Version, VersionStatus

_IN_PROGRESS: Final = "in-progress"
_WITHOUT_VERSION: Final = ("restore", "stop", "start", "rotate-ssh", "rotate-database")


def read_state(name: str, entries: Iterable[HistoryEntry], tags: StackTags) -> DeploymentState:
    """The state of a deployment, from its stack's history (newest first) and tags.

    Only untargeted updates make versions that ran. Refresh and destroy entries carry a config as well and also say
    succeeded: where it is the config of an operation without an update of its own, that one was killed.
    """
    entries = list(entries)
    oldest_first = _by_number([entry for entry in reversed(entries) if not _is_targeted(entry)])
    every_update = [entry for entry in oldest_first if entry.kind == "update"]
    updates = [entry for entry in every_update if entry.provenance and entry.config]
    last = updates[-1] if updates else None
    versions = _versions(updates, tags)
    versions = sorted([*versions, *_interrupted(oldest_first, versions, tags)], key=lambda version: version.number)
    versions = judge(versions)
    destroyed = False
    for entry in oldest_first:
        if entry.kind == "destroy" and entry.result == "succeeded":
            destroyed = True
        elif entry.kind == "update":
            destroyed = False
    intent = tags.intent
    # A backend that lists an update before it ends says in-progress; that is no outcome.
    settled = {entry.provenance.operation_id for entry in updates if entry.provenance and entry.result != _IN_PROGRESS}
    # One without protection was for deleting the data; a later deploy protects it again.
    telling = [e for e in oldest_first if (e.target.protect if e.target is not None else e.says_target)]
    # Where it is now cannot be told from an older entry: nothing of what the newest says may be guessed.
    place = telling[-1] if telling else None
    without_entry = intent is not None and intent.operation_id not in settled
    if intent is not None and intent.kind == "destroy" and destroyed:
        without_entry = False  # killed after its work was done
    interrupted = intent is not None and (intent.unsettled or (without_entry and not intent.outcome))
    return DeploymentState(
        name=name,
        versions=tuple(archive(versions, destroyed)),
        target=place.target if place is not None else None,
        intent=intent,
        interrupted=interrupted,
        # An engine that had to be killed at its deadline leaves no entry: then only the intent knows of the failure.
        last_failed=(not destroyed and last is not None and last.result not in ("succeeded", _IN_PROGRESS))
        # A restore, a stop, a start or a rotation makes no version: what one that failed left is told by what runs.
        or (
            without_entry and intent is not None and intent.outcome == "failed" and intent.kind not in _WITHOUT_VERSION
        ),
        last_operation_id=intent.operation_id
        if intent is not None
        else (last.provenance.operation_id if last is not None and last.provenance is not None else ""),
        destroyed=destroyed,
        highest_number=max((_number(entry) for entry in every_update), default=0),
        unreadable=(every_update[-1].unreadable if every_update else "")
        or (place.unreadable if place is not None and place.target is None else ""),
        unreadable_versions=tuple(_unreadable(entry) for entry in every_update if entry.unreadable),
        unreadable_intent=tags.unreadable,
        unreadable_marks=tags.unreadable_marks,
        damaged=damage(entries),
    )


def _by_number(entries: Iterable[HistoryEntry]) -> list[HistoryEntry]:
    """Entries, oldest first by the clocks of the machines that made them, in the order in which they were made.

    Two clocks may disagree; numbers are given one after the other, under the lease. An entry without one follows the
    one before it. So does one that is no update and carries an older config, that of a machine which has not seen the
    latest: a destroy from there came after what it destroyed.
    """
    number, numbered = 0, []
    for entry in entries:
        own = _number(entry) or number
        number = own if entry.kind == "update" else max(own, number)
        numbered.append((number, entry))
    return [entry for _, entry in sorted(numbered, key=lambda pair: pair[0])]


def _unreadable(entry: HistoryEntry) -> UnreadableVersion:
    return UnreadableVersion(
        number=_number(entry) or None,
        created_at=entry.started_at,
        succeeded=entry.result == "succeeded",
        why=entry.unreadable,
    )


def _number(entry: HistoryEntry) -> int:
    return entry.provenance.number if entry.provenance is not None else entry.number or 0


def _is_targeted(entry: HistoryEntry) -> bool:
    """Whether an entry is the update that takes protection off data which is to be deleted: it made no version."""
    return entry.kind == "update" and entry.target is not None and not entry.target.protect


def _interrupted(entries: Sequence[HistoryEntry], versions: Sequence[Version], tags: StackTags) -> list[Version]:
    """The killed operations' versions, known only from entries that were made with their config afterwards."""
    ran = {version.provenance.operation_id for version in versions}
    killed = {
        entry.provenance.operation_id: (entry.provenance, entry.config)
        for entry in entries
        if entry.provenance and entry.config and entry.provenance.operation_id not in ran
    }
    return [
        Version(
            provenance=provenance,
            config=config,
            status="interrupted",
            healthy=False,
            bad=provenance.number in tags.bad,
            pinned=provenance.number in tags.pinned,
            note=tags.notes.get(provenance.number, ""),
        )
        for provenance, config in killed.values()
    ]


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
        if entry.result == _IN_PROGRESS:
            current = tags.intent is not None and tags.intent.operation_id == entry.provenance.operation_id
            status = "pending" if current else "interrupted"
        versions.append(
            Version(
                provenance=entry.provenance,
                config=entry.config,
                status=status,
                healthy=healthy,
                bad=entry.provenance.number in tags.bad,
                pinned=entry.provenance.number in tags.pinned,
                note=tags.notes.get(entry.provenance.number, ""),
                gate_failed=entry.provenance.number in tags.verdicts.failed,
                newer_data=entry.provenance.number in tags.verdicts.newer,
                duration_seconds=(entry.ended_at - entry.started_at).total_seconds() if entry.ended_at else None,
            )
        )
    return sorted(versions, key=lambda version: version.number)


def judge(versions: Sequence[Version]) -> list[Version]:
    """Give each version the verdicts on its system, whichever version they were passed on. Again is no different.

    A mark counts for every version with the same system. Whether its services failed, or ran on newer data only, is
    what they did when that system was tried last; a try that ended for lack of something else is none.
    """
    of_system: dict[str, list[Version]] = {}
    for version in versions:
        of_system.setdefault(version.config.system, []).append(version)

    def judged(version: Version) -> Version:
        same = of_system[version.config.system]
        last = next((tried for tried in reversed(same) if tried.healthy or tried.gate_failed), None)
        oldest = same[0]
        return version.model_copy(
            update={
                "same_as": oldest.number if oldest is not version else None,
                "bad": any(one.bad for one in same),
                "failed_as": last.number if last is not None and last.gate_failed else None,
                "newer_data_as": last.number if last is not None and last.newer_data and not last.gate_failed else None,
            }
        )

    return [judged(version) for version in versions]


def archive(versions: Sequence[Version], destroyed: bool = False) -> list[Version]:
    """Mark what is past retention. The active version and pinned ones never are.

    What is kept is the newest configs that ran healthy, as many as the active version's retention says. A rollback's
    version takes no place of its own beside its source: else going back step by step would archive the next step.
    """
    active = next((version for version in versions if version.status == "active"), None)
    if active is None:
        return list(versions)
    by_number = {version.number: version for version in versions}
    usable = {version.number: version for version in versions if version.healthy and not version.bad}
    candidates = sorted({**usable, active.number: active}.values(), key=lambda version: version.number, reverse=True)
    origins = list(dict.fromkeys(origin(by_number, version) for version in candidates))
    kept_origins = set(origins[: active.config.rollback.retention])
    kept = {version.number for version in candidates if origin(by_number, version) in kept_origins}
    oldest_kept = min(kept)

    def is_archived(version: Version) -> bool:
        if version.pinned or version.number in kept:
            return False
        return version.number < oldest_kept or (version.healthy and not version.bad)

    return [
        version.model_copy(
            update={
                "archived": is_archived(version),
                "status": "superseded" if destroyed and version is active else version.status,
            }
        )
        for version in versions
    ]


def origin(by_number: Mapping[int, Version], version: Version) -> int:
    """The number under which a version's config was first made: that of a rollback is its source's."""
    seen: set[int] = set()
    while version.provenance.source_version is not None and version.number not in seen:
        seen.add(version.number)
        source = by_number.get(version.provenance.source_version)
        if source is None:
            return version.provenance.source_version
        version = source
    return version.number


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
