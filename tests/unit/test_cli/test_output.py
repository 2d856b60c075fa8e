"""What is shown: the confirmation view, the history, progress, and the printer below them."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.cli.output.changes import config_changes
from geusemaker.cli.output.document import plan_document, version_document
from geusemaker.cli.output.history import render_history
from geusemaker.cli.output.inspection import render_doctor, render_info, render_inspection, render_list, render_local
from geusemaker.cli.output.plan import question, render_change, render_change_text, render_plan
from geusemaker.cli.output.progress import LineProgress, LiveProgress, progress_on
from geusemaker.cli.output.result import render_failed_result, render_result
from geusemaker.cli.output.text import Line, Printer, columns, count, duration, line, moment, plain, printable
from geusemaker.local_cloud.client import LocalCloudStatus
from geusemaker.models.advisory import Hole, KnownHoles, ReturningHoles
from geusemaker.models.bake import BakeReport
from geusemaker.models.doctor import DoctorReport
from geusemaker.models.inspection import (
    DataVolumeState,
    DeploymentInfo,
    DeploymentSummary,
    FileSystemState,
    Interruption,
    RestoreRecord,
    ServiceState,
    StoppedService,
)
from geusemaker.models.plan import CheckResult, ConfigChange, Event
from geusemaker.models.result import OperationResult
from geusemaker.models.stack import HealthSettings, StackConfig
from geusemaker.models.version import RollbackRecord
from tests.unit.test_cli.fakes import DIGEST, NIGHT, config, events, inspection, operation, rollback_plan, version


def text(lines: Iterable[Line]) -> str:
    """Lines as a pipe would get them."""
    return "\n".join(plain(pieces) for pieces in lines)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Ascii(io.StringIO):
    """A stream that can only express ASCII."""

    encoding = "ascii"


@pytest.fixture
def colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that shows colour."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


class TestPlan:
    def test_whole_view(self) -> None:
        assert text(render_plan(rollback_plan())) == (
            "rollback prod: v3 → v4 (config of v2)  [local cloud]\n"
            "\n"
            "Resources\n"
            "    ~  aws:ec2:Instance        instance         update  [diff: ~instanceType]\n"
            "    ~  command:remote:Command  on the instance  run     apply, gate\n"
            "        3 unchanged\n"
            "\n"
            "Checks\n"
            "    1 check passed\n"
            "    warn  disk  3 GiB left after the pull\n"
            "\n"
            "Changes\n"
            "    instance type  t3.xlarge → t3.large\n"
            "    n8n image      1.92.0 → 1.91.0\n"
            "\n"
            "Downtime  about 60 s while the instance is resized\n"
            "Data      all data stays on fs-1\n"
        )

    def test_first_deploy_shows_what_will_run(self) -> None:
        changes = (
            ConfigChange(path="instance_type", old=None, new="t3.large"),
            ConfigChange(path="n8n.image", old=None, new=f"n8nio/n8n:1.91.0@{DIGEST}"),
        )
        plan = rollback_plan(
            kind="deploy",
            number=1,
            active_version=None,
            source_version=None,
            changes=changes,
            checks=(),
            target_kind="aws",
        )
        shown = text(render_plan(plan))
        assert shown.startswith("deploy prod: v1  [AWS]\n\nResources\n")
        assert "\n\nChanges\n    instance_type  t3.large\n    n8n.image      n8nio/n8n:1.91.0\n\nDowntime" in shown
        assert "Checks" not in shown
        assert question(plan) == "Deploy prod? [y/N] "

    def test_checks_that_passed_are_listed_when_asked_for(self) -> None:
        shown = text(render_plan(rollback_plan(), verbose=True))
        assert "    pass  images  2 images are in the registry\n    warn  disk    3 GiB" in shown
        assert "passed" not in shown

    def test_holes_that_come_back_are_one_line(self) -> None:
        hole = Hole(id="GHSA-1", severity="critical", fixed="1.121.0")
        back = ReturningHoles(service="n8n", image="n8nio/n8n:1.91.0", holes=(hole,))
        plan = rollback_plan(holes=KnownHoles(returning=(back,)))
        told = (
            "\nData         all data stays on fs-1\n"
            "Known holes  Going back to n8n 1.91.0 brings back one critical hole, fixed in 1.121.0 (GHSA-1)."
        )
        assert told + "\n" in text(render_plan(plan))
        partly = plan.model_copy(update={"holes": KnownHoles(returning=(back,), unknown="nobody answers")})
        assert f"{told} Of the rest it is unknown: nobody answers.\n" in text(render_plan(partly))

    def test_that_holes_are_unknown_is_one_dim_line_and_that_there_are_none_is_no_line(self) -> None:
        unknown = rollback_plan(holes=KnownHoles(unknown="api.osv.dev cannot be reached"))
        [shown] = [one for one in render_plan(unknown) if "Known holes" in text([one])]
        assert text([shown]) == "Known holes  unknown: api.osv.dev cannot be reached"
        assert ("unknown: api.osv.dev cannot be reached", "dim") in shown
        assert "Known holes" not in text(render_plan(rollback_plan(holes=KnownHoles())))

    def test_nothing_to_change_is_said(self) -> None:
        assert "none: the config stays as it is" in text(render_plan(rollback_plan(changes=())))

    def test_automatic_operation_and_reason(self) -> None:
        shown = text(render_plan(rollback_plan(trigger="timeout", reason="too slow", source_version=None)))
        assert "automatic, because of timeout" in shown
        assert "reason: too slow" in shown
        assert question(rollback_plan(source_version=None)) == "Roll prod back? [y/N] "

    def test_replacement_is_one_row_that_says_why(self) -> None:
        kind = "aws:ec2/instance:Instance"
        steps = [
            operation("create-replacement", kind, "instance", replaces=("ami",)),
            operation("replace", kind, "instance", replaces=("ami",), changed=("ami", "tags")),
            operation("delete-replaced", kind, "instance"),
        ]
        shown = text(render_plan(rollback_plan(operations=tuple(steps))))
        assert shown.count("aws:ec2:Instance") == 1
        assert "+-  aws:ec2:Instance  instance  replace  [because of ami]" in shown

    def test_destroy_shows_deletions_and_own_commands(self) -> None:
        steps = (
            operation("delete", "aws:ec2/instance:Instance", "instance", provider_id="i-1"),
            operation("delete", "command:remote:Command", "gate"),
            operation("odd", "weird", "thing"),
        )
        shown = text(render_plan(rollback_plan(operations=steps, active_version=None), "destroy"))
        assert shown.startswith("destroy prod  [local cloud]\n\nResources\n")
        assert "-  aws:ec2:Instance        instance         delete  i-1" in shown
        assert "-  command:remote:Command  on the instance  remove  gate" in shown
        assert "*  weird" in shown

    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ("a:1", "b:2", "a:1 → b:2"),
            (None, "true", "(none) → true"),
            ("x", None, "x → (none)"),
            (None, f"n8n:1@{DIGEST}", "(none) → n8n:1"),
            (f"n8n:1@{DIGEST}", f"n8n:2@{DIGEST}", "1 → 2"),
            (f"n8n:1@{DIGEST}", f"fork/n8n:1@{DIGEST}", "n8n:1 → fork/n8n:1"),
            (f"n8n:1@{DIGEST}", f"n8n:1@sha256:{'0' * 64}", "n8n:1@sha256:abababababab… → n8n:1@sha256:000000000000…"),
        ],
    )
    def test_change_shows_what_differs(self, old: str | None, new: str | None, expected: str) -> None:
        change = ConfigChange(path="p", old=old, new=new)
        assert render_change(change) == ("p", expected)
        assert render_change_text(str(change)) == f"p: {expected}"

    def test_free_words_of_a_change_stay(self) -> None:
        assert render_change_text(f"removed x@{DIGEST}") == "removed x@sha256:abababababab…"


class TestHistory:
    def test_table(self) -> None:
        shown = text(render_history(inspection(), all_columns=True))
        assert "v1 " not in shown
        assert "1 archived version not shown (--all shows everything)" in shown
        rows = {row.split()[0]: row for row in shown.splitlines() if row.startswith("v")}
        assert "superseded, pinned" in rows["v2"]
        assert "n8n 1.91.0 → 1.92.0" in rows["v2"]
        assert "failed" in rows["v3"] and "not healthy" in rows["v3"] and "Friday upgrade" in rows["v3"]
        assert "rollback (health_check_failed)  v2" in rows["v4"]
        assert "t3.xlarge → t3.large, n8n 1.93.0 → 1.92.0" in rows["v4"]
        assert "v3 → v4 (config of v2)  done    20s   n8n image: 1.93.0 → 1.92.0" in shown

    def test_all_shows_archived(self) -> None:
        shown = text(render_history(inspection(), show_all=True, all_columns=True))
        assert "\nv1 " in shown
        assert "not shown" not in shown

    def test_failed_rollback_says_why(self) -> None:
        record = RollbackRecord(
            timestamp=NIGHT,
            trigger="timeout",
            success=False,
            error_message="the deadline\npassed",
            previous_state_version=3,
            resources_deleted=["i-1"],
            operation_id="op-9",
        )
        shown = text(render_history(inspection(rollbacks=[record], active_version=None), all_columns=True))
        assert "v3 → (none)  failed  -     deleted: i-1  the deadline passed" in shown
        assert shown.startswith("prod: 4 versions  [")

    def test_error_of_a_rollback_stands_with_its_version(self) -> None:
        found = inspection()
        record = found.rollbacks[0].model_copy(update={"error_message": "n8n exited"})
        shown = text(render_history(found.model_copy(update={"rollbacks": [record]}), all_columns=True))
        assert next(row for row in shown.splitlines() if row.startswith("v4")).endswith("n8n exited")

    def test_of_many_rollbacks_the_newest_are_shown(self) -> None:
        found = inspection()
        records = [found.rollbacks[0].model_copy(update={"version": number}) for number in range(100, 121)]
        many = found.model_copy(update={"rollbacks": records})
        assert "v100 " not in text(render_history(many, all_columns=True)) and "v101 " in text(
            render_history(many, all_columns=True)
        )
        assert "1 earlier rollback not shown (--all shows everything)" in text(render_history(many, all_columns=True))
        assert "v100 " in text(render_history(many, show_all=True, all_columns=True))
        assert "not shown" not in text(render_history(many, show_all=True, all_columns=True))

    def test_restores(self) -> None:
        done = RestoreRecord(
            operation_id="op-9",
            timestamp=NIGHT,
            actor="ada",
            version=4,
            checkpoint="v2/op-3",
            taken="v4/op-9",
            success=True,
            duration_seconds=12.0,
            reason="the rows of June",
        )
        failed = done.model_copy(update={"success": False, "taken": "", "error_message": "disk\nfull"})
        shown = (
            text(render_history(inspection(restores=[done, failed]), all_columns=True))
            .split("Restores of data")[1]
            .splitlines()
        )
        assert " ".join(shown[2].split()[2:]) == "ada v2/op-3 v4 done 12s v4/op-9 the rows of June"
        assert " ".join(shown[3].split()[2:]) == "ada v2/op-3 v4 failed 12s - disk full"
        assert "Restores" not in text(render_history(inspection(), all_columns=True))

    def test_failed_versions_are_not_what_an_update_started_from(self) -> None:
        versions = [
            version(1, "deploy"),
            version(2, config=config(n8n="9"), status="failed", healthy=False),
            version(3, config=config(n8n="1.92.0"), status="pending", healthy=False, duration_seconds=None),
        ]
        shown = text(render_history(inspection(versions=versions, rollbacks=[]), all_columns=True))
        assert "n8n 1.91.0 → 1.92.0" in shown
        assert "Rollbacks" not in shown

    def test_update_when_none_was_ever_healthy(self) -> None:
        versions = [version(1, "deploy", healthy=False), version(2, config=config("t3.small"), healthy=False)]
        assert "t3.large → t3.small" in text(
            render_history(inspection(versions=versions, rollbacks=[]), all_columns=True)
        )

    def test_config_changes(self) -> None:
        old = config()
        values: dict[str, Any] = old.model_dump(mode="json")
        del values["services"]["n8n"]
        values["services"]["qdrant"] = {"image": "qdrant/qdrant:v1.14.1"}
        values["services"]["postgresql"]["environment"] = {"TZ": "UTC"}
        values["health"] = HealthSettings(deadline_seconds=60)
        values["ami"] = "ami-2"
        values["rendering"] = old.rendering + 1
        new = StackConfig.model_validate(values)
        assert config_changes(old, new) == [
            "-n8n",
            "postgresql environment",
            "+qdrant",
            "settings",
            "AMI",
            "compose file",
        ]
        assert config_changes(old, old) == []
        assert config_changes(None, old) == ["t3.large", "2 services"]


class TestInspection:
    def test_bare_deployment(self) -> None:
        shown = text(
            render_inspection(
                inspection(
                    region="",
                    instance=None,
                    efs=None,
                    services={},
                    versions=[],
                    rollbacks=[],
                    active_version=None,
                    status="",
                    target="aws",
                )
            )
        )
        assert shown == ("prod: unknown  [AWS]\n\n\nhistory: 0 versions, 0 rollbacks (`geusemaker history prod`)")

    def test_unmounted_data_is_loud(self) -> None:
        assert "fs-1  NOT mounted" in text(render_inspection(inspection(efs=FileSystemState(id="fs-1", mounted=False))))

    def test_the_data_volume_has_a_line_of_its_own(self) -> None:
        volume = DataVolumeState(
            id="vol-1", size_gib=20, state="in-use", availability_zone="a", attached_to="i-1", mounted=True
        )
        assert "vol-1  20 GiB, Qdrant's  mounted" in text(render_inspection(inspection(data_volume=volume)))
        lost = volume.model_copy(update={"mounted": False})
        assert "NOT mounted" in text(render_inspection(inspection(data_volume=lost)))

    def test_what_is_stopped_on_purpose_is_not_told_as_trouble(self) -> None:
        down = {"n8n": ServiceState(image="n8n:1", healthy=False, state="exited", detail="exited (exit code 0)")}
        note = {"n8n": StoppedService(by="ann", since="2025-01-21T02:00:00+00:00")}
        assert "n8n  stopped  exited" in text(render_inspection(inspection(services=down, stopped=note)))
        assert "n8n  not healthy  exited" in text(render_inspection(inspection(services=down)))

    def test_running_operation_is_named(self) -> None:
        found = Interruption(
            operation_id="op-5", kind="rollback", number=5, actor="ann", started_at=NIGHT, running=True
        )
        assert f"a rollback to v5 by ann is running, started {moment(NIGHT)}" in text(
            render_inspection(inspection(interruption=found))
        )

    def test_info_of_a_destroyed_deployment(self) -> None:
        info = DeploymentInfo(
            deployment="prod",
            target="aws",
            region="eu-west-1",
            address=None,
            ssh_command=None,
            workspace="w",
            backend="b",
        )
        shown = text(render_info(info))
        assert "address    (none)" in shown
        assert "services" not in shown

    def test_list_of_a_deployment_without_version(self) -> None:
        summary = DeploymentSummary(
            name="x", target="moon", active_version=None, instance_type="", status="failed", updated_at=None
        )
        assert text(render_list([summary])).splitlines()[1].split() == ["x", "moon", "-", "-", "failed", "-"]

    def test_doctor_lists_checks(self) -> None:
        report = DoctorReport(ok=True, engine=None, checks=[CheckResult(name="go", status="warn", detail="not there")])
        assert "warn  go  not there" in text(render_doctor(report))

    def test_local_cloud_without_registry(self) -> None:
        shown = text(render_local(LocalCloudStatus(running=True, aws_endpoint="http://127.0.0.1:1", pid=3)))
        assert shown == "local cloud: running (pid 3)\n  AWS API  http://127.0.0.1:1"


class TestText:
    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [
            (None, "-"),
            (0, "0.0s"),
            (9.94, "9.9s"),
            (9.96, "10s"),
            (99.4, "99s"),
            (100, "1m 40s"),
            (3599, "59m 59s"),
            (3600, "1h 00m"),
            (7500, "2h 05m"),
        ],
    )
    def test_duration(self, seconds: float | None, expected: str) -> None:
        assert duration(seconds) == expected

    def test_moment_is_local_time(self) -> None:
        assert moment(NIGHT) == NIGHT.astimezone().strftime("%Y-%m-%d %H:%M")
        assert moment(NIGHT + timedelta(seconds=59)) == moment(NIGHT)
        assert moment(None) == "-"

    def test_count(self) -> None:
        assert [count(1, "check"), count(2, "check")] == ["1 check", "2 checks"]

    def test_columns_of_nothing(self) -> None:
        assert columns([]) == []

    @given(st.lists(st.lists(st.text("abc →", min_size=1), min_size=2, max_size=4), min_size=1))
    def test_columns_keep_every_cell(self, rows: list[list[str]]) -> None:
        lines = columns([[(cell, "") for cell in row] for row in rows])
        assert len(lines) == len(rows)
        for row, pieces in zip(rows, lines, strict=True):
            assert [piece for piece, _ in pieces][1::2] == row

    @given(st.text())
    def test_printable_leaves_no_escape(self, value: str) -> None:
        assert not {chr(code) for code in (*range(9), *range(11, 32), 127, 0x9B)} & set(printable(value))

    @given(
        st.text(st.one_of(st.sampled_from("\u202e\u2066\u2028\u2029\u200b\ufeff\udcff\x85\U000e0041"), st.characters()))
    )
    def test_nothing_unseen_is_shown_as_it_is(self, value: str) -> None:
        shown = printable(value)
        unseen = {chr(code) for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A), 0x200B, 0xFEFF, 0xE0041, 0x85)}
        assert not unseen & set(shown) and shown.encode() is not None
        assert len(shown.splitlines()) <= value.count("\n") + 1

    def test_what_turns_the_direction_of_writing_is_shown_as_its_number(self) -> None:
        assert printable("a\u202egpj.exe") == "a\\u202egpj.exe" and printable("👩\u200d💻 é") == "👩\u200d💻 é"

    def test_a_cell_is_one_line(self) -> None:
        assert plain(line("reason: x\nnext: `rm -rf /`")) == "reason: x next: `rm -rf /`"
        assert plain(columns([[("a", ""), ("one\nChecks\n    pass", "")]])[0]) == "a  one Checks     pass"

    def test_printable_removes_whole_sequences(self) -> None:
        assert printable("a\x1b[31;1mred\x1b[0m\x1b]0;title\x07\tb\n") == "ared\tb\n"


def test_a_document_holds_no_secret_of_an_environment() -> None:
    base = config()
    variables = {"N8N_SMTP_PASS": "pa$word", "N8N_LOG_LEVEL": "debug", "PROXY": "http://me:word@proxy"}
    n8n = base.services["n8n"].model_copy(update={"environment": variables})
    wanted = base.model_copy(update={"services": {**base.services, "n8n": n8n}})
    for document in (plan_document(rollback_plan(config=wanted)), version_document(version(2, config=wanted))):
        assert document["config"]["services"]["n8n"]["environment"] == {
            "N8N_SMTP_PASS": "(secret)",
            "N8N_LOG_LEVEL": "debug",
            "PROXY": "(secret)",
        }


class TestPrinter:
    def test_pipe_gets_plain_text(self) -> None:
        stream = io.StringIO()
        Printer(stream).lines([[("x", "bold red"), ("y\x1b[2J  ", "")], line()])
        assert stream.getvalue() == "xy\n\n"

    @pytest.mark.usefixtures("colour")
    def test_terminal_gets_colour(self) -> None:
        stream = Terminal()
        Printer(stream).line([("bad", "bold red"), ("\x1b[2Jgood", "")])
        assert stream.getvalue() == "\x1b[1;31mbad\x1b[0mgood\n"

    @pytest.mark.usefixtures("colour")
    def test_terminal_does_not_read_markup(self) -> None:
        stream = Terminal()
        Printer(stream).line("[bold]n8n[/bold] :smile: 'x' 1")
        assert stream.getvalue() == "[bold]n8n[/bold] :smile: 'x' 1\n"

    @pytest.mark.usefixtures("colour")
    @pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
    def test_no_colour_when_told(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        stream = Terminal()
        Printer(stream).line("bad", "bold red")
        assert stream.getvalue() == "bad\n"

    def test_poor_encoding_gets_what_it_can_express(self) -> None:
        stream = Ascii()
        Printer(stream).write("v3 → v4 … ü\n")
        assert stream.getvalue() == "v3 -> v4 ... ?\n"

    def test_ask(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = Terminal()
        monkeypatch.setattr(sys, "stdin", Terminal(" yes \n"))
        printer = Printer(stream)
        assert printer.can_ask()
        assert printer.ask("Sure? ") == "yes"
        assert printer.ask("Sure? ") == ""
        assert stream.getvalue() == "Sure? Sure? \n"

    def test_nobody_sees_a_question_in_a_pipe(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", Terminal())
        assert not Printer(io.StringIO()).can_ask()
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        assert not Printer(Terminal()).can_ask()


class Clock:
    """A clock that is told the time."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class TestProgress:
    def test_lines(self) -> None:
        stream, clock = io.StringIO(), Clock()
        progress = LineProgress(Printer(stream), clock)
        progress.event(Event(kind="note", message="hello"))
        progress.event(Event(kind="service", name="n8n", state="running"))
        for event in events():
            clock.now += 1.6
            progress.event(event)
        pulumi = Event(kind="resource", name="Pulumi", state="waiting", message="another process builds it")
        progress.event(pulumi)
        progress.event(Event(kind="warning", message="slow"))
        progress.event(Event(kind="phase", name="verify", state="started", message="180 s at most"))
        progress.event(Event(kind="phase", name="verify", state="failed", message="n8n exited"))
        progress.event(Event(kind="note"))
        progress.pause()
        assert stream.getvalue() == (
            "[  0.0s] hello\n"
            "[  0.0s] n8n running\n"
            "[  1.6s] apply\n"
            "[  3.2s] apply: Instance instance update started\n"
            "[  4.8s] apply: gate runs on the instance\n"
            "[  8.0s] apply: n8n starting\n"
            "[ 11.2s] apply: n8n healthy\n"
            "[ 12.8s] apply: done\n"
            "[ 12.8s] apply: Pulumi waiting (another process builds it)\n"
            "[ 12.8s] warning: slow\n"
            "[ 12.8s] verify: 180 s at most\n"
            "[ 12.8s] verify: failed (n8n exited)\n"
        )

    def test_the_engines_steps_are_told_together(self) -> None:
        def step(name: str, state: str, op: str = "create", kind: str = "aws:iam/role:Role") -> Event:
            return Event(kind="resource", name=name, state=state, data={"op": op, "type": kind})

        stream, clock = io.StringIO(), Clock()
        progress = LineProgress(Printer(stream), clock)
        progress.event(Event(kind="phase", name="apply", state="started"))
        for event in (step("a", "started"), step("b", "started"), step("a", "done"), step("b", "done")):
            progress.event(event)
            clock.now += 1.0
        progress.event(step("c", "done", "delete"))
        progress.event(step("d", "failed"))
        progress.event(step("e", "done", "read"))
        clock.now += 5.0
        progress.event(step("f", "done"))
        progress.event(step("g", "done"))
        progress.pause()
        assert stream.getvalue().splitlines() == [
            "[  0.0s] apply",
            "[  4.0s] apply: created Role a, Role b; deleted Role c",
            "[  4.0s] apply: Role d create failed",
            "[  9.0s] apply: read done: Role e; created Role f",
            "[  9.0s] apply: created Role g",
        ]

    def test_a_phase_within_another(self) -> None:
        stream, clock = io.StringIO(), Clock()
        lines, live = LineProgress(Printer(stream), clock), LiveProgress(Printer(Terminal()), clock)
        for name, state in (("apply", "started"), ("hold", "started"), ("hold", "done")):
            for progress in (lines, live):
                progress.event(Event(kind="phase", name=name, state=state))
            clock.now += 2.0
        for progress in (lines, live):
            progress.event(Event(kind="service", name="n8n", state="starting"))
        frame = [plain(pieces) for pieces in live.frame()]
        live.pause()
        assert stream.getvalue().splitlines()[-2:] == ["[  4.0s] hold: done", "[  6.0s] apply: n8n starting"]
        assert frame[0].split()[1:] == ["apply", "6.0s"] and frame[1].split()[:3] == ["└", "n8n", "starting"]

    @pytest.mark.usefixtures("colour")
    def test_live_shows_the_running_phase(self) -> None:
        stream, clock = Terminal(), Clock()
        progress = LiveProgress(Printer(stream), clock)
        for event in events()[:7]:
            progress.event(event)
        clock.now = 2.5
        frame = [plain(pieces) for pieces in progress.frame()]
        assert frame[0].split()[1:] == ["apply", "2.5s", "gate", "runs", "on", "the", "instance"]
        assert frame[1].split() == ["├", "engine", "0", "done", "Instance", "instance", "(update)"]
        assert frame[2].split() == ["└", "n8n", "healthy", "2.5s"]
        assert frame[3].strip() == "2.5s in all"
        progress.event(events()[7])
        progress.event(Event(kind="warning", message="tight"))
        progress.event(Event(kind="note", message="kept"))
        progress.event(Event(kind="note"))
        progress.event(Event(kind="phase", name="verify", state="failed", message="n8n exited"))
        progress.pause()
        shown = printable(stream.getvalue())
        assert "✓ apply        2.5s" in shown
        assert "      └ n8n  healthy" in shown
        assert "warning: tight" in shown
        assert "  kept" in shown
        assert "✗ verify" in shown and "n8n exited" in shown
        assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h") > 0

    @pytest.mark.usefixtures("colour")
    def test_live_on_a_terminal_and_lines_elsewhere(self) -> None:
        assert isinstance(progress_on(Printer(Terminal())), LiveProgress)
        assert isinstance(progress_on(Printer(io.StringIO())), LineProgress)


class TestBake:
    def told(self, ended: Any, success: bool, exit_code: int, **bake: Any) -> str:
        result = OperationResult(
            success=success,
            deployment="prod",
            kind="update",
            version=8,
            operation_id="op-1",
            exit_code=exit_code,
            bake=BakeReport(seconds=600, lasted_seconds=600, ended=ended, **bake),
        )
        shown = render_result if success else render_failed_result
        return text(shown(result, "update", "local"))

    def test_one_that_passed(self) -> None:
        assert "baked 10m 00s: 300 looks, nothing worse than before" in self.told("passed", True, 0, looks=300)
        once = self.told("passed", True, 0, looks=1, tests=1)
        assert ": 1 look, nothing worse than before, all tests passed once" in once
        assert "all tests passed 3 times" in self.told("passed", True, 0, looks=9, tests=3)

    @pytest.mark.parametrize(("ended", "code"), [("gave_way", 6), ("unseen", 4)])
    def test_one_that_was_not_brought_to_its_end(self, ended: str, code: int) -> None:
        told = self.told(ended, False, code)
        assert "state: The gate of v8 had passed, and it was active and healthy then." in told
        assert "Nothing was changed" not in told and "a person is needed" not in told
