"""On which world a deployment's verbs act: what is stored decides, and what cannot be read is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from geusemaker.deployment import Deployment
from geusemaker.engine.keys import read_target
from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.engine.stack import StackEngine
from geusemaker.errors import ConfirmationNeededError, DeploymentNotFoundError, InvalidInputError, WorkspaceError
from geusemaker.models.doctor import EngineInfo
from geusemaker.models.history import HistoryEntry
from geusemaker.models.plan import Event
from geusemaker.models.request import DeployRequest, RollbackRequest, UpdateRequest
from geusemaker.wiring import steadily
from tests.unit.samples import target

LATER = json.dumps({**target(kind="aws").model_dump(mode="json"), "kind": "gcp"})
WITHOUT_KIND = json.dumps({"region": "eu-central-1"})


def entry(stored: str | None) -> HistoryEntry:
    started = "2025-01-21T02:03:00+00:00"
    return HistoryEntry.read(
        kind="update", result="succeeded", started_at=started, ended_at=None, deployment=None, provenance=None,
        target=stored,
    )  # fmt: skip


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Deployment, list[Any]]:
    """A deployment whose config file is not on this machine, and the worlds that its verbs opened."""
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "open")
    engine = EngineInfo(path="/none", version="3.259.0", source="path")
    monkeypatch.setattr("geusemaker.wiring.require_engine", lambda: engine)
    monkeypatch.setattr("geusemaker.wiring.prepare_engine", lambda on_event: engine)
    monkeypatch.setattr(StackEngine, "exists", lambda self: True)
    monkeypatch.setattr(StackEngine, "resources", lambda self: {"urn": {"type": "t", "id": "i", "protect": False}})
    worlds: list[Any] = []

    def open_target(kind: Any, *_: Any) -> Any:
        worlds.append(kind)
        raise InterruptedError

    monkeypatch.setattr("geusemaker.wiring.open_target", open_target)
    settings = WorkspaceSettings(tmp_path)
    settings.prepare()
    return Deployment("prod", settings), worlds


def history(monkeypatch: pytest.MonkeyPatch, *stored: str | None) -> None:
    """Newest first."""
    entries = [entry(each) for each in stored]
    monkeypatch.setattr(StackEngine, "history", lambda self, limit=None: entries[: limit or None])


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param((LATER, target(kind="local").model_dump_json()), id="written by a later version"),
        pytest.param((WITHOUT_KIND,), id="says no kind"),
        pytest.param(("{",), id="cut short"),
        pytest.param((None, None), id="says nothing, and there is something"),
    ],
)
@pytest.mark.parametrize("verb", ["destroy", "status", "update", "deploy"])
def test_a_target_that_cannot_be_read_is_an_error_and_no_world_is_opened(
    opened: tuple[Deployment, list[Any]], monkeypatch: pytest.MonkeyPatch, stored: tuple[str | None, ...], verb: str
) -> None:
    deployment, worlds = opened
    history(monkeypatch, *stored)
    request: tuple[Any, ...] = (DeployRequest(),) if verb in ("update", "deploy") else ()
    with pytest.raises(WorkspaceError, match="Where prod is"):
        getattr(deployment, verb)(*request)
    assert worlds == []


@pytest.mark.parametrize("verb", ["destroy", "status", "deploy"])
def test_the_history_says_it_on_a_machine_without_the_config_file(
    opened: tuple[Deployment, list[Any]], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    deployment, worlds = opened
    history(monkeypatch, *[None] * 12, target(kind="aws").model_dump_json())
    with pytest.raises(InterruptedError):
        getattr(deployment, verb)(*([DeployRequest()] if verb == "deploy" else []))
    assert worlds == ["aws"], "not the default of a new one"


def test_another_target_than_the_stored_one_is_refused(
    opened: tuple[Deployment, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, worlds = opened
    history(monkeypatch, target(kind="aws").model_dump_json())
    with pytest.raises(InvalidInputError, match="prod is on aws"):
        deployment.deploy(DeployRequest(target="local"))
    assert worlds == []


def test_of_a_stack_with_nothing_anywhere_no_world_is_opened(
    opened: tuple[Deployment, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, worlds = opened
    history(monkeypatch)
    monkeypatch.setattr(StackEngine, "resources", lambda self: {})
    with pytest.raises(InterruptedError):
        deployment.status()
    assert worlds == [None]


def test_the_config_file_says_it(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.prod.yaml"
    assert read_target(file) is None
    for nothing in ("config: {}\n", "config:\n", ":\n- [", ""):
        file.write_text(nothing)
        assert read_target(file) is None
    own = target(kind="aws", account_id="1" * 12)
    file.write_text(yaml.safe_dump({"config": {"geusemaker:target": own.model_dump_json()}}))
    assert read_target(file) == own
    for stored in (LATER, WITHOUT_KIND, "{"):
        file.write_text(yaml.safe_dump({"config": {"geusemaker:target": stored}}))
        with pytest.raises(WorkspaceError, match="Where prod is") as error:
            read_target(file)
        assert "gcp" not in str(error.value)


@pytest.mark.parametrize("verb", ["deploy", "update", "rollback", "recover", "destroy"])
def test_a_dry_run_installs_no_engine(
    opened: tuple[Deployment, list[Any]], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    deployment, _ = opened
    history(monkeypatch, target(kind="aws").model_dump_json())
    installed: list[Any] = []

    def prepare_engine(on_event: Any) -> EngineInfo:
        installed.append(on_event)
        return EngineInfo(path="/none", version="3.259.0", source="built")

    monkeypatch.setattr("geusemaker.wiring.prepare_engine", prepare_engine)
    calls: dict[str, Any] = {
        "deploy": lambda dry_run: deployment.deploy(DeployRequest(dry_run=dry_run)),
        "update": lambda dry_run: deployment.update(UpdateRequest(dry_run=dry_run)),
        "rollback": lambda dry_run: deployment.rollback(RollbackRequest(dry_run=dry_run)),
        "recover": lambda dry_run: deployment.recover(dry_run=dry_run),
        "destroy": lambda dry_run: deployment.destroy(dry_run=dry_run),
    }
    for dry_run in (True, False):
        with pytest.raises(InterruptedError):
            calls[verb](dry_run)
        assert bool(installed) is not dry_run


def test_a_callback_that_fails_stops_nothing_and_is_told() -> None:
    def fail(event: Event) -> None:
        raise LookupError("no such column")

    with pytest.warns(RuntimeWarning, match="on_event failed at phase apply: LookupError"):
        steadily(fail)(Event(kind="phase", name="apply", state="started"))


def test_nobody_looks_without_a_pause(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="every 5 s is too often"):
        Deployment("prod", WorkspaceSettings(tmp_path)).recover_every(5)


def test_who_looks_again_and_again_acts_on_the_world_that_is_stored(
    opened: tuple[Deployment, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment, worlds = opened
    history(monkeypatch, target(kind="aws").model_dump_json())
    with pytest.raises(InterruptedError):
        deployment.recover_every(60)
    assert worlds == ["aws"]


def test_data_is_not_deleted_without_the_name(tmp_path: Path) -> None:
    deployment = Deployment("prod", WorkspaceSettings(tmp_path))
    with pytest.raises(ConfirmationNeededError, match="needs the deployment's name") as needed:
        deployment.destroy(delete_data=True)
    assert 'confirm_name="prod"' in needed.value.next_step
    with pytest.raises(InvalidInputError, match="the deployment is 'prod'"):
        deployment.destroy(delete_data=True, confirm_name="shop")
    with pytest.raises(DeploymentNotFoundError):  # the name is right, so it is looked for
        deployment.destroy(delete_data=True, confirm_name="prod")
