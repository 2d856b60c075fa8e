"""A library that does nothing but answer: what the command line is tested against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr

from geusemaker.errors import DeclinedError, DeploymentNotFoundError, EngineNotFoundError, GeusemakerError
from geusemaker.local_cloud.client import FileSystemStatus, InstanceStatus, LocalCloudStatus
from geusemaker.models.checkpoint import (
    BackupList,
    BackupState,
    Checkpoint,
    CheckpointList,
    Held,
    Replacement,
    RestorePlan,
)
from geusemaker.models.comparison import Comparison
from geusemaker.models.doctor import DoctorReport, EngineInfo
from geusemaker.models.image import ImageReference
from geusemaker.models.inspection import (
    DeploymentInfo,
    DeploymentSummary,
    FileSystemState,
    Inspection,
    InstanceState,
    ServiceState,
)
from geusemaker.models.plan import CheckResult, ConfigChange, Event, Plan, ResourceOperation, RestPlan
from geusemaker.models.reach import CommandResult, LogLine
from geusemaker.models.request import ChangeOptions, ConfigRequest, RehearseRequest, RestoreRequest, RollbackRequest
from geusemaker.models.result import (
    BackupResult,
    MarkResult,
    OperationResult,
    RehearsalResult,
    RehearsedStart,
    RestoreResult,
    RollbackResult,
    ScheduleResult,
    SecretRotationResult,
    UnattendedReport,
)
from geusemaker.models.secrets import SecretEntry, SecretList
from geusemaker.models.stack import InstanceFacts, ServiceConfig, StackConfig
from geusemaker.models.stack_file import StackFile
from geusemaker.models.updates import Updates
from geusemaker.models.version import OperationKind, Provenance, RollbackRecord, Version, WayBack
from geusemaker.models.version_report import VersionReport
from geusemaker.services.configure import service_name
from geusemaker.services.diff.compare import Side, compare
from geusemaker.services.differences import config_changes

DIGEST = "sha256:" + "ab" * 32
NIGHT = datetime(2025, 1, 21, 2, 3, tzinfo=UTC)

Confirm = Callable[[Plan], bool]
OnEvent = Callable[[Event], None]


def config(instance_type: str = "t3.large", n8n: str = "1.91.0") -> StackConfig:
    """A config of two services, digests resolved."""
    return StackConfig(
        instance_type=instance_type,
        services={
            "postgresql": ServiceConfig(image=ImageReference.parse(f"postgres:16.9@{DIGEST}")),
            "n8n": ServiceConfig(image=ImageReference.parse(f"n8nio/n8n:{n8n}@{DIGEST}")),
        },
    )


def operation(op: str, type: str, name: str, **more: Any) -> ResourceOperation:
    """One step of a plan."""
    return ResourceOperation(op=op, type=type, name=name, urn=f"urn:pulumi:prod::geusemaker::{type}::{name}", **more)


def rollback_plan(**more: Any) -> Plan:
    """Going back from v3 to v2's config: a resize and an image."""
    values: dict[str, Any] = {
        "deployment": "prod",
        "kind": "rollback",
        "operation_id": "op-4",
        "number": 4,
        "active_version": 3,
        "source_version": 2,
        "config": config(),
        "changes": (
            ConfigChange(path="instance type", old="t3.xlarge", new="t3.large"),
            ConfigChange(path="n8n image", old=f"n8nio/n8n:1.92.0@{DIGEST}", new=f"n8nio/n8n:1.91.0@{DIGEST}"),
        ),
        "operations": (
            operation("same", "pulumi:pulumi:Stack", "geusemaker-prod"),
            operation("update", "aws:ec2/instance:Instance", "instance", changed=("instanceType",)),
            operation("same", "aws:efs/fileSystem:FileSystem", "data"),
            operation("same", "aws:efs/mountTarget:MountTarget", "data"),
            operation("same", "command:remote:Command", "mount"),
            operation("update", "command:remote:Command", "apply", changed=("stdin",)),
            operation("update", "command:remote:Command", "gate", changed=("stdin",)),
        ),
        "checks": (
            CheckResult(name="images", status="pass", detail="2 images are in the registry"),
            CheckResult(name="disk", status="warn", detail="3 GiB left after the pull"),
        ),
        "downtime": "about 60 s while the instance is resized",
        "data_notice": "all data stays on fs-1",
    }
    return Plan(**({"target_kind": "local"} | values | more))


def checkpoint(name: str = "v1/op-2", **more: Any) -> Checkpoint:
    """A checkpoint of a database and a collection."""
    version, _, operation = name.partition("/")
    values: dict[str, Any] = {
        "checkpoint": name,
        "version": int(version[1:]),
        "operation": operation,
        "kind": "update",
        "taken_at": NIGHT,
        "holds": (
            Held(service="postgresql", name="n8n", tables=60, rows=12_345, workflows=3, bytes=3 << 20),
            Held(service="qdrant", name="docs", points=1, bytes=512),
        ),
    }
    return Checkpoint(**(values | more))


def restore_plan(**more: Any) -> RestorePlan:
    """A database that holds more now, and a collection that is gone."""
    taken = checkpoint()
    database, collection = taken.holds
    now = Held(service="postgresql", name="n8n", tables=60, rows=None, workflows=5)
    values: dict[str, Any] = {
        "deployment": "prod",
        "operation_id": "op-9",
        "checkpoint": taken,
        "services": ("postgresql", "qdrant"),
        "replaced": (Replacement(then=database, now=now), Replacement(then=collection, now=None)),
        "left": (Held(service="qdrant", name="later", points=7),),
        "checks": (CheckResult(name="Qdrant data", status="pass", detail="the same minor version"),),
        "downtime": "n8n stops until its data is in place.",
        "data_notice": "What is there now is copied first.",
        "active_version": 2,
    }
    return RestorePlan(**({"target_kind": "local"} | values | more))


def version(number: int, kind: OperationKind = "update", **more: Any) -> Version:
    """One version, healthy unless told otherwise."""
    origin: dict[str, Any] = {"operation_id": f"op-{number}", "actor": "ann@box", "created_at": NIGHT}
    for key in ("source_version", "services_from", "trigger", "reason", "foreseen"):
        if key in more:
            origin["way_back" if key == "foreseen" else key] = more.pop(key)
    values: dict[str, Any] = {
        "config": config(),
        "status": "superseded",
        "healthy": True,
        "duration_seconds": 41.0,
    } | more
    return Version(provenance=Provenance(number=number, kind=kind, **origin), **values)


def inspection(**more: Any) -> Inspection:
    """A deployment with four versions and one rollback."""
    values: dict[str, Any] = {
        "deployment": "prod",
        "target": "local",
        "region": "us-east-1",
        "active_version": 4,
        "status": "healthy",
        "versions": [
            version(1, "deploy", archived=True),
            version(2, config=config(n8n="1.92.0"), pinned=True),
            version(3, config=config("t3.xlarge", "1.93.0"), status="failed", healthy=False, reason="Friday upgrade"),
            version(
                4,
                "rollback",
                config=config(n8n="1.92.0"),
                status="active",
                source_version=2,
                trigger="health_check_failed",
            ),
        ],
        "rollbacks": [
            RollbackRecord(
                timestamp=NIGHT,
                trigger="health_check_failed",
                success=True,
                previous_state_version=3,
                rolled_back_changes=["n8n image: 1.93.0 -> 1.92.0"],
                version=4,
                source_version=2,
                operation_id="op-4",
                actor="ann@box",
                duration_seconds=20.5,
            )
        ],
        "services": {
            "n8n": ServiceState(
                image=f"n8nio/n8n:1.92.0@{DIGEST}", healthy=True, state="running", address="127.0.0.2:5678"
            ),
            "postgresql": ServiceState(image=None, healthy=False, state="missing", detail="no container"),
        },
        "instance": InstanceState(id="i-1", type="t3.large", state="running", address="127.0.0.9"),
        "efs": FileSystemState(id="fs-1", mounted=True),
    }
    return Inspection(**(values | more))


def comparison() -> Comparison:
    """From v2 to v3: a larger instance, another n8n, and a variable that looks like a secret."""
    larger = config("t3.xlarge", "1.92.0")
    services = {
        **larger.services,
        "n8n": larger.services["n8n"].model_copy(update={"environment": {"API_KEY": "hunter2", "TZ": "UTC"}}),
    }
    larger = larger.model_copy(
        update={"services": services, "instance": InstanceFacts(memory_mib=16384), "ami": "ami-1"}
    )
    smaller = config().model_copy(update={"ami": "ami-1"})
    return compare("prod", Side("v2", smaller, 2), Side("v3", larger, 3), data_volume=False)


def version_report(**more: Any) -> VersionReport:
    """v2, which is not active, and was gone back to once on newer data."""
    back = comparison()
    values: dict[str, Any] = {
        "deployment": "prod",
        "version": version(2, config=config(n8n="1.92.0"), pinned=True, reason="new editor", note="ours (ann)"),
        "config_told": [*config_changes(None, config(n8n="1.92.0"))],
        "active": False,
        "default_target": True,
        "health_status": {"n8n": True, "postgresql": True},
        "operation_seconds": 75.0,
        "back": back.model_copy(update={"old": "v3", "new": "v2"}),
        "objections": ["last ran on data that newer software had migrated"],
        "command": "geusemaker rollback prod v2 --allow-data-downgrade",
    }
    return VersionReport(**(values | more))


def events() -> list[Event]:
    """What an operation reports after the question."""
    return [
        Event(kind="phase", name="apply", state="started"),
        Event(
            kind="resource",
            name="instance",
            state="started",
            data={"op": "update", "type": "aws:ec2/instance:Instance"},
        ),
        Event(kind="resource", name="gate", state="started", data={"op": "update", "type": "command:remote:Command"}),
        Event(kind="resource", name="gate", state="done", data={"op": "update", "type": "command:remote:Command"}),
        Event(kind="service", name="n8n", state="starting"),
        Event(kind="service", name="n8n", state="starting"),
        Event(kind="service", name="n8n", state="healthy"),
        Event(kind="phase", name="apply", state="done"),
    ]


class FakeTunnel(dict[str, str]):
    """A tunnel at which Ctrl-C is pressed as soon as it stands."""

    silent: tuple[str, ...] = ()
    closed = False

    def __enter__(self) -> FakeTunnel:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def wait(self) -> None:
        raise KeyboardInterrupt


@dataclass
class FakeDeployment:
    """A deployment whose verbs show ``plan``, ask, report ``events`` and return ``result`` (or raise ``error``)."""

    name: str = "prod"
    plan: Plan = field(default_factory=rollback_plan)
    result: OperationResult | RollbackResult | None = None
    error: BaseException | None = None
    newer: Updates = field(default_factory=lambda: Updates(deployment="prod"))
    error_after_plan: BaseException | None = None
    restored: RestoreResult = field(
        default_factory=lambda: RestoreResult(
            success=True,
            deployment="prod",
            version=2,
            operation_id="op-9",
            checkpoint="v1/op-2",
            kept={"n8n": "n8n_before_9"},
            taken="v2/op-9",
            undo="geusemaker restore prod --checkpoint v2/op-9",
            health_status={"n8n": True},
            duration_seconds=17.0,
        )
    )
    rehearsed: RehearsalResult = field(
        default_factory=lambda: RehearsalResult(
            success=True,
            deployment="prod",
            version=3,
            operation_id="op-9",
            duration_seconds=92.0,
            starts=True,
            ahead={
                "postgresql": RehearsedStart(image="postgres:17.12", works=True, seconds=1.2),
                "n8n": RehearsedStart(image="n8nio/n8n:2.41.1", works=True, seconds=31.0),
            },
            migrations=["One1", "Two2"],
            migration_seconds=22.5,
            back={
                "postgresql": RehearsedStart(image="postgres:17.12", works=True, seconds=1.1),
                "n8n": RehearsedStart(image="n8nio/n8n:1.100.1", works=False, seconds=9.0, problem="HTTP 500"),
            },
            way_back=WayBack(
                to_version=3,
                kind="with-data",
                because=("n8n 1.100.1 on what n8n 2.41.1 left: HTTP 500",),
                commands=("geusemaker rollback prod v3 --with-data",),
            ),
            copied_bytes=7 << 20,
            isolated=True,
        )
    )
    known_checkpoints: list[Checkpoint] = field(
        default_factory=lambda: [checkpoint("v2/op-9", kind="restore"), checkpoint()]
    )
    backup_state: BackupState = field(default_factory=BackupState)
    default_checkpoint: str | None = "v1/op-2"
    compared: Comparison = field(default_factory=comparison)
    looks: list[Inspection] = field(default_factory=list)
    inspected: Inspection = field(default_factory=inspection)
    opened: FakeTunnel = field(default_factory=lambda: FakeTunnel(n8n="http://localhost:5678", db="localhost:5432"))
    requests: list[Any] = field(default_factory=list)
    shown_plans: list[Plan] = field(default_factory=list)

    def deploy(self, request: ConfigRequest, confirm: Confirm, on_event: OnEvent) -> Any:
        return self._change(request, "deploy", confirm, on_event)

    def update(self, request: ConfigRequest, confirm: Confirm, on_event: OnEvent) -> Any:
        return self._change(request, "update", confirm, on_event)

    def rollback(self, request: RollbackRequest, confirm: Confirm, on_event: OnEvent) -> Any:
        return self._change(request, "rollback", confirm, on_event)

    def recover(
        self,
        confirm: Confirm,
        on_event: OnEvent,
        owner_is_gone: bool = False,
        reboot: bool = False,
        dry_run: bool = False,
        on_demand: bool = False,
        renew_docker: bool = False,
        advisories: bool = True,
    ) -> Any:
        given: tuple[bool, ...] = (owner_is_gone, reboot, on_demand) if on_demand else (owner_is_gone, reboot)
        given = given if advisories else (*given, advisories)
        return self._change(given, "recover", confirm, on_event, dry_run=dry_run)

    def recover_every(self, seconds: float, on_event: OnEvent) -> UnattendedReport:
        on_event(Event(kind="note", message=f"every {seconds:g} s"))
        return UnattendedReport(deployment=self.name, looks=7, repairs=1)

    def stop(
        self,
        services: tuple[str, ...],
        reason: str,
        confirm: Callable[[RestPlan], bool],
        on_event: OnEvent,
        instance: bool,
    ) -> Any:
        return self._rest("stop", services, reason, confirm, "i-0abc" if instance else "")

    def start(
        self, services: tuple[str, ...], reason: str, confirm: Callable[[RestPlan], bool], on_event: OnEvent
    ) -> Any:
        return self._rest("start", services, reason, confirm)

    def secrets(self) -> SecretList:
        return SecretList(
            deployment=self.name,
            version=3,
            secrets=[
                SecretEntry(name="ssh_private_key", kind="generated", used_by=["the login on the instance"]),
                SecretEntry(
                    name="n8n.SMTP_PASS", kind="given", used_by=["n8n.SMTP_PASS"], set_at=NIGHT, set_by="ann@box"
                ),
            ],
        )

    def secret(self, name: str) -> SecretStr:
        self.requests.append(name)
        return SecretStr("first line\nsecond line" if name == "key" else "the value")

    def set_secret(
        self, name: str, value: SecretStr, options: ChangeOptions, confirm: Confirm, on_event: OnEvent
    ) -> OperationResult:
        self.requests.append((name, value.get_secret_value(), options))
        changes = [f"secret {name}: set"]
        return OperationResult(success=True, deployment=self.name, kind="set-secret", version=3, changes=changes)

    def delete_secret(
        self, name: str, options: ChangeOptions, confirm: Callable[[str], bool], on_event: OnEvent
    ) -> OperationResult:
        self.requests.append(("delete", name, options, confirm(f"{name} is deleted.")))
        changes = [f"secret {name}: deleted"]
        return OperationResult(success=True, deployment=self.name, kind="delete-secret", version=3, changes=changes)

    def import_n8n_key(self, key: SecretStr, confirm: Callable[[str], bool], on_event: OnEvent) -> SecretRotationResult:
        self.requests.append(("import", key.get_secret_value(), confirm("n8n gets another key.")))
        return SecretRotationResult(
            success=True,
            deployment=self.name,
            kind="import-n8n-key",
            version=3,
            operation_id="op-9",
            changes=["n8n encryption key: imported"],
        )

    def rotate_secret(self, secret: str, confirm: Callable[[str], bool], on_event: OnEvent) -> Any:
        self.requests.append(("rotate", secret))
        if self.error is not None:
            raise self.error
        if not confirm("Another key logs in."):
            raise DeclinedError("Not confirmed.", state="Nothing was changed.")
        failed = secret == "database"
        return SecretRotationResult(
            success=not failed,
            deployment=self.name,
            kind="rotate-database" if failed else "rotate-ssh",
            version=4,
            operation_id="op-9",
            changes=["ssh key: changed"],
            error_message="The password of prod was not changed to the end: no space." if failed else None,
            exit_code=4 if failed else 0,
            warnings=["1 other key may log in"],
            still_opens="" if failed else "The old key opens nothing.",
            next_step="Run it again." if failed else "",
        )

    def _rest(
        self,
        kind: Literal["stop", "start"],
        services: tuple[str, ...],
        reason: str,
        confirm: Callable[[RestPlan], bool],
        instance: str = "",
    ) -> Any:
        self.requests.append((kind, services, reason))
        if self.error is not None:
            raise self.error
        named = tuple(service_name(name) for name in services) or ("postgresql", "n8n")
        plan = RestPlan(
            deployment=self.name,
            kind=kind,
            operation_id="op-9",
            services=named,
            instance=instance,
            summary=f"{', '.join(named)} it is",
            because=("n8n stops as well: it needs postgresql",) if kind == "stop" else (),
            reason=reason,
            active_version=4,
            target_kind="local",
        )
        if not confirm(plan):
            raise DeclinedError("Not confirmed.", state="Nothing was changed.")
        return OperationResult(
            success=True,
            deployment=self.name,
            kind=kind,
            version=4,
            operation_id="op-9",
            changes=[f"{name}: running -> stopped on purpose" for name in named],
        )

    def rehearse(self, request: RehearseRequest, on_event: OnEvent) -> RehearsalResult:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        on_event(Event(kind="service", name="n8n", state="starting"))
        return self.rehearsed

    def restore(self, request: RestoreRequest, confirm: Callable[[RestorePlan], bool], on_event: OnEvent) -> Any:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        if not confirm(restore_plan(reason=request.reason)):
            raise DeclinedError("Not confirmed.", state="Nothing was changed.")
        on_event(Event(kind="service", name="n8n", state="stopping"))
        return self.restored

    def wait_lock(self, seconds: float) -> None:
        self.requests.append(seconds)

    def tell(self, *, addresses: list[str], commands: tuple[str, ...]) -> None:
        self.requests.append(("tell", *addresses, *commands))

    def evidence(self, operation_id: str, lines: int) -> dict[str, list[str]]:
        return {"n8n": ["Error: no"], "qdrant": ["fine"]} if operation_id == "op-3" else {}

    def checkpoints(self) -> CheckpointList:
        if self.error is not None:
            raise self.error
        return CheckpointList(deployment=self.name, default=self.default_checkpoint, checkpoints=self.known_checkpoints)

    def backup(self, on_event: OnEvent) -> BackupResult:
        self.requests.append("backup")
        if self.error is not None:
            raise self.error
        on_event(Event(kind="service", name="postgresql", state="dumping", message="n8n"))
        made = checkpoint("v3/op-7", kind="backup", by="ann")
        return BackupResult(
            deployment=self.name, backup="op-7", checkpoint=made, bytes=made.bytes, duration_seconds=4.0
        )

    def backups(self) -> BackupList:
        found = [one for one in self.known_checkpoints if one.is_backup]
        return BackupList(deployment=self.name, backups=found, state=self.backup_state)

    def schedule_backups(self, every_seconds: float | None, keep: int) -> ScheduleResult:
        self.requests.append((every_seconds, keep))
        planned = BackupState(every_seconds=every_seconds, keep=keep if every_seconds else None)
        return ScheduleResult(deployment=self.name, backups=planned)

    def destroy(
        self,
        delete_data: bool,
        confirm: Confirm,
        on_event: OnEvent,
        dry_run: bool = False,
        confirm_name: str | None = None,
    ) -> Any:
        return self._change(delete_data, "destroy", confirm, on_event, dry_run=dry_run)

    def mark(self, version: int, *, bad: bool, reason: str = "") -> MarkResult:
        self.requests.append(("mark", version, bad, reason))
        return self._marked(version, bad=bad, note=reason)

    def pin(self, version: int, reason: str = "") -> MarkResult:
        self.requests.append(("pin", version, reason))
        return self._marked(version, pinned=True, note=reason)

    def unpin(self, version: int) -> MarkResult:
        self.requests.append(("unpin", version))
        return self._marked(version, changed=False, default_target=None)

    def _marked(self, version: int, **more: Any) -> MarkResult:
        if self.error is not None:
            raise self.error
        values: dict[str, Any] = {"bad": False, "pinned": False, "archived": False, "changed": True}
        return MarkResult(deployment=self.name, version=version, **(values | {"default_target": 1} | more))

    def inspect(self, show_history: bool = False) -> Inspection:
        if self.error is not None:
            raise self.error
        return self.inspected

    def status(self) -> Inspection:
        return self.inspect()

    def updates(self, *, advisories: bool = True) -> Updates:
        self.requests.append(("updates", advisories))
        return self.newer

    def watch(self) -> Iterator[Inspection]:
        if self.error is not None:
            raise self.error
        yield from self.looks or [self.inspected]

    def inspect_version(self, number: int) -> VersionReport:
        self.requests.append(("inspect", number))
        return version_report()

    def diff(self, old: int | None = None, new: int | None = None) -> Comparison:
        self.requests.append(("diff", old, new))
        if self.error is not None:
            raise self.error
        return self.compared

    def diff_file(self, file: StackFile) -> Comparison:
        self.requests.append(("diff", file))
        if self.error is not None:
            raise self.error
        return self.compared

    def export(self, version: int | None = None) -> StackFile:
        self.requests.append(("export", version))
        return StackFile.of(config(n8n="2.43.3"), head="All of prod.")

    def logs(self, *asked: Any) -> Iterator[LogLine]:
        self.requests.append(asked[:-1])
        if self.error is not None:
            raise self.error
        asked[-1](Event(kind="note", message="n8n: its container was started"))
        yield LogLine("n8n", "ready on \x1b[31m5678\x1b[0m", NIGHT)
        yield LogLine("postgresql", "database system is ready", None)
        if asked[4]:
            raise KeyboardInterrupt

    def ssh(self, command: str = "", input: str = "", attach: bool = False) -> CommandResult:
        self.requests.append(("ssh", command, attach))
        if self.error is not None:
            raise self.error
        return CommandResult(exit_code=7)

    def exec(self, service: str, command: list[str], input: str = "", attach: bool = False) -> CommandResult:
        self.requests.append(("exec", service, command, attach))
        if self.error is not None:
            raise self.error
        return CommandResult(exit_code=127)

    def tunnel(self, *services: str, port: int | None = None, on_event: OnEvent) -> FakeTunnel:
        self.requests.append(("tunnel", services, port))
        if self.error is not None:
            raise self.error
        on_event(Event(kind="warning", message="The connection was lost."))
        return self.opened

    def open(self, service: str | None = None, port: int | None = None, *, on_event: OnEvent) -> FakeTunnel:
        self.requests.append(("open", service, port))
        if self.error is not None:
            raise self.error
        return self.opened

    def info(self) -> DeploymentInfo:
        return DeploymentInfo(
            deployment=self.name,
            target="local",
            region="us-east-1",
            address="127.0.0.9",
            ssh_command="ssh -p 2222 admin@127.0.0.9",
            services={"n8n": "http://127.0.0.2:5678"},
            credentials={"postgresql password": "geusemaker ssh …"},
            workspace="w",
            backend="file://w",
        )

    def environment(self) -> dict[str, str]:
        return {"PULUMI_BACKEND_URL": "file://a b", "AWS_REGION": "us-east-1"}

    def _change(self, request: Any, kind: str, confirm: Confirm, on_event: OnEvent, dry_run: bool = False) -> Any:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        if dry_run or getattr(request, "dry_run", False):
            on_event(Event(kind="plan", plan=self.plan))
        elif not confirm(self.plan):
            raise DeclinedError("Not confirmed.", state="Nothing was changed.")
        else:
            for event in events():
                on_event(event)
        if self.error_after_plan is not None:
            raise self.error_after_plan
        if self.result is not None:
            return self.result
        common: dict[str, Any] = {
            "success": True,
            "deployment": self.name,
            "version": 4,
            "operation_id": "op-4",
            "duration_seconds": 12.5,
            "health_status": {"n8n": True, "postgresql": True},
            "dry_run": dry_run or getattr(request, "dry_run", False),
        }
        if kind == "rollback":
            return RollbackResult(
                trigger="manual", changes_reverted=["n8n image: 1.92.0 -> 1.91.0"], source_version=2, **common
            )
        return OperationResult(kind=kind, changes=["n8n image: 1.92.0 -> 1.91.0"], **common)  # type: ignore[arg-type]


@dataclass
class FakeLocalCloud:
    """A local cloud that only remembers what it was told."""

    running: bool = True
    calls: list[str] = field(default_factory=list)

    def start(self) -> LocalCloudStatus:
        self.calls.append("start")
        self.running = True
        return self.status()

    def stop(self) -> None:
        self.calls.append("stop")
        self.running = False

    def environment(self) -> dict[str, str]:
        return {"AWS_SECRET_ACCESS_KEY": "a key's", "AWS_REGION": "us-east-1", "PULUMI_DEBUG_PROVIDERS": "aws:1"}

    def reset(self) -> None:
        self.calls.append("reset")
        self.running = False

    def status(self) -> LocalCloudStatus:
        if not self.running:
            return LocalCloudStatus(running=False)
        return LocalCloudStatus(
            running=True,
            aws_endpoint="http://127.0.0.1:1",
            registry="http://127.0.0.1:2",
            pid=7,
            instances=(InstanceStatus(id="i-1", kind="process", address="127.0.0.9", ssh_port=2222, state="running"),),
            file_systems=(FileSystemStatus(id="fs-1", path="efs/fs-1"),),
        )


@dataclass
class FakeWorkspace:
    """A workspace of given deployments."""

    known: dict[str, FakeDeployment] = field(default_factory=lambda: {"prod": FakeDeployment()})
    report: DoctorReport = field(
        default_factory=lambda: DoctorReport(
            ok=True,
            engine=EngineInfo(path="bin/pulumi", version="3.259.0", source="path"),
            checks=[CheckResult(name="python", status="pass", detail="3.11")],
        )
    )
    cloud: FakeLocalCloud = field(default_factory=FakeLocalCloud)
    list_error: GeusemakerError | None = None
    engine_events: list[Event] = field(default_factory=list)
    has_engine: bool = True
    backend_url: str = "s3://states"
    backend_folder: Path | None = None

    home: Path = Path("/home/ada/.geusemaker")

    def names(self) -> list[str]:
        if self.list_error is not None:
            raise self.list_error
        return sorted(self.known)

    def deployments(self) -> list[DeploymentSummary]:
        return [
            DeploymentSummary(
                name=name,
                target="local",
                active_version=4,
                instance_type="t3.large",
                status="healthy",
                updated_at=NIGHT,
            )
            for name in self.known
        ]

    def deployment(self, name: str | None) -> FakeDeployment:
        if name is None and len(self.known) == 1:
            return next(iter(self.known.values()))
        if name is None or name not in self.known:
            raise DeploymentNotFoundError(f"there is no deployment {name!r}", next_step="geusemaker list")
        return self.known[name]

    def doctor(self, name: str | None = None) -> DoctorReport:
        return self.report

    def aws_policy(self, name: str | None = None, *, read_only: bool = False, sessions: bool = False) -> dict[str, Any]:
        return {"Version": "2012-10-17", "Statement": [], "Id": f"{name} {read_only} {sessions} {'x' * 200}"}

    def require_engine(self) -> EngineInfo:
        if not self.has_engine:
            raise EngineNotFoundError("There is no usable Pulumi engine on this machine.")
        return EngineInfo(path="bin/pulumi", version="3.259.0", source="path")

    def prepare_engine(self, on_event: OnEvent) -> EngineInfo:
        for event in self.engine_events:
            on_event(event)
        return EngineInfo(path="bin/pulumi", version="3.259.0", source="path")

    def local_cloud(self) -> FakeLocalCloud:
        return self.cloud
