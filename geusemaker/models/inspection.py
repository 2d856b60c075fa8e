"""What was seen of a deployment: instance, disks, services, and all of it together. Scripts rely on the names."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

from pydantic import Field

from geusemaker.models.base import Model
from geusemaker.models.checkpoint import BackupState
from geusemaker.models.ending import InstanceEnd
from geusemaker.models.stack import ServiceName
from geusemaker.models.version import RollbackRecord, UnreadableVersion, Version


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
    image_id: str = ""
    """The AMI that it was made of."""
    reason: str = ""
    """EC2's code for why it is stopped or gone, as Server.SpotInstanceShutdown; empty: it runs, or none was told."""
    others: tuple[str, ...] = ()
    """Further living instances with the deployment's tag. There should be none: one at a time may write the data."""

    @property
    def may_answer(self) -> bool:
        """Whether it runs and has an address, so that its agent can be asked."""
        return self.state == "running" and bool(self.address)


class Patching(Model):
    """How old what the instance runs on is, and whether it waits for a boot."""

    image: str
    """The AMI that it was made of."""
    image_date: str = ""
    """The day on which that was made, as 2026-11-30; empty: AWS has it no more."""
    image_age_days: int | None = None
    """How old it is; None: not known."""
    reboot: list[str] | None = None
    """Why the instance is to boot anew, one phrase each; None: not known."""


class FileSystemState(Model):
    """The EFS file system and whether the instance has it mounted."""

    id: str
    """``fs-…``"""
    mounted: bool
    """Whether the instance has it mounted."""
    state: str = ""
    """AWS's life cycle state: available, creating …"""
    size_bytes: int | None = None
    """What AWS has counted on it, of an hour ago or so; None: not told."""


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
    step: str = ""
    """What the instance does for it right now, as its agent calls it: prefetch, checkpoint, hold, apply, gate …; empty:
    nothing at this moment, or the instance could not be asked."""


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


class DomainState(Model):
    """A host name under which a service is open to the internet, as the instance itself is answered."""

    service: str
    """Which one."""
    url: str
    """Where it is reached."""
    certificate_until: str = ""
    """When its certificate ends: ISO 8601, UTC. Empty: it has none that a browser would take."""
    problem: str = ""
    """What is wrong; empty: nothing is."""
    status: int | None = None
    """HTTP's, of its first page; None: it was not told."""


class Inspection(Model):
    """Everything known about a deployment; the document of ``inspect`` and ``status``."""

    deployment: str
    """The deployment's name."""
    target: Literal["local", "aws", "unknown"]
    """Where it is."""
    region: str = ""
    """The AWS region."""
    labels: dict[str, str] = Field(default_factory=dict)
    """What the deployment is found by; no version has them."""
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
    default_target: int | None = None
    """The version that a rollback without a number goes to; None: there is none."""
    unused_numbers: list[int] = Field(default_factory=list)
    """Numbers that were given to attempts which did not get far enough to make a version."""
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
    patching: Patching | None = None
    """None: there is no instance."""
    backups: BackupState | None = None
    """None: it was not told."""
    domains: dict[str, DomainState] = Field(default_factory=dict)
    """Host → how it is; those that are open to the internet."""
    stopped: dict[str, StoppedService] = Field(default_factory=dict)
    """Services that somebody stopped on purpose."""
    ended: InstanceEnd | None = None
    """Why the instance does not run, or did not; None: it runs, and nothing is noted of it."""
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
    labels: dict[str, str] = Field(default_factory=dict)
    """What it is found by."""


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
    """The command that logs in; None: there is no instance."""
    services: dict[str, str] = Field(default_factory=dict)
    """Service → URL or host:port, as seen from the instance."""
    domains: dict[str, str] = Field(default_factory=dict)
    """Service → URL under which the whole internet reaches it."""
    dns: list[str] = Field(default_factory=list)
    """The DNS records that this takes, which nobody but the domain's owner can make."""
    credentials: dict[str, str] = Field(default_factory=dict)
    """Generated secret → the command that shows it on a terminal (elsewhere with ``--reveal``); never the secret."""
    workspace: str
    """The workspace's folder."""
    backend: str
    """Where Pulumi keeps state and history."""
