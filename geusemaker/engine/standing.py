"""How versions stand to one another: verdicts on their systems, where each came from, what is past retention. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from geusemaker.models.version import RollbackRecord, Version


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
    """The number under which a version's config was first made: that of a rollback is its source's.

    One of some services alone has a config of its own.
    """
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
                services_from=provenance.services_from,
                operation_id=provenance.operation_id,
                actor=provenance.actor,
                reason=provenance.reason,
                duration_seconds=version.duration_seconds,
            )
        )
    return records
