"""How it is about a deployment's backups, from what the instance tells. Pure."""

from __future__ import annotations

from datetime import datetime

from geusemaker.agent.protocol.backups import BackupFailure, BackupPlan, Backups, LastBackup
from geusemaker.agent.retention import is_old
from geusemaker.models.checkpoint import BackupState


def backup_state(told: Backups, now: datetime) -> BackupState:
    """The same, with the age of the last one."""
    plan, done, failed = told.plan or BackupPlan(), told.done or LastBackup(), told.failed or BackupFailure()
    at = _moment(done.at)
    every = plan.every_seconds
    return BackupState(
        every_seconds=every or None,
        keep=plan.keep or None,
        since=_moment(plan.since),
        last=done.backup,
        last_at=at,
        last_age_seconds=max(0.0, (now - at).total_seconds()) if at is not None else None,
        last_bytes=done.bytes,
        problem=failed.detail,
        too_old=bool(every) and is_old(now.isoformat(), every, plan.since, done.at),
    )


def backup_note(name: str, state: BackupState | None) -> str:
    """What a person is to look at; empty: nothing."""
    if state is None or not state.too_old:
        return ""
    last = "There is no backup" if state.last_at is None else "The last backup is too old"
    why = f": {state.problem.rstrip('.')}" if state.problem else ""
    return f"{last}{why}. One is planned every {state.every}; `geusemaker backup {name}` tries."


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
