"""Why an instance does not run."""

from __future__ import annotations

from typing import Literal

from geusemaker.models.base import Model


class InstanceEnd(Model):
    """Why the instance does not run, or did not."""

    instance_id: str = ""
    """``i-…``; empty: not known any more."""
    cause: Literal["interrupted", "on_purpose", "ending", "returned", "unknown"]
    """Nobody wanted it (EC2 took a spot instance back, or it went down by itself); somebody did, through AWS; EC2 has
    given notice; EC2 took it back and has started it again; not known."""
    why: str = ""
    """A phrase; empty: not known."""
