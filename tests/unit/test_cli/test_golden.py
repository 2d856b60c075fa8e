"""What an operator sees, whole: each view of fixed models as a file in ``__snapshots__``, reviewed when it changes.

``.venv/bin/python -m pytest tests/unit/test_cli/test_golden.py --snapshot-update`` writes them anew. A pipe gets its
lines whole; a terminal has them broken between words at its width, which the views of ``WIDE`` are held to.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from geusemaker import errors
from geusemaker.cli.output.comparison import render_comparison
from geusemaker.cli.output.cost import told_cost
from geusemaker.cli.output.history import render_history
from geusemaker.cli.output.inspection import (
    render_doctor,
    render_info,
    render_inspection,
    render_list,
    render_local,
    render_status,
)
from geusemaker.cli.output.markdown.comparison import comparison_markdown
from geusemaker.cli.output.markdown.history import history_markdown
from geusemaker.cli.output.markdown.outcome import error_markdown, result_markdown
from geusemaker.cli.output.markdown.plan import plan_markdown
from geusemaker.cli.output.markdown.status import status_markdown
from geusemaker.cli.output.plan import question, render_plan
from geusemaker.cli.output.progress import LineProgress, LiveProgress
from geusemaker.cli.output.rehearsal import render_failed_rehearsal, render_rehearsal
from geusemaker.cli.output.repair import render_repair, render_rotation, render_steps
from geusemaker.cli.output.rest import render_rest_plan
from geusemaker.cli.output.restore import render_checkpoints, render_restore, render_restore_plan
from geusemaker.cli.output.result import render_error, render_failed_result, render_mark, render_result
from geusemaker.cli.output.text import Line, Printer, quoted
from geusemaker.cli.output.version import render_version
from geusemaker.local_cloud.client import FileSystemStatus, InstanceStatus, LocalCloudStatus
from geusemaker.models.checkpoint import CheckpointList
from geusemaker.models.cost import Cost, CostLine
from geusemaker.models.doctor import DoctorReport, EngineInfo, RepairReport, RepairStep
from geusemaker.models.inspection import (
    DataVolumeState,
    DeploymentInfo,
    DeploymentSummary,
    DomainState,
    FileSystemState,
    Inspection,
    Interruption,
    Patching,
    RestoreRecord,
    ServiceState,
)
from geusemaker.models.plan import CheckResult, ConfigChange, Event, Plan, RestPlan
from geusemaker.models.result import (
    MarkResult,
    NewerData,
    OperationResult,
    RehearsedStart,
    RestoreResult,
    RollbackResult,
    RotationResult,
    SecretRotationResult,
)
from geusemaker.models.version import UnreadableVersion, Version, WayBack
from tests.unit.test_cli.fakes import (
    DIGEST,
    NIGHT,
    FakeDeployment,
    checkpoint,
    comparison,
    config,
    events,
    inspection,
    operation,
    restore_plan,
    rollback_plan,
    version,
    version_report,
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


def at_width(view: Callable[[], Lines], width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a terminal of so many columns shows, without colours."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    return printed(view(), Terminal())


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
    return render_plan(recovering())


def recovering() -> Plan:
    return plan(
        kind="recover", trigger="health_check_failed", reason="found at night", changes=(),
        repairs=("qdrant does not run", "the lock of a killed operation is removed"),
        stopped=("n8n, by ann since 2025-01-21 02:03",),
    )  # fmt: skip


def cost(before: float, after: float, notes: tuple[str, ...] = ()) -> Cost:
    """Of an instance, its volumes and its address; EFS is empty."""
    there = 1.0 if before else 0.0
    parts = (
        CostLine(what="instance", detail="t3.large", before=before, after=after),
        CostLine(what="volumes", detail="60 GiB", before=4.8 * there, after=4.8),
        CostLine(what="address", before=3.65 * there, after=3.65),
    )
    return Cost(lines=parts, day=NIGHT.date(), notes=notes)


def costs() -> Lines:
    """What plans say of money."""
    unknown = CostLine(what="instance", detail="x9.large", before=60.74, after=None)
    known = cost(60.74, 60.74).lines[1:]
    shown = {
        "first": cost(0.0, 60.74, notes=("What is stored on EFS costs $0.3 a GiB and month.",)),
        "same": cost(60.74, 60.74),
        "other": cost(60.74, 121.47),
        "partly unknown": Cost(lines=(unknown, *known), day=NIGHT.date(), problem="AWS's price list has no x9.large"),
        "unknown": Cost(lines=(unknown,), problem="AWS refused the question: call GetProducts (AccessDenied)"),
        "deleted": Cost(lines=(known[0].model_copy(update={"after": 0.0}),), day=NIGHT.date()),
    }
    return [[(f"{name}: {told_cost(one)}", "")] for name, one in shown.items()]


def status_on_aws() -> Lines:
    old = Patching(image="ami-0123", image_date="2025-01-01", image_age_days=20, reboot=["a kernel"])
    return render_status(inspection(target="aws", patching=old, notes=["The instance waits for a reboot."]))


def destroy() -> Lines:
    steps = (
        operation("delete", INSTANCE, "instance", provider_id="i-0123456789abcdef0"),
        operation("delete", "command:remote:Command", "gate"),
    )
    return render_plan(plan(operations=steps, checks=()), "destroy")


MIGRATES = WayBack(
    to_version=3,
    kind="with-data",
    because=("n8n 1.92.0 migrates its database",),
    commands=(
        "geusemaker rollback prod v3 --allow-data-downgrade",
        "geusemaker restore prod --checkpoint v3/op-4 --service postgresql",
    ),
)


def ways_back() -> Lines:
    """Each kind, as the last of a plan's notices and as a result tells it."""
    plain = WayBack(to_version=3, kind="rollback", commands=("geusemaker rollback prod v3",))
    none = WayBack(to_version=3, kind="none", because=("n8n 1.92.0 migrates its database, and no copy is taken",))
    unknown = WayBack(to_version=3, kind="unknown", because=("only its start tells whether n8n migrates",))
    lines: Lines = []
    for way in (plain, MIGRATES, none, unknown):
        shown = plan(kind="update", source_version=None, operations=(), checks=(), way_back=way)
        result = OperationResult(success=True, deployment="prod", kind="update", version=4, way_back=way)
        lines += [*render_plan(shown)[-2:], [(question(shown), "")], *render_result(result, "update", "local")[1:]]
    return lines


def rest_plan() -> Lines:
    plan = RestPlan(
        deployment="prod", kind="stop", operation_id="op-9", services=("postgresql", "n8n"),
        summary="postgresql and n8n stop.", because=("n8n stops as well: it needs postgresql",), reason="moving",
        active_version=4, target_kind="local",
    )  # fmt: skip
    return render_rest_plan(plan)


def rest_on_aws() -> Lines:
    plan = RestPlan(
        deployment="prod", kind="stop", operation_id="op-9", services=("n8n",), summary="n8n stops", active_version=4,
        target_kind="aws", cost=cost(60.74, 60.74),
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
        "operation_id": "op-4", "duration_seconds": 41.0, "health_status": {"n8n": True}, "away_seconds": {"n8n": 4.2},
        "changes_reverted": [f"n8n.image: n8nio/n8n:2.43.0@{DIGEST} -> n8nio/n8n:2.42.6@{DIGEST}"],
    }  # fmt: skip
    return RollbackResult(**(values | more))


def failed(code: int, **more: Any) -> OperationResult:
    values: dict[str, Any] = {
        "success": False, "exit_code": code, "health_status": {"n8n": False, "postgresql": True},
        "error_message": "n8n did not become healthy within 180 s: it exited with code 1.",
        "evidence": "/home/ann/.geusemaker/evidence/op-4", "next_step": "Run `geusemaker logs prod n8n`.",
        "failure_logs": {"n8n": ["Initializing n8n process", "Error: the key does not open the credentials"]},
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
        "undo": "geusemaker restore prod --checkpoint v2/op-9",
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


def rows(text: str) -> Lines:
    """The lines of a Markdown document."""
    return [[(row, "")] for row in text.splitlines()]


def long_history() -> Lines:
    return render_history(everything(), show_all=True)


def everything() -> Inspection:
    later = UnreadableVersion(number=5, created_at=NIGHT + timedelta(hours=1), succeeded=True, why="config: schema 2")
    record = RestoreRecord(
        operation_id="op-9", timestamp=NIGHT, actor="ann", version=4, checkpoint="v2/op-3", taken="v4/op-9",
        success=True, duration_seconds=12.0, reason="the rows of June",
    )  # fmt: skip
    return inspection(unreadable=[later], restores=[record], notes=["One line of the journal cannot be read."])


def opened() -> Any:
    note = (
        "n8n.example.com answers 503 until n8n has an owner: `geusemaker open prod n8n` leads to where one is set up."
    )
    return inspection(
        summary="v4 is active and healthy.", notes=[note],
        domains={
            "n8n.example.com": DomainState(
                service="n8n", url="https://n8n.example.com/", status=503, certificate_until="2027-01-31T10:00:00Z"
            ),
            "crawl.example.com": DomainState(
                service="crawl4ai", url="https://crawl.example.com/", problem="there is no certificate"
            ),
        },
    )  # fmt: skip


def info() -> DeploymentInfo:
    return DeploymentInfo(
        deployment="prod", target="aws", region="eu-central-1", address="203.0.113.9",
        ssh_command="geusemaker ssh prod", services={"n8n": "http://127.0.0.1:5678", "postgresql": "127.0.0.1:5432"},
        domains={"n8n": "https://n8n.example.com/"}, dns=["n8n.example.com  A  203.0.113.9"],
        credentials={"crawl4ai_token": "geusemaker secrets show prod crawl4ai_token"},
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
    "ways back": ways_back,
    "plan with its cost": lambda: render_plan(plan(cost=cost(121.47, 60.74), target_kind="aws")),
    "costs": costs,
    "plan of a restore": lambda: render_restore_plan(restore_plan(reason="workflows were deleted")),
    "plan of a stop": rest_plan,
    "plan of a stop on AWS": rest_on_aws,
    "plan of a repair": lambda: render_steps([STEP]),
    "result of deploy": lambda: render_result(done("deploy"), "deploy", "local"),
    "result of update": lambda: render_result(done(undo="geusemaker rollback prod v3"), "update", "local"),
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
        failed(5, checks=list(CHECKS), health_status={}, evidence=None, failure_logs={}), "update", "local"
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
        ),
        "geusemaker mark prod 3 good",
    ),
    "unpinned as before": lambda: render_mark(
        MarkResult(deployment="prod", version=3, bad=False, pinned=False, archived=True, changed=False),
        "geusemaker pin prod 3",
    ),
    "rehearsed": lambda: render_rehearsal(FakeDeployment().rehearsed),
    "rehearsed in vain": lambda: render_failed_rehearsal(
        FakeDeployment().rehearsed.model_copy(
            update={
                "error_message": "n8nio/n8n:2.41.1 does not work on a copy of the data: it exited (exit code 1).",
                "ahead": {
                    "n8n": RehearsedStart(
                        image="n8nio/n8n:2.41.1",
                        works=False,
                        seconds=4.0,
                        problem="it exited (exit code 1)",
                        logs=["Error: a row that is there breaks a new rule"],
                    )
                },
                "migrations": [],
                "isolated": False,
                "way_back": WayBack(to_version=3, kind="none", because=("PostgreSQL does not start",)),
                "next_step": "Look at it.",
            }
        )
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
    "status on AWS": status_on_aws,
    "status healthy": lambda: render_status(inspection(summary="v4 is active and healthy.")),
    "status with domains": lambda: render_status(opened()),
    "status in trouble": lambda: render_status(troubled()),
    "inspect healthy": lambda: render_inspection(inspection()),
    "inspect in trouble": lambda: render_inspection(troubled()),
    "a version": lambda: render_version(version_report()),
    "a version that failed": lambda: render_version(
        version_report(
            version=version(3, status="failed", healthy=False, trigger="timeout", same_as=2),
            error_message="n8n did not become healthy within 180 s: it exited with code 1.",
            evidence="/home/ann/.geusemaker/.state/evidence/prod/op-3",
            health_status={"n8n": False},
            operation_seconds=None,
            notes=["How it went is not known on this machine."],
            default_target=False,
            command="",
        )
    ),
    "the active version": lambda: render_version(version_report(active=True, back=None)),
    "a version with none active": lambda: render_version(version_report(back=None)),
    "diff": lambda: render_comparison(comparison()),
    "diff as markdown": lambda: rows(comparison_markdown(comparison())),
    "plan as markdown": lambda: rows(plan_markdown(plan(reason="slow since Friday", checks=CHECKS))),
    "plan of a recovery as markdown": lambda: rows(plan_markdown(recovering(), verbose=True)),
    "dry run as markdown": lambda: rows(result_markdown(done(dry_run=True), "rollback", plan(), verbose=False)),
    "result of update as markdown": lambda: rows(
        result_markdown(done(undo="geusemaker rollback prod v3"), "update", plan(), verbose=False)
    ),
    "result of rollback as markdown": lambda: rows(
        result_markdown(
            rolled_back(warnings=["The copy could not be taken."], next_step="Look at n8n."),
            *("rollback", None),
            verbose=False,
        )
    ),
    "failed and back as markdown": lambda: rows(
        result_markdown(failed(3, rolled_back_to=2), "update", plan(), verbose=False)
    ),
    "refused as markdown": lambda: rows(
        result_markdown(failed(5, health_status={}, failure_logs={}, evidence=None), "update", plan(), verbose=False)
    ),
    "history as markdown": lambda: rows(history_markdown(inspection(notes=["One line cannot be read."]))),
    "history of everything as markdown": lambda: rows(history_markdown(everything(), show_all=True)),
    "history in all columns as markdown": lambda: rows(history_markdown(everything(), all_columns=True)),
    "status in trouble as markdown": lambda: rows(status_markdown(troubled())),
    "status with domains as markdown": lambda: rows(status_markdown(opened())),
    "error as markdown": lambda: rows(
        error_markdown(
            errors.EngineError(
                "The update failed.",
                state="Nothing was changed.",
                next_step="Run `geusemaker doctor`.",
                diagnostics=("error: aws:efs:FileSystem data: no such subnet",),
            ),
            *("update", "prod", None, 12),
        )
    ),
    "history": lambda: render_history(inspection()),
    "history of everything": long_history,
    "history in all columns": lambda: render_history(inspection(), all_columns=True),
    "checkpoints": lambda: render_checkpoints(
        CheckpointList(
            deployment="prod", default="v1/op-2", checkpoints=[checkpoint("v2/op-9", kind="restore"), checkpoint()]
        )
    ),
    "no checkpoints": lambda: render_checkpoints(CheckpointList(deployment="prod")),
    "info": lambda: render_info(info()),
    "list": lambda: render_list(summaries()),
    "list with labels": lambda: render_list(
        [one.model_copy(update={"labels": {"tier": "gold", "customer": "acme"}}) for one in summaries()[:1]]
        + summaries()[1:]
    ),
    "inspect with labels": lambda: render_inspection(inspection(labels={"customer": "acme"})),
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


def busy_history(**more: Any) -> Lines:
    """Two months of somebody's deployment."""
    day = iter(NIGHT + timedelta(days=3 * step, hours=step) for step in range(20))
    older, newer = (config(n8n=tag) for tag in ("2.42.6", "2.43.3"))
    broken = [config(n8n=f"2.44.{minor}") for minor in range(3)]

    def each(number: int, kind: Any = "update", **values: Any) -> Version:
        made = version(number, kind, **values)
        return made.model_copy(update={"provenance": made.provenance.model_copy(update={"created_at": next(day)})})

    by_itself: dict[str, Any] = {"source_version": 2, "same_as": 2, "trigger": "health_check_failed", "config": newer}
    found = inspection(
        versions=[
            each(1, "deploy", config=older),
            each(2, config=newer, reason="the new editor, which the night shift has asked for", pinned=True),
            each(3, config=broken[0], status="failed", healthy=False),
            each(4, "rollback", **by_itself),
            each(5, config=broken[1], status="failed", healthy=False, reason="again"),
            each(6, "rollback", **by_itself),
            each(8, config=config("t3.xlarge", "2.43.3"), note="too dear (ann)", bad=True),
            each(9, "rollback", config=older, source_version=1, same_as=1, newer_data_as=9),
            each(10, config=newer, same_as=2),
            each(11, config=broken[2], status="interrupted", healthy=False),
            each(12, "recover", config=newer, source_version=2, same_as=2, status="active"),
        ],
        active_version=12,
        default_target=1,
        unused_numbers=[7],
        rollbacks=[],
        restores=[
            RestoreRecord(
                operation_id="op-9", timestamp=NIGHT, actor="ann@box", version=9, checkpoint="v2/op-3", taken="v9/op-9",
                success=True, duration_seconds=12.0, reason="the rows of June",
            )
        ],
    )  # fmt: skip
    return render_history(found, **more)


HOME = "/home/ann/the shop of ann/.geusemaker"
"""A workspace in a folder with blanks, and longer than a narrow terminal is wide."""
LONG_STEP = (
    "Run `geusemaker rollback prod --to-version 2 --allow-data-downgrade --allow-replace` now, "
    "(`geusemaker update prod --secret-env n8n.SMTP_PASS=` takes the variable out)."
)


def outcomes() -> Lines:
    """How changes end, one after the other."""
    back = failed(
        3, rolled_back_to=2, evidence=f"{HOME}/.state/evidence/prod/op-20250121020304-4", next_step=LONG_STEP,
        warnings=["The copy of the journal beside the data could not be written."],
    )  # fmt: skip
    undone = rolled_back(
        next_step=LONG_STEP, undo="geusemaker rollback prod --to-version 3 --allow-replace --reason 'back again'"
    )
    kept = RotationResult(
        deployment="prod", provider="passphrase", passphrase_file=f"{HOME}/.state/passphrase", next_step="Back it up."
    )
    mended = RepairReport(deployment="prod", steps=[STEP], kept=[f"{HOME}/.state/kept/prod.json"], next_step=LONG_STEP)
    refused = errors.RefusedError(
        "There is no deployment shop.",
        state=f"Nothing was changed. Looked in the workspace {quoted(HOME)}, which has prod.",
        next_step=LONG_STEP,
    )
    parts = (
        render_failed_result(back, "update", "aws"),
        render_result(undone, "rollback", "aws"),
        render_result(done(undo="geusemaker rollback prod v3"), "update", "local"),
        render_restore(restored(), "local"),
        render_rotation(kept),
        render_repair(mended),
        render_error(refused),
    )
    return [row for part in parts for row in (*part, [("", "")])]


def reached() -> Lines:
    found = info().model_copy(update={"workspace": HOME, "backend": f"file://{HOME}/.state/backend"})
    return [*render_info(found), *render_inspection(troubled())]


def told_version() -> Lines:
    report = version_report(
        evidence=f"{HOME}/.state/evidence/prod/op-3",
        command="geusemaker rollback prod --to-version 3 --allow-archived --allow-data-downgrade",
    )
    return render_version(report)


WIDE: dict[str, Callable[[], Lines]] = {
    "plan": lambda: [
        *render_plan(plan(checks=CHECKS, reason="slow since Friday, and the night was long"), verbose=True),
        [(question(plan()), "")],
    ],
    "plan of a first deploy": first_deploy,
    "status": lambda: render_status(inspection(summary="v4 is active, and postgresql is not there.")),
    "status in trouble": lambda: render_status(troubled()),
    "status with domains": lambda: render_status(opened()),
    "outcomes": outcomes,
    "info": reached,
    "a version": told_version,
}


@pytest.mark.parametrize("width", [40, 80, 110, 200])
@pytest.mark.parametrize("view", WIDE)
def test_what_a_terminal_shows(
    view: str, width: int, golden: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = at_width(WIDE[view], width, monkeypatch)
    held_to_width(shown, width, golden)
    for copied in COPIED.finditer(printed(WIDE[view]())):
        assert [row for row in shown.splitlines() if copied[0].strip() in row], f"a line break is in {copied[0]}"


@pytest.mark.parametrize("width", [40, 80, 110, 200])
def test_a_history_of_a_line_a_version(width: int, golden: SnapshotAssertion, monkeypatch: pytest.MonkeyPatch) -> None:
    held_to_width(at_width(lambda: busy_history(width=width), width, monkeypatch), width, golden)


def test_a_history_in_a_pipe_and_with_each_failed_attempt(golden: SnapshotAssertion) -> None:
    assert printed(busy_history(show_all=True)) == golden


COPIED = re.compile(
    r"`[^`\n]+`|'/[^'\n]+'|(?<=undo: ).+|(?<=evidence: ).+|(?<=kept: ).+|(?<=workspace  ).+|(?<=backend    ).+"
    r"|(?<=  )geusemaker .+"
)
"""What is there to be copied: commands in backticks, paths, and what a line of its own gives."""


def held_to_width(shown: str, width: int, golden: SnapshotAssertion) -> None:
    too_long = [row for row in shown.splitlines() if len(row) > width]
    assert [row for row in too_long if len(COPIED.sub("it", row).split()) > 2] == [], "only what is to be copied may"
    assert shown == golden


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
