"""Versions of a deployment and the records of the operations that made them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from geusemaker.models.base import Model
from geusemaker.models.stack import StackConfig

OperationKind = Literal["deploy", "update", "rollback", "recover"]
RotationKind = Literal["rotate-ssh", "rotate-database"]
"""What changes a secret: it makes no version."""
VersionStatus = Literal["pending", "active", "superseded", "failed", "interrupted"]
Trigger = Literal["manual", "health_check_failed", "timeout", "spot_interruption", "apply_failed"]
"""``apply_failed``: the engine, AWS or the instance refused, and the services were not judged."""


class Provenance(Model):
    """Where a version comes from; stored beside its StackConfig under ``geusemaker:version``."""

    number: int = Field(ge=1)
    operation_id: str
    previous_operation_id: str = ""
    """The operation before this one; its lease is the one this operation may take over."""
    takes_over: bool = False
    """Whether this operation may take the lease from the previous one, whose owner is known to be gone."""
    other_instances: tuple[str, ...] = ()
    """Living instances besides the deployment's own: while one of them serves the data, no other may."""
    kind: OperationKind
    source_version: int | None = None
    trigger: Trigger = "manual"
    actor: str
    reason: str = ""
    created_at: datetime


class Version(Model):
    """A numbered, immutable StackConfig of a deployment and what became of it.

    ``healthy`` is a recorded fact: the update that made the version ended with its gate passed.
    """

    provenance: Provenance
    config: StackConfig
    status: VersionStatus
    healthy: bool
    same_as: int | None = None
    """The oldest version with the same system; None where this is it."""
    bad: bool = False
    """It, or another version with the same system, was marked bad."""
    gate_failed: bool = False
    """Its own services failed their gate, or were found failing after it."""
    newer_data: bool = False
    """It became healthy on data that newer software had migrated, and is not known to work on it."""
    failed_as: int | None = None
    """The version as which this system's services failed when it was last tried; None when they did not."""
    newer_data_as: int | None = None
    """The version as which this system last became healthy, on newer data; None when it was on data of its own."""
    pinned: bool = False
    archived: bool = False
    note: str = ""
    """Why and by whom it was marked or pinned."""
    duration_seconds: float | None = None

    @property
    def number(self) -> int:
        """The version's number; numbers only grow."""
        return self.provenance.number


class UnreadableVersion(Model):
    """A version that another geusemaker wrote in words that this one cannot read."""

    number: int | None = None
    """None where not even that can be read."""
    created_at: datetime
    """When its update began."""
    succeeded: bool
    why: str
    """What of it cannot be read."""


class RollbackRecord(Model):
    """One rollback, as the story's data model has it, with what else a reader of history asks for."""

    timestamp: datetime
    trigger: Trigger
    resources_deleted: list[str] = Field(default_factory=list)
    success: bool
    error_message: str | None = None
    previous_state_version: int
    rolled_back_changes: list[str] = Field(default_factory=list)
    version: int | None = None
    source_version: int | None = None
    operation_id: str = ""
    actor: str = ""
    reason: str = ""
    health_status: dict[str, bool] = Field(default_factory=dict)
    duration_seconds: float | None = None
