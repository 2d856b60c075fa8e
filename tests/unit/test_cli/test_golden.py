"""What an operator sees, whole: each view of fixed models as a file in ``__snapshots__``, reviewed when it changes.

``.venv/bin/python -m pytest tests/unit/test_cli/test_golden.py --snapshot-update`` writes them anew. Lines are never
wrapped or cut by geusemaker, so they are the same on a terminal of 80 columns and in a pipe; only the live region is.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from geusemaker import errors
from geusemaker.cli.output.history import render_history
from geusemaker.cli.output.inspection import (
    render_doctor,
    render_info,
    render_inspection,
    render_list,
    render_local,
    render_status,
)
from geusemaker.cli.output.plan import question, render_plan
from geusemaker.cli.output.progress import LineProgress, LiveProgress
from geusemaker.cli.output.repair import render_repair, render_rotation, render_steps
from geusemaker.cli.output.rest import render_rest_plan
from geusemaker.cli.output.restore import render_checkpoints, render_restore, render_restore_plan
from geusemaker.cli.output.result import render_error, render_failed_result, render_mark, render_result
from geusemaker.cli.output.text import Line, Printer
from geusemaker.local_cloud.client import FileSystemStatus, InstanceStatus, LocalCloudStatus
from geusemaker.models.plan import CheckResult, ConfigChange, Event, Plan, RestPlan
from geusemaker.models.result import (
    CheckpointList,
    DataVolumeState,
    DeploymentInfo,
    DeploymentSummary,
    DoctorReport,
    EngineInfo,
    FileSystemState,
    Interruption,
    MarkResult,
    NewerData,
    OperationResult,
    RepairReport,
    RepairStep,
    RestoreRecord,
    RestoreResult,
    RollbackResult,
    RotationResult,
    SecretRotationResult,
    ServiceState,
)
from geusemaker.models.version import UnreadableVersion
from tests.unit.test_cli.fakes import (
    DIGEST,
    NIGHT,
    FakeDeployment,
    checkpoint,
    events,
    inspection,
    operation,
    restore_plan,
    rollback_plan,
)

Lines = list[Line]


class TextFile(SingleFileSnapshotExtension):
    """A view is a text file."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"

    def serialize(self, data: Any, **_: Any) -> str:
        """The view as it is."""
        return str(data)


@pytest.fixture
def golden(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    return snapshot.use_extension(TextFile)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Points in time are shown in the operator's own zone."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("COLUMNS", "80")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(lines: Lines, stream: io.StringIO | None = None) -> str:
    stream = stream or io.StringIO()
    Printer(stream).lines(lines)
    return stream.getvalue()


INSTANCE = "aws:ec2/instance:Instance"
CHECKS = (
    CheckResult(name="credentials", status="pass", detail="account 123456789012"),
    CheckResult(name="n8n data", status="warn", detail="3 migrations are newer than n8n 2.42.6; see docs/data.md"),
    CheckResult(name="disk", status="fail", detail="1.2 GiB free on /, 4.0 GiB needed for 2 images"),
)
NEWER = NewerData(
    migrations=["AddA1700000000000"],
    known_to_work=False,
    checkpoint="v3/op-4",
    restore="geusemaker restore prod --checkpoint v3/op-4",
    message="n8n 2.42.6 runs on data that 2.43.0 has migrated.",
)


def plan(**more: Any) -> Plan:
    """Going back from v3 to v2's config, with the changes as the library puts them."""
    changes = (
        ConfigChange(path="instance_type", old="t3.xlarge", new="t3.large"),
        ConfigChange(path="n8n.image", old=f"n8nio/n8n:2.43.0@{DIGEST}", new=f"n8nio/n8n:2.42.6@{DIGEST}"),
        ConfigChange(path="n8n.env.TZ", old=None, new="UTC"),
        ConfigChange(path="settings.retention", old="5", new="7"),
    )
    return rollback_plan(**({"changes": changes} | more))


def first_deploy() -> Lines:
    changes = (
        ConfigChange(path="instance_type", old=None, new="t3.large"),
        ConfigChange(path="n8n.image", old=None, new=f"n8nio/n8n:2.42.6@{DIGEST}"),
        ConfigChange(path="settings.retention", old=None, new="5"),
    )
    created = tuple(operation("create", kind, name) for kind, name in ((INSTANCE, "instance"), ("aws:efs/x:Y", "data")))
    shown = plan(
        kind="deploy", number=1, active_version=None, source_version=None, changes=changes, operations=created,
        checks=CHECKS[:1], target_kind="aws",
    )  # fmt: skip
    return [*render_plan(shown), [(question(shown), "")]]


def replacement() -> Lines:
    steps = tuple(
        operation(op, INSTANCE, "instance", replaces=("ami",), changed=("ami",))
        for op in ("create-replacement", "replace", "delete-replaced")
    )
    return render_plan(plan(kind="update", source_version=None, operations=steps, checks=CHECKS))


def recovery() -> Lines:
    shown = plan(
        kind="recover", trigger="health_check_failed", reason="found at night", changes=(),
        repairs=("qdrant does not run", "the lock of a killed operation is removed"),
        stopped=("n8n, by ann since 2025-01-21 02:03",),
    )  # fmt: skip
    return render_plan(shown)


def destroy() -> Lines:
    steps = (
        operation("delete", INSTANCE, "instance", provider_id="i-0123456789abcdef0"),
        operation("delete", "command:remote:Command", "gate"),
    )
    return render_plan(plan(operations=steps, checks=()), "destroy")


def rest_plan() -> Lines:
    plan = RestPlan(
        deployment="prod", kind="stop", operation_id="op-9", services=("postgresql", "n8n"),
        summary="postgresql and n8n stop.", because=("n8n stops as well: it needs postgresql",), reason="moving",
        active_version=4, target_kind="local",
    )  # fmt: skip
    return render_rest_plan(plan)


def done(kind: Any = "update", **more: Any) -> OperationResult:
    values: dict[str, Any] = {
        "success": True, "deployment": "prod", "kind": kind, "version": 4, "operation_id": "op-4",
        "duration_seconds": 75.2, "health_status": {"n8n": True, "postgresql": True},
    }  # fmt: skip
    return OperationResult(**(values | more))


def rolled_back(**more: Any) -> RollbackResult:
    values: dict[str, Any] = {
        "success": True, "trigger": "manual", "deployment": "prod", "version": 4, "source_version": 2,
        "operation_id": "op-4", "duration_seconds": 41.0, "health_status": {"n8n": True},
        "changes_reverted": [f"n8n.image: n8nio/n8n:2.43.0@{DIGEST} -> n8nio/n8n:2.42.6@{DIGEST}"],
    }  # fmt: skip
    return RollbackResult(**(values | more))


def failed(code: int, **more: Any) -> OperationResult:
    values: dict[str, Any] = {
        "success": False, "exit_code": code, "health_status": {"n8n": False, "postgresql": True},
        "error_message": "n8n did not become healthy within 180 s: it exited with code 1.",
        "evidence": "/home/ann/.geusemaker/evidence/op-4", "next_step": "Run `geusemaker logs prod n8n`.",
    }  # fmt: skip
    return done(**(values | more))


def rotated() -> SecretRotationResult:
    return SecretRotationResult(
        success=True, deployment="prod", kind="rotate-ssh", version=4, operation_id="op-9",
        changes=["ssh key: changed"], warnings=["One other key may log in."], still_opens="The old key opens nothing.",
        duration_seconds=4.0,
    )  # fmt: skip


def restored(**more: Any) -> RestoreResult:
    values: dict[str, Any] = {
        "success": True, "deployment": "prod", "version": 2, "operation_id": "op-9", "checkpoint": "v1/op-2",
        "kept": {"n8n": "n8n_before_9"}, "set_aside": ["n8n/binaryData_before_9"], "taken": "v2/op-9",
        "health_status": {"n8n": True}, "duration_seconds": 17.0,
    }  # fmt: skip
    return RestoreResult(**(values | more))


def troubled() -> Any:
    return inspection(
        status="interrupted",
        summary="An update was killed. Run `geusemaker recover prod`: it goes back to v4.",
        problems=["The instance i-1 does not answer over SSH."],
        notes=["A line of the journal cannot be read."],
        efs=FileSystemState(id="fs-1", mounted=False),
        data_volume=DataVolumeState(
            id="vol-1", size_gib=20, state="in-use", availability_zone="us-east-1a", attached_to="i-1", mounted=True
        ),
        interruption=Interruption(
            operation_id="op-5", kind="update", number=5, actor="ann", host="box", pid=7, started_at=NIGHT
        ),
        services={
            "n8n": ServiceState(
                image=f"n8nio/n8n:1.92.0@{DIGEST}", healthy=False, state="restarting", detail="exited with code 1",
                address="127.0.0.1:5678", restarts=4,
            ),
        },
    )  # fmt: skip


def long_history() -> Lines:
    later = UnreadableVersion(number=5, created_at=NIGHT + timedelta(hours=1), succeeded=True, why="config: schema 2")
    record = RestoreRecord(
        operation_id="op-9", timestamp=NIGHT, actor="ann", version=4, checkpoint="v2/op-3", taken="v4/op-9",
        success=True, duration_seconds=12.0, reason="the rows of June",
    )  # fmt: skip
    found = inspection(unreadable=[later], restores=[record], notes=["One line of the journal cannot be read."])
    return render_history(found, show_all=True)


def info() -> DeploymentInfo:
    return DeploymentInfo(
        deployment="prod", target="aws", region="eu-central-1", address="203.0.113.9",
        ssh_command="ssh admin@203.0.113.9", services={"n8n": "http://127.0.0.1:5678", "postgresql": "127.0.0.1:5432"},
        credentials={"ssh key": 'eval "$(geusemaker env prod)" && pulumi -C /home/ann/.geusemaker config get x:y'},
        workspace="/home/ann/.geusemaker", backend="file:///home/ann/.geusemaker/.state/backend",
    )  # fmt: skip


def summaries() -> list[DeploymentSummary]:
    return [
        DeploymentSummary(
            name="prod", target="aws", active_version=4, instance_type="t3.large", status="active", updated_at=NIGHT
        ),
        DeploymentSummary(
            name="shop", target="", active_version=None, instance_type="", status="damaged", updated_at=None
        ),
    ]


def doctor(*, ok: bool) -> Lines:
    engine = EngineInfo(path="/usr/bin/pulumi", version="3.231.0", source="path") if ok else None
    checks = [CheckResult(name="workspace", status="pass", detail="/home/ann/.geusemaker")]
    problems = [] if ok else ["engine: no Pulumi engine found; `geusemaker doctor --get-engine` gets one"]
    return render_doctor(DoctorReport(ok=ok, engine=engine, checks=checks, problems=problems))


def local_cloud() -> Lines:
    status = LocalCloudStatus(
        running=True, pid=7, aws_endpoint="http://127.0.0.1:5000", registry="127.0.0.1:5001",
        instances=(InstanceStatus(id="i-1", kind="process", state="running", address="127.0.0.9", ssh_port=2222),),
        file_systems=(FileSystemStatus(id="fs-1", path="/home/ann/.geusemaker/cloud/file_systems/fs-1"),),
    )  # fmt: skip
    return render_local(status)


STEP = RepairStep(
    kind="state",
    file=".pulumi/stacks/geusemaker/prod.json",
    reason="it is cut short",
    action="is brought back from the copy of 02:03",
)

VIEWS: dict[str, Callable[[], Lines]] = {
    "plan of a rollback": lambda: render_plan(plan(reason="slow since Friday")),
    "plan of a first deploy": first_deploy,
    "plan of a replacement": replacement,
    "plan of a recovery": recovery,
    "plan of a destroy": destroy,
    "plan of a restore": lambda: render_restore_plan(restore_plan(reason="workflows were deleted")),
    "plan of a stop": rest_plan,
    "plan of a repair": lambda: render_steps([STEP]),
    "result of deploy": lambda: render_result(done("deploy"), "deploy", "local"),
    "result of update": lambda: render_result(done("update"), "update", "local"),
    "result of recover": lambda: render_result(done("recover"), "recover", "local"),
    "result of destroy": lambda: render_result(done("destroy"), "destroy", "local"),
    "result of stop": lambda: render_result(
        done("stop", changes=["n8n: running -> stopped on purpose"]), "stop", "local"
    ),
    "result of rollback": lambda: render_result(
        rolled_back(warnings=["The copy could not be taken."], next_step="Look at n8n."), "rollback", "aws"
    ),
    "result of a rotation": lambda: render_result(rotated(), "secrets rotate", None),
    "result of a dry run": lambda: render_result(done(dry_run=True), "update", "local"),
    "result with nothing to change": lambda: render_result(done(operation_id="", health_status={}), "update", "local"),
    "result with nothing to repair": lambda: render_result(done("recover", operation_id=""), "recover", "local"),
    "failed and back": lambda: render_failed_result(failed(3, rolled_back_to=2), "update", "local"),
    "failed and not back": lambda: render_failed_result(failed(4), "update", "aws"),
    "failed at the first deploy": lambda: render_failed_result(
        failed(4, kind="deploy", version=None), "deploy", "local"
    ),
    "failed on newer data": lambda: render_failed_result(
        rolled_back(success=False, exit_code=4, newer_data=NEWER), "rollback", "local"
    ),
    "refused": lambda: render_failed_result(
        failed(5, checks=list(CHECKS), health_status={}, evidence=None), "update", "local"
    ),
    "marked bad": lambda: render_mark(
        MarkResult(
            deployment="prod",
            version=3,
            bad=True,
            pinned=False,
            archived=False,
            changed=True,
            note="ann: slow",
            default_target=2,
        )
    ),
    "unpinned as before": lambda: render_mark(
        MarkResult(deployment="prod", version=3, bad=False, pinned=False, archived=True, changed=False)
    ),
    "restored": lambda: render_restore(restored(), "local"),
    "not restored": lambda: render_restore(
        restored(success=False, exit_code=4, error_message="The dump cannot be read.", next_step="Run it again."), "aws"
    ),
    "repaired": lambda: render_repair(
        RepairReport(
            deployment="prod", steps=[STEP], kept=["/w/kept/prod.json"], next_step="Run `geusemaker recover prod`."
        )
    ),
    "nothing damaged": lambda: render_repair(RepairReport(deployment="prod")),
    "another passphrase": lambda: render_rotation(
        RotationResult(
            deployment="prod",
            provider="passphrase",
            passphrase_file="/w/.state/passphrase",
            still_opens="The old one opens the history until then.",
            next_step="Back up the new one.",
        )
    ),
    "status healthy": lambda: render_status(inspection(summary="v4 is active and healthy.")),
    "status in trouble": lambda: render_status(troubled()),
    "inspect healthy": lambda: render_inspection(inspection()),
    "inspect in trouble": lambda: render_inspection(troubled()),
    "history": lambda: render_history(inspection()),
    "history of everything": long_history,
    "checkpoints": lambda: render_checkpoints(
        CheckpointList(
            deployment="prod", default="v1/op-2", checkpoints=[checkpoint("v2/op-9", kind="restore"), checkpoint()]
        )
    ),
    "no checkpoints": lambda: render_checkpoints(CheckpointList(deployment="prod")),
    "info": lambda: render_info(info()),
    "list": lambda: render_list(summaries()),
    "list of nothing": lambda: render_list([]),
    "doctor": lambda: doctor(ok=True),
    "doctor without an engine": lambda: doctor(ok=False),
    "local cloud": local_cloud,
    "local cloud at rest": lambda: render_local(LocalCloudStatus(running=False)),
    "error": lambda: render_error(
        errors.EngineError("The update failed.", state="Nothing was changed.", next_step="Run `geusemaker doctor`."),
        ("error: aws:efs:FileSystem data: no such subnet",),
    ),
}


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_seen(view: str, golden: SnapshotAssertion) -> None:
    assert printed(VIEWS[view]()) == golden


def test_a_plan_in_colour(golden: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert printed(render_plan(plan(checks=CHECKS)), Terminal()) == golden


REPORTED = [
    *events()[:-1],
    Event(kind="note", message="Waiting for 30 s now: deleting security group storage (sg-0abc)."),
    Event(kind="warning", message="The journal could not be copied to EFS."),
    events()[-1],
    Event(kind="phase", name="verify", state="started", message="180 s at most"),
    Event(kind="phase", name="verify", state="failed", message="n8n exited with code 1"),
]


def test_progress_in_a_pipe(golden: SnapshotAssertion) -> None:
    seconds = iter(float(second) for second in range(100))
    stream = io.StringIO()
    progress = LineProgress(Printer(stream), lambda: next(seconds))
    for event in REPORTED:
        progress.event(event)
    assert stream.getvalue() == golden


def test_the_live_region_at_80_columns(golden: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    progress = LiveProgress(Printer(Terminal()), lambda: 12.0)
    for event in events()[:7]:
        progress.event(event)
    progress.event(Event(kind="service", name="qdrant", state="starting", message="answers " * 20))
    shown = str(progress._render())
    progress.pause()
    assert shown == golden and max(len(row) for row in shown.splitlines()) < 80


@pytest.mark.parametrize("name", sorted(name for name in errors.__all__ if name != "GeusemakerError"))
def test_an_error_of_each_kind(name: str, run: Any, ws: Any, golden: SnapshotAssertion) -> None:
    more: dict[str, dict[str, Any]] = {
        "ChangeFailedError": {"restored": False},
        "ValidationFailedError": {"checks": CHECKS},
    }
    error = getattr(errors, name)(
        "What happened.", state="Nothing was changed.", next_step="Run `geusemaker status prod`.", **more.get(name, {})
    )
    ws.known["prod"] = FakeDeployment(error=error)
    result = run("update", "prod", "--yes", "--image", "n8n=n8nio/n8n:2.43.0")
    assert f"exit code {result.exit_code}\n{result.stdout}--\n{result.stderr}" == golden
