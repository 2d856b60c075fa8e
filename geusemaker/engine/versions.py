"""From Pulumi's history to numbered versions. Pure: nothing is read or written here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from geusemaker.engine.sites import fit, opened_otherwise, site_of
from geusemaker.engine.standing import archive, judge
from geusemaker.engine.updates import damage
from geusemaker.models.history import BESIDE, HistoryEntry, StackTags
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Provenance, UnreadableVersion, Version, VersionStatus, WayBackKind

_IN_PROGRESS: Final = "in-progress"
_WITHOUT_VERSION: Final = ("restore", "stop", "start", "rotate-ssh", "rotate-database", "import-n8n-key", *BESIDE)


def read_state(name: str, entries: Iterable[HistoryEntry], tags: StackTags, fell_ill: str = "") -> DeploymentState:
    """The state of a deployment, from its stack's history (newest first) and tags.

    Only untargeted updates make versions that ran. Refresh and destroy entries carry a config as well and also say
    succeeded: where it is the config of an operation without an update of its own, that one was killed.

    Args:
        name: the deployment's.
        entries: its history.
        tags: what is noted beside it.
        fell_ill: an operation that has just failed although its update succeeded: its services passed the gate, and did
            not at the last look. Versions are as if its update had failed.
    """
    entries = [_failed(entry) if _made_by(entry, fell_ill) else entry for entry in entries]
    oldest_first = _by_number([entry for entry in reversed(entries) if not _is_targeted(entry)])
    every_update = [entry for entry in oldest_first if entry.kind == "update"]
    updates = [entry for entry in every_update if entry.provenance and entry.config]
    last = updates[-1] if updates else None
    versions = _versions(updates, tags)
    versions = sorted([*versions, *_interrupted(oldest_first, versions, tags)], key=lambda version: version.number)
    site = site_of(updates)
    versions = judge(fit(versions, site))
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
    killed = without_entry and intent is not None and not intent.outcome and intent.kind not in BESIDE
    interrupted = intent is not None and (intent.unsettled or killed)
    return DeploymentState(
        name=name,
        versions=tuple(archive(versions, destroyed)),
        target=place.target.model_copy(update={"site": site}) if place is not None and place.target else None,
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
        stopped=tags.stopped,
        labels=tags.labels,
        rotation=next((entry.rotation for entry in entries if entry.says_target), ""),
        highest_number=max((_number(entry) for entry in every_update), default=0),
        unreadable=(every_update[-1].unreadable if every_update else "")
        or (place.unreadable if place is not None and place.target is None else ""),
        unreadable_versions=tuple(_unreadable(entry) for entry in every_update if entry.unreadable),
        unreadable_intent=tags.unreadable,
        unreadable_marks=tags.unreadable_marks,
        damaged=damage(entries),
    )


def _made_by(entry: HistoryEntry, operation: str) -> bool:
    return entry.provenance is not None and entry.provenance.operation_id == operation


def _failed(entry: HistoryEntry) -> HistoryEntry:
    return entry.model_copy(update={"result": "failed"})


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
    otherwise = opened_otherwise(by_operation.values())
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
                gate_failed=entry.provenance.number in {*tags.verdicts.failed} - otherwise,
                newer_data=entry.provenance.number in tags.verdicts.newer,
                way_back=_way_back(entry.provenance, tags) if healthy else None,
                duration_seconds=(entry.ended_at - entry.started_at).total_seconds() if entry.ended_at else None,
            )
        )
    return sorted(versions, key=lambda version: version.number)


def _way_back(provenance: Provenance, tags: StackTags) -> WayBackKind | None:
    """As it was foreseen, or as it turned out where that is another."""
    foreseen = provenance.way_back
    return tags.verdicts.returns.get(provenance.number, foreseen.kind if foreseen is not None else None)
