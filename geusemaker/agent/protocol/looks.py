"""What the verbs that look answer. A field's default is what is read where it is left out."""

from __future__ import annotations

from dataclasses import dataclass, field

from geusemaker.agent.protocol.backups import Backups
from geusemaker.agent.protocol.data import Data
from geusemaker.agent.protocol.reading import Json, read
from geusemaker.agent.protocol.rehearsal import Rehearsal
from geusemaker.agent.protocol.stored import Lease, Sentinel, Served, SpotNotice, Stopped


@dataclass(frozen=True)
class RunningOperation:
    """A process of an operation on the instance."""

    operation: str
    verb: str
    pid: int


@dataclass(frozen=True)
class Holding:
    """Who holds the deployment, or did last; None: nobody ever."""

    lease: Lease | None = None
    lease_damaged: str | None = None
    """Why it cannot be read."""
    operations_running: list[RunningOperation] = field(default_factory=list)


@dataclass(frozen=True)
class Adoption:
    """What the data tells."""

    sentinel: Sentinel | None = None
    lease: Lease | None = None
    n8n_key: str | None = field(default=None, repr=False)
    """n8n's encryption key, of its own file; None: it cannot be had."""
    n8n_was_here: bool = False


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints' own files, oldest first, and what is there now in their form, where that was asked for."""

    checkpoints: list[Json]
    now: Json | None = None


@dataclass(frozen=True)
class Life:
    """What tells one life of a service's container from another."""

    container: str | None = None
    started_at: str | None = None
    age_seconds: float | None = None
    """For how long it runs; None: it does not."""
    restarts: int = 0


@dataclass(frozen=True)
class Passed(Life):
    """A service that passed the gate."""

    image: str | None = None
    healthy: bool = False


@dataclass(frozen=True)
class Gate:
    """All that is to run is healthy."""

    services: dict[str, Passed]
    stopped: dict[str, Stopped] = field(default_factory=dict)

    @property
    def health(self) -> dict[str, bool]:
        """Service → whether it is healthy."""
        return {name: service.healthy for name, service in self.services.items()}


@dataclass(frozen=True)
class Migration:
    """What n8n is at while it lives and is not ready."""

    state: str = ""
    """``working``, ``waiting`` (for a lock) or ``idle``."""
    done: int | None = None
    """How many of its migrations are."""
    detail: str = ""


@dataclass(frozen=True)
class ServiceHealth(Life):
    """A service at one moment."""

    image: str | None = None
    """The one that runs; None: there is no container."""
    state: str = ""
    """Docker's word for the container, or ``missing``."""
    healthy: bool | None = None
    """None: nobody knows how to ask it."""
    detail: str = ""
    address: str = ""
    pid: int | None = None
    migration: Migration | None = None


@dataclass(frozen=True)
class Figures(Life):
    """What was measured of a service; None: it could not be."""

    ready: bool | None = None
    detail: str = ""
    answer_seconds: float | None = None
    """How long it took to say that it is ready; the median where it was asked more than once."""
    memory_bytes: int | None = None
    """Without pages of files that the kernel can let go of."""
    memory_limit_bytes: int | None = None
    error_lines: int = 0
    """Lines of its log that tell of trouble, in the last …"""
    log_seconds: float = 0.0
    """… so many seconds."""


@dataclass(frozen=True)
class Measured:
    """Figures of each service that is to run."""

    services: dict[str, Figures] = field(default_factory=dict)


@dataclass(frozen=True)
class Mount:
    """What is mounted where the data belongs."""

    mounted: bool = False
    file_system_id: str | None = None


@dataclass(frozen=True)
class Space:
    """How large a file system is and how much of it is free, in bytes."""

    total_bytes: int = 0
    free_bytes: int = 0


@dataclass(frozen=True)
class DataVolume(Space):
    """The data volume of the deployment."""

    id: str = ""
    mounted: bool = False


@dataclass(frozen=True)
class DomainLook:
    """What is answered under a host name."""

    certificate_until: str = ""
    """ISO 8601, UTC; empty: there is none that a browser would take."""
    problem: str = ""
    """What is wrong."""
    status: int | None = None
    """HTTP's, of its first page."""


@dataclass(frozen=True)
class Health:
    """How everything is at one moment."""

    services: dict[str, ServiceHealth]
    mount: Mount
    disk: Space = Space()
    """Where images are kept."""
    data_volume: DataVolume | None = None
    """None: the deployment has none."""
    volumes: dict[str, list[str]] = field(default_factory=dict)
    """Service → where its data is, by the compose file on the instance."""
    missing_images: list[str] | None = None
    """The services whose image is not on the instance; None: not known."""
    differs: dict[str, list[str]] | None = None
    """Service → what of it an ``apply`` would replace: ``definition``, ``secrets``; None: not asked for."""
    lease: Lease | None = None
    lease_damaged: str | None = None
    """Why the lease cannot be read."""
    sentinel: Sentinel | None = None
    sentinel_known: bool = False
    """Whether the file system was looked at: no sentinel is only then one that is gone."""
    data_problem: str | None = None
    """Why it was not."""
    stopped: dict[str, Stopped] = field(default_factory=dict)
    interruption: SpotNotice | None = None
    """None: EC2 did not take the instance back since a version was applied last."""
    rehearsals: list[Rehearsal] = field(default_factory=list)
    """The latest ones, the newest last."""
    backups: Backups | None = None
    """None: it was not looked at, or by an agent of before."""
    domains: dict[str, DomainLook] | None = None
    """Host → how it answers; None: it was not asked, or by an agent of before."""
    models: dict[str, int] | None = None
    """Model of Ollama's → bytes; None: not asked for, or not told."""
    reboot: list[str] | None = None
    """Why the instance is to boot anew, one phrase each; None: an agent of before does not tell."""
    boot: str = ""
    """What tells this boot of the instance from others; empty: an agent of before does not tell."""
    operations_running: list[RunningOperation] = field(default_factory=list)
    instance_id: str | None = ""
    """None: see ``never_set_up``. Empty: an agent of before does not tell."""
    problem: str | None = None

    @property
    def never_set_up(self) -> bool:
        """Whether nothing was ever done on the instance but starting it."""
        return self.instance_id is None


@dataclass(frozen=True)
class FolderOwner:
    """Whose a folder with data is."""

    uid: int
    path: str


@dataclass(frozen=True)
class Manifest:
    """What the data is."""

    file_system_id: str | None = None
    sentinel: Json | None = None
    services: dict[str, Json] = field(default_factory=dict)
    """Service → what it holds, as records keep it."""
    served: dict[str, Served] = field(default_factory=dict)
    """Service → what last ran healthy on its data."""
    owners: dict[str, FolderOwner] = field(default_factory=dict)
    """Service → whose its folder is."""
    data_return: str = ""
    """The operation that has put older data in place and is not known to have come to its end; empty: none has."""

    @property
    def data(self) -> Data:
        """The same, to be asked."""
        return read(Data, self.record)

    @property
    def record(self) -> Json:
        """What is kept of it, and compared with another one's."""
        return {"file_system_id": self.file_system_id, "sentinel": self.sentinel, "services": self.services}


@dataclass(frozen=True)
class Logs:
    """How many lines were told."""

    lines: int = 0


@dataclass(frozen=True)
class LogEvent:
    """A line that came on the way."""

    service: str
    line: str
    time: str = ""
    """When it was written (RFC 3339, UTC), as Docker noted it."""


@dataclass(frozen=True)
class ServiceEvidence:
    """What is known of a service that may have failed."""

    logs: list[str] = field(default_factory=list)
    inspect: Json | None = None
    probe: Json | None = None


@dataclass(frozen=True)
class Evidence:
    """What is known of each service."""

    services: dict[str, ServiceEvidence] = field(default_factory=dict)


@dataclass(frozen=True)
class Journal:
    """Entries of the journal's copy, oldest first, as they were written."""

    entries: list[Json]
