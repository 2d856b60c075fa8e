"""A workspace: which deployment is meant, what stands of each, and what this machine lacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from geusemaker.deployment import Deployment
from geusemaker.engine.binary import ENGINE_VARIABLE
from geusemaker.errors import (
    BackendDamagedError,
    DeploymentNotFoundError,
    EngineError,
    InvalidInputError,
    WorkspaceError,
)
from geusemaker.models.doctor import DoctorReport, EngineInfo
from geusemaker.models.identity import Caller
from geusemaker.models.state import DeploymentState
from geusemaker.workspace import Workspace
from tests.unit import samples

CALLER = Caller(account_id="123456789012", partition="aws")
ENGINE = EngineInfo(path="/opt/pulumi", version="3.259.0", source="path")
Stacks = Callable[..., None]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace on a machine with an engine and nothing else of ours."""
    for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE", ENGINE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GEUSEMAKER_LOCAL_DIR", str(tmp_path / "cloud"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "user")
    monkeypatch.setattr("geusemaker.workspace.find_engine", lambda: ENGINE)
    monkeypatch.setattr("geusemaker.workspace.prepare_engine", lambda on_event: ENGINE)
    for module in ("workspace", "wiring"):
        monkeypatch.setattr(f"geusemaker.{module}.require_engine", lambda: ENGINE)
    return Workspace.find(tmp_path / "home")


@pytest.fixture
def stacks(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Stacks:
    """Fills the backend with these deployments, or makes it fail."""

    def fill(*names: str, error: Exception | None = None, **more: Any) -> None:
        def listed(*_: Any) -> dict[str, Any]:
            if error is not None:
                raise error
            return {name: more for name in names}

        workspace._settings.prepare()
        monkeypatch.setattr("geusemaker.engine.cli.list_stacks", listed)
        monkeypatch.setattr("geusemaker.engine.stack.StackEngine.needs_passphrase", lambda self: True)

    return fill


def checks(report: DoctorReport) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {check.name: (check.status, check.detail) for check in report.checks}
    assert len(found) == len(report.checks), "a check is told twice"
    return found


def test_without_a_name_the_only_deployment_is_meant(workspace: Workspace, stacks: Stacks) -> None:
    stacks("prod")
    assert workspace.deployment().name == "prod"


def test_without_a_name_and_without_deployments_deploy_is_the_way(workspace: Workspace) -> None:
    with pytest.raises(DeploymentNotFoundError, match="no deployment yet") as refused:
        workspace.deployment()
    assert "geusemaker deploy NAME" in refused.value.next_step
    assert not workspace.home.exists(), "looking makes no workspace"


def test_without_a_name_and_with_several_they_are_listed(workspace: Workspace, stacks: Stacks) -> None:
    stacks("prod", "blue")
    with pytest.raises(DeploymentNotFoundError, match="several deployments: blue, prod"):
        workspace.deployment()


@pytest.mark.parametrize("name", ["Prod", "1st", "a" * 41, "a/b", "", "prod\n"])
def test_what_cannot_be_a_name_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(InvalidInputError, match="is no deployment name"):
        workspace.deployment(name)


def test_the_names_are_in_order(workspace: Workspace, stacks: Stacks) -> None:
    stacks("staging", "prod")
    assert workspace.names() == ["prod", "staging"]


@pytest.mark.parametrize(
    ("state", "status", "version"),
    [
        (samples.state(samples.version(1), samples.version(2)), "active", 2),
        (samples.state(samples.version(1), samples.failed(2), last_failed=True), "failed", 1),
        (samples.state(), "failed", None),
        (samples.state(samples.version(1), destroyed=True), "destroyed", None),
        (
            samples.state(samples.version(1), intent=samples.intent(), interrupted=True),
            "interrupted",
            1,
        ),
    ],
    ids=["active", "failed", "never healthy", "destroyed", "interrupted"],
)
def test_a_summary_says_what_stands(
    workspace: Workspace,
    stacks: Stacks,
    monkeypatch: pytest.MonkeyPatch,
    state: DeploymentState,
    status: str,
    version: int | None,
) -> None:
    stacks("prod", lastUpdate="2025-01-21T02:03:00.000Z")
    monkeypatch.setattr(Deployment, "state", lambda self: state)
    (summary,) = workspace.deployments()
    assert (summary.name, summary.status, summary.active_version) == ("prod", status, version)
    assert summary.instance_type == ("t3.large" if version else "")
    assert summary.updated_at == samples.NIGHT


def test_a_machine_that_has_everything(
    workspace: Workspace, stacks: Stacks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stacks("prod")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "hush")
    (tmp_path / "user" / ".aws").mkdir(parents=True)
    monkeypatch.setattr(Deployment, "check_secrets", lambda self: None)
    monkeypatch.setattr("geusemaker.cloud.aws.AwsCloud.identity", lambda self: CALLER)
    monkeypatch.setattr("geusemaker.services.doctor.service.require_plugin", lambda name: f"/usr/bin/{name}")
    report = workspace.doctor()
    assert report.ok
    assert checks(report)["passphrase"][1] == "it opens the secrets of prod"
    assert checks(report)["AWS credentials"][1] == "account 123456789012"
    assert {name: status for name, (status, _) in checks(report).items()} == dict.fromkeys(
        (
            "engine",
            "workspace",
            "backend",
            "passphrase",
            "local cloud",
            "AWS credentials",
            "Session Manager",
            "default images",
        ),
        "pass",
    )
    assert "hush" not in report.model_dump_json()
    assert checks(report)["backend"][1].endswith("1 deployment(s)")


def test_a_machine_without_an_engine(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geusemaker.workspace.find_engine", lambda: None)
    report = workspace.doctor()
    assert not report.ok and report.engine is None
    assert "set GEUSEMAKER_PULUMI" in checks(report)["engine"][1]
    assert "backend" not in checks(report), "only an engine can read it"


def test_an_engine_that_is_named_and_does_not_work(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from geusemaker.engine.binary import find_engine

    monkeypatch.setattr("geusemaker.workspace.find_engine", find_engine)
    monkeypatch.setenv(ENGINE_VARIABLE, "/nowhere/pulumi")
    report = workspace.doctor()
    assert not report.ok
    assert "/nowhere/pulumi" in checks(report)["engine"][1]


def test_a_folder_that_is_another_projects(workspace: Workspace) -> None:
    workspace.home.mkdir()
    (workspace.home / "Pulumi.yaml").write_text("name: website\n")
    report = workspace.doctor()
    assert checks(report)["workspace"][0] == "fail"
    assert any("belongs to another Pulumi project" in problem for problem in report.problems)


def test_a_backend_that_does_not_answer(workspace: Workspace, stacks: Stacks) -> None:
    stacks(error=EngineError("The backend s3://gone cannot be read."))
    report = workspace.doctor()
    assert checks(report)["backend"] == ("fail", "The backend s3://gone cannot be read.")
    assert "passphrase" not in checks(report)


def test_deployments_whose_passphrase_is_lost(workspace: Workspace, stacks: Stacks) -> None:
    stacks("prod")
    report = workspace.doctor()
    status, detail = checks(report)["passphrase"]
    assert status == "fail" and str(workspace.home / ".state" / "passphrase") in detail


def test_a_passphrase_that_is_there_and_opens_nothing(
    workspace: Workspace, stacks: Stacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(self: Deployment) -> None:
        raise WorkspaceError("The passphrase does not open the secrets of this backend.")

    stacks("prod")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "another")
    monkeypatch.setattr(Deployment, "check_secrets", closed)
    status, detail = checks(workspace.doctor())["passphrase"]
    assert status == "fail" and "prod: The passphrase does not open" in detail


def test_credentials_that_aws_does_not_take(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: object) -> str:
        raise EngineError("The security token is expired.")

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setattr("geusemaker.cloud.aws.AwsCloud.identity", refused)
    status, detail = checks(workspace.doctor())["AWS credentials"]
    assert status == "warn" and "expired" in detail


def test_a_workspace_that_cannot_be_written(
    workspace: Workspace, stacks: Stacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks("prod")
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "stacks")
    status, detail = checks(workspace.doctor())["workspace"]
    assert status == "fail" and f"{workspace.home / 'stacks'} cannot be written" in detail


def test_a_damaged_state_is_told_by_name_and_hides_no_other_deployment(
    workspace: Workspace, stacks: Stacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks("blue", error=BackendDamagedError("place 1: unexpected end of JSON input"))
    folder = workspace.home / ".state" / "backend" / ".pulumi" / "stacks" / "geusemaker"
    folder.mkdir(parents=True)
    (folder / "blue.json").write_text('{"checkpoint": {}}')
    (folder / "blue.json.bak").write_text("")
    (folder / "prod.json").write_text("")
    (workspace.home / ".state" / "backend" / ".pulumi" / "history" / "geusemaker" / "gone").mkdir(parents=True)
    (workspace.home / ".state/backend/.pulumi/history/geusemaker/gone/gone-1.history.json").write_text("{}")
    monkeypatch.setattr(Deployment, "state", lambda self: samples.state(samples.version(1)))
    assert {one.name: one.status for one in workspace.deployments()} == {
        "blue": "active",
        "gone": "damaged",
        "prod": "damaged",
    }
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "hush")
    monkeypatch.setattr(Deployment, "check_secrets", lambda self: None)
    report = checks(workspace.doctor())
    assert "`geusemaker doctor prod --repair`" not in report["prod: state"][1], "there is no copy"
    assert "it is empty" in report["prod: state"][1] and "it is missing" in report["gone: state"][1]
    assert not any(name.startswith("blue") for name in report)


def test_credentials_are_missed_only_for_aws(workspace: Workspace) -> None:
    report = workspace.doctor()
    assert report.ok
    assert checks(report)["AWS credentials"][0] == "warn"
    assert checks(report)["local cloud"][1].startswith("not running")


def test_a_local_cloud_that_is_not_installed_is_missed_only_by_who_wants_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geusemaker.targets.find_spec", lambda name: None if name == "moto" else object())
    report = workspace.doctor()
    assert report.ok
    assert checks(report)["local cloud"] == (
        "warn",
        "The local cloud is not installed here (it needs moto). "
        "`pip install 'geusemaker[local]'` installs it; --target aws does without.",
    )


def test_aws_s_program_is_missed_only_by_who_connects_by_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    status, detail = checks(workspace.doctor())["Session Manager"]
    assert status == "warn" and "only --connect ssm needs it" in detail and "docs.aws.amazon.com" in detail
    plugin = tmp_path / "session-manager-plugin"
    plugin.write_text("")
    plugin.chmod(0o755)
    assert checks(workspace.doctor())["Session Manager"] == ("pass", str(plugin))


def test_the_policy_of_operators_is_for_all_deployments_or_for_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "cn-north-1")
    every, one = workspace.aws_policy(), workspace.aws_policy("prod")
    assert "arn:aws:iam::*:role/geusemaker-*" in str(every) and "geusemaker-prod-" not in str(every)
    assert "arn:aws-cn:iam::*:role/geusemaker-prod-*" in str(one), "one that is not there yet is for where one is"
    looks = str(workspace.aws_policy("prod", read_only=True))
    assert "ec2:Describe*" in looks and "RunInstances" not in looks
    beside = str(workspace.aws_policy("prod", sessions=True)), str(workspace.aws_policy(sessions=True))
    assert all("ssm:StartSession" in one and "RunInstances" not in one for one in beside)
    with pytest.raises(InvalidInputError):
        workspace.aws_policy("No Name")


def test_the_policy_of_a_deployment_of_before_has_its_own_names(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = samples.target().model_copy(update={"region": "eu-west-1", "account_id": "123456789012"})
    monkeypatch.setattr("geusemaker.engine.keys.read_target", lambda file: where)
    resources = {
        "a": {"type": "aws:iam/role:Role", "id": "instance-1a2b3c4"},
        "b": {"type": "aws:iam/instanceProfile:InstanceProfile", "id": "geusemaker-prod-instance-5d6e7f8"},
        "c": {"type": "aws:ec2/instance:Instance", "id": "i-1"},
    }
    engine = SimpleNamespace(resources=lambda: resources)
    monkeypatch.setattr("geusemaker.wiring.Wiring.engine", lambda *given: engine)
    document = str(workspace.aws_policy("prod"))
    assert (
        "arn:aws:iam::123456789012:role/instance-1a2b3c4" in document
        and "arn:aws:ec2:eu-west-1:123456789012:" in document
    )
    assert "i-1'" not in document and "5d6e7f8" not in document, "that begins as all do now"
