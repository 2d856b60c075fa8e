"""What the verbs that act answer, and how they fail. A field's default is what is read where it is left out."""

from __future__ import annotations

from dataclasses import dataclass, field

from geusemaker.agent.protocol.backups import Backups
from geusemaker.agent.protocol.reading import Json
from geusemaker.agent.protocol.stored import Lease, Stopped


@dataclass(frozen=True)
class Mounted:
    """All is mounted."""

    mounted: bool = True
    first: bool = False
    """Whether the file system was new."""
    unchanged: bool = False


@dataclass(frozen=True)
class Leased:
    """The lease that was taken, or given back."""

    lease: Lease


@dataclass(frozen=True)
class Cancelled:
    """The processes that were ended."""

    ended: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Pulled:
    """The services whose images were brought here, and those whose were here."""

    pulled: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Copied:
    """A checkpoint that was taken."""

    checkpoint: str = ""
    """Its name: ``vN/OPERATION``."""
    holds: list[Json] = field(default_factory=list)
    """Each database and collection, as in the checkpoint's own file."""


@dataclass(frozen=True)
class BackedUp:
    """A backup that was taken."""

    checkpoint: Json = field(default_factory=dict)
    """Its own file: what it is, and what it holds; empty: none was due."""
    removed: list[str] = field(default_factory=list)
    """Those of the plan that went for it."""
    skipped: str = ""
    """Why none was taken."""


@dataclass(frozen=True)
class Scheduled:
    """How it is about backups now."""

    backups: Backups = field(default_factory=Backups)


@dataclass(frozen=True)
class Restored:
    """What became of the data that was there before."""

    checkpoint: Copied = field(default_factory=Copied)
    kept: dict[str, str] = field(default_factory=dict)
    """Database → its name from now on."""
    set_aside: list[str] = field(default_factory=list)
    """The folders that n8n's files are in from now on."""


@dataclass(frozen=True)
class Loaded:
    """The databases that are loaded, and what those that are there will be called."""

    loaded: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Held:
    """The services that ran, and were stopped."""

    stopped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Newer:
    """Docker's packages that have a newer version: name → the present one, and that."""

    newer: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Renewed:
    """Those that were renewed, in the same way."""

    renewed: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Rested:
    """The services that are stopped on purpose by now."""

    stopped: dict[str, Stopped] = field(default_factory=dict)


@dataclass(frozen=True)
class Started(Rested):
    """The services that were started."""

    started: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Restarted:
    """The services that ran, and were started once more."""

    restarted: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Authorized:
    """How many other keys may log in."""

    others: int = 0


@dataclass(frozen=True)
class PasswordNoted:
    """The operation that changes the password, or n8n's key."""

    noted: str = ""


@dataclass(frozen=True)
class Applied:
    """What became of the services."""

    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    """Those that stay stopped."""
    restored: str = ""
    """The checkpoint whose data was put in place of what was there."""
    put_back: str = ""
    """The checkpoint whose data, that another operation had put in place, made way for what was there before."""
    put_there_by: str = ""
    """The operation that had put it in place."""
    kept: dict[str, str] = field(default_factory=dict)
    """Of either: database → the name under which what came out of its place is kept."""
    set_aside: list[str] = field(default_factory=list)
    """The folders of n8n's files that came out of theirs."""


@dataclass(frozen=True)
class Collected:
    """The images, and the checkpoints, that were removed."""

    removed: list[str] = field(default_factory=list)
    checkpoints_removed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FailedService:
    """How the gate left a service."""

    state: str = ""
    reason: str = ""
    logs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FailureDetail:
    """What a code's message leaves out."""

    holder: Lease | None = None
    """Of ``lease_held`` and ``lease_lost``: the lease that stands in the way."""
    services: dict[str, FailedService] = field(default_factory=dict)
    """Of the gate: how it left each service."""


@dataclass(frozen=True)
class Failure:
    """The agent's last line where it failed."""

    code: str = ""
    message: str = ""
    detail: FailureDetail = FailureDetail()


@dataclass(frozen=True)
class Watched:
    """One look of the instance at itself."""

    silent: str = ""
    """Why nothing was to be told; empty: what had changed was."""
    told: list[str] = field(default_factory=list)
    """The events that were told."""
    failures: list[str] = field(default_factory=list)
    """What was not reached, and why; of an address no more than its host."""


@dataclass(frozen=True)
class Notified:
    """Whether the instance looks at itself from now on."""

    watches: bool = False


@dataclass(frozen=True)
class Noticed:
    """Whether EC2 was seen to take the instance back."""

    noticed: bool = False
