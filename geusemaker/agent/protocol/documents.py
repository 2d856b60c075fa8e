"""What the agent's verbs take. What is None is left out of what is sent."""

from __future__ import annotations

from dataclasses import dataclass, field

from geusemaker.agent.protocol.backups import BackupDocument as BackupDocument
from geusemaker.agent.protocol.backups import ScheduleDocument as ScheduleDocument
from geusemaker.agent.protocol.reading import Json


@dataclass(frozen=True)
class Nothing:
    """Of ``lease``, ``adoption`` and ``newer``: they are only asked."""


@dataclass(frozen=True)
class OfOperation:
    """Of ``cancel``, ``hold``, ``renew``, ``password``, ``key``, ``evidence``: the operation it is done for, or to."""

    operation: str


@dataclass(frozen=True)
class OfServices:
    """Of ``start`` and ``restart``: the operation, and the services that it starts."""

    operation: str
    services: list[str]


@dataclass(frozen=True)
class MountDocument:
    """What makes an instance one that can only ever run on this data; the engine asks for it."""

    deployment: str
    instance_id: str
    file_system_id: str
    source: str
    options: str
    data_volume_id: str | None = None
    data_volume_gib: float | None = None
    root_volume_gib: float | None = None
    spot: bool | None = None
    """Whether EC2 may take the instance back, so that it waits for the notice."""
    deadline_seconds: float | None = None


@dataclass(frozen=True)
class BeginDocument:
    """Takes the lease."""

    operation: str
    kind: str
    actor: str
    owner: Json
    """As in ``Owner``."""
    instance_id: str
    number: int = 0
    expects: str | None = None
    """The operation that is to have been the last; None: whichever."""
    takeover: str | None = None
    """The operation whose lease may be taken although it was not given back."""
    salvage: bool = False
    """Set a lease that cannot be read aside, and make a new one."""


@dataclass(frozen=True)
class EndDocument:
    """Gives the lease back."""

    operation: str
    outcome: str


@dataclass(frozen=True)
class PrefetchDocument:
    """Brings a compose file's images to the instance."""

    operation: str
    compose: Json
    deadline_seconds: float | None = None
    new_instance: bool | None = None
    """Whether nothing has run there yet: images are the instance's own, so no lease has to be held for them."""


@dataclass(frozen=True)
class CheckpointDocument:
    """Copies what services hold."""

    operation: str
    number: int
    """The version whose data it is."""
    kind: str
    services: list[str]
    deadline_seconds: float | None = None


@dataclass(frozen=True)
class CheckpointsDocument:
    """Asks for the checkpoints, and for what is there now of the services that ``now`` names."""

    now: list[str] | None = None


@dataclass(frozen=True)
class RestoreDocument:
    """Puts a checkpoint's data in the place of what is there now."""

    operation: str
    number: int
    """The version whose data it replaces."""
    checkpoint: str
    services: list[str]
    deadline_seconds: float | None = None


@dataclass(frozen=True)
class LoadDocument:
    """Loads a checkpoint's databases beside those that are there."""

    operation: str
    checkpoint: str
    settled: str | None = None
    """As in ``ApplyDocument``."""
    deadline_seconds: float | None = None


@dataclass(frozen=True)
class StopDocument:
    """Stops services on purpose."""

    operation: str
    services: list[str]
    by: str
    reason: str = ""


@dataclass(frozen=True)
class AuthorizeDocument:
    """Lets a key log in and, with ``remove``, those keys no more, nor what an earlier rotation let in."""

    operation: str
    user: str
    key: str
    remove: list[str] | None = None


@dataclass(frozen=True)
class ApplyDocument:
    """Makes the compose project on the instance the given one."""

    operation: str
    deployment: str
    instance_id: str
    file_system_id: str
    compose: Json
    environment: dict[str, dict[str, str]]
    """Service → its secret variables."""
    directories: list[Json]
    kind: str | None = None
    expects: str | None = None
    takeover: str | None = None
    other_instances: list[str] | None = None
    data_volume_id: str | None = None
    adopt: bool | None = None
    returns: bool | None = None
    """Whether the older data that this operation has loaded is put in place before services start."""
    settled: str | None = None
    """The operation that made the active version, by the history: older data that it put in place stays there. What
    another one put in place, and did not come to its end, makes way for what was there before."""
    deadline_seconds: float | None = None
    watch: Json | None = None
    """As in ``NotifyDocument``."""


@dataclass(frozen=True)
class NotifyDocument:
    """Sets who is told by the instance of what it sees between operations."""

    operation: str
    watch: Json | None = None
    """``addresses``, and ``domains`` as in ``HealthDocument``; None: nobody is told, and it does not look."""


@dataclass(frozen=True)
class GateDocument:
    """Waits until every service is ready and stays so."""

    operation: str
    file_system_id: str
    services: Json
    """Service → how it is asked, and for what it waits."""
    consecutive_successes: int = 2
    deadline_seconds: float = 600
    settle_seconds: float = 15


@dataclass(frozen=True)
class MeasureDocument:
    """Measures each service that is to run."""

    services: Json
    """As in ``GateDocument``."""
    operation: str | None = None
    """The one that looks on under its lease; None: nobody's lease is touched."""
    gives_way: bool = True
    """Whether a rollback or a recovery may take that lease from then on."""
    log_seconds: float = 60
    rounds: int = 1
    """For so long back lines of trouble are counted, and so often each is asked: the median is told."""


@dataclass(frozen=True)
class HealthDocument:
    """One look at everything; of what is left out nothing is said."""

    services: Json | None = None
    """As in ``GateDocument``; None: those of the last gate."""
    images: dict[str, str] | None = None
    """Service → the image that is to be there."""
    compose: Json | None = None
    """The compose file that is compared with the one on the instance, and …"""
    environment: dict[str, dict[str, str]] | None = None
    """… the secrets that are."""
    domains: Json | None = None
    """``hosts``, the ``port`` that they are answered on, and whether certificates are of Caddy's own authority
    (``internal_ca``)."""
    models: bool | None = None
    """Whether the sizes of Ollama's models are asked for."""


@dataclass(frozen=True)
class ManifestDocument:
    """Asks what each service holds, and for the rows of these tables of n8n's."""

    n8n_tables: list[str] | None = None
    n8n_mentions: str | None = None
    """Asks as well which workflows have this word in their nodes."""


@dataclass(frozen=True)
class LogsDocument:
    """Asks for the last lines of a service, or of all, and for those to come."""

    service: str | None = None
    lines: int = 100
    """Of each service; 0: all there are."""
    since: str = ""
    """Only later ones: a time as Docker takes it (RFC 3339), or how long ago (``600s``)."""
    grep: str = ""
    """Only those that hold this text, in whatever case. They are searched as they are told: without secrets."""
    follow: float = 0
    """For how many seconds to wait for further lines."""
    resume: dict[str, str] = field(default_factory=dict)
    """Service → the time of its last line that was seen: from there on, that one included."""


@dataclass(frozen=True)
class GcDocument:
    """Removes the images, and the checkpoints of versions, that are not to be kept."""

    operation: str
    keep: list[str]
    checkpoints: list[int] | None = None
    """Versions; None: no checkpoint is removed."""
    repositories: list[str] = field(default_factory=list)
    """All images of these are the deployment's; of others only those of ``former``."""
    former: list[str] | None = None
    """Those that versions had which are not kept, by digest; None: not known, and all of the repositories of ``keep``
    are taken for the deployment's."""


@dataclass(frozen=True)
class JournalDocument:
    """Adds an entry to the journal's copy, and reads its last ones or those of some operations."""

    append: Json | None = None
    tail: int = 0
    operations: list[str] | None = None
    returned: bool | None = None
    """Whether the entry tells of an interruption that has passed, so that the note of it ends."""


@dataclass(frozen=True)
class NoticeDocument:
    """Waits for EC2's notice."""

    seconds: float = 3300
    """For how long."""
