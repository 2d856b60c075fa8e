"""``logs``: what is asked for, and how the lines are shown."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from geusemaker.cli.requests import parse_since
from geusemaker.errors import InvalidInputError
from tests.unit.test_cli.conftest import Run
from tests.unit.test_cli.fakes import FakeDeployment, FakeWorkspace

RunJson = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def prod(ws: FakeWorkspace) -> FakeDeployment:
    return ws.known["prod"]


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the operator is."""
    with monkeypatch.context() as there:
        there.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def test_lines_are_shown_in_the_operators_zone_which_is_named(run: Run, prod: FakeDeployment) -> None:
    result = run("logs")
    assert result.stdout == (
        "2025-01-21 03:03:00 CET  n8n        | ready on 5678\n-  postgresql | database system is ready\n"
    )
    assert re.fullmatch(r"\d\d:\d\d:\d\d  n8n: its container was started\n", result.stderr)
    assert prod.requests == [(None, None, None, "", False)]
    assert run("logs", "prod", "n8n").stdout.startswith("2025-01-21 03:03:00 CET  ready on 5678\n")


def test_what_is_asked_for_is_handed_on(run: Run, prod: FakeDeployment) -> None:
    assert run("logs", "prod", "postgres", "-n", "5", "--since", "1h30m", "--grep", "Error").exit_code == 0
    assert prod.requests == [("postgresql", 5, timedelta(hours=1, minutes=30), "Error", False)]


def test_ctrl_c_is_the_end_of_following(run: Run, prod: FakeDeployment) -> None:
    result = run("logs", "prod", "--follow")
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 2
    assert prod.requests == [(None, None, None, "", True)]


def test_the_document_has_the_times_in_utc(run_json: RunJson) -> None:
    code, document = run_json("logs")
    assert code == 0 and document["lines"] == [
        {"service": "n8n", "time": "2025-01-21T02:03:00+00:00", "line": "ready on \x1b[31m5678\x1b[0m"},
        {"service": "postgresql", "time": None, "line": "database system is ready"},
    ]


def test_followed_lines_are_a_document_each(run: Run) -> None:
    result = run("logs", "prod", "--follow", "--output", "json")
    assert [json.loads(line)["service"] for line in result.stdout.splitlines()] == ["n8n", "postgresql"]


@pytest.mark.parametrize("args", [["--lines", "0"], ["--since", "yesterday"], ["--since", "10"], ["--since", "5x"]])
def test_what_cannot_be_meant_is_refused(run: Run, prod: FakeDeployment, args: list[str]) -> None:
    assert run("logs", "prod", *args).exit_code == 2 and prod.requests == []


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("30s", timedelta(seconds=30)),
        ("2d", timedelta(days=2)),
        ("1h1m1s", timedelta(hours=1, minutes=1, seconds=1)),
        ("2025-01-21 03:03", datetime(2025, 1, 21, 2, 3, tzinfo=UTC)),
        ("2025-01-21T02:03:00Z", datetime(2025, 1, 21, 2, 3, tzinfo=UTC)),
    ],
)
def test_since_is_how_long_ago_or_a_time_here(text: str, meant: timedelta | datetime) -> None:
    assert parse_since(text) == meant


def test_since_that_is_neither_says_how_to_write_it() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_since("soon")
    assert "--since 10m" in caught.value.next_step
