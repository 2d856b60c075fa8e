"""What the agent keeps on the file system, as it tells it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sentinel:
    """Tells on the file system whose data it is, and on which file system it was made."""

    deployment: str | None = None
    file_system_id: str | None = None


@dataclass(frozen=True)
class Owner:
    """The process that took a lease, and when it began, as its system counts."""

    host: str | None = None
    pid: int | None = None
    born: str | None = None


@dataclass(frozen=True)
class Lease:
    """The one right to change the deployment, or what is left of the last one's."""

    operation: str = ""
    state: str = ""
    """``held`` or ``released``."""
    changed: bool = False
    """Whether its operation may have changed what runs."""
    last_changed: str | None = None
    """The operation before it that changed what runs."""
    idle: tuple[str, ...] = ()
    """Operations after that one that changed nothing."""
    serving: str | None = None
    """The instance whose containers were started on the data last."""
    kind: str | None = None
    actor: str | None = None
    owner: Owner = Owner()
    """Of a lease that ``apply`` took by itself nothing is known."""
    instance_id: str | None = None
    number: int = 0
    """That of the version it makes; 0: not known."""
    taken_at: str | None = None
    gives_way: bool = False
    """Whether its operation is done and only looks on: a rollback or a recovery may take it."""


@dataclass(frozen=True)
class Stopped:
    """The note on a service that somebody stopped on purpose."""

    by: str = ""
    since: str = ""
    """ISO 8601, UTC."""
    reason: str = ""


@dataclass(frozen=True)
class SpotNotice:
    """EC2's word that it takes the instance back, and what the instance did about it."""

    instance_id: str = ""
    action: str = ""
    """``stop`` or ``terminate``."""
    at: str = ""
    """When EC2 does it."""
    noticed_at: str = ""
    boot: str = ""
    """In which boot."""
    stopped: tuple[str, ...] = ()
    """The services that were stopped in order."""
    returned_at: str = ""
    """When it had started them again, after EC2 had started it; empty: it has not."""


@dataclass(frozen=True)
class Served:
    """The image that last ran healthy on a service's data; nothing in a note that cannot be read."""

    image: str = ""
