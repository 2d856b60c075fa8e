"""``geusemaker secrets list|show|set``: what is shown where, and what is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from geusemaker.models.request import ChangeOptions
from tests.unit.test_cli.fakes import FakeWorkspace

Run = Callable[..., Result]
RunJson = Callable[..., tuple[int, dict[str, Any]]]


def test_the_list_names_them_and_shows_no_value(run: Run, run_json: RunJson) -> None:
    shown = run("secrets", "list", "prod").stdout
    assert "n8n.SMTP_PASS" in shown and "ann@box" in shown and "second line" not in shown
    code, document = run_json("secrets", "list", "prod")
    assert code == 0 and [one["name"] for one in document["secrets"]] == ["ssh_private_key", "n8n.SMTP_PASS"]


def test_one_is_shown_on_a_terminal_or_where_it_is_said(
    run: Run, ws: FakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = run("secrets", "show", "prod", "smtp")
    assert refused.exit_code == 2 and "--reveal" in refused.stderr and not ws.known["prod"].requests
    assert run("secrets", "show", "prod", "smtp", "--reveal").stdout == "the value\n"
    assert run("secrets", "show", "prod", "key", "--reveal").stdout == "first line\nsecond line\n"
    monkeypatch.setattr("geusemaker.cli.commands.secrets.sys", _Terminal())
    assert "the value" in run("secrets", "show", "prod", "smtp").stdout


class _Terminal:
    """``sys`` of a process whose output is a terminal."""

    @property
    def stdout(self) -> Any:
        sys.stdout.isatty = lambda: True  # type: ignore[method-assign]
        return sys.stdout


def test_as_json_it_has_to_be_said_as_well(run_json: RunJson) -> None:
    assert run_json("secrets", "show", "prod", "smtp")[0] == 2
    code, document = run_json("secrets", "show", "prod", "smtp", "--reveal")
    assert code == 0 and document == {"deployment": "prod", "name": "smtp", "value": "the value"}


def test_the_name_of_the_only_deployment_may_be_left_out(run: Run, ws: FakeWorkspace) -> None:
    assert run("secrets", "show", "smtp", "--reveal").stdout == "the value\n"
    assert ws.known["prod"].requests == ["smtp"]


def test_a_value_comes_from_standard_input_or_from_where_it_is_said(
    run: Run, ws: FakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP", "of the environment")
    assert run("secrets", "set", "prod", "smtp", "--reason", "new", input="of stdin\n").exit_code == 0
    assert run("secrets", "set", "smtp", "--from", "env:SMTP", "--dry-run").exit_code == 0
    assert ws.known["prod"].requests == [
        ("smtp", "of stdin", ChangeOptions(reason="new")),
        ("smtp", "of the environment", ChangeOptions(dry_run=True)),
    ]


def test_a_key_is_imported(run: Run, ws: FakeWorkspace) -> None:
    result = run("secrets", "import", "prod", "--yes", input="the key of before\n")
    assert result.exit_code == 0 and "n8n encryption key: imported" in result.output
    assert ws.known["prod"].requests == [("import", "the key of before", True)]
    assert "the key of before" not in result.output


def test_a_value_as_an_argument_is_refused_and_not_repeated(run: Run, ws: FakeWorkspace) -> None:
    refused = run("secrets", "set", "prod", "smtp", "--from", "my password")
    assert refused.exit_code == 2 and "my password" not in refused.output and not ws.known["prod"].requests


def test_one_is_deleted_after_a_question(run: Run, ws: FakeWorkspace) -> None:
    assert run("secrets", "set", "prod", "smtp", "--delete").exit_code == 1  # no terminal to ask on
    assert run("secrets", "set", "prod", "smtp", "--delete", "--from", "env:X", "--yes").exit_code == 2
    assert not ws.known["prod"].requests
    done = run("secrets", "set", "prod", "smtp", "--delete", "--reason", "moved", "--yes")
    assert done.exit_code == 0 and "secret smtp: deleted" in done.output
    assert ws.known["prod"].requests == [("delete", "smtp", ChangeOptions(reason="moved"), True)]
