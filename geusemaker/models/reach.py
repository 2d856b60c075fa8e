"""What the verbs that reach a deployment answer."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from geusemaker.models.base import Model


class LogLine(NamedTuple):
    """A line that a service wrote."""

    service: str
    line: str
    time: datetime | None
    """When, in UTC; None: Docker does not tell."""


class CommandResult(Model):
    """What a command on the instance, or in a service's container, came to."""

    exit_code: int
    """Its own; 128 and the signal's number where a signal ended it."""
    stdout: str = ""
    """What it printed; bytes that are no UTF-8 are replaced."""
    stderr: str = ""
    """What it complained of."""
