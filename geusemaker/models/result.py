"""What operations come to. Field names are a contract that scripts rely on."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from geusemaker.catalog import MIGRATED
from geusemaker.models.bake import BakeReport
from geusemaker.models.base import Model
from geusemaker.models.checkpoint import BackupState, Checkpoint, Replacement
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import ServiceName
from geusemaker.models.version import OperationKind, RotationKind, WayBack


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


class Outcome(Model):
    """What every operation on a deployment comes to."""

    success: bool
    """Whether all was done, and the services are healthy."""
    deployment: str
    """The deployment's name."""
    version: int | None = None
    """The version that is active now."""
    operation_id: str = ""
    """The operation's own id, which sorts by time."""
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
    undo: str = ""
    """The command that takes it back; empty: there is nothing to take back, or no one command does."""
    checks: list[CheckResult] = Field(default_factory=list)
    """What was looked at before anything was changed, with the verdicts."""


class ChangeOutcome(Outcome):
    """What every change of what runs comes to."""

    dry_run: bool = False
    """Whether it was only looked at what would be done."""
    newer_data: NewerData | None = None
    """Set where what runs now is older than what migrated its data."""
    warnings: list[str] = Field(default_factory=list)
    """What did not go as it should and stopped nothing."""
    way_back: WayBack | None = None
    """How one gets back to what ran before, now that it is done; None: nothing ran, or nothing changed that a version
    has."""
    away_seconds: dict[str, float] = Field(default_factory=dict)
    """Service → how long it was away, from when it was told to stop until it was found ready; those that were."""
    data_kept: list[str] = Field(default_factory=list)
    """What becomes of the data of services that were taken out, one sentence each."""
    restored: str = ""
    """The checkpoint whose data went back as well; empty: the data stayed as it is."""
    kept: dict[str, str] = Field(default_factory=dict)
    """Then: database → the name under which what it was before is kept."""
    set_aside: list[str] = Field(default_factory=list)
    """Then: folders on EFS, relative to its root, that keep n8n's files as they were before."""
    evidence: str | None = None
    """Folder with logs and probe answers, kept when the change failed."""
    failure_logs: dict[str, list[str]] = Field(default_factory=dict)
    """Service that failed → the last lines of its log before anything was taken back, without secrets."""


class OperationResult(ChangeOutcome):
    """The outcome of a deploy, update, recover, stop, start, destroy or the rotation of a secret."""

    bake: BakeReport | None = None
    """What was seen of the version while it was watched after its gate; None: it was not."""

    kind: OperationKind | RotationKind | Literal["destroy", "stop", "start", "set-secret", "delete-secret", "label"]
    """What was done."""
    changes: list[str] = Field(default_factory=list)
    """What differs from before, one phrase each."""
    rolled_back_to: int | None = None
    """The version whose config was restored by an automatic rollback, if one ran."""


class SecretRotationResult(OperationResult):
    """The outcome of ``secrets rotate``."""

    still_opens: str = ""
    """What the old secret still opens, and where it still is."""


class RollbackResult(ChangeOutcome):
    """The outcome of a rollback (the story's model, with the fields scripts need)."""

    trigger: str
    """What set it off: a person, or what failed."""
    changes_reverted: list[str] = Field(default_factory=list)
    """What was taken back, one phrase each."""
    deployment: str = ""
    """The deployment's name."""
    source_version: int | None = None
    """The version whose config it has, all of it; None: some services alone went back."""
    services_from: dict[ServiceName, int] = Field(default_factory=dict)
    """Service → the version that it went back to, where some went back alone; empty: all did."""


class RestoreResult(Outcome):
    """The outcome of a restore, which changes no version."""

    kind: Literal["restore"] = "restore"
    """What was done."""
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


class BackupResult(Model):
    """A backup that was taken."""

    success: bool = True
    """Always true: what cannot be done is an error."""
    kind: Literal["backup"] = "backup"
    """What was done."""
    deployment: str
    """The deployment's name."""
    backup: str
    """Its id, which `restore --backup` takes, and which sorts by time."""
    checkpoint: Checkpoint
    """What it is, and what it holds."""
    bytes: int
    """The size of its dumps and snapshots; n8n's files are links."""
    duration_seconds: float
    """How long it took."""
    exit_code: int = 0
    """What the command line ends with (README, exit codes)."""


class RehearsedStart(Model):
    """How a service was found that was started on a copy of the data."""

    image: str
    """What was started."""
    works: bool
    """Whether it became ready, and answered what it was asked then."""
    seconds: float
    """From its start until it was ready, or was given up."""
    problem: str = ""
    """What was found, where it does not work."""
    logs: list[str] = Field(default_factory=list)
    """The last lines of one that ended, without secrets."""


class RehearsalResult(Outcome):
    """What a rehearsal came to; it changes nothing that runs, and makes no version."""

    kind: Literal["rehearse"] = "rehearse"
    """What was done."""
    rehearsed_at: datetime | None = None
    """When it ended."""
    starts: bool = False
    """Whether all that was tried works on a copy of the data."""
    ahead: dict[ServiceName, RehearsedStart] = Field(default_factory=dict)
    """Service → how the images that were tried started; what comes after one that does not is left out."""
    migrations: list[str] = Field(default_factory=list)
    """Those that ran."""
    migration_seconds: float = 0.0
    """From the start of what ran them to the last one."""
    back: dict[ServiceName, RehearsedStart] = Field(default_factory=dict)
    """Service → how what runs now started on what those had left."""
    way_back: WayBack | None = None
    """The way back as it was measured."""
    copied_bytes: int = 0
    """How much was copied."""
    isolated: bool = False
    """Whether it ran in a network that leads nowhere; it does not in the local cloud's process runtime."""


class ScheduleResult(Model):
    """How often backups are taken by themselves from now on."""

    success: bool = True
    """Always true: what cannot be done is an error."""
    deployment: str
    """The deployment's name."""
    backups: BackupState
    """How often, how many are kept, and the last one."""
    exit_code: int = 0
    """What the command line ends with (README, exit codes)."""


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


class UnattendedReport(Model):
    """What a process came to that looked again and again."""

    deployment: str
    """The deployment's name."""
    looks: int
    """How often it looked."""
    repairs: int
    """How often it brought the instance back."""
