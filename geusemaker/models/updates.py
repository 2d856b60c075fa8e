"""Newer releases of what runs, and the published holes that each closes: ``status --updates``."""

from __future__ import annotations

from datetime import date

from geusemaker.models.advisory import Hole
from geusemaker.models.base import Model
from geusemaker.models.stack import ServiceName


class UpdateStep(Model):
    """A newer image that a service can go to in one step."""

    image: str
    """``repository:tag``."""
    closes: tuple[Hole, ...] | None
    """The published holes, critical and high, of what runs that it does not have; None: not known."""


class ServiceUpdates(Model):
    """What there is newer of one service."""

    service: ServiceName
    """Which."""
    image: str
    """What runs, as ``repository:tag``."""
    steps: tuple[UpdateStep, ...] = ()
    """The newest release of each minor line that it can go to, oldest first."""
    holes: tuple[Hole, ...] | None = None
    """The published holes, critical and high, of what runs; None: not known."""
    day: date | None = None
    """Of when the holes are, where the database could not be asked now."""
    problem: str = ""
    """Why there are no steps to tell of, as the end of a sentence; empty: it is known."""
    holes_problem: str = ""
    """Why its holes are not known, likewise; empty: they are, or nobody was asked."""


class Updates(Model):
    """What there is newer of a deployment's services."""

    deployment: str
    """The deployment's name."""
    services: tuple[ServiceUpdates, ...] = ()
    """Those of the catalogue that run; of one's own, nobody knows what can follow what."""
    asked_for_holes: bool = True
    """Whether somebody was asked for holes."""
