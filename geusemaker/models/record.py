"""What the journal keeps of an operation: what Pulumi's history has no place for."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from pydantic import Field

from geusemaker.models.bake import BakeReport
from geusemaker.models.base import Model
from geusemaker.models.history import IntentKind
from geusemaker.models.result import OperationResult, RestoreResult
from geusemaker.models.stack import StackConfig
from geusemaker.models.version import Provenance, RollbackRecord, Trigger

_TOLD: Final = (
    "operation_id",
    "deployment",
    "kind",
    "success",
    "error_message",
    "changes",
    "health_status",
    "duration_seconds",
    "away_seconds",
    "evidence",
    "bake",
)
"""The fields of a record that are those of the operation's result."""


class OperationRecord(Model):
    """One operation: who, why, what changed and what came of it. One JSON line of the journal; no secret in it."""

    operation_id: str
    deployment: str
    kind: IntentKind
    number: int
    from_version: int | None = None
    source_version: int | None = None
    services_from: dict[str, int] = Field(default_factory=dict)
    """A rollback of some services alone: service → the version that it went back to."""
    trigger: Trigger = "manual"
    actor: str
    reason: str = ""
    started_at: datetime
    duration_seconds: float = 0.0
    away_seconds: dict[str, float] | None = None
    """Service → how long it was away; None: by a geusemaker that did not measure it."""
    success: bool
    error_message: str | None = None
    changes: list[str] = Field(default_factory=list)
    health_status: dict[str, bool] = Field(default_factory=dict)
    evidence: str | None = None
    bake: BakeReport | None = None
    """What was seen of the version after its gate had passed, with the figures or the test that took it back."""
    manifest_before: dict[str, Any] | None = None
    manifest_after: dict[str, Any] | None = None
    checkpoint: dict[str, Any] | None = None
    """What was copied before anything was changed: the checkpoint's name, and what it holds."""
    restored: str = ""
    """restore, or a rollback with its data: the checkpoint whose data was put in place."""
    rollback: RollbackRecord | None = None
    config: StackConfig | None = None
    """The version's config, in the copy beside the data only: a history that lost the version has it from there."""
    provenance: Provenance | None = None


def told_by(result: OperationResult | RestoreResult) -> dict[str, Any]:
    """The fields of an operation's record that its result tells."""
    return {name: getattr(result, name) for name in _TOLD if name in type(result).model_fields}
