"""What is wrong with a machine or with a deployment's files, and what mends it: the documents of ``doctor``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from geusemaker.models.base import Model
from geusemaker.models.plan import CheckResult


class EngineInfo(Model):
    """The Pulumi engine in use: its path, version and where it came from."""

    path: str
    """The program."""
    version: str
    """As it tells it."""
    source: Literal["environment", "path", "cache", "installer", "built"]
    """Where it was found."""


class DoctorReport(Model):
    """What ``doctor`` found on this machine."""

    ok: bool
    """Whether nothing is missing."""
    engine: EngineInfo | None
    """None: there is none that can be used."""
    problems: list[str] = Field(default_factory=list)
    """What is missing and how to get it, one sentence each."""
    checks: list[CheckResult] = Field(default_factory=list)
    """Everything that was looked at."""
    details: dict[str, Any] = Field(default_factory=dict)
    """Folders and addresses, by name."""


class RepairStep(Model):
    """A file of a deployment's backend or workspace that cannot be used, and what would be done about it."""

    kind: Literal["state", "history", "tags", "store", "lock", "config"]
    """What it is a file of."""
    file: str
    """Its name in the backend or the workspace."""
    reason: str
    """What is wrong with it."""
    action: str
    """What mends it, as the end of a sentence about the file."""
    possible: bool = True
    """False: nothing mends it by itself."""


class RepairReport(Model):
    """What ``doctor NAME --repair`` did."""

    deployment: str
    """The deployment's name."""
    steps: list[RepairStep] = Field(default_factory=list)
    """What was done."""
    kept: list[str] = Field(default_factory=list)
    """Where the damaged files are now."""
    next_step: str = ""
    """What to type or do next; empty: nothing."""
