"""What a deployment costs a month, as far as AWS's price list tells."""

from __future__ import annotations

from datetime import date
from typing import Final

from pydantic import Field

from geusemaker.models.base import Model

HOURS_A_MONTH: Final = 730
"""As AWS's own calculator has it: docs.aws.amazon.com/pricing-calculator/latest/userguide/."""


class Rates(Model):
    """What AWS asks for in a region, in US dollars, on demand and without tax; None: not to be had."""

    instances: dict[str, float | None] = Field(default_factory=dict)
    """Instance type → an hour of Linux on it."""
    spot: dict[str, float | None] = Field(default_factory=dict)
    """Instance type → an hour of Linux on a spot instance, as it is now; empty: not asked for."""
    volume: float | None = None
    """A GiB of a gp3 volume for a month."""
    address: float | None = None
    """A public IPv4 address for an hour."""
    efs: float | None = None
    """A GiB of EFS's standard storage for a month."""
    efs_read: float | None = None
    """A GiB that is read by elastic throughput."""
    efs_write: float | None = None
    """A GiB that is written by it."""
    day: date | None = None
    """When the oldest of these was asked for; None: none was to be had."""
    problem: str = ""
    """Why not all of it was to be had, in a sentence; empty: it was."""


class CostLine(Model):
    """One thing that is paid for by the month, in US dollars."""

    what: str
    """instance, volumes, address or EFS."""
    detail: str = ""
    """Which, or how much of it: ``t3.large → t3.xlarge``, ``60 GiB``."""
    before: float | None = None
    """What it costs now; 0: nothing, there is none; None: unknown."""
    after: float | None = None
    """What it costs afterwards, likewise."""


class Cost(Model):
    """What a deployment costs a month, before a change and after it, in US dollars."""

    lines: tuple[CostLine, ...]
    """One each."""
    day: date | None = None
    """When the prices were asked for."""
    problem: str = ""
    """Why something is unknown; empty: nothing is."""
    notes: tuple[str, ...] = ()
    """What else is paid for, by use, one sentence each."""

    @property
    def before(self) -> float | None:
        """All that is paid now; None: a part of it is unknown."""
        return _sum([line.before for line in self.lines])

    @property
    def after(self) -> float | None:
        """All that is paid afterwards; None: a part of it is unknown."""
        return _sum([line.after for line in self.lines])


def _sum(parts: list[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return round(sum(known), 2) if len(known) == len(parts) else None
