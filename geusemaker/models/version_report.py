"""Everything known about one version."""

from __future__ import annotations

from pydantic import Field

from geusemaker.models.base import Model
from geusemaker.models.comparison import Comparison
from geusemaker.models.plan import ConfigChange
from geusemaker.models.version import Version


class VersionReport(Model):
    """One version: what it runs, how it came about, how it went, and what a return to it would do."""

    deployment: str
    """The deployment's name."""
    version: Version
    """Its config, who made it, when and why, and what became of it."""
    config_told: list[ConfigChange]
    """Every value of the config as a person may see it; variables that look like secrets without theirs."""
    active: bool
    """Whether it is what the deployment runs now."""
    default_target: bool
    """Whether a rollback without a number goes to it."""
    error_message: str | None = None
    """What went wrong when it was made, one sentence or two; None: nothing did, or it is not known."""
    health_status: dict[str, bool] = Field(default_factory=dict)
    """Service → whether it was healthy at the end; empty where that is not known."""
    operation_seconds: float | None = None
    """How long the whole operation took, checks included; None: not known."""
    evidence: str | None = None
    """Folder with logs and probe answers, on the machine that made it; None: there is none."""
    back: Comparison | None = None
    """What differs from the active version to it; None: it is the active one, or there is none."""
    objections: list[str] = Field(default_factory=list)
    """What speaks against a return to it, as the end of a sentence about it."""
    command: str = ""
    """The command that returns to it; empty: there is nothing to return to."""
    notes: list[str] = Field(default_factory=list)
    """What could not be looked at, one sentence each."""
