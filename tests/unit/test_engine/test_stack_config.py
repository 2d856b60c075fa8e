"""The stack's config file comes before any run of the engine: one without secrets would poison the history."""

from __future__ import annotations

from pathlib import Path

import pytest

from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.engine.stack import StackEngine
from geusemaker.errors import WorkspaceError
from geusemaker.models.result import EngineInfo


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
    assert [line.split()[1:3] for line in runs.read_text().splitlines()] == [["config", "refresh"]]


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
