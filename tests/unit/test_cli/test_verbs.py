"""Each verb: what it asks of the library, what it shows, how it ends."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pulumi.runtime.stack
import pytest
from typer.testing import Result

from geusemaker.cli.app import _without_abandoned, app, main
from geusemaker.cli.output.text import Printer
from geusemaker.errors import (
    ChangeFailedError,
    DeploymentBusyError,
    DeploymentNotFoundError,
    EngineError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
    InvalidInputError,
    PlanRefusedError,
    ValidationFailedError,
    WorkspaceError,
)
from geusemaker.models.checkpoint import BackupState
from geusemaker.models.doctor import DoctorReport
from geusemaker.models.inspection import Inspection, Interruption
from geusemaker.models.plan import CheckResult, Event
from geusemaker.models.request import DeployRequest, RehearseRequest, RestoreRequest, RollbackRequest, UpdateRequest
from geusemaker.models.result import OperationResult, RollbackResult
from tests.unit.test_cli.fakes import FakeDeployment, FakeWorkspace, checkpoint, inspection, rollback_plan

Run = Callable[..., Result]
RunJson = Callable[..., tuple[int, dict[str, Any]]]

VERBS = {command.name or "" for command in app.registered_commands}
CONTRACT = {
    "success",
    "deployment",
    "version",
    "operation_id",
    "health_status",
    "duration_seconds",
    "error_message",
}


@pytest.fixture
def prod(ws: FakeWorkspace) -> FakeDeployment:
    return ws.known["prod"]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Somebody sits at the terminal and types this answer; gives the questions that were asked."""

    def sit(text: str) -> list[str]:
        asked: list[str] = []

        def ask(self: Printer, question: str) -> str:
            asked.append(question)
            return text

        monkeypatch.setattr(Printer, "can_ask", lambda self: True)
        monkeypatch.setattr(Printer, "ask", ask)
        return asked

    return sit


class TestRequests:
    def test_deploy_hands_over_what_was_typed(self, run: Run, prod: FakeDeployment) -> None:
        line = """
            deploy prod --target aws --region eu-west-1 --vpc vpc-1 --subnet subnet-1 --ami ami-1
            --ssh-cidr 10.0.0.0/8 --ssh-cidr 192.0.2.1/32 --instance-type t3.xlarge --purchase spot
            --on-interruption on-demand --service n8n --service postgres --without ollama --image n8n=n8nio/n8n:2
            --env n8n.TZ=Europe/Berlin --env n8n.A=b=c --deadline 20 --retention 7 --health-deadline 60
            --bake-seconds 600
            --root-volume 50 --data-volume 30 --reason first --no-auto-rollback-on-failure --no-auto-rollback --force
        """
        result = run(*shlex.split(line))
        assert result.exit_code == 0, result.output
        assert prod.requests == [
            DeployRequest(
                target="aws",
                region="eu-west-1",
                vpc_id="vpc-1",
                subnet_id="subnet-1",
                ssh_cidrs=("10.0.0.0/8", "192.0.2.1/32"),
                ami="ami-1",
                instance_type="t3.xlarge",
                purchase="spot",
                on_interruption="on-demand",
                bake_setting_seconds=600,
                services=("n8n", "postgresql"),
                without=("ollama",),
                images={"n8n": "n8nio/n8n:2"},
                environment={"n8n": {"TZ": "Europe/Berlin", "A": "b=c"}},
                deadline_minutes=20,
                retention=7,
                health_deadline_seconds=60,
                root_volume_gib=50,
                data_volume_gib=30,
                reason="first",
                auto_rollback_on_failure=False,
                auto_rollback=False,
            )
        ]

    def test_update_leaves_out_what_was_not_typed(self, run: Run, prod: FakeDeployment) -> None:
        assert run("update", "prod", "-y").exit_code == 0
        assert prod.requests == [UpdateRequest()]

    def test_update_takes_its_own_options(self, run: Run, prod: FakeDeployment) -> None:
        switches = "--no-checkpoint --no-advisories --allow-replace --allow-data-downgrade --auto-rollback-on-failure"
        run("update", "--service", "qdrant", *shlex.split(switches), "--yes")
        assert prod.requests == [
            UpdateRequest(
                services=("qdrant",),
                checkpoint=False,
                advisories=False,
                allow_replace=True,
                allow_data_downgrade=True,
                auto_rollback_on_failure=True,
            )
        ]

    def test_update_looks_on_and_tests(self, run: Run, prod: FakeDeployment) -> None:
        tests = ("--test", "./smoke.sh", "--test", "true", "--test-url", "n8n/healthz")
        assert run("update", "prod", "--bake", "1h30m", *tests, "--yes").exit_code == 0
        assert prod.requests == [
            UpdateRequest(bake_seconds=5400, tests=("./smoke.sh", "true"), test_urls=("n8n/healthz",))
        ]
        refused = run("update", "prod", "--bake", "10", "--yes")
        assert refused.exit_code == 2 and "--bake 10 is no time span" in refused.stderr and len(prod.requests) == 1

    def test_rollback_may_leave_the_name_out(self, run: Run, prod: FakeDeployment) -> None:
        assert run("rollback", "--to-version", "2", "--yes").exit_code == 0
        assert prod.requests == [RollbackRequest(to_version=2)]

    def test_rollback_takes_services_by_any_name_they_have(self, run: Run, prod: FakeDeployment) -> None:
        assert run("rollback", "prod", "v2", "--service", "postgres", "--service", "n8n", "--yes").exit_code == 0
        assert prod.requests == [RollbackRequest(to_version=2, services=("postgresql", "n8n"))]
        refused = run("rollback", "prod", "v2", "--service", "n8n_", "--yes")
        assert refused.exit_code == 2 and "Did you mean n8n?" in refused.stderr and len(prod.requests) == 1

    def test_rollback_takes_each_allowance_by_its_own_flag(self, run: Run, prod: FakeDeployment) -> None:
        allowances = "--allow-unhealthy --allow-bad --allow-archived --allow-replace --allow-data-downgrade --with-data"
        run(
            "rollback",
            "prod",
            *shlex.split(allowances),
            "--no-auto-rollback",
            "--no-advisories",
            "--reason",
            "slow",
            "--yes",
        )
        assert prod.requests == [
            RollbackRequest(
                allow_unhealthy=True,
                allow_bad=True,
                allow_archived=True,
                allow_replace=True,
                allow_data_downgrade=True,
                with_data=True,
                auto_rollback=False,
                advisories=False,
                reason="slow",
            )
        ]

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["update", "prod", "--image", "n8n_=x:1"], "There is no service 'n8n_'"),
            (["update", "prod", "--image", "n8n"], "is not of the form SERVICE=REF"),
            (["update", "prod", "--image", "n8n=a:1", "--image", "n8n=a:2"], "names n8n twice"),
            (["update", "prod", "--env", "n8n=1"], "is not of the form SERVICE.KEY=VALUE"),
            (["update", "prod", "--env", "n8n.=s3cret"], "is not of the form SERVICE.KEY=VALUE"),
            (["deploy", "prod", "--service", "Redis"], "There is no service 'Redis'"),
            (["deploy", "Prod_1"], "'Prod_1' cannot be the name of a deployment"),
            (["logs", "prod", "Quadrant"], "There is no service 'Quadrant'"),
            (["rollback", "prod", "--to-version", "two"], "--to-version"),
            (["deploy", "prod", "--target", "gcp"], "--target"),
            (["deploy"], "NAME"),
            (["rolback"], "Did you mean 'rollback'"),
        ],
    )
    def test_bad_input_is_one_sentence_and_a_next_step(
        self, run: Run, run_json: RunJson, prod: FakeDeployment, args: list[str], message: str
    ) -> None:
        result = run(*args)
        assert result.exit_code == 2
        assert result.stdout == ""
        error, *_, step = result.stderr.splitlines()
        assert error.startswith("error: ")
        assert message in error
        assert step.startswith("next: ")
        assert len(result.stderr.splitlines()) <= 3
        assert "s3cret" not in result.stderr
        assert prod.requests == []
        code, document = run_json(*args)
        assert (code, document["exit_code"], document["success"]) == (2, 2, False)
        assert message in document["error_message"]

    def test_near_service_name_is_suggested(self, run: Run) -> None:
        assert "Did you mean qdrant?" in run("update", "prod", "--service", "Qdrant").stderr


class TestOperations:
    @pytest.mark.parametrize("verb", ["deploy", "update", "rollback", "recover"])
    def test_document_of_success(self, run_json: RunJson, verb: str) -> None:
        code, document = run_json(verb, "prod", "--yes")
        assert code == 0
        assert set(document) >= CONTRACT
        assert document["success"] is True
        assert (document["deployment"], document["version"], document["operation_id"]) == ("prod", 4, "op-4")
        assert document["health_status"] == {"n8n": True, "postgresql": True}
        if verb == "rollback":
            assert document["changes_reverted"] == ["n8n image: 1.92.0 -> 1.91.0"]
            assert (document["trigger"], document["source_version"]) == ("manual", 2)
        else:
            assert document["changes"] == ["n8n image: 1.92.0 -> 1.91.0"]

    @pytest.mark.parametrize("verb", ["deploy", "update", "rollback", "recover", "destroy"])
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (WorkspaceError("Pulumi.yaml cannot be read"), 1),
            (InvalidInputError("no such instance type"), 2),
            (ChangeFailedError("n8n exited", restored=True), 3),
            (ChangeFailedError("n8n exited", restored=False), 4),
            (PlanRefusedError("the plan would delete fs-1"), 5),
            (DeploymentBusyError("bob@box is updating it"), 6),
            (InterruptedOperationError("interrupted"), 130),
            (KeyboardInterrupt(), 130),
            (HostError("unreachable", code="unreachable"), 1),
            (ZeroDivisionError("division by zero"), 1),
        ],
    )
    def test_exit_codes(
        self, run: Run, run_json: RunJson, prod: FakeDeployment, verb: str, error: BaseException, code: int
    ) -> None:
        prod.error = error
        result = run(verb, "prod", "--yes")
        assert result.exit_code == code
        assert result.stderr.startswith("error: ")
        assert "Traceback" not in result.output
        json_code, document = run_json(verb, "prod", "--yes")
        assert json_code == document["exit_code"] == code
        assert set(document) >= CONTRACT
        assert document["success"] is False
        assert document["deployment"] == "prod"
        assert document["error_message"]
        assert ("changes_reverted" in document) is (verb == "rollback")

    @pytest.mark.parametrize(("exit_code", "expected"), [(3, 3), (4, 4), (0, 1)])
    def test_result_that_failed_gives_the_exit_code(
        self, run: Run, run_json: RunJson, prod: FakeDeployment, exit_code: int, expected: int
    ) -> None:
        prod.result = OperationResult(
            success=False,
            deployment="prod",
            kind="update",
            version=5,
            error_message="n8n exited with 1",
            exit_code=exit_code,
            rolled_back_to=2,
            evidence="evidence/op-4",
            next_step="geusemaker logs prod n8n",
            health_status={"n8n": exit_code == 3},
            checks=[CheckResult(name="disk", status="warn", detail="tight")],
        )
        result = run("update", "prod", "--yes")
        assert result.exit_code == expected
        assert "error: n8n exited with 1  [local cloud]" in result.stderr
        assert "evidence: evidence/op-4" in result.stderr
        assert "next: geusemaker logs prod n8n" in result.stderr
        code, document = run_json("update", "prod", "--yes")
        assert code == document["exit_code"] == expected
        assert document["rolled_back_to"] == 2
        states = {
            3: "The previous version is back and healthy: v5 is active, with the config of v2.",
            4: "a person is needed.",
        }
        if exit_code:
            assert states[exit_code] in result.stderr

    def test_failed_first_deploy_has_nothing_to_go_back_to(self, run: Run, prod: FakeDeployment) -> None:
        prod.result = OperationResult(
            success=False, deployment="prod", kind="deploy", exit_code=4, error_message="No capacity."
        )
        assert "there is no earlier version" in run("deploy", "prod", "--yes").stderr

    def test_failed_rollback_without_message_still_tells(self, run: Run, prod: FakeDeployment) -> None:
        prod.result = RollbackResult(success=False, trigger="manual", deployment="prod", exit_code=130)
        result = run("rollback", "--yes")
        assert result.exit_code == 130
        assert result.stderr == "error: The rollback of prod failed.  [local cloud]\n"

    def test_text_of_a_rollback(self, run: Run) -> None:
        result = run("rollback", "prod", "--yes")
        assert result.stderr == ""
        text = result.stdout
        assert text.index("rollback prod: v3 → v4 (config of v2)  [local cloud]") < text.index("apply: n8n healthy")
        assert text.endswith(
            "prod is rolled back: v4 is active and healthy, with the config of v2 (12s)  [local cloud]\n"
            "    n8n         healthy\n"
            "    postgresql  healthy\n"
            "    n8n image: 1.92.0 → 1.91.0\n"
        )

    def test_json_keeps_everything_else_on_stderr(self, run: Run) -> None:
        result = run("rollback", "prod", "--yes", "-o", "json")
        assert json.loads(result.stdout)["success"] is True
        assert "rollback prod: v3 → v4" in result.stderr
        assert "apply: n8n healthy" in result.stderr

    def test_json_survives_a_library_that_prints(
        self, run: Run, prod: FakeDeployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def status(self: FakeDeployment) -> Inspection:
            print("noise")
            return inspection()

        monkeypatch.setattr(FakeDeployment, "status", status)
        result = run("status", "-o", "json")
        assert json.loads(result.stdout)["deployment"] == "prod"
        assert "noise" in result.stderr

    def test_dry_run_shows_and_stops(self, run: Run, run_json: RunJson, prod: FakeDeployment) -> None:
        result = run("rollback", "prod", "--dry-run")
        assert result.exit_code == 0
        assert "rollback prod: v3 → v4" in result.stdout
        assert "apply: n8n" not in result.stdout
        assert result.stdout.endswith("prod: dry run, nothing was changed  [local cloud]\n")
        code, document = run_json("rollback", "prod", "--dry-run")
        assert code == 0
        assert document["dry_run"] is True
        assert document["plan"]["number"] == 4
        assert document["plan"]["stops_instance"] is True

    @pytest.mark.parametrize("given", [True, False])
    def test_recover_is_told_that_an_owner_elsewhere_is_gone(self, run: Run, prod: FakeDeployment, given: bool) -> None:
        prod.result = OperationResult(success=True, deployment="prod", kind="recover", version=3)
        run("recover", "prod", "--yes", *(["--owner-is-gone"] if given else []))
        assert prod.requests == [(given, False)]

    def test_recover_may_reboot(self, run: Run, prod: FakeDeployment) -> None:
        prod.result = OperationResult(success=True, deployment="prod", kind="recover", version=3)
        run("recover", "prod", "--yes", "--reboot")
        assert prod.requests == [(False, True)]

    def test_recover_may_ask_nobody_for_holes(self, run: Run, prod: FakeDeployment) -> None:
        prod.result = OperationResult(success=True, deployment="prod", kind="recover", version=3)
        run("recover", "prod", "--yes", "--no-advisories")
        assert prod.requests == [(False, False, False)]

    def test_recover_may_buy_on_demand(self, run: Run, prod: FakeDeployment) -> None:
        prod.result = OperationResult(success=True, deployment="prod", kind="recover", version=3)
        run("recover", "prod", "--yes", "--on-demand")
        assert prod.requests == [(False, False, True)]

    def test_recover_goes_on_by_itself_and_asks_nobody(self, run: Run, run_json: RunJson) -> None:
        result = run("recover", "prod", "--every", "1h30m")
        assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "Ended. Looks: 7; brought back: 1.")
        assert "every 5400 s" in result.stdout
        code, document = run_json("recover", "prod", "--every", "5m")
        assert (code, document) == (0, {"deployment": "prod", "looks": 7, "repairs": 1, "exit_code": 0})

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            (("--every", "often"), "--every often is no time span."),
            (("--every", "5m", "--reboot"), "--every and --reboot do not go together"),
            (("--every", "5m", "--dry-run"), "--every and --dry-run do not go together"),
            (("--every", "5m", "--wait-lock", "5m"), "--every and --wait-lock do not go together"),
        ],
    )
    def test_recover_every_takes_nothing_else(self, run: Run, options: tuple[str, ...], told: str) -> None:
        result = run("recover", "prod", *options)
        assert result.exit_code == 2 and told in result.stderr

    @pytest.mark.parametrize(
        "verb",
        [
            *(
                "deploy prod",
                "update prod --image n8n=n8nio/n8n:1.92.0",
                "rollback prod",
                "recover prod",
                "restore prod",
            ),
            *("destroy prod", "stop prod", "start prod", "secrets rotate ssh prod", "secrets rotate-passphrase prod"),
            *("secrets set prod n8n.KEY --from env:KEY", "secrets set prod n8n.KEY --delete"),
            "secrets import prod --from env:KEY",
        ],
    )
    def test_each_changing_verb_may_wait_for_another_operation(
        self, run: Run, prod: FakeDeployment, verb: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KEY", "hunter2-hunter2")
        run(*shlex.split(verb), "--yes")
        assert not any(isinstance(one, float) for one in prod.requests), "by itself it waits for nobody"
        prod.requests.clear()
        run(*shlex.split(verb), "--yes", "--wait-lock", "1h30m")
        assert prod.requests[0] == 5400.0
        refused = run(*shlex.split(verb), "--yes", "--wait-lock", "soon")
        assert refused.exit_code == 2 and "--wait-lock soon is no time span." in refused.stderr
        assert "Write it as --wait-lock 10m." in refused.stderr

    def test_recover_with_nothing_to_repair_ends_0(self, run: Run, prod: FakeDeployment) -> None:
        prod.result = OperationResult(success=True, deployment="prod", kind="recover", version=3)
        result = run("recover", "prod", "--yes")
        assert result.exit_code == 0
        assert "prod: nothing to repair" in result.stdout

    def test_update_to_what_is_active_already_does_not_claim_to_have_updated(
        self, run: Run, prod: FakeDeployment
    ) -> None:
        prod.result = OperationResult(success=True, deployment="prod", kind="update", version=3)
        result = run("update", "prod", "--image", "n8n=n8nio/n8n:1.92.0", "--yes")
        assert result.exit_code == 0
        assert "prod: nothing to change, v3 is active" in result.stdout

    def test_result_without_version_or_health_reads_well(self, run: Run, prod: FakeDeployment) -> None:
        prod.result = OperationResult(
            success=True, deployment="prod", kind="deploy", next_step="geusemaker info prod", operation_id="op"
        )
        result = run("deploy", "prod", "--yes")
        assert "prod is deployed: done (0.0s)" in result.stdout
        assert result.stdout.endswith("next: geusemaker info prod\n")

    def test_refusal_shows_all_checks(self, run: Run, run_json: RunJson, prod: FakeDeployment) -> None:
        checks = (
            CheckResult(name="images", status="fail", detail="n8nio/n8n:9 is not in the registry"),
            CheckResult(name="disk", status="pass", detail="12 GiB free"),
        )
        prod.error = ValidationFailedError("1 check failed", checks=checks)
        result = run("update", "prod", "--yes")
        assert result.exit_code == 5
        assert "fail  images  n8nio/n8n:9 is not in the registry" in result.stderr
        assert "    1 check passed\n" in result.stderr
        assert "pass  disk    12 GiB free" in run("update", "prod", "--yes", "--verbose").stderr
        assert [check["status"] for check in run_json("update", "prod", "--yes")[1]["checks"]] == ["fail", "pass"]

    def test_refusal_after_the_plan_brings_the_plan(self, run_json: RunJson, prod: FakeDeployment) -> None:
        prod.error_after_plan = PlanRefusedError("the world moved")
        code, document = run_json("rollback", "prod", "--yes")
        assert code == 5
        assert document["plan"]["operation_id"] == document["operation_id"] == "op-4"
        assert [check["name"] for check in document["checks"]] == ["images", "disk"]
        assert document["source_version"] == 2

    def test_refused_result_brings_the_plan(self, run_json: RunJson, prod: FakeDeployment) -> None:
        prod.result = OperationResult(success=False, deployment="prod", kind="update", exit_code=5)
        assert run_json("update", "prod", "--yes")[1]["plan"]["deployment"] == "prod"

    def test_engine_diagnostics_are_shown(self, run: Run, run_json: RunJson, prod: FakeDeployment) -> None:
        prod.error = EngineError("the engine failed", diagnostics=("error: no capacity",), state="v3 is active")
        result = run("update", "prod", "--yes")
        assert "    error: no capacity\nstate: v3 is active\n" in result.stderr
        assert run_json("update", "prod", "--yes")[1]["diagnostics"] == ["error: no capacity"]

    def test_same_plan_is_shown_once_and_another_again(
        self, run: Run, prod: FakeDeployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def update(self: FakeDeployment, request: object, confirm: Any, on_event: Any) -> None:
            on_event(Event(kind="plan", plan=self.plan))
            confirm(self.plan)
            on_event(Event(kind="plan"))
            on_event(Event(kind="plan", plan=rollback_plan(downtime="none at all")))
            raise PlanRefusedError("not the plan that was shown")

        monkeypatch.setattr(FakeDeployment, "update", update)
        result = run("update", "prod", "--yes")
        assert result.stdout.count("rollback prod: v3 → v4") == 2
        assert result.stdout.count("none at all") == 1

    def test_getting_an_engine_shows_progress(self, run: Run, ws: FakeWorkspace) -> None:
        ws.engine_events = [Event(kind="phase", name="engine", state="started", message="about 4 min")]
        assert "engine: about 4 min" in run("update", "prod", "--yes").stdout
        result = run("doctor", "--get-engine")
        assert result.stderr == "[  0.0s] engine: about 4 min\n"
        assert "about 4 min" not in result.stdout

    @pytest.mark.parametrize(
        "verb",
        [
            "list", "status", "inspect", "history", "checkpoints", "logs", "info", "env", "deploy prod --dry-run",
            "update prod --dry-run", "rollback prod --dry-run",
        ],
    )  # fmt: skip
    def test_looking_gets_no_engine(self, run: Run, ws: FakeWorkspace, verb: str) -> None:
        ws.engine_events = [Event(kind="phase", name="engine", state="started", message="about 4 min")]
        ws.has_engine = False
        result = run(*verb.split())
        assert result.exit_code == 1 and "There is no usable Pulumi engine on this machine" in result.stderr
        assert "about 4 min" not in result.output

    def test_nothing_to_read_needs_no_engine(self, run: Run, ws: FakeWorkspace, tmp_path: Path) -> None:
        ws.has_engine = False
        ws.backend_folder = tmp_path / "a b"
        assert run("list").stderr == ""
        (tmp_path / "a b").mkdir()
        assert "no usable Pulumi engine" in run("list").stderr
        assert run("doctor").stderr == run("local", "status").stderr == ""


class TestConfirmation:
    @pytest.mark.parametrize("verb", ["update", "status", "history", "rollback"])
    def test_an_interrupt_before_the_yes_says_that_nothing_was_changed(
        self, run: Run, prod: FakeDeployment, monkeypatch: pytest.MonkeyPatch, verb: str
    ) -> None:
        monkeypatch.setattr(Printer, "can_ask", lambda self: True)
        prod.error = KeyboardInterrupt()
        result = run(verb, "prod")
        assert (result.exit_code, result.stderr) == (130, "error: Interrupted.\nstate: Nothing was changed.\n")

    def test_an_interrupt_after_the_yes_claims_nothing(self, run: Run, prod: FakeDeployment) -> None:
        prod.error_after_plan = KeyboardInterrupt()
        result = run("update", "prod", "--yes")
        assert result.exit_code == 130 and "state:" not in result.stderr and "geusemaker status" in result.stderr

    @pytest.mark.parametrize("verb", ["deploy", "update", "rollback", "restore", "stop", "start", "destroy"])
    def test_without_terminal_or_yes_it_is_refused_before_the_plan(
        self, run: Run, run_json: RunJson, prod: FakeDeployment, verb: str
    ) -> None:
        result = run(verb, "prod")
        assert result.exit_code == 1 and prod.requests == [] and result.stdout == ""
        assert "there is no terminal to ask on" in result.stderr
        assert "run the same command again with --yes" in result.stderr
        assert "apply" not in result.stderr
        code, document = run_json(verb, "prod")
        assert code == 1
        assert document["error_type"] == "ConfirmationNeededError" and document["deployment"] == "prod"

    def test_recover_asks_only_where_there_is_something_to_repair(self, run_json: RunJson) -> None:
        code, document = run_json("recover", "prod")
        assert (code, document["error_type"]) == (1, "ConfirmationNeededError")
        assert document["plan"]["deployment"] == "prod"

    @pytest.mark.parametrize("typed", ["y", "YES"])
    def test_yes_goes_on(self, run: Run, answer: Callable[[str], list[str]], typed: str) -> None:
        asked = answer(typed)
        assert run("rollback", "prod").exit_code == 0
        assert asked == ["Roll prod back to the config of v2? (d lists the checks) [y/N] "]

    def test_d_lists_the_checks_and_asks_again(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        typed = iter(["d", "D", "y"])
        monkeypatch.setattr(Printer, "can_ask", lambda self: True)
        monkeypatch.setattr(Printer, "ask", lambda self, question: next(typed))
        result = run("rollback", "prod")
        assert result.exit_code == 0 and [*typed] == []
        assert result.stdout.count("1 check passed") == 1
        assert result.stdout.count("    pass  images  2 images are in the registry\n") == 2

    def test_verbose_lists_them_at_once(self, run: Run, answer: Callable[[str], list[str]]) -> None:
        asked = answer("y")
        result = run("update", "prod", "--verbose")
        assert result.stdout.count("    pass  images  2 images are in the registry\n") == 1
        assert asked == ["Roll prod back to the config of v2? [y/N] "]

    @pytest.mark.parametrize("typed", ["", "n", "prod", "yep"])
    def test_anything_else_declines(self, run: Run, answer: Callable[[str], list[str]], typed: str) -> None:
        answer(typed)
        result = run("update", "prod")
        assert result.exit_code == 1, "what was asked for is not done: a script must not go on as if it were"
        assert result.stderr == "" and result.stdout.endswith("\nNothing was changed.\n")

    def test_destroy_wants_the_name(self, run: Run, prod: FakeDeployment, answer: Callable[[str], list[str]]) -> None:
        asked = answer("prod")
        result = run("destroy", "prod")
        assert result.exit_code == 0
        assert "destroy prod (v3)  [local cloud]" in result.stdout
        assert "prod: destroyed" in result.stdout
        assert asked == ["prod will be taken down; its data stays. Type its name to go on: "]
        assert prod.requests == [False]

    def test_destroy_is_not_content_with_yes_as_an_answer(self, run: Run, answer: Callable[[str], list[str]]) -> None:
        asked = answer("yes")
        assert run("destroy", "prod", "--delete-data").exit_code == 1
        assert asked == ["ALL DATA of prod will be deleted. Type its name to go on: "]

    def test_delete_data_needs_more_than_yes(self, run: Run, prod: FakeDeployment) -> None:
        result = run("destroy", "prod", "--delete-data", "--yes")
        assert result.exit_code == 1
        assert "--delete-data --yes --confirm-name prod" in result.stderr
        assert prod.requests == []
        assert run("destroy", "prod", "--delete-data", "--yes", "--confirm-name", "prod").exit_code == 0
        assert prod.requests == [True]

    def test_confirm_name_stands_for_typing_it(self, run: Run, prod: FakeDeployment) -> None:
        assert run("destroy", "prod", "--confirm-name", "prod").exit_code == 0
        result = run("destroy", "prod", "--confirm-name", "other", "--yes")
        assert result.exit_code == 2
        assert "--confirm-name says 'other'" in result.stderr
        assert prod.requests == [False]


class TestNames:
    def test_near_name_is_suggested(self, run: Run) -> None:
        result = run("rollback", "prd", "--yes")
        assert result.exit_code == 1
        assert "next: Did you mean prod? `geusemaker status prod` shows how it is." in result.stderr

    def test_where_it_looked_and_what_is_there_is_told(self, run: Run, ws: FakeWorkspace) -> None:
        ws.known["other"] = FakeDeployment("other")
        said = run("status", "elsewhere").stderr
        assert f"Looked in the workspace {ws.home}, which has other, prod." in said

    def test_a_name_may_be_left_out_before_a_version(self, run: Run, prod: FakeDeployment) -> None:
        assert run("mark", "v3", "bad", "--reason", "slow").exit_code == 0
        assert run("mark", "3", "good").exit_code == 0
        assert prod.requests == [("mark", 3, True, "slow"), ("mark", 3, False, "")]

    @pytest.mark.parametrize("words", [["mark"], ["mark", "prod"], ["mark", "prod", "3"], ["mark", "prod", "bad"]])
    def test_a_mark_without_version_or_verdict_is_refused(
        self, run: Run, prod: FakeDeployment, words: list[str]
    ) -> None:
        assert run(*words).exit_code == 2
        assert run("pin", "prod").exit_code == 2
        assert prod.requests == []

    def test_far_name_keeps_the_library_advice(self, run: Run) -> None:
        assert "next: geusemaker list" in run("status", "elsewhere").stderr

    def test_suggestion_never_hides_the_error(self, run: Run, ws: FakeWorkspace) -> None:
        ws.list_error = WorkspaceError("backend away")
        result = run("status", "prd")
        assert result.stderr.startswith("error: there is no deployment 'prd'")

    def test_no_suggestion_without_a_name(self, run: Run, ws: FakeWorkspace) -> None:
        ws.known["other"] = FakeDeployment("other")
        assert "Did you mean" not in run("status").stderr

    def test_no_suggestion_without_a_workspace(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        from geusemaker.cli import workspace

        def fail() -> None:
            raise DeploymentNotFoundError("no workspace", next_step="geusemaker deploy NAME")

        monkeypatch.setattr(workspace, "open_workspace", fail)
        assert run("status", "prd").stderr == "error: no workspace\nnext: geusemaker deploy NAME\n"


class TestQuestions:
    def test_inspect_document(self, run_json: RunJson) -> None:
        code, document = run_json("inspect", "prod", "--show-history")
        assert code == 0
        assert document["deployment"] == "prod"
        assert document["active_version"] == 4
        version = document["versions"][3]
        assert version["number"] == 4
        assert (version["kind"], version["status"], version["healthy"]) == ("rollback", "active", True)
        assert (version["source_version"], version["actor"], version["reason"]) == (2, "ann@box", "")
        assert version["created_at"] == "2025-01-21T02:03:00Z"
        assert version["config"]["instance_type"] == "t3.large"
        assert version["config"]["images"]["n8n"].startswith("n8nio/n8n:1.92.0@sha256:")
        assert document["rollbacks"][0]["previous_state_version"] == 3
        assert document["services"]["n8n"]["healthy"] is True
        assert document["services"]["n8n"]["image"].startswith("n8nio/n8n:1.92.0@sha256:")
        assert document["instance"] == {
            "id": "i-1",
            "type": "t3.large",
            "state": "running",
            "address": "127.0.0.9",
            "image_id": "",
            "reason": "",
            "others": [],
        }
        assert (document["efs"]["id"], document["efs"]["mounted"]) == ("fs-1", True)

    def test_history_and_inspect_show_the_same_table(self, run: Run) -> None:
        history = run("history", "prod").stdout
        assert history in run("inspect", "prod", "--show-history").stdout
        assert history not in run("inspect", "prod").stdout
        assert len(run("history", "prod", "--all").stdout.splitlines()) == len(history.splitlines())

    def test_history_document_equals_inspect_document(self, run_json: RunJson) -> None:
        assert run_json("history", "prod") == run_json("inspect", "prod")

    def test_status(self, run: Run, run_json: RunJson, prod: FakeDeployment) -> None:
        prod.inspected = inspection(
            status="interrupted",
            summary="The update to v5 was interrupted; geusemaker recover prod repairs it.",
            problems=["n8n does not answer"],
            interruption=Interruption(operation_id="op-5", kind="update", number=5, actor="ann", host="box", pid=9),
        )
        result = run("status")
        assert result.exit_code == 7
        assert result.stdout.splitlines()[:4] == [
            "prod: interrupted, v4 is active  [local cloud]",
            "an update to v5 by ann on box (pid 9) was interrupted",
            "The update to v5 was interrupted; geusemaker recover prod repairs it.",
            "problem: n8n does not answer",
        ]
        assert run_json("status")[1]["interruption"]["number"] == 5

    @pytest.mark.parametrize(
        ("word", "code"),
        [
            *(("healthy", 0), ("settling", 7), ("unhealthy", 7), ("drifted", 7), ("stopped", 7), ("failed", 7)),
            *(("interrupted", 7), ("running", 7), ("destroyed", 7), ("unreachable", 8), ("unreadable", 8)),
        ],
    )
    def test_status_ends_with_a_code_of_its_own(
        self, run: Run, run_json: RunJson, prod: FakeDeployment, word: str, code: int
    ) -> None:
        prod.inspected = inspection(status=word, summary="So it is.")
        result = run("status")
        assert (result.exit_code, result.stderr) == (code, "") and f"prod: {word}" in result.stdout
        ended, document = run_json("status")
        assert (ended, document["exit_code"], document["status"]) == (code, code, word)
        assert run("inspect").exit_code == 0, "it was asked for everything, and that is what it gave"

    def test_stop_and_start(self, run: Run, run_json: RunJson, prod: FakeDeployment) -> None:
        result = run("stop", "prod", "n8n", "--reason", "disk work", "--yes")
        assert result.exit_code == 0 and "stop prod (v4)" in result.stdout and "reason: disk work" in result.stdout
        assert "n8n stops as well: it needs postgresql" in result.stdout
        assert "prod: n8n stopped on purpose" in result.stdout
        assert run("start", "prod", "--yes").exit_code == 0
        assert prod.requests == [("stop", ("n8n",), "disk work"), ("start", (), "")]
        assert run("stop", "prod", "n8n").exit_code == 1, "there is no terminal to ask on"
        code, document = run_json("start", "prod", "postgresql", "--yes")
        assert (code, document["exit_code"], document["kind"]) == (0, 0, "start")
        assert run("stop", "prod", "nginx", "--yes").exit_code == 2

    def test_rehearse(self, run: Run, run_json: RunJson, prod: FakeDeployment) -> None:
        images = ("--image", "n8n=n8nio/n8n:2.41.1", "--image", "postgres=postgres:17.12")
        result = run("rehearse", "prod", *images, "--reason", "Friday")
        assert result.exit_code == 0, "it asks nothing"
        assert run("rehearse", "prod", *images, "--wait-lock", "90m").exit_code == 0 and 5400.0 in prod.requests
        assert prod.requests[0] == RehearseRequest(
            images={"n8n": "n8nio/n8n:2.41.1", "postgresql": "postgres:17.12"}, reason="Friday"
        )
        assert "prod: rehearsed on a copy of 7.0 MiB, and removed again" in result.stdout
        assert "`geusemaker rollback prod v3 --with-data`, measured (n8n 1.100.1 on" in result.stdout
        code, document = run_json("rehearse", "prod", *images)
        assert (code, document["kind"], document["way_back"]["kind"]) == (0, "rehearse", "with-data")
        prod.rehearsed = prod.rehearsed.model_copy(
            update={"success": False, "starts": False, "exit_code": 5, "error_message": "It does not work."}
        )
        result = run("rehearse", "prod", *images)
        assert result.exit_code == 5 and "error: It does not work." in result.stderr and result.stdout.count("\n") <= 1
        assert run_json("rehearse", "prod", *images)[1]["exit_code"] == 5

    def test_an_update_may_be_rehearsed_first(self, run: Run, run_json: RunJson, prod: FakeDeployment) -> None:
        prod.result = OperationResult(success=True, deployment="prod", kind="update", version=4, operation_id="op-9")
        line = ("update", "prod", "--image", "n8n=n8nio/n8n:2.41.1", "--image", "qdrant=qdrant/qdrant:v1.15.0")
        result = run(*line, "--rehearse", "--yes")
        assert result.exit_code == 0 and prod.requests[-2] == RehearseRequest(images={"n8n": "n8nio/n8n:2.41.1"})
        assert "prod: rehearsed on a copy of 7.0 MiB" in result.stdout and isinstance(prod.requests[-1], UpdateRequest)
        assert run_json(*line, "--rehearse", "--yes")[1]["kind"] == "update"
        prod.rehearsed = prod.rehearsed.model_copy(
            update={"success": False, "exit_code": 5, "error_message": "It does not work."}
        )
        prod.requests.clear()
        assert run(*line, "--rehearse", "--yes").exit_code == 5, "and nothing is updated"
        assert [type(one) for one in prod.requests] == [RehearseRequest]

    def test_rotate(self, run: Run, run_json: RunJson, prod: FakeDeployment) -> None:
        result = run("secrets", "rotate", "ssh", "prod", "--yes")
        assert (result.exit_code, prod.requests) == (0, [("rotate", "ssh")])
        for text in ("prod: ssh key: changed", "The old key opens nothing.", "1 other key may log in"):
            assert text in result.stdout
        assert run("secrets", "rotate", "ssh", "prod").exit_code == 1, "there is no terminal to ask on"
        failed = run("secrets", "rotate", "database", "prod", "--yes")
        assert failed.exit_code == 4 and "not changed to the end: no space" in failed.stderr
        assert "Run it again." in failed.stderr and "state:" not in failed.stderr
        code, document = run_json("secrets", "rotate", "ssh", "prod", "--yes")
        assert (code, document["kind"], document["still_opens"]) == (0, "rotate-ssh", "The old key opens nothing.")
        assert run("secrets", "rotate", "n8n", "prod", "--yes").exit_code == 2

    @pytest.mark.parametrize("verb", ["recover", "destroy"])
    def test_a_dry_run_of_what_repairs_or_ends_asks_nothing(
        self, run: Run, ws: FakeWorkspace, prod: FakeDeployment, verb: str
    ) -> None:
        ws.has_engine = False
        assert "no usable Pulumi engine" in run(verb, "prod", "--dry-run").stderr, "it gets none for looking"
        ws.has_engine = True
        result = run(verb, "prod", "--dry-run")
        assert result.exit_code == 0 and "prod: dry run, nothing was changed" in result.stdout
        assert run("destroy", "prod", "--dry-run", "--delete-data").exit_code == 0

    def test_list(self, run: Run, run_json: RunJson, ws: FakeWorkspace) -> None:
        assert "prod  local cloud  v4       t3.large       healthy" in run("list").stdout
        assert run_json("list")[1]["deployments"][0]["name"] == "prod"
        ws.known.clear()
        assert run("list").stdout == "no deployments here yet\nnext: geusemaker deploy NAME\n"
        assert run_json("list") == (0, {"deployments": []})

    def test_info(self, run: Run, run_json: RunJson) -> None:
        text = run("info").stdout
        assert "ssh -p 2222 admin@127.0.0.9" in text
        assert "[local cloud]" in text
        assert run_json("info")[1]["services"] == {"n8n": "http://127.0.0.2:5678"}

    def test_env_can_be_evaluated_by_a_shell(self, run: Run, run_json: RunJson) -> None:
        assert run("env").stdout == "export AWS_REGION=us-east-1\nexport PULUMI_BACKEND_URL='file://a b'\n"
        assert run_json("env")[1]["environment"]["PULUMI_BACKEND_URL"] == "file://a b"

    def test_doctor(self, run: Run, run_json: RunJson, ws: FakeWorkspace) -> None:
        result = run("doctor")
        assert result.exit_code == 0
        assert "engine: Pulumi 3.259.0, on PATH: bin/pulumi" in result.stdout
        ws.report = DoctorReport(ok=False, engine=None, problems=["no engine: install Go or Pulumi"])
        result = run("doctor")
        assert result.exit_code == 1
        assert "problem: no engine: install Go or Pulumi" in result.stdout
        code, document = run_json("doctor")
        assert code == 1
        assert (document["ok"], document["engine"]) == (False, None)
        assert document["problems"] == ["no engine: install Go or Pulumi"]

    def test_doctor_prints_a_policy_as_aws_takes_it(self, run: Run, run_json: RunJson) -> None:
        asked = json.loads(run("doctor", "prod", "--aws-policy", "--read-only").stdout)
        assert asked["Version"] == "2012-10-17" and asked["Id"].startswith("prod True False")
        assert run_json("doctor", "--aws-policy")[1]["Id"].startswith("None False")
        through = json.loads(run("doctor", "--aws-policy", "--connect", "ssm").stdout)
        assert through["Id"].startswith("None False True")

    @pytest.mark.parametrize("verb", ["inspect", "history", "status"])
    def test_failure_is_a_document_too(self, run_json: RunJson, prod: FakeDeployment, verb: str) -> None:
        prod.error = HostError("the instance cannot be reached", code="unreachable")
        code, document = run_json(verb, "prod")
        assert code == 1
        assert document["error_message"] == "the instance cannot be reached"


class TestLocal:
    def test_status(self, run: Run, run_json: RunJson) -> None:
        assert run("local", "status").stdout.splitlines() == [
            "local cloud: running (pid 7)",
            "  AWS API  http://127.0.0.1:1",
            "  images   http://127.0.0.1:2",
            "  instance i-1  process  running  ssh 127.0.0.9:2222",
            "  data     fs-1  efs/fs-1",
        ]
        code, document = run_json("local", "status")
        assert code == 0
        assert (document["running"], document["pid"], document["aws_endpoint"]) == (True, 7, "http://127.0.0.1:1")
        assert document["instances"][0]["ssh_port"] == 2222
        assert document["file_systems"] == [{"id": "fs-1", "path": "efs/fs-1"}]

    def test_env_prints_what_the_aws_cli_needs_and_a_shell_can_read(self, run: Run, run_json: RunJson) -> None:
        printed = run("local", "env").stdout
        shell = subprocess.run(
            ["sh", "-c", f'{printed} echo "$AWS_REGION $AWS_SECRET_ACCESS_KEY"'], capture_output=True, text=True
        )
        assert shell.stdout == "us-east-1 a key's\n"
        assert "PULUMI" not in printed
        code, document = run_json("local", "env")
        assert (code, document["environment"]["AWS_REGION"]) == (0, "us-east-1")

    def test_start_and_stop(self, run: Run, run_json: RunJson, ws: FakeWorkspace) -> None:
        assert run_json("local", "stop")[1]["running"] is False
        assert run("local", "stop").stdout == "local cloud: not running\n"
        assert run_json("local", "start")[1]["running"] is True
        assert ws.cloud.calls == ["stop", "stop", "start"]

    def test_reset_asks(
        self, run: Run, run_json: RunJson, ws: FakeWorkspace, answer: Callable[[str], list[str]]
    ) -> None:
        assert run_json("local", "reset")[0] == 1
        assert run("local", "reset").exit_code == 1
        answer("n")
        assert run("local", "reset").exit_code == 1
        assert ws.cloud.calls == []
        answer("y")
        assert run("local", "reset").exit_code == 0
        assert run_json("local", "reset", "--yes") == (0, run_json("local", "status")[1])
        assert ws.cloud.calls == ["reset", "reset"]


class TestGlobalOptions:
    def test_version(self, run: Run) -> None:
        from geusemaker._version import __version__

        assert run("--version").stdout == f"geusemaker {__version__}\n"

    @pytest.mark.parametrize("args", ["-h", "--help", "rollback -h", "local -h", "local reset -h"])
    def test_help(self, run: Run, args: str) -> None:
        result = run(*args.split())
        assert result.exit_code == 0
        assert "Usage: geusemaker" in result.stdout

    @pytest.mark.parametrize("verb", sorted(VERBS))
    def test_every_verb_has_a_summary_and_two_examples(self, run: Run, verb: str) -> None:
        listing = run("--help").stdout
        assert f"\n  {verb} " in listing
        examples = run(verb, "--help").stdout.partition("Examples:\n")[2].splitlines()
        assert len(examples) == 2
        assert all(f"geusemaker {verb}" in example for example in examples)

    def test_options_are_listed_by_purpose(self, run: Run) -> None:
        text = run("deploy", "--help").stdout
        titles = [row for row in text.splitlines() if row.endswith(":") and not row.startswith(" ")]
        assert titles == [
            "Arguments:",
            "Where, remembered with the deployment:",
            "What to run:",
            "Settings, remembered with the version:",
            "What the internet reaches, remembered with the deployment:",
            "What AWS has of it, remembered with the deployment:",
            "This operation:",
            "Options:",
            "Examples:",
        ]

    def test_no_arguments_show_help(self, run: Run) -> None:
        result = run()
        assert result.exit_code == 2
        assert "Change a deployment:" in result.output

    @pytest.mark.parametrize("args", [["--debug", "status", "prod"], ["status", "prod", "--debug"]])
    def test_debug_shows_the_traceback(self, run: Run, prod: FakeDeployment, args: list[str]) -> None:
        prod.error = ZeroDivisionError("division by zero")
        result = run(*args)
        assert result.exit_code == 1
        assert "Traceback (most recent call last)" in result.stderr
        result = run("status", "prod")
        assert "Traceback" not in result.stderr
        assert "Something unforeseen went wrong (ZeroDivisionError: division by zero)" in result.stderr
        assert "Run again with --debug" in result.stderr

    def test_debug_does_not_spoil_the_document(self, run: Run, prod: FakeDeployment) -> None:
        prod.error = GeusemakerError("no")
        assert json.loads(run("status", "-o", "json", "--debug").stdout)["error_message"] == "no"

    def test_interrupt_before_a_verb_runs(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        from geusemaker.cli import help

        def interrupt(self: object, ctx: object, formatter: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(help.PlainGroup, "format_commands", interrupt)
        assert run("--help").exit_code == 130

    def test_usage_error_of_the_local_group(self, run: Run) -> None:
        result = run("local", "frob", "--output=json")
        assert json.loads(result.stdout)["next_step"] == "`geusemaker local --help` shows what there is."
        assert result.exit_code == 2


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_entry_point_turns_a_request_to_end_into_an_interrupt(
    ws: FakeWorkspace, prod: FakeDeployment, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals
) -> None:
    monkeypatch.setattr(sys, "argv", ["geusemaker", "status"])
    monkeypatch.setattr(FakeDeployment, "status", lambda self: signal.raise_signal(sent))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert ended.value.code == 130


def test_what_the_sdk_abandons_is_not_shown_and_everything_else_is() -> None:
    """Pulumi's coroutines of a run that failed complain, with a traceback, when they are collected."""
    shown: list[Any] = []
    hook = _without_abandoned(shown.append)

    async def ours() -> None: ...

    abandoned, other = pulumi.runtime.stack.run_pulumi_func(lambda: None), ours()
    hook(SimpleNamespace(object=abandoned))
    hook(SimpleNamespace(object=other))
    hook(SimpleNamespace(object=None))
    assert [found.object for found in shown] == [other, None]
    abandoned.close()
    other.close()


def test_entry_point_leaves_an_ignored_hangup_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under nohup."""
    monkeypatch.setattr(sys, "argv", ["geusemaker", "--version"])
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit) as ended:
            main()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert ended.value.code == 0


def test_real_workspace_is_looked_up_when_a_verb_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    from geusemaker.cli.workspace import open_workspace

    fake = FakeWorkspace()
    module = types.ModuleType("geusemaker")
    module.Workspace = types.SimpleNamespace(find=lambda: fake)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "geusemaker", module)
    assert open_workspace() is fake  # type: ignore[comparison-overlap]


class TestRestore:
    def test_restore_hands_over_what_was_typed(self, run: Run, prod: FakeDeployment) -> None:
        line = "restore prod --checkpoint v1/op-2 --service postgres --service qdrant --reason 'by mistake' --yes"
        assert run(*shlex.split(line)).exit_code == 0
        services = ("postgresql", "qdrant")
        assert prod.requests == [RestoreRequest(checkpoint="v1/op-2", services=services, reason="by mistake")]
        assert run("restore", "--yes").exit_code == 0 and prod.requests[-1] == RestoreRequest()

    def test_what_will_be_replaced_is_shown_and_asked_about(self, run: Run, answer: Callable[[str], list[str]]) -> None:
        asked = answer("n")
        result = run("restore", "prod", "--reason", "by mistake")
        assert asked == ["Replace this data of prod? (d lists the checks) [y/N] "] and result.exit_code == 1
        shown = " ".join(result.stdout.split())
        for words in (
            "restore prod: v1/op-2 of ",
            "before an update [local cloud] reason: by mistake",
            "~ postgresql n8n 60 tables, 5 workflows → 60 tables, 12,345 rows, 3 workflows",
            "+ qdrant docs (not there) → 1 point",
            "not in the checkpoint, stays as it is: qdrant later",
            "1 check passed",
            "Downtime n8n stops until its data is in place.",
        ):
            assert words in shown
        assert result.stdout.endswith("\nNothing was changed.\n") and result.stderr == ""
        answer("y")
        assert run("restore", "prod").exit_code == 0

    def test_without_terminal_or_yes_nothing_happens(self, run: Run, run_json: RunJson) -> None:
        result = run("restore", "prod")
        assert result.exit_code == 1 and "asks before it acts" in result.stderr and "--yes" in result.stderr
        code, document = run_json("restore", "prod")
        assert (code, document["error_type"], document["success"]) == (1, "ConfirmationNeededError", False)

    def test_the_outcome_says_what_was_kept_and_how_to_undo_it(self, run: Run, run_json: RunJson) -> None:
        shown = run("restore", "prod", "--yes").stdout
        assert "prod is restored: its data is as in v1/op-2 (17s)  [local cloud]" in shown
        assert "n8n as it was before is kept as n8n_before_9" in shown
        assert "undo: geusemaker restore prod --checkpoint v2/op-9" in shown
        code, document = run_json("restore", "prod", "--yes")
        assert code == 0 and document.keys() >= CONTRACT and document["taken"] == "v2/op-9"

    def test_a_failure_goes_to_stderr_with_its_exit_code(
        self, run: Run, run_json: RunJson, prod: FakeDeployment
    ) -> None:
        prod.restored = prod.restored.model_copy(
            update={"success": False, "exit_code": 4, "error_message": "It failed half-way.", "next_step": "Look."}
        )
        result = run("restore", "prod", "--yes")
        assert result.exit_code == 4 and "error: It failed half-way." in result.stderr
        assert "next: Look." in result.stderr and "undo:" not in result.stderr
        code, document = run_json("restore", "prod", "--yes")
        assert (code, document["exit_code"], document["success"]) == (4, 4, False)

    def test_an_operation_under_way_is_6(self, run: Run, prod: FakeDeployment) -> None:
        prod.error = DeploymentBusyError("prod is held by an update.")
        assert run("restore", "prod", "--yes").exit_code == 6

    def test_checkpoints(self, run: Run, run_json: RunJson, prod: FakeDeployment) -> None:
        lines = [" ".join(line.split()) for line in run("checkpoints", "prod").stdout.splitlines()]
        assert lines[0] == "prod: 2 checkpoints"
        assert lines[1].startswith("v2/op-9 2025-01-2") and "before a restore 3.0 MiB n8n: 60 tables" in lines[1]
        assert lines[2].endswith("12,345 rows, 3 workflows; docs: 1 point")
        assert lines[3] == "`geusemaker restore prod` takes v1/op-2; nothing restores one by itself"
        code, document = run_json("checkpoints", "prod")
        assert code == 0 and document["default"] == "v1/op-2"
        assert [found["checkpoint"] for found in document["checkpoints"]] == ["v2/op-9", "v1/op-2"]
        prod.default_checkpoint = None
        assert "`geusemaker restore prod` needs --checkpoint" in run("checkpoints").stdout
        prod.known_checkpoints = []
        assert "prod has no checkpoint yet" in run("checkpoints").stdout


class TestBackup:
    def test_it_is_made_without_a_question(self, run: Run, run_json: RunJson, prod: FakeDeployment) -> None:
        shown = " ".join(run("backup", "prod").stdout.split())
        assert "prod is backed up: op-7 (3.0 MiB, 4.0s)" in shown and "v3's data: n8n: 60 tables" in shown
        assert "next: `geusemaker restore prod --backup op-7` puts it in place" in shown
        code, document = run_json("backup", "prod")
        assert (code, document["backup"], document["checkpoint"]["checkpoint"]) == (0, "op-7", "v3/op-7")
        assert prod.requests == ["backup", "backup"]

    def test_those_there_are(self, run: Run, run_json: RunJson, prod: FakeDeployment) -> None:
        assert "prod has no backup yet" in run("backup", "prod", "--list").stdout
        whole = checkpoint("v3/op-7", kind="backup", verified_at="2025-01-21T02:09:00Z")
        prod.known_checkpoints = [whole, checkpoint("v3/op-6", kind="backup"), checkpoint()]
        lines = [" ".join(line.split()) for line in run("backup", "prod", "--list").stdout.splitlines()]
        assert lines[0] == "prod: 2 backups" and lines[1].startswith("op-7 2025-01-2")
        assert "v3 3.0 MiB read back whole n8n: 60 tables" in lines[1] and "NOT read back" in lines[2]
        code, document = run_json("backup", "prod", "--list")
        assert code == 0 and [one["operation"] for one in document["backups"]] == ["op-7", "op-6"]
        assert "a backup" in run("checkpoints", "prod").stdout and prod.requests == []

    def test_they_are_planned(self, run: Run, run_json: RunJson, prod: FakeDeployment) -> None:
        shown = " ".join(run("backup", "prod", "--every", "24h", "--keep", "3").stdout.split())
        assert "prod: a backup is taken every 24h, the newest 3 of those stay" in shown
        assert "the first one comes within minutes" in shown
        assert "no backup is taken by itself" in run("backup", "prod", "--every", "off").stdout
        code, document = run_json("backup", "prod", "--every", "90m")
        assert (code, document["backups"]["every_seconds"], document["backups"]["keep"]) == (0, 5400, 7)
        assert prod.requests == [(86_400, 3), (None, 7), (5400, 7)]

    @pytest.mark.parametrize(
        "line", ["--keep 3", "--every off --keep 3", "--list --every 24h", "--every often", "--every 24h --keep 0"]
    )
    def test_a_plan_that_makes_no_sense(self, run: Run, prod: FakeDeployment, line: str) -> None:
        assert run("backup", "prod", *line.split()).exit_code == 2 and prod.requests == []

    @pytest.mark.parametrize(
        ("state", "told"),
        [
            (BackupState(), ""),
            (BackupState(every_seconds=86_400, keep=7), "last backup: none; a backup is taken every 24h, the newest 7"),
            (
                BackupState(
                    last="op-7", last_at=datetime(2025, 1, 21, 2, tzinfo=UTC), last_age_seconds=7200, last_bytes=3 << 20
                ),
                "2h 00m old, 3.0 MiB",
            ),
        ],
    )
    def test_status_tells_the_last_one(self, run: Run, prod: FakeDeployment, state: BackupState, told: str) -> None:
        prod.inspected = prod.inspected.model_copy(update={"backups": state})
        for verb in ("status", "inspect"):
            shown = " ".join(run(verb, "prod").stdout.split())
            assert told in shown and ("last backup" in shown) is bool(told)

    def test_an_operation_that_took_the_deployment_is_6(self, run: Run, prod: FakeDeployment) -> None:
        prod.error = DeploymentBusyError("The backup of prod gave way to a rollback of bob.")
        assert run("backup", "prod").exit_code == 6

    def test_one_is_named_for_a_restore(self, run: Run, prod: FakeDeployment) -> None:
        run("restore", "prod", "--backup", "latest", "--yes")
        assert prod.requests == [RestoreRequest(backup="latest")]


class TestMarks:
    def test_mark_hands_over_what_was_typed(self, run: Run, prod: FakeDeployment) -> None:
        result = run("mark", "prod", "3", "bad", "--reason", "slow")
        assert result.exit_code == 0, result.output
        assert prod.requests == [("mark", 3, True, "slow")]
        assert "prod v3 is bad: slow" in result.stdout and "goes to v1" in result.stdout
        run("mark", "prod", "3", "good")
        assert prod.requests[-1] == ("mark", 3, False, "")

    def test_pin_and_unpin(self, run: Run, run_json: RunJson, prod: FakeDeployment) -> None:
        assert "prod v2 is pinned: why" in run("pin", "prod", "2", "--reason", "why").stdout
        said = run("unpin", "prod", "2").stdout
        assert "v2 is good, not pinned, as before" in said and "goes to nowhere" in said
        assert run_json("pin", "prod", "2")[1]["pinned"] is True
        assert prod.requests == [("pin", 2, "why"), ("unpin", 2), ("pin", 2, "")]

    @pytest.mark.parametrize("line", ["mark prod 3 ugly", "mark prod three bad", "mark prod 3", "pin prod"])
    def test_what_cannot_be_meant_is_a_usage_error(self, run: Run, prod: FakeDeployment, line: str) -> None:
        assert run(*line.split()).exit_code == 2
        assert prod.requests == []


def test_labels_alone_need_nobody_to_answer(run: Run, ws: FakeWorkspace) -> None:
    prod = ws.known["prod"]
    both = run("update", "prod", "--label", "customer=acme", "--instance-type", "t3.xlarge")
    assert both.exit_code == 1 and "asks before it acts" in both.stderr and prod.requests == []
    run("update", "prod", "--label", "customer=acme")
    assert [one.labels for one in prod.requests] == [{"customer": "acme"}]


def test_labels_and_tags_are_pairs(run: Run, ws: FakeWorkspace) -> None:
    assert run("update", "prod", "--yes", "--label", "customer=acme", "--label", "tier=").exit_code == 0
    assert ws.known["prod"].requests[-1].labels == {"customer": "acme", "tier": ""}
    for typed in (("--label", "customer"), ("--label", "=acme"), ("--label", "a=1", "--label", "a=2"), ("--tag", "a")):
        refused = run("update", "prod", "--yes", *typed)
        assert refused.exit_code == 2 and typed[0] in refused.stderr
