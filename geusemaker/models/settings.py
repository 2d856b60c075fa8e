"""Settings of geusemaker's own, which a version keeps."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_serializer

from geusemaker.models import fields
from geusemaker.models.base import Model

HealthDeadline = Annotated[int, Field(ge=5, le=1800)]
Successes = Annotated[int, Field(ge=1, le=10)]
DeadlineMinutes = Annotated[int, Field(ge=5, le=60)]
Retention = Annotated[int, Field(ge=1, le=50)]
BakeSeconds = Annotated[int, Field(ge=0, le=86_400)]


class HealthSettings(Model):
    """How long services may take to become healthy, in seconds."""

    deadline_seconds: Annotated[HealthDeadline, fields.HEALTH_DEADLINE] = 180
    """So long a service may take to become healthy."""
    consecutive_successes: Annotated[Successes, fields.SUCCESSES] = 2
    """So often in a row its probe has to succeed."""


class RollbackSettings(Model):
    """What happens when a change fails, and how many versions are kept ready."""

    auto_rollback_on_failure: Annotated[bool, fields.AUTO_ROLLBACK] = True
    """Whether a change that fails goes back by itself."""
    deadline_minutes: Annotated[DeadlineMinutes, fields.DEADLINE] = 15
    """So long a change may take."""
    retention: Annotated[Retention, fields.RETENTION] = 5
    """So many versions are kept ready to go back to."""
    on_interruption: Annotated[fields.OnInterruption, fields.ON_INTERRUPTION] = "wait"
    """What ``recover`` does when a spot instance was taken back: wait for capacity of its kind, or bring the version
    back on demand."""
    bake_seconds: Annotated[BakeSeconds, fields.BAKE] = 0
    """So long each update is watched once its gate has passed."""

    @model_serializer(mode="wrap")
    def _said(self, handler: Any) -> dict[str, Any]:
        # As it was stored before there were such fields, where they say nothing.
        unsaid = (("on_interruption", "wait"), ("bake_seconds", 0))
        return {key: value for key, value in handler(self).items() if (key, value) not in unsaid}
