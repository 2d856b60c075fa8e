"""The real engine on real backends: damaged files are found and brought back, locks are found and removed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import yaml

from geusemaker.engine.keys import SECRETS_KEY
from geusemaker.engine.salvage import Salvage
from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.engine.stack import StackEngine
from geusemaker.errors import BackendDamagedError, DeploymentBusyError, WorkspaceError
from geusemaker.models.doctor import EngineInfo
from geusemaker.models.stack import Secrets

SECRETS = Secrets(
    ssh_private_key="a",
    host_private_key="b\n",
    postgresql_password="c",
    n8n_encryption_key="d",
    crawl4ai_token="e",
    qdrant_key="f",
)
URN = "urn:pulumi:prod::geusemaker::pulumi:pulumi:Stack::geusemaker-prod"


def resource(name: str) -> dict[str, object]:
    return {"urn": URN.replace("::geusemaker-prod", f"::{name}"), "custom": False, "type": "pulumi:pulumi:Stack"}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkspaceSettings:
    for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)
    made = WorkspaceSettings(tmp_path / "home")
    made.prepare()
    made.create_passphrase()
    return made


@pytest.fixture
def engine(settings: WorkspaceSettings, pulumi_command: EngineInfo) -> StackEngine:
    """A stack with secrets and a state of one resource, in a folder backend."""
    made = StackEngine(settings, pulumi_command, "prod")
    made.create()
    store_secrets(made)
    put_state(made, "first")
    return made


def store_secrets(engine: StackEngine) -> None:
    command = ["config", "set", "--secret", SECRETS_KEY, "--stack", engine.deployment]
    home = str(engine._settings.home)
    engine._command.run(command, home, engine._environment, stdin=SECRETS.model_dump_json())


def put_state(engine: StackEngine, *names: str) -> None:
    state = engine._export()
    state["deployment"]["resources"] = [resource(name) for name in names]
    engine.import_state(state)


def names_of(engine: StackEngine) -> list[str]:
    return [str(one["urn"]).rpartition("::")[2] for one in engine._export()["deployment"]["resources"]]


def root(settings: WorkspaceSettings) -> Path:
    assert settings.backend_folder is not None
    return settings.backend_folder / ".pulumi"


def make_history(settings: WorkspaceSettings, *stamps: int) -> list[Path]:
    """Entries of the history as the engine writes them."""
    folder = root(settings) / "history" / "geusemaker" / "prod"
    folder.mkdir(parents=True, exist_ok=True)
    config = {"geusemaker:secrets": {"secure": "v1:x"}}
    files = []
    for stamp in stamps:
        file = folder / f"prod-{stamp}.history.json"
        values = {"kind": "update", "startTime": 1, "endTime": 2, "result": "succeeded", "version": 0, "message": ""}
        file.write_text(json.dumps({**values, "environment": {}, "config": config, "resourceChanges": {}}))
        files.append(file)
    return files


@pytest.mark.parametrize("damage", ["", "{", "missing", "{}"])
def test_a_damaged_state_is_brought_back_from_the_newest_good_copy(
    settings: WorkspaceSettings, engine: StackEngine, damage: str
) -> None:
    make_history(settings, 1795978787964364170)
    state = root(settings) / "stacks" / "geusemaker" / "prod.json"
    history = root(settings) / "history" / "geusemaker" / "prod" / "prod-1795978787964364170.checkpoint.json"
    shutil.copy(state, history)
    put_state(engine, "first", "second")
    newer = root(settings) / "backups" / "geusemaker" / "prod" / "prod.1795978787964364171.json"
    newer.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(state, newer)
    # A newer copy whose content does not hold together is passed over.
    broken = json.loads(newer.read_text())
    broken["checkpoint"]["latest"]["manifest"]["time"] = "2100-01-01T00:00:00Z"
    broken["checkpoint"]["latest"]["resources"][0]["parent"] = "urn:pulumi:prod::geusemaker::x:y:Z::nobody"
    newer.with_name("prod.1795978787964364172.json").write_text(json.dumps(broken))
    newer.with_name("prod.1795978787964364173.json").write_text("")
    if damage == "missing":
        state.unlink()
        with pytest.raises(BackendDamagedError, match="missing"):
            engine.exists()
    else:
        state.write_text(damage)
        if damage != "{}":  # that is an empty state to the engine
            with pytest.raises(BackendDamagedError):
                engine.resources()

    salvage = Salvage(settings, engine)
    [step] = salvage.steps()
    assert step.kind == "state" and step.file == str(state) and step.possible
    kept = salvage.mend([step])
    assert names_of(engine) == ["first", "second"]
    assert salvage.steps() == () and engine.exists()
    if damage != "missing":
        [place] = kept
        assert Path(place).read_text() == damage


def test_without_a_good_copy_the_damaged_file_stays_where_it_is(
    settings: WorkspaceSettings, engine: StackEngine
) -> None:
    state = root(settings) / "stacks" / "geusemaker" / "prod.json"
    state.write_text("{")
    for copy in root(settings).glob("**/*.bak"):
        copy.unlink()
    [step] = Salvage(settings, engine).steps()
    assert not step.possible and "no copy" in step.action
    assert state.read_text() == "{"


def test_what_the_engine_itself_wrote_is_not_damaged(settings: WorkspaceSettings, engine: StackEngine) -> None:
    engine.set_marks([2], [1])
    engine.set_note(2, "ann: loses webhooks")
    make_history(settings, 1795978787964364170)
    assert Salvage(settings, engine).steps() == ()
    engine.set_note(2, "")
    assert Salvage(settings, engine).steps() == ()


def test_every_other_damaged_file_is_found_told_and_set_aside(settings: WorkspaceSettings, engine: StackEngine) -> None:
    entries = make_history(settings, 1795978787964364170, 1795978787964364171)
    locks = root(settings) / "locks" / "organization" / "geusemaker" / "prod"
    locks.mkdir(parents=True, exist_ok=True)
    damaged = {
        "history": entries[0],
        "tags": root(settings) / "stacks" / "geusemaker" / "prod.pulumi-tags",
        "store": root(settings) / "meta.yaml",
        "lock": locks / "a.json",
    }
    for file in damaged.values():
        file.write_text("")
    with pytest.raises(BackendDamagedError):
        engine.history()
    steps = Salvage(settings, engine).steps()
    assert {step.kind: Path(step.file) for step in steps} == damaged
    kept = Salvage(settings, engine).mend(steps)
    assert len(kept) == 4 and all(Path(place).read_text() == "" for place in kept)
    assert Salvage(settings, engine).steps() == ()
    assert [entry.kind for entry in engine.history()] == ["update"] and engine.tags().intent is None
    assert engine.lock_owner() is None


def test_one_damaged_entry_stops_no_reading_of_the_others(settings: WorkspaceSettings, engine: StackEngine) -> None:
    entries = make_history(settings, *range(1795978787964364170, 1795978787964364175))
    entries[2].write_text('{"kind": "upd')
    found = engine.history()
    assert [entry.kind for entry in found] == ["update", "update", "damaged", "update", "update"]
    assert entries[2].name in found[2].unreadable


@pytest.fixture
def bucket(moto_endpoint: str, settings: WorkspaceSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket, as the workspace's backend."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    name = f"geusemaker-{settings.home.parent.name.replace('_', '-')}"[:60].rstrip("-")
    boto3.client("s3", endpoint_url=moto_endpoint, region_name="us-east-1").create_bucket(Bucket=name)
    where = moto_endpoint.removeprefix("http://")
    options = f"endpoint={where}&disableSSL=true&s3ForcePathStyle=true&region=us-east-1"
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"s3://{name}?{options}")
    yield name


def test_a_folder_that_is_copied_into_a_bucket_keeps_state_history_and_secrets(
    settings: WorkspaceSettings,
    pulumi_command: EngineInfo,
    engine: StackEngine,
    moto_endpoint: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As docs/runbooks.md moves a backend, below a prefix."""
    make_history(settings, *range(1795978787964364170, 1795978787964364173))
    known = engine.history()
    folder = root(settings)
    bucket = request.getfixturevalue("bucket")  # only now: it is the backend from here on
    client = boto3.client("s3", endpoint_url=moto_endpoint, region_name="us-east-1")
    for file in (found for found in folder.rglob("*") if found.is_file()):
        client.put_object(Bucket=bucket, Key=f"geusemaker/.pulumi/{file.relative_to(folder)}", Body=file.read_bytes())
    url = os.environ["PULUMI_BACKEND_URL"].replace(f"s3://{bucket}?", f"s3://{bucket}/geusemaker?")
    monkeypatch.setenv("PULUMI_BACKEND_URL", url)
    moved = StackEngine(settings, pulumi_command, "prod")
    assert moved.exists() and names_of(moved) == ["first"] and moved.load_secrets() == SECRETS
    assert len(known) == 3 and moved.history() == known


def put_lock(endpoint: str, bucket: str, pid: int, host: str, name: str = "a") -> None:
    lock = {"pid": pid, "username": "ann", "hostname": host, "timestamp": "2025-01-21T02:00:00Z"}
    key = f".pulumi/locks/organization/geusemaker/prod/{name}.json"
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.put_object(Bucket=bucket, Key=key, Body=json.dumps(lock).encode())


def test_a_lock_in_a_bucket_is_found_recognised_and_removed(
    settings: WorkspaceSettings, pulumi_command: EngineInfo, bucket: str, moto_endpoint: str
) -> None:
    engine = StackEngine(settings, pulumi_command, "prod")
    engine.create()
    store_secrets(engine)
    before = settings.stack_file("prod").read_text()
    assert engine.exists() and engine.lock_owner() is None

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    put_lock(moto_endpoint, bucket, dead.pid, socket.gethostname())
    owner = engine.lock_owner()
    assert owner is not None and (owner.pid, owner.user, owner.lives) == (dead.pid, "ann", False)
    with pytest.raises(DeploymentBusyError) as refused:
        engine.import_state(engine._export())
    assert refused.value.exit_code == 6 and refused.value.lock == owner

    put_lock(moto_endpoint, bucket, 1, "elsewhere", "b")
    foremost = engine.lock_owner()
    assert foremost is not None and foremost.host == "elsewhere", "the dead one's would hide it"
    engine.remove_lock(owner)
    assert engine.lock_owner() is None
    engine.import_state(engine._export())
    assert settings.stack_file("prod").read_text() == before, "looking for a lock changes nothing"


def test_looking_for_a_lock_makes_no_stack(
    settings: WorkspaceSettings, pulumi_command: EngineInfo, bucket: str
) -> None:
    engine = StackEngine(settings, pulumi_command, "prod")
    assert engine.lock_owner() is None and not engine.exists()


def test_a_changed_passphrase_is_met_before_anything_is_run(
    settings: WorkspaceSettings, engine: StackEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.test_engine.test_secret_store import exported

    state = engine._export()
    made = exported(SECRETS)["deployment"]["resources"]
    state["deployment"]["resources"] = [{**one, "custom": False} for one in made]
    engine.import_state(state)
    (entry,) = make_history(settings, 1795978787964364170)
    document = yaml.safe_load(settings.stack_file("prod").read_text())
    stored = json.loads(entry.read_text())
    stored["config"]["geusemaker:secrets"] = document["config"]["geusemaker:secrets"]
    entry.write_text(json.dumps(stored))
    engine.require_current()
    other_home = tmp_path / "other"
    shutil.copytree(settings.home, other_home)
    fresh_home = tmp_path / "fresh"

    engine.change_key("passphrase", "new")
    assert engine.with_passphrase("new").load_secrets() == SECRETS
    assert not engine.opens() and not engine.with_passphrase("wrong").opens()

    monkeypatch.setenv("PULUMI_BACKEND_URL", settings.backend_folder.as_uri() if settings.backend_folder else "")
    info = EngineInfo(path=engine._command.command, version="3.259.0", source="cache")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(settings.passphrase_file))
    for home in (other_home, fresh_home):
        workspace = WorkspaceSettings(home)
        workspace.prepare()
        file = workspace.stack_file("prod")
        before = file.read_text() if file.exists() else None
        with pytest.raises(WorkspaceError, match="opens neither the newest config nor the state"):
            StackEngine(workspace, info, "prod").clear_pending({})
        assert (file.read_text() if file.exists() else None) == before
    assert len(list(entry.parent.glob("*.history.json"))) == 1, "nothing was written that all restore from"

    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "new")
    for home in (other_home, fresh_home):
        machine = StackEngine(WorkspaceSettings(home), info, "prod")
        machine.require_current()
        assert machine.load_secrets() == SECRETS
        assert machine._settings.stack_file("prod").stat().st_mode & 0o077 == 0
