"""What operations and questions return. Field names are a contract that scripts rely on."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import Field

from geusemaker.catalog import MIGRATED
from geusemaker.models.base import Model
from geusemaker.models.checkpoint import Checkpoint, Replacement
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import ServiceName
from geusemaker.models.version import OperationKind, RollbackRecord, RotationKind, UnreadableVersion, Version


class NewerData(Model):
    """Older software runs on data that newer software has migrated: what a return across migrations came to."""

    service: ServiceName = MIGRATED.name
    """Whose data it is."""
    migrations: list[str]
    """Those that the data has been through and the software does not know."""
    known_to_work: bool
    """Whether that software has worked on it before."""
    checkpoint: str = ""
    """The checkpoint that holds the data as it was before them; empty when there is none."""
    restore: str = ""
    """The command that puts that in place; empty when there is none."""
    message: str
    """All that in a few sentences."""


class OperationResult(Model):
    """The outcome of a deploy, update, recover, stop, start, destroy or the rotation of a secret."""

    success: bool
    """Whether all was done, and the services are healthy."""
    deployment: str
    """The deployment's name."""
    kind: OperationKind | RotationKind | Literal["destroy", "stop", "start"]
    """What was done."""
    version: int | None = None
    """The version that is active now."""
    operation_id: str = ""
    """The operation's own id, which sorts by time."""
    changes: list[str] = Field(default_factory=list)
    """What differs from before, one phrase each."""
    health_status: dict[str, bool] = Field(default_factory=dict)
    """Service → whether it was healthy at the end."""
    duration_seconds: float = 0.0
    """How long it took."""
    error_message: str | None = None
    """What went wrong, one sentence or two; None: nothing did."""
    exit_code: int = 0
    """What the command line ends with (README, exit codes)."""
    dry_run: bool = False
    """Whether it was only looked at what would be done."""
    rolled_back_to: int | None = None
    """The version whose config was restored by an automatic rollback, if one ran."""
    newer_data: NewerData | None = None
    """Set where what runs now is older than what migrated its data."""
    warnings: list[str] = Field(default_factory=list)
    """What did not go as it should and stopped nothing."""
    evidence: str | None = None
    """Folder with logs and probe answers, kept when the change failed."""
    next_step: str = ""
    """What to type or do next; empty: nothing."""
    checks: list[CheckResult] = Field(default_factory=list)
    """What was looked at before anything was changed, with the verdicts."""


class SecretRotationResult(OperationResult):
    """The outcome of ``secrets rotate``."""

    still_opens: str = ""
    """What the old secret still opens, and where it still is."""


class RollbackResult(Model):
    """The outcome of a rollback (the story's model, with the fields scripts need)."""

    success: bool
    """Whether the version is back and healthy."""
    trigger: str
    """What set it off: a person, or what failed."""
    changes_reverted: list[str] = Field(default_factory=list)
    """What was taken back, one phrase each."""
    duration_seconds: float = 0.0
    """How long it took."""
    health_status: dict[str, bool] = Field(default_factory=dict)
    """Service → whether it was healthy at the end."""
    error_message: str | None = None
    """What went wrong, one sentence or two; None: nothing did."""
    deployment: str = ""
    """The deployment's name."""
    version: int | None = None
    """The version that is active now."""
    source_version: int | None = None
    """The version whose config it has; None: it is no rollback."""
    operation_id: str = ""
    """The operation's own id, which sorts by time."""
    exit_code: int = 0
    """What the command line ends with (README, exit codes)."""
    dry_run: bool = False
    """Whether it was only looked at what would be done."""
    newer_data: NewerData | None = None
    """Set where what runs now is older than what migrated its data."""
    warnings: list[str] = Field(default_factory=list)
    """What did not go as it should and stopped nothing."""
    evidence: str | None = None
    """Folder with logs and probe answers, kept when the change failed."""
    next_step: str = ""
    """What to type or do next; empty: nothing."""
    checks: list[CheckResult] = Field(default_factory=list)
    """What was looked at before anything was changed, with the verdicts."""


class RestoreResult(Model):
    """The outcome of a restore."""

    success: bool
    """Whether the data is back and the services are healthy."""
    deployment: str
    """The deployment's name."""
    kind: Literal["restore"] = "restore"
    """What was done."""
    version: int | None = None
    """The version that is active; a restore does not change it."""
    operation_id: str = ""
    """The operation's own id, which sorts by time."""
    checkpoint: str = ""
    """The checkpoint that was restored."""
    replaced: list[Replacement] = Field(default_factory=list)
    """What was replaced by what."""
    kept: dict[str, str] = Field(default_factory=dict)
    """Database → the name under which what it was before is kept."""
    set_aside: list[str] = Field(default_factory=list)
    """Folders on EFS, relative to its root, that keep n8n's files as they were before."""
    taken: str = ""
    """The checkpoint of what was there before; empty when it was not taken."""
    health_status: dict[str, bool] = Field(default_factory=dict)
    """Service → whether it was healthy at the end."""
    duration_seconds: float = 0.0
    """How long it took."""
    error_message: str | None = None
    """What went wrong, one sentence or two; None: nothing did."""
    exit_code: int = 0
    """What the command line ends with (README, exit codes)."""
    next_step: str = ""
    """What to type or do next; empty: nothing."""
    checks: list[CheckResult] = Field(default_factory=list)
    """What was looked at before anything was changed, with the verdicts."""


class CheckpointList(Model):
    """The checkpoints of a deployment, newest first."""

    deployment: str
    """The deployment's name."""
    default: str | None = None
    """The one that a restore without a name takes."""
    checkpoints: list[Checkpoint] = Field(default_factory=list)
    """Newest first."""


class MarkResult(Model):
    """How a version stands after it was marked, pinned or let go."""

    success: bool = True
    """Always true: what cannot be done is an error."""
    deployment: str
    """The deployment's name."""
    version: int
    """Its number."""
    bad: bool
    """Whether it is marked bad."""
    pinned: bool
    """Whether it is kept ready however old it gets."""
    archived: bool
    """Whether it is past the deployment's retention."""
    note: str = ""
    """Why, and by whom."""
    changed: bool
    """False when it was so already."""
    default_target: int | None = None
    """The version that a rollback without a number goes to now; None when there is none."""
    exit_code: int = 0
    """What the command line ends with (README, exit codes)."""


class ServiceState(Model):
    """What really runs: the image of the running container, read on the instance."""

    image: str | None
    """None: there is no container."""
    healthy: bool
    """Whether it answers that it is ready."""
    state: str = ""
    """running, exited, restarting, missing …"""
    detail: str = ""
    """What its probe or its container says."""
    address: str = ""
    """host:port on the instance's loopback."""
    pid: int | None = None
    """Of its main process, on the instance."""
    started_at: str = ""
    """When its container was last started, as Docker tells it."""
    age_seconds: float | None = None
    """For how long it runs, by the instance's clock; None where it does not."""
    restarts: int = 0
    """How often Docker started it again by itself."""


class StoppedService(Model):
    """A service that somebody stopped on purpose: nothing starts it by itself. Noted on the file system."""

    by: str
    """Who."""
    since: str
    """ISO 8601, UTC."""
    reason: str = ""
    """Why; empty where nothing was said."""


class InstanceState(Model):
    """The EC2 instance as AWS describes it now."""

    id: str
    """``i-…``"""
    type: str
    """EC2's name for it, as ``t3.large``."""
    state: str
    """EC2's: pending, running, stopping …"""
    address: str
    """Its Elastic IP; empty while it has none."""
    others: tuple[str, ...] = ()
    """Further living instances with the deployment's tag. There should be none: one at a time may write the data."""

    @property
    def may_answer(self) -> bool:
        """Whether it runs and has an address, so that its agent can be asked."""
        return self.state == "running" and bool(self.address)


class FileSystemState(Model):
    """The EFS file system and whether the instance has it mounted."""

    id: str
    """``fs-…``"""
    mounted: bool
    """Whether the instance has it mounted."""
    state: str = ""
    """AWS's life cycle state: available, creating …"""


class DataVolumeState(Model):
    """The EBS volume that Qdrant's data is on, and whether the instance has it mounted."""

    id: str
    """``vol-…``"""
    size_gib: int
    """Its size."""
    state: str
    """AWS's: creating, available, in-use, deleting, error."""
    availability_zone: str
    """Where it is; it cannot be attached elsewhere."""
    attached_to: str
    """An instance's id, or empty."""
    mounted: bool = False
    """Whether the instance has it mounted."""


class Interruption(Model):
    """A killed operation, or one that runs right now."""

    operation_id: str
    """The operation's own id, which sorts by time."""
    kind: str
    """What it was to do."""
    number: int
    """The version that it makes, or is about."""
    actor: str
    """Who did it: user, and machine where that is known."""
    started_at: datetime | None = None
    """When it began."""
    running: bool = False
    """True while its owner is alive (or may be, on another machine)."""
    host: str = ""
    """The machine it ran on; empty: not known."""
    pid: int | None = None
    """Its process there."""


class RestoreRecord(Model):
    """A restore that was done: it makes no version, so the journal alone knows of it."""

    operation_id: str
    """The operation's own id, which sorts by time."""
    timestamp: datetime
    """When."""
    actor: str
    """Who did it: user, and machine where that is known."""
    version: int
    """The version that was active, whose data was replaced."""
    checkpoint: str
    """What was put in place."""
    taken: str
    """The checkpoint with the data that was there before."""
    changes: list[str] = Field(default_factory=list)
    """What was replaced, one phrase each."""
    success: bool
    """Whether it is done."""
    duration_seconds: float
    """How long it took."""
    reason: str = ""
    """Why, in the words of whoever did it."""
    error_message: str | None = None
    """What went wrong, one sentence or two; None: nothing did."""


STATUS_EXIT_CODES: Final = {"healthy": 0, "unreachable": 8, "unreadable": 8}
"""Status → exit code of ``status``; 7 for all others: looked, and not healthy."""


class Inspection(Model):
    """Everything known about a deployment; the document of ``inspect`` and ``status``."""

    deployment: str
    """The deployment's name."""
    target: Literal["local", "aws", "unknown"]
    """Where it is."""
    region: str = ""
    """The AWS region."""
    active_version: int | None = None
    """The number of the version that runs now."""
    status: str = ""
    """healthy; settling, unhealthy, drifted, stopped (on purpose), failed, interrupted, running (an operation holds it)
    or destroyed; unreachable or unreadable where it could not be judged."""
    summary: str = ""
    """One or two sentences for a person: what state things are in and what to do next."""
    versions: list[Version] = Field(default_factory=list)
    """Oldest first."""
    unreadable: list[UnreadableVersion] = Field(default_factory=list)
    """Versions that another geusemaker wrote and this one cannot read; they are not among ``versions``."""
    rollbacks: list[RollbackRecord] = Field(default_factory=list)
    """Oldest first."""
    restores: list[RestoreRecord] = Field(default_factory=list)
    """Oldest first. Those made on other machines only where the history was asked for."""
    services: dict[str, ServiceState] = Field(default_factory=dict)
    """Service → how it is now."""
    instance: InstanceState | None = None
    """None: there is none."""
    efs: FileSystemState | None = None
    """None: there is none."""
    data_volume: DataVolumeState | None = None
    """None: there is none."""
    stopped: dict[str, StoppedService] = Field(default_factory=dict)
    """Services that somebody stopped on purpose."""
    repairs: list[str] = Field(default_factory=list)
    """What is not as it should be, one phrase each: what ``recover`` would put right, or refuse to."""
    failing: list[ServiceName] = Field(default_factory=list)
    """Services of the active version that fail by themselves, again and again."""
    restarts: list[ServiceName] = Field(default_factory=list)
    """Services that run and do not answer; a repair starts them once more."""
    interruption: Interruption | None = None
    """None: the latest operation came to its end."""
    problems: list[str] = Field(default_factory=list)
    """What could not be looked at, or is not as it should be, one sentence each."""
    notes: list[str] = Field(default_factory=list)
    """What was left out because it cannot be read: damaged lines and entries."""

    @property
    def exit_code(self) -> int:
        """What ``status`` ends with: 0 healthy, 7 looked and not healthy, 8 could not be judged."""
        return STATUS_EXIT_CODES.get(self.status, 7)


class DeploymentSummary(Model):
    """One line of ``list``."""

    name: str
    """The deployment's name."""
    target: str
    """local, aws or unknown; empty where its files are damaged."""
    active_version: int | None
    """The number of the version that runs now."""
    instance_type: str
    """Of the active version; empty without one."""
    status: str
    """active, failed, interrupted, destroyed, unreadable or damaged, by what the backend tells."""
    updated_at: datetime | None
    """When Pulumi last changed it."""


class EngineInfo(Model):
    """The Pulumi engine in use: its path, version and where it came from."""

    path: str
    """The program."""
    version: str
    """As it tells it."""
    source: Literal["environment", "path", "cache", "installer", "built"]
    """Where it was found."""


class DoctorReport(Model):
    """What ``doctor`` found on this machine."""

    ok: bool
    """Whether nothing is missing."""
    engine: EngineInfo | None
    """None: there is none that can be used."""
    problems: list[str] = Field(default_factory=list)
    """What is missing and how to get it, one sentence each."""
    checks: list[CheckResult] = Field(default_factory=list)
    """Everything that was looked at."""
    details: dict[str, Any] = Field(default_factory=dict)
    """Folders and addresses, by name."""


class RepairStep(Model):
    """A file of a deployment's backend or workspace that cannot be used, and what would be done about it."""

    kind: Literal["state", "history", "tags", "store", "lock", "config"]
    """What it is a file of."""
    file: str
    """Its name in the backend or the workspace."""
    reason: str
    """What is wrong with it."""
    action: str
    """What mends it, as the end of a sentence about the file."""
    possible: bool = True
    """False: nothing mends it by itself."""


class RepairReport(Model):
    """What ``doctor NAME --repair`` did."""

    deployment: str
    """The deployment's name."""
    steps: list[RepairStep] = Field(default_factory=list)
    """What was done."""
    kept: list[str] = Field(default_factory=list)
    """Where the damaged files are now."""
    next_step: str = ""
    """What to type or do next; empty: nothing."""


class RotationResult(Model):
    """What ``secrets rotate-passphrase`` came to."""

    deployment: str
    """The deployment's name."""
    provider: str
    """``passphrase``, or the URL of the key that the secrets are encrypted with now."""
    passphrase_file: str = ""
    """Where the new passphrase is, if geusemaker keeps it."""
    still_opens: str = ""
    """What the old one still opens."""
    next_step: str = ""
    """What to type or do next; empty: nothing."""


class DeploymentInfo(Model):
    """How to reach a deployment: the document of ``info``."""

    deployment: str
    """The deployment's name."""
    target: Literal["local", "aws", "unknown"]
    """Where it is."""
    region: str
    """The AWS region."""
    address: str | None
    """The instance's; None: there is none."""
    ssh_command: str | None
    """How to log in; None: there is no instance."""
    services: dict[str, str] = Field(default_factory=dict)
    """Service → URL or host:port, as seen from the instance."""
    credentials: dict[str, str] = Field(default_factory=dict)
    """What generated credential exists → the command that reads it; never the credential."""
    workspace: str
    """The workspace's folder."""
    backend: str
    """Where Pulumi keeps state and history."""
