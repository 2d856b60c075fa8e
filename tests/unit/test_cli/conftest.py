"""The command line over a fake library."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
import typer.main
import typer.testing
from typer.testing import CliRunner, Result

from geusemaker.cli import workspace
from geusemaker.cli.app import app
from tests.unit.test_cli.fakes import FakeWorkspace

Run = Callable[..., Result]

_command_of = functools.cache(typer.main.get_command)


@pytest.fixture
def ws(monkeypatch: pytest.MonkeyPatch) -> FakeWorkspace:
    """The workspace every verb opens; it holds the deployment ``prod``."""
    fake = FakeWorkspace()
    monkeypatch.setattr(workspace, "open_workspace", lambda: fake)
    return fake


@pytest.fixture
def run(ws: FakeWorkspace, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Type a command line; nobody sits at the terminal."""
    # The runner builds the whole command tree for each line typed, which takes longer than most lines do.
    monkeypatch.setattr(typer.testing, "_get_command", _command_of, raising=False)

    def invoke(*args: str, **more: Any) -> Result:
        return CliRunner().invoke(app, list(args), **more)

    return invoke


@pytest.fixture
def run_json(run: Run) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Type a command line with ``--output json``; stdout must be one document and nothing else."""

    def invoke(*args: str) -> tuple[int, dict[str, Any]]:
        result = run(*args, "--output", "json")
        document = json.loads(result.stdout)
        assert isinstance(document, dict)
        return result.exit_code, document

    return invoke
