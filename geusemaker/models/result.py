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
    migrations: list[str]
    """Those that the data has been through and the software does not know."""
    known_to_work: bool
    checkpoint: str = ""
    """The checkpoint that holds the data as it was before them; empty when there is none."""
    restore: str = ""
    """The command that puts that in place; empty when there is none."""
    message: str
    """All that in a few sentences."""


class OperationResult(Model):
    """The outcome of a deploy, update, recover, stop, start, destroy or the rotation of a secret."""

    success: bool
    deployment: str
    kind: OperationKind | RotationKind | Literal["destroy", "stop", "start"]
    version: int | None = None
    """The version that is active now."""
    operation_id: str = ""
    changes: list[str] = Field(default_factory=list)
    health_status: dict[str, bool] = Field(default_factory=dict)
    duration_seconds: float = 0.0
    error_message: str | None = None
    exit_code: int = 0
    dry_run: bool = False
    rolled_back_to: int | None = None
    """The version whose config was restored by an automatic rollback, if one ran."""
    newer_data: NewerData | None = None
    """Set where what runs now is older than what migrated its data."""
    warnings: list[str] = Field(default_factory=list)
    evidence: str | None = None
    """Folder with logs and probe answers, kept when the change failed."""
    next_step: str = ""
    checks: list[CheckResult] = Field(default_factory=list)


class SecretRotationResult(OperationResult):
    """The outcome of ``secrets rotate``."""

    still_opens: str = ""
    """What the old secret still opens, and where it still is."""


class RollbackResult(Model):
    """The outcome of a rollback (the story's model, with the fields scripts need)."""

    success: bool
    trigger: str
    changes_reverted: list[str] = Field(default_factory=list)
    duration_seconds: float = 0.0
    health_status: dict[str, bool] = Field(default_factory=dict)
    error_message: str | None = None
    deployment: str = ""
    version: int | None = None
    source_version: int | None = None
    operation_id: str = ""
    exit_code: int = 0
    dry_run: bool = False
    newer_data: NewerData | None = None
    """Set where what runs now is older than what migrated its data."""
    warnings: list[str] = Field(default_factory=list)
    evidence: str | None = None
    next_step: str = ""
    checks: list[CheckResult] = Field(default_factory=list)


class RestoreResult(Model):
    """The outcome of a restore."""

    success: bool
    deployment: str
    kind: Literal["restore"] = "restore"
    version: int | None = None
    """The version that is active; a restore does not change it."""
    operation_id: str = ""
    checkpoint: str = ""
    """The checkpoint that was restored."""
    replaced: list[Replacement] = Field(default_factory=list)
    kept: dict[str, str] = Field(default_factory=dict)
    """Database → the name under which what it was before is kept."""
    set_aside: list[str] = Field(default_factory=list)
    """Folders on EFS, relative to its root, that keep n8n's files as they were before."""
    taken: str = ""
    """The checkpoint of what was there before; empty when it was not taken."""
    health_status: dict[str, bool] = Field(default_factory=dict)
    duration_seconds: float = 0.0
    error_message: str | None = None
    exit_code: int = 0
    next_step: str = ""
    checks: list[CheckResult] = Field(default_factory=list)


class CheckpointList(Model):
    """The checkpoints of a deployment, newest first."""

    deployment: str
    default: str | None = None
    """The one that a restore without a name takes."""
    checkpoints: list[Checkpoint] = Field(default_factory=list)


class MarkResult(Model):
    """How a version stands after it was marked, pinned or let go."""

    success: bool = True
    deployment: str
    version: int
    bad: bool
    pinned: bool
    archived: bool
    note: str = ""
    changed: bool
    """False when it was so already."""
    default_target: int | None = None
    """The version that a rollback without a number goes to now; None when there is none."""
    exit_code: int = 0


class ServiceState(Model):
    """What really runs: the image of the running container, read on the instance."""

    image: str | None
    healthy: bool
    state: str = ""
    """running, exited, restarting, missing …"""
    detail: str = ""
    address: str = ""
    """host:port on the instance's loopback."""
    pid: int | None = None
    started_at: str = ""
    """When its container was last started, as Docker tells it."""
    age_seconds: float | None = None
    """For how long it runs, by the instance's clock; None where it does not."""
    restarts: int = 0
    """How often Docker started it again by itself."""


class StoppedService(Model):
    """A service that somebody stopped on purpose: nothing starts it by itself. Noted on the file system."""

    by: str
    since: str
    """ISO 8601, UTC."""
    reason: str = ""


class InstanceState(Model):
    """The EC2 instance as AWS describes it now."""

    id: str
    type: str
    state: str
    address: str
    others: tuple[str, ...] = ()
    """Further living instances with the deployment's tag. There should be none: one at a time may write the data."""

    @property
    def may_answer(self) -> bool:
        """Whether it runs and has an address, so that its agent can be asked."""
        return self.state == "running" and bool(self.address)


class FileSystemState(Model):
    """The EFS file system and whether the instance has it mounted."""

    id: str
    mounted: bool
    state: str = ""
    """AWS's life cycle state: available, creating …"""


class DataVolumeState(Model):
    """The EBS volume that Qdrant's data is on, and whether the instance has it mounted."""

    id: str
    size_gib: int
    state: str
    """AWS's: creating, available, in-use, deleting, error."""
    availability_zone: str
    attached_to: str
    """An instance's id, or empty."""
    mounted: bool = False


class Interruption(Model):
    """A killed operation, or one that runs right now."""

    operation_id: str
    kind: str
    number: int
    actor: str
    started_at: datetime | None = None
    running: bool = False
    """True while its owner is alive (or may be, on another machine)."""
    host: str = ""
    pid: int | None = None


class RestoreRecord(Model):
    """A restore that was done: it makes no version, so the journal alone knows of it."""

    operation_id: str
    timestamp: datetime
    actor: str
    version: int
    """The version that was active, whose data was replaced."""
    checkpoint: str
    """What was put in place."""
    taken: str
    """The checkpoint with the data that was there before."""
    changes: list[str] = Field(default_factory=list)
    success: bool
    duration_seconds: float
    reason: str = ""
    error_message: str | None = None


STATUS_EXIT_CODES: Final = {"healthy": 0, "unreachable": 8, "unreadable": 8}
"""Status → exit code of ``status``; 7 for all others: looked, and not healthy."""


class Inspection(Model):
    """Everything known about a deployment; the document of ``inspect`` and ``status``."""

    deployment: str
    target: Literal["local", "aws", "unknown"]
    region: str = ""
    active_version: int | None = None
    status: str = ""
    """healthy; settling, unhealthy, drifted, stopped (on purpose), failed, interrupted, running (an operation holds it)
    or destroyed; unreachable or unreadable where it could not be judged."""
    summary: str = ""
    """One or two sentences for a person: what state things are in and what to do next."""
    versions: list[Version] = Field(default_factory=list)
    unreadable: list[UnreadableVersion] = Field(default_factory=list)
    """Versions that another geusemaker wrote and this one cannot read; they are not among ``versions``."""
    rollbacks: list[RollbackRecord] = Field(default_factory=list)
    restores: list[RestoreRecord] = Field(default_factory=list)
    """Oldest first. Those made on other machines only where the history was asked for."""
    services: dict[str, ServiceState] = Field(default_factory=dict)
    instance: InstanceState | None = None
    efs: FileSystemState | None = None
    data_volume: DataVolumeState | None = None
    stopped: dict[str, StoppedService] = Field(default_factory=dict)
    """Services that somebody stopped on purpose."""
    repairs: list[str] = Field(default_factory=list)
    """What is not as it should be, one phrase each: what ``recover`` would put right, or refuse to."""
    failing: list[ServiceName] = Field(default_factory=list)
    """Services of the active version that fail by themselves, again and again."""
    restarts: list[ServiceName] = Field(default_factory=list)
    """Services that run and do not answer; a repair starts them once more."""
    interruption: Interruption | None = None
    problems: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    """What was left out because it cannot be read: damaged lines and entries."""

    @property
    def exit_code(self) -> int:
        """What ``status`` ends with: 0 healthy, 7 looked and not healthy, 8 could not be judged."""
        return STATUS_EXIT_CODES.get(self.status, 7)


class DeploymentSummary(Model):
    """One line of ``list``."""

    name: str
    target: str
    active_version: int | None
    instance_type: str
    status: str
    updated_at: datetime | None


class EngineInfo(Model):
    """The Pulumi engine in use: its path, version and where it came from."""

    path: str
    version: str
    source: Literal["environment", "path", "cache", "installer", "built"]


class DoctorReport(Model):
    """What ``doctor`` found on this machine."""

    ok: bool
    engine: EngineInfo | None
    problems: list[str] = Field(default_factory=list)
    checks: list[CheckResult] = Field(default_factory=list)
    details: dict[str, Any] = Field(default_factory=dict)


class RepairStep(Model):
    """A file of a deployment's backend or workspace that cannot be used, and what would be done about it."""

    kind: Literal["state", "history", "tags", "store", "lock", "config"]
    file: str
    reason: str
    action: str
    """What mends it, as the end of a sentence about the file."""
    possible: bool = True


class RepairReport(Model):
    """What ``doctor NAME --repair`` did."""

    deployment: str
    steps: list[RepairStep] = Field(default_factory=list)
    kept: list[str] = Field(default_factory=list)
    """Where the damaged files are now."""
    next_step: str = ""


class RotationResult(Model):
    """What ``secrets rotate-passphrase`` came to."""

    deployment: str
    provider: str
    """``passphrase``, or the URL of the key that the secrets are encrypted with now."""
    passphrase_file: str = ""
    """Where the new passphrase is, if geusemaker keeps it."""
    still_opens: str = ""
    """What the old one still opens."""
    next_step: str = ""


class DeploymentInfo(Model):
    """How to reach a deployment: the document of ``info``."""

    deployment: str
    target: Literal["local", "aws", "unknown"]
    region: str
    address: str | None
    ssh_command: str | None
    services: dict[str, str] = Field(default_factory=dict)
    """Service → URL or host:port, as seen from the instance."""
    credentials: dict[str, str] = Field(default_factory=dict)
    """What generated credential exists → the command that reads it; never the credential."""
    workspace: str
    backend: str
