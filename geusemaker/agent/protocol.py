"""What is said between the client and the agent: for each verb the document that it takes, and what it answers.

Both are JSON objects. They are read tolerantly: what is left out, as something of before does, is the field's default,
null as well where null is no value of the field's; and what is there beside is passed over.

The agent does not import this when it starts: to make these classes takes longer than most of its verbs.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

Json = dict[str, Any]
T = TypeVar("T")


# --------------------------------------------------------------------------------------------------- what files hold


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


@dataclass(frozen=True)
class Stopped:
    """The note on a service that somebody stopped on purpose."""

    by: str = ""
    since: str = ""
    """ISO 8601, UTC."""
    reason: str = ""


@dataclass(frozen=True)
class Served:
    """The image that last ran healthy on a service's data; nothing in a note that cannot be read."""

    image: str = ""


# ---------------------------------------------------------------------------------------------------------- documents


@dataclass(frozen=True)
class MountDocument:
    """What makes an instance one that can only ever run on this data; the engine asks for it."""

    deployment: str
    instance_id: str
    file_system_id: str
    source: str
    options: str
    packages: list[str]
    data_volume_id: str | None = None
    data_volume_gib: float | None = None
    root_volume_gib: float | None = None
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


@dataclass(frozen=True)
class EndDocument:
    """Gives the lease back."""

    operation: str
    outcome: str


@dataclass(frozen=True)
class CancelDocument:
    """Ends an operation's processes."""

    operation: str


@dataclass(frozen=True)
class LeaseDocument:
    """Asks who holds the deployment."""


@dataclass(frozen=True)
class AdoptionDocument:
    """Asks what mounted data tells to whoever takes it up."""


@dataclass(frozen=True)
class PrefetchDocument:
    """Brings a compose file's images to the instance."""

    operation: str
    compose: Json
    deadline_seconds: float | None = None


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
class HoldDocument:
    """Stops all services until ``apply`` starts them."""

    operation: str


@dataclass(frozen=True)
class StopDocument:
    """Stops services on purpose."""

    operation: str
    services: list[str]
    by: str
    reason: str = ""


@dataclass(frozen=True)
class StartDocument:
    """Starts services that were stopped on purpose."""

    operation: str
    services: list[str]


@dataclass(frozen=True)
class RestartDocument:
    """Starts services once more that run and do not answer."""

    operation: str
    services: list[str]


@dataclass(frozen=True)
class AuthorizeDocument:
    """Lets a key log in and, with ``remove``, those keys no more, nor what an earlier rotation let in."""

    operation: str
    user: str
    key: str
    remove: list[str] | None = None


@dataclass(frozen=True)
class PasswordDocument:
    """Notes that the database gets another password."""

    operation: str


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
    deadline_seconds: float | None = None


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


@dataclass(frozen=True)
class ManifestDocument:
    """Asks what each service holds, and for the rows of these tables of n8n's."""

    n8n_tables: list[str] | None = None


@dataclass(frozen=True)
class LogsDocument:
    """Asks for the last lines of a service, or of all."""

    service: str | None = None
    lines: int = 100


@dataclass(frozen=True)
class EvidenceDocument:
    """Asks for what a person needs to understand a failure."""

    operation: str | None = None


@dataclass(frozen=True)
class GcDocument:
    """Removes the images, and the checkpoints of versions, that are not to be kept."""

    operation: str
    keep: list[str]
    checkpoints: list[int] | None = None
    """Versions; None: no checkpoint is removed."""


@dataclass(frozen=True)
class JournalDocument:
    """Adds an entry to the journal's copy, and reads its last ones or those of some operations."""

    append: Json | None = None
    tail: int = 0
    operations: list[str] | None = None


# ------------------------------------------------------------------------------------------------------------ answers


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
class RunningOperation:
    """A process of an operation on the instance."""

    operation: str
    verb: str
    pid: int


@dataclass(frozen=True)
class Holding:
    """Who holds the deployment, or did last; None: nobody ever."""

    lease: Lease | None = None
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
class Checkpoints:
    """The checkpoints' own files, oldest first, and what is there now in their form, where that was asked for."""

    checkpoints: list[Json]
    now: Json | None = None


@dataclass(frozen=True)
class Restored:
    """What became of the data that was there before."""

    checkpoint: Copied = field(default_factory=Copied)
    kept: dict[str, str] = field(default_factory=dict)
    """Database → its name from now on."""
    set_aside: list[str] = field(default_factory=list)
    """The folders that n8n's files are in from now on."""


@dataclass(frozen=True)
class Held:
    """The services that ran, and were stopped."""

    stopped: list[str] = field(default_factory=list)


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
    """The operation that changes the password."""

    noted: str = ""


@dataclass(frozen=True)
class Applied:
    """What became of the services."""

    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    """Those that stay stopped."""


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
    sentinel: Sentinel | None = None
    sentinel_known: bool = False
    """Whether the file system was looked at: no sentinel is only then one that is gone."""
    data_problem: str | None = None
    """Why it was not."""
    stopped: dict[str, Stopped] = field(default_factory=dict)
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

    @property
    def versions(self) -> dict[str, str]:
        """Service → the major version of its files, where they tell it."""
        return {name: str(data["version"]) for name, data in self.services.items() if data and data.get("version")}

    def migrations(self, service: str) -> list[str] | None:
        """Those that a service's database has been through; None: not known."""
        found: list[str] | None = (self.services.get(service) or {}).get("migrations")
        return found

    @property
    def record(self) -> Json:
        """What is kept of it, and compared with another one's."""
        return {"file_system_id": self.file_system_id, "sentinel": self.sentinel, "services": self.services}


@dataclass(frozen=True)
class Logs:
    """How many lines were told."""

    lines: int = 0


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
class Collected:
    """The images, and the checkpoints, that were removed."""

    removed: list[str] = field(default_factory=list)
    checkpoints_removed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Journal:
    """Entries of the journal's copy, oldest first, as they were written."""

    entries: list[Json]


# ----------------------------------------------------------------------------------------------------------- failures


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


# -------------------------------------------------------------------------------------------------------------- verbs


class Verb(NamedTuple):
    """A verb of the agent: what it takes, and what it answers."""

    document: type[Any]
    answer: type[Any]


VERBS: Final[dict[str, Verb]] = {
    "mount": Verb(MountDocument, Mounted),
    "begin": Verb(BeginDocument, Leased),
    "end": Verb(EndDocument, Leased),
    "cancel": Verb(CancelDocument, Cancelled),
    "lease": Verb(LeaseDocument, Holding),
    "adoption": Verb(AdoptionDocument, Adoption),
    "prefetch": Verb(PrefetchDocument, Pulled),
    "checkpoint": Verb(CheckpointDocument, Copied),
    "checkpoints": Verb(CheckpointsDocument, Checkpoints),
    "restore": Verb(RestoreDocument, Restored),
    "hold": Verb(HoldDocument, Held),
    "stop": Verb(StopDocument, Rested),
    "start": Verb(StartDocument, Started),
    "restart": Verb(RestartDocument, Restarted),
    "authorize": Verb(AuthorizeDocument, Authorized),
    "password": Verb(PasswordDocument, PasswordNoted),
    "apply": Verb(ApplyDocument, Applied),
    "gate": Verb(GateDocument, Gate),
    "health": Verb(HealthDocument, Health),
    "manifest": Verb(ManifestDocument, Manifest),
    "logs": Verb(LogsDocument, Logs),
    "evidence": Verb(EvidenceDocument, Evidence),
    "gc": Verb(GcDocument, Collected),
    "journal": Verb(JournalDocument, Journal),
}


# ------------------------------------------------------------------------------------------------------ from, to JSON


def to_json(document: Any) -> Json:
    """A document as it is sent: what is None is left out."""
    return {one.name: value for one in fields(document) if (value := getattr(document, one.name)) is not None}


def read(kind: type[T], value: Any) -> T:
    """Any of the classes above from its JSON object.

    Raises:
        TypeError: a field that has no default is missing.
    """
    make: Any = kind
    told = value if isinstance(value, Mapping) else {}
    found: T = make(
        **{
            name: None if told[name] is None else take(told[name])
            for name, (take, takes_null) in _readers(make).items()
            if name in told and (takes_null or told[name] is not None)
        }
    )
    return found


@functools.cache
def _readers(kind: Any) -> dict[str, tuple[Callable[[Any], Any], bool]]:
    """Field → what reads its value, and whether null is one."""
    return {name: (_reader(hint), type(None) in get_args(hint)) for name, hint in get_type_hints(kind).items()}


def _reader(hint: Any) -> Callable[[Any], Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is types.UnionType:
        return _reader(next(one for one in arguments if one is not type(None)))
    if isinstance(hint, type) and is_dataclass(hint):
        return functools.partial(read, hint)
    if origin is dict:
        take = _reader(arguments[1])
        return lambda value: {key: take(one) for key, one in value.items()}
    if origin in (list, tuple):
        take = _reader(arguments[0])
        return lambda value: origin(take(one) for one in value)
    return lambda value: value
