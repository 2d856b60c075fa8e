"""What was seen of a version while it was watched after its gate had passed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from geusemaker.models.base import Model
from geusemaker.models.stack import ServiceName

Figure = Literal["restarts", "readiness", "error_lines", "memory", "answer_seconds"]


class Regression(Model):
    """A service that does worse than before the change."""

    service: ServiceName
    """Which."""
    figure: Figure
    """What of it. ``error_lines``: a minute; ``memory``: the part of its limit that it uses."""
    before: float | None = None
    """The figure before the change; None: it was not measured."""
    now: float | None = None
    """The figure that decided; None: it has none."""
    message: str
    """All that in words."""


class FailedTest(Model):
    """A test of the operator's that failed."""

    test: str
    """The command, the address, or the name of the function."""
    exit_code: int | None = None
    """The command's; None: it has none."""
    message: str
    """How it failed."""
    lines: list[str] = Field(default_factory=list)
    """The last lines that it wrote, without secrets."""


class BakeReport(Model):
    """What a bake came to."""

    seconds: float
    """How long it was to be; 0: tests were to pass once."""
    lasted_seconds: float
    """How long it was."""
    ended: Literal["passed", "regression", "test_failed", "interrupted", "gave_way", "unseen"]
    """How it ended. ``gave_way``: another operation took over; ``unseen``: the instance could not be asked at its
    end."""
    looks: int = 0
    """How often the services were measured."""
    tests: int = 0
    """How often all tests passed."""
    regressions: list[Regression] = Field(default_factory=list)
    """What did worse than before; empty: nothing."""
    failed_test: FailedTest | None = None
    """The test that failed; None: none did."""
