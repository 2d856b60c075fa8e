"""Backups: what the agent keeps of them on the file system, and what it takes to make and to plan them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BackupPlan:
    """How often a backup is taken without anybody asking."""

    every_seconds: float = 0
    keep: int = 0
    """So many of those stay."""
    since: str = ""
    """When that was set: ISO 8601, UTC."""
    by: str = ""


@dataclass(frozen=True)
class LastBackup:
    """The last good one."""

    checkpoint: str = ""
    """``vN/ID``"""
    backup: str = ""
    """Its id."""
    at: str = ""
    """When it was taken: ISO 8601, UTC."""
    bytes: int = 0
    planned: bool = False


@dataclass(frozen=True)
class BackupFailure:
    """Why a planned one was not made, since the last good one."""

    at: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Backups:
    """How it is about backups; None: there is none of it."""

    plan: BackupPlan | None = None
    done: LastBackup | None = None
    failed: BackupFailure | None = None


@dataclass(frozen=True)
class BackupDocument:
    """Copies all that services hold, under no lease: whoever takes it ends this. The instance's timer gives none."""

    operation: str
    number: int
    """The version whose data it is."""
    by: str
    """Who asks for it."""
    deadline_seconds: float | None = None


@dataclass(frozen=True)
class ScheduleDocument:
    """Sets how often a backup is taken without anybody asking, and how many of those are kept."""

    operation: str
    by: str
    every_seconds: float = 0
    """0: none is taken."""
    keep: int = 0
