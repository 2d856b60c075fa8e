"""The stack's config file comes before any run of the engine: one without secrets would poison the history."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.engine.stack import StackEngine
from geusemaker.errors import EngineError, WorkspaceError
from geusemaker.models.doctor import EngineInfo
from geusemaker.models.secrets import OwnSecret, Secrets
from geusemaker.models.version import Provenance, WayBack
from geusemaker.services.secrets import generate, with_new_login
from tests.unit import samples


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Where an engine notes its runs; it restores a config file without secrets, and does nothing else."""
    program = tmp_path / "pulumi"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/runs\n'
        'while [ $# -gt 0 ]; do [ "$1" = --config-file ] && echo "encryptionsalt: new" > "$2"; shift; done\n'
    )
    program.chmod(0o755)
    return tmp_path / "runs"


@pytest.fixture
def engine(tmp_path: Path, runs: Path) -> StackEngine:
    settings = WorkspaceSettings(tmp_path / "home")
    settings.prepare()
    return StackEngine(settings, EngineInfo(path=str(tmp_path / "pulumi"), version="3.259.0", source="path"), "prod")


@pytest.mark.parametrize("run", ["refresh", "destroy"])
def test_without_a_config_file_one_is_restored_and_looked_at_first(engine: StackEngine, runs: Path, run: str) -> None:
    with pytest.raises(WorkspaceError, match="The secrets of prod cannot be read from this machine"):
        engine.clear_pending({}) if run == "refresh" else engine.destroy(lambda event: None)
    assert [line.split()[1:3] for line in runs.read_text().splitlines()] == [["config", "refresh"], ["config", "get"]]


@pytest.mark.parametrize("content", ["encryptionsalt: new\n", "config: {}\n", "config:\n  aws:region: us-east-1\n"])
def test_a_config_file_without_secrets_is_not_used(
    engine: StackEngine, tmp_path: Path, runs: Path, content: str
) -> None:
    file = tmp_path / "home" / "stacks" / "Pulumi.prod.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    with pytest.raises(WorkspaceError, match="cannot be read from this machine"):
        engine.clear_pending({})
    assert not runs.exists() and file.read_text() == content


ENGINE = """#!{python}
import json, pathlib, sys
import yaml
words, folder = sys.argv[2:], pathlib.Path({folder!r})
state = json.loads((folder / "state.json").read_text())
file = pathlib.Path(words[words.index("--config-file") + 1]) if "--config-file" in words else folder / {file!r}
if words[:2] == ["stack", "history"]:
    print(json.dumps(state["history"]))
elif words[:2] == ["stack", "export"]:
    print(json.dumps({{"deployment": {{}}}}))
elif words[:2] == ["config", "refresh"]:
    values = {{key: value["value"] for key, value in state["history"][0]["config"].items()}}
    file.write_text(yaml.safe_dump({{"config": values}}))
elif words[:2] == ["config", "set"]:
    document = yaml.safe_load(file.read_text())
    document["config"]["geusemaker:secrets"] = sys.stdin.read()
    file.write_text(yaml.safe_dump(document))
elif words[:2] == ["config", "--show-secrets"]:
    config = yaml.safe_load(file.read_text())["config"]
    print(json.dumps({{key: {{"value": "plain" if isinstance(it, dict) else it}} for key, it in config.items()}}))
elif words[:2] == ["config", "get"]:
    print(yaml.safe_load(file.read_text())["config"]["geusemaker:secrets"])
"""
"""An engine that encrypts nothing; of its backend there is the history."""

OLD = generate()
NEW = with_new_login(OLD)


@pytest.fixture
def shared(tmp_path: Path, engine: StackEngine) -> Path:
    """A backend with one update, and this machine's config file of it."""
    (tmp_path / "pulumi").write_text(
        ENGINE.format(python=sys.executable, folder=str(tmp_path), file="home/stacks/Pulumi.prod.yaml")
    )
    file = tmp_path / "home/stacks/Pulumi.prod.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump({"config": {"geusemaker:secrets": OLD.model_dump_json()}}))
    put(tmp_path, OLD.model_dump_json())
    return file


def put(folder: Path, secrets: str, rotation: str = "", newest: bool = True) -> None:
    """An entry of the history, newest or not, with these secrets."""
    values: dict[str, Any] = {"geusemaker:secrets": secrets, "geusemaker:target": "{}"}
    if rotation:
        values["geusemaker:rotation"] = rotation
    config = {key: {"value": value, "secret": key.endswith("secrets")} for key, value in values.items()}
    entry = {"kind": "refresh", "result": "succeeded", "startTime": "2026-01-01T00:00:00.000Z", "config": config}
    file = folder / "state.json"
    history = json.loads(file.read_text())["history"] if file.exists() else []
    file.write_text(json.dumps({"history": [entry, *history] if newest else [*history, entry]}))


def test_a_machine_of_before_a_rotation_takes_the_secrets_that_hold(engine: StackEngine, shared: Path) -> None:
    put(shared.parents[2], NEW.model_dump_json(), "op-5")
    engine.history()
    assert engine.load_secrets() == NEW
    assert yaml.safe_load(shared.read_text())["config"]["geusemaker:rotation"] == "op-5"


def test_one_that_was_killed_before_others_could_know_takes_the_old_ones_back(
    engine: StackEngine, shared: Path
) -> None:
    config = {"geusemaker:secrets": NEW.model_dump_json(), "geusemaker:rotation": "op-5"}
    shared.write_text(yaml.safe_dump({"config": config}))
    engine.history()
    engine.require_current()
    assert engine.load_secrets() == OLD


def test_a_rotation_holds_when_the_history_has_it(
    engine: StackEngine, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared.parents[2]
    monkeypatch.setattr(engine, "record_config", lambda: put(folder, NEW.model_dump_json(), "op-5"))
    engine.history()
    engine.rotate_secrets(NEW, "op-5")
    assert engine.load_secrets() == NEW and shared.stat().st_mode & 0o777 == 0o600
    other = StackEngine(engine._settings, engine._command.info, "prod")
    other.history()
    assert other.load_secrets() == NEW


@pytest.mark.parametrize("fault", ["error", "a clock that is ahead"])
def test_one_that_the_history_has_not_is_taken_back(
    engine: StackEngine, shared: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def record() -> None:
        if fault == "error":
            raise EngineError("no space")
        put(shared.parents[2], NEW.model_dump_json(), "op-5", newest=False)

    monkeypatch.setattr(engine, "record_config", record)
    before = shared.read_text()
    engine.history()
    with pytest.raises(EngineError, match="no space" if fault == "error" else "clock is ahead"):
        engine.rotate_secrets(NEW, "op-5")
    assert shared.read_text() == before and engine.load_secrets() == OLD


def test_another_value_of_a_secret_holds_from_the_change_on_that_it_came_with(
    engine: StackEngine, shared: Path
) -> None:
    folder = shared.parents[2]
    engine.history()
    other = OLD.model_copy(update={"own": {"smtp": OwnSecret(value="a value")}})
    before = shared.read_text()

    candidate = engine.write_candidate(
        samples.config(), samples.provenance(7, operation_id="op-7"), samples.target(), None, other
    )

    assert candidate.stat().st_mode & 0o777 == 0o600
    document = yaml.safe_load(candidate.read_text())["config"]
    assert Secrets.model_validate_json(document["geusemaker:secrets"]) == other
    assert document["geusemaker:rotation"] == "op-7" and shared.read_text() == before
    assert engine.load_secrets() == other, "what is asked of the instance is asked with them"

    engine.accept_candidate(candidate)
    engine.require_current()  # nothing is taken back while the history has not been read again
    assert engine.load_secrets() == other
    # Killed before it was in the history: what that has holds, and nothing else is left.
    killed = StackEngine(engine._settings, engine._command.info, "prod")
    killed.history()
    assert killed.load_secrets() == OLD
    put(folder, other.to_json(), "op-7")
    done = StackEngine(engine._settings, engine._command.info, "prod")
    done.history()
    assert done.load_secrets() == other


def test_a_candidate_gets_another_provenance_and_keeps_the_rest(engine: StackEngine, shared: Path) -> None:
    first = samples.provenance(7)
    candidate = engine.write_candidate(samples.config(), first, samples.target())
    before = yaml.safe_load(candidate.read_text())["config"]
    told = first.model_copy(update={"way_back": WayBack(to_version=6, kind="rollback", commands=("geusemaker …",))})

    engine.rewrite_candidate(candidate, told)

    after = yaml.safe_load(candidate.read_text())["config"]
    assert Provenance.model_validate_json(after.pop("geusemaker:version")) == told
    assert Provenance.model_validate_json(before.pop("geusemaker:version")) == first
    assert after == before and candidate.stat().st_mode & 0o777 == 0o600


def test_the_operators_own_settings_of_the_providers_stay(engine: StackEngine, shared: Path) -> None:
    own = {"aws:profile": "work", "aws:secretKey": {"secure": "v1:x"}, "aws:maxRetries": 3, "command:x": "y"}
    before = yaml.safe_load(shared.read_text())["config"]
    shared.write_text(yaml.safe_dump({"config": {**before, **own, "aws:region": "eu-west-1"}}))
    candidate = engine.write_candidate(samples.config(), samples.provenance(7), samples.target())
    document = yaml.safe_load(candidate.read_text())["config"]
    assert {key: document[key] for key in own} == own and document["aws:region"] == samples.target().region
    engine.accept_candidate(candidate)
    assert engine.identity_settings() == {"profile": "work", "secretKey": "plain"}, "with them AWS is asked, too"


def test_a_stack_of_which_nothing_is_anywhere_has_no_settings(
    engine: StackEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "exists", lambda: False)
    assert engine.identity_settings() == {}


def test_what_a_deployment_does_not_have_is_not_written() -> None:
    """So an older geusemaker reads what it can act on."""
    assert "own" not in json.loads(OLD.to_json()) and Secrets.model_validate_json(OLD.to_json()) == OLD
