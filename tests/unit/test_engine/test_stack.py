"""StackEngine: what needs no engine to be tested."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pulumi.automation import CommandResult
from pulumi.automation.errors import create_command_error
from pulumi.automation.events import CancelEvent, EngineEvent

from geusemaker.engine.cli import translate
from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.engine.stack import StackEngine, this_host
from geusemaker.errors import BackendDamagedError, EngineError
from geusemaker.models.doctor import EngineInfo


@pytest.fixture
def engine(tmp_path: Path) -> StackEngine:
    info = EngineInfo(path=str(tmp_path / "cli"), version="v3.259.0", source="environment")
    return StackEngine(WorkspaceSettings(tmp_path), info, "prod")


def write_lock(home: Path, pid: int, name: str = "one") -> Path:
    folder = home / ".state" / "backend" / ".pulumi" / "locks" / "organization" / "geusemaker" / "prod"
    folder.mkdir(parents=True, exist_ok=True)
    lock = {"pid": pid, "username": "ann", "hostname": this_host(), "timestamp": "2025-01-21T02:00:00Z"}
    file = folder / f"{name}.json"
    file.write_text(json.dumps(lock))
    return file


def test_the_owner_of_a_lock(engine: StackEngine, tmp_path: Path) -> None:
    assert engine.lock_owner() is None
    write_lock(tmp_path, os.getpid())
    owner = engine.lock_owner()
    assert owner is not None and (owner.pid, owner.user) == (os.getpid(), "ann")
    assert not owner.lives, "a process that is no engine got the number of one that is gone"


def test_an_engine_that_lives_owns_its_lock(engine: StackEngine, tmp_path: Path) -> None:
    program = tmp_path / "cli"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    running = subprocess.Popen([program, "60"])
    try:
        write_lock(tmp_path, running.pid)
        owner = engine.lock_owner()
        assert owner is not None and owner.lives
    finally:
        running.kill()
        running.wait()
    owner = engine.lock_owner()
    assert owner is not None and not owner.lives


def test_several_errors_are_all_told() -> None:
    said = "error: 2 errors occurred:\n\t* fs-1: parent comes later\n\t* fsmt-1: parent comes later\n"
    failed = create_command_error(CommandResult(stdout="", stderr=said, code=255))
    error = translate(failed, "Adopting failed.", "prod", ())
    assert str(error) == ("Adopting failed. 2 errors occurred: fs-1: parent comes later; fsmt-1: parent comes later")


def test_a_killed_engine_is_told_as_one() -> None:
    killed = create_command_error(CommandResult(stdout="", stderr="", code=-9))
    error = translate(killed, "The update failed.", "prod", ())
    assert str(error) == "The update failed. The engine was killed (signal 9)."


@pytest.mark.parametrize(
    ("said", "file"),
    [
        (
            "error: getting history: reading history file .pulumi/history/geusemaker/prod/prod-17.history.json: "
            "unexpected end of JSON input",
            ".pulumi/history/geusemaker/prod/prod-17.history.json",
        ),
        ("error: failed to load checkpoint: place 1: unexpected end of JSON input", ""),
        ("error: place 1: invalid character 'x' looking for beginning of value", ""),
        ('error: corrupt store: missing version in ".pulumi/meta.yaml"', ""),
        ("error: could not create stack: unexpected end of JSON input", ""),
        ("error: snapshot integrity failure; refusing to use it: resource urn:x refers to unknown provider", ""),
    ],
)
def test_a_damaged_file_of_the_backend_is_told_with_the_way_out(said: str, file: str) -> None:
    failed = create_command_error(CommandResult(stdout="", stderr=said, code=255))
    error = translate(failed, "`pulumi stack history` failed.", "prod", ())
    assert isinstance(error, BackendDamagedError) and error.file == file
    assert error.reason and error.reason in error.message and "`geusemaker doctor prod`" in error.next_step


def test_what_a_program_says_of_json_is_no_damage_of_the_backend() -> None:
    failed = create_command_error(CommandResult(stdout="", stderr="error: update failed", code=255))
    error = translate(failed, "The update failed.", "prod", ("failed to load checkpoint: EOF",))
    assert not isinstance(error, BackendDamagedError)


@pytest.mark.parametrize("heard", [True, False])
def test_a_preview_whose_events_end_early_is_an_error(
    engine: StackEngine, monkeypatch: pytest.MonkeyPatch, heard: bool
) -> None:
    class Stack:
        def preview(self, on_event: Callable[[EngineEvent], None], **_: Any) -> None:
            on_event(EngineEvent(sequence=1, timestamp=1))
            if heard:
                on_event(EngineEvent(sequence=2, timestamp=2, cancel_event=CancelEvent()))

    monkeypatch.setattr(engine, "_stack", lambda **_: Stack())
    if heard:
        assert engine.preview(Path("candidate.yaml")) == []
    else:
        with pytest.raises(EngineError, match="could not be read to the last one"):
            engine.preview(Path("candidate.yaml"))
