"""What ``rehearse`` takes, and what it answers; the file system keeps the latest answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from geusemaker.agent.protocol.reading import Json


@dataclass(frozen=True)
class RehearseDocument:
    """Starts other images on a copy of the data, and then those that run now on what they left."""

    operation: str
    before: Json
    """Service → how it runs now, as in ``GateDocument``."""
    target: Json
    """Service → how it is to run, likewise."""
    environment: dict[str, dict[str, str]] = field(default_factory=dict)
    """Service → the variables that are others in a rehearsal."""
    works: Json = field(default_factory=dict)
    """Service → what it is asked once it is ready (``method``, ``path``, ``port``, ``body``): below 500 it works."""
    memory_mib: int = 0
    """What the services cannot live without."""
    deadline_seconds: float = 600
    """For each service to become ready."""


@dataclass(frozen=True)
class RehearsedService:
    """How a service was found that was started on a copy of the data."""

    ready: bool = False
    seconds: float = 0.0
    """From its start until it was ready, or was given up."""
    reason: str = ""
    """What was seen of it last."""
    works: bool = False
    """Whether it answered, once it was ready, what it was asked beside that."""
    problem: str = ""
    """What it answered, where it did not work."""
    migrated_seconds: float = 0.0
    """From its start to its last migration; 0: it ran none."""
    logs: list[str] = field(default_factory=list)
    """The last lines of one that ended."""


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal came to."""

    operation: str = ""
    at: str = ""
    """When it ended: ISO 8601, UTC."""
    images: dict[str, str] = field(default_factory=dict)
    """Service → the image that was tried."""
    before: dict[str, str] = field(default_factory=dict)
    """Service → the one that ran then, and was started on what those left."""
    isolated: bool = False
    """Whether it was in a network that leads nowhere."""
    copied_bytes: int = 0
    copied_seconds: float = 0.0
    migrations: list[str] = field(default_factory=list)
    """Those that ran."""
    ahead: dict[str, RehearsedService] = field(default_factory=dict)
    """Service → how it started on the copy; what comes after one that did not is left out."""
    back: dict[str, RehearsedService] = field(default_factory=dict)
    """Service → how what runs now started on what that left."""
