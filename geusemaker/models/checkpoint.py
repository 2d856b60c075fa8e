"""Checkpoints: copies of the data, taken before something could change it for good."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from geusemaker.catalog.service import ServiceName
from geusemaker.models.base import Model
from geusemaker.models.held import Held as Held
from geusemaker.models.held import Replacement as Replacement
from geusemaker.models.plan import CheckResult


class N8nFiles(Model):
    """What n8n's executions received and made (binary data), as a checkpoint holds it."""

    model_config = ConfigDict(extra="ignore")

    folders: tuple[str, ...] = ()
    """Those in n8n's own folder: ``binaryData``, ``storage``."""
    files: int = 0
    """How many there are."""
    bytes: int = 0
    """Of all files; they are hard links, so they take room only once n8n has removed its own."""


class DataNow(Model):
    """What is there now, in the form of what a checkpoint holds."""

    model_config = ConfigDict(extra="ignore")

    versions: Mapping[str, str] = Field(default_factory=dict)
    migrations: tuple[str, ...] | None = None
    holds: tuple[Held, ...] = ()
    n8n_key: str = ""


class Checkpoint(Model):
    """One checkpoint, as its own file on the file system describes it."""

    model_config = ConfigDict(extra="ignore")

    checkpoint: str
    """Its name: ``vN/OPERATION``."""
    version: int
    """The version whose data it holds."""
    operation: str
    """The operation before which it was taken."""
    kind: str
    """That operation's kind: update, rollback, recover or restore; ``backup``: no change took it."""
    taken_at: datetime
    """When."""
    images: Mapping[str, str] = Field(default_factory=dict)
    """Service → the image that ran then."""
    versions: Mapping[str, str] = Field(default_factory=dict)
    """Service → the version it told of itself, where that matters (Qdrant)."""
    migrations: tuple[str, ...] | None = None
    """Those that n8n's database had been through."""
    holds: tuple[Held, ...] = ()
    """Its databases and collections."""
    n8n_key: str = ""
    """What tells the encryption key that n8n had from another one; empty: not known."""
    by: str = ""
    """Who asked for it, of a backup."""
    planned: bool = False
    """Whether it was taken by itself; of those some are kept, and the others go."""
    verified_at: datetime | None = None
    """When all of it was read again after it was written, and found whole; None: it was not, or is no backup."""
    n8n_files: N8nFiles | None = None
    """None: it is of a geusemaker that left them out, or n8n had no folder."""

    @property
    def precedes_restore(self) -> bool:
        """Whether it holds what a restore was about to replace."""
        return self.kind == "restore"

    @property
    def is_backup(self) -> bool:
        """Whether it was asked for, and not taken before a change."""
        return self.kind == "backup"

    @property
    def bytes(self) -> int:
        """The size of its dumps and snapshots; n8n's files are links."""
        return sum(held.bytes for held in self.holds)

    @property
    def services(self) -> tuple[ServiceName, ...]:
        """Those whose data it holds; one without a single database or collection left no trace."""
        found: dict[ServiceName, None] = {held.service: None for held in self.holds}
        return tuple(found)


class RestorePlan(Model):
    """What a restore would do, shown before the question."""

    deployment: str
    """The deployment's name."""
    operation_id: str
    """The operation's own id, which sorts by time."""
    checkpoint: Checkpoint
    """What is to be put in place."""
    services: tuple[ServiceName, ...]
    """Whose data of it."""
    replaced: tuple[Replacement, ...]
    """What is replaced by what."""
    left: tuple[Held, ...] = ()
    """What is there now and the checkpoint does not have: it stays as it is."""
    checks: tuple[CheckResult, ...] = ()
    """What was looked at before anything was changed, with the verdicts."""
    downtime: str = ""
    """One sentence: what stops, for about how long."""
    data_notice: str = ""
    """One sentence: what happens to the data that is there now."""
    reason: str = ""
    """Why, in the words of whoever did it."""
    active_version: int
    """The number of the version that runs now."""
    target_kind: Literal["local", "aws", "unknown"] = "unknown"
    """Where it is."""


class BackupState(Model):
    """How it is about a deployment's backups."""

    every_seconds: float | None = None
    """How often one is taken by itself; None: none is."""
    keep: int | None = None
    """How many of those are kept."""
    since: datetime | None = None
    """When that was set."""
    last: str = ""
    """The id of the last good one, whoever asked for it; empty: there is none."""
    last_at: datetime | None = None
    """When it was taken."""
    last_age_seconds: float | None = None
    """How long ago that is."""
    last_bytes: int = 0
    """The size of its dumps and snapshots."""
    problem: str = ""
    """Why the last planned one was not made, if none was since."""
    too_old: bool = False
    """Whether none came for twice the interval."""

    @property
    def every(self) -> str:
        """How often, as it is typed: ``24h``, ``90m``; empty: none is taken by itself."""
        minutes, rest = divmod(self.every_seconds or 0, 60)
        if rest:
            return f"{self.every_seconds:g}s"
        hours, rest = divmod(minutes, 60)
        return (f"{minutes:g}m" if rest else f"{hours:g}h") if minutes else ""


class BackupList(Model):
    """The backups of a deployment, newest first."""

    deployment: str
    """The deployment's name."""
    backups: list[Checkpoint] = Field(default_factory=list)
    """Newest first."""
    state: BackupState = Field(default_factory=BackupState)
    """How often one is taken by itself, and what came of the last one."""


class CheckpointList(Model):
    """The checkpoints of a deployment, newest first."""

    deployment: str
    """The deployment's name."""
    default: str | None = None
    """The one that a restore without a name takes."""
    checkpoints: list[Checkpoint] = Field(default_factory=list)
    """Newest first."""
