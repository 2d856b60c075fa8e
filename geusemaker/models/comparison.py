"""What differs between two configs of a deployment, as ``diff`` tells it."""

from __future__ import annotations

from pydantic import Field

from geusemaker.models.base import Model
from geusemaker.models.plan import ConfigChange, ResourceOperation


class Comparison(Model):
    """What differs between two versions of a deployment, or a version and a stack file."""

    deployment: str
    """The deployment's name."""
    old: str
    """What is compared: ``v2``."""
    new: str
    """What it is compared with: ``v3``."""
    old_version: int | None = None
    """The number of ``old``; None: it is no version."""
    new_version: int | None = None
    """The number of ``new``; None: it is no version."""
    same: bool
    """Whether both ask for the same running system; settings of geusemaker's own do not count."""
    changes: list[ConfigChange] = Field(default_factory=list)
    """Every difference between the configs, and of a file also in what no version has; variables that look like secrets
    without their values."""
    note: str = ""
    """What else has to be known: that something else may run, or that an update with the file would be refused."""
    services: list[str] = Field(default_factory=list)
    """The services whose container is another one."""
    compose: list[str] = Field(default_factory=list)
    """How the compose file differs, as the lines of a unified diff of its YAML."""
    resources: list[ResourceOperation] = Field(default_factory=list)
    """What Pulumi would do to the resources that depend on the config: worked out from the configs, not asked of it."""
