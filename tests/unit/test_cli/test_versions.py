"""``vN`` wherever a version is typed, and names that are left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from geusemaker.models.request import RollbackRequest
from tests.unit.test_cli.fakes import FakeDeployment, FakeWorkspace

Run = Callable[..., Result]


@pytest.fixture
def prod(ws: FakeWorkspace) -> FakeDeployment:
    return ws.known["prod"]


@pytest.mark.parametrize(
    "words", ["prod v2", "prod 2", "v2", "2", "prod V2", "--to-version v2", "prod v2 --to-version 2"]
)
def test_a_rollback_takes_a_version_in_each_form(words: str, run: Run, prod: FakeDeployment) -> None:
    result = run("rollback", *words.split(), "--yes")
    assert result.exit_code == 0, result.output
    assert prod.requests == [RollbackRequest(to_version=2)]


def test_a_deployment_that_is_called_as_a_version_is_one(run: Run, ws: FakeWorkspace) -> None:
    ws.known = {"v2": FakeDeployment(name="v2"), "prod": FakeDeployment()}
    assert run("rollback", "v2", "--yes").exit_code == 0
    assert ws.known["v2"].requests == [RollbackRequest()]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("prod v2 --to-version 3", "Both v2 and --to-version 3 are given."),
        ("prod shop", "'shop' is no version."),
        ("v2 v3", "There are more words than a name and 1 version: v2 v3."),
        ("prod --to-version two", "'two' is no version: write its number, as 2 or v2."),
    ],
)
def test_what_is_no_version_is_wrong_usage(words: str, said: str, run: Run, prod: FakeDeployment) -> None:
    result = run("rollback", *words.split(), "--yes")
    assert result.exit_code == 2 and said in result.output
    assert prod.requests == []


@pytest.mark.parametrize("words", ["mark prod v3 bad", "mark prod 3 bad"])
def test_marks_take_it_too(words: str, run: Run, prod: FakeDeployment) -> None:
    assert run(*words.split()).exit_code == 0
    assert prod.requests == [("mark", 3, True, "")]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("", (None, None)),
        ("prod", (None, None)),
        ("prod v2", (2, None)),
        ("v2 v3", (2, 3)),
        ("prod 2 v3", (2, 3)),
    ],
)
def test_diff_asks_for_what_was_typed(words: str, asked: tuple[Any, Any], run: Run, prod: FakeDeployment) -> None:
    result = run("diff", *words.split())
    assert result.exit_code == 0 and "v2 → v3" in result.output
    assert prod.requests == [("diff", *asked)]


@pytest.mark.parametrize("words", ["prod v2", "2", "v2"])
def test_inspect_of_one_version(words: str, run: Run, prod: FakeDeployment) -> None:
    result = run("inspect", *words.split())
    assert result.exit_code == 0 and "prod v2: superseded, pinned\n" in result.stdout
    assert prod.requests == [("inspect", 2)]


def test_the_document_of_one_version_hides_secrets(
    run_json: Callable[..., tuple[int, dict[str, Any]]], prod: FakeDeployment
) -> None:
    code, document = run_json("inspect", "prod", "v2")
    assert (code, document["version"]["number"], document["default_target"]) == (0, 2, True)
    assert document["version"]["config"]["images"]["n8n"].startswith("n8nio/n8n:1.92.0@")
    assert "hunter2" not in str(document)


def test_diff_as_a_document_and_as_markdown(
    run: Run, run_json: Callable[..., tuple[int, dict[str, Any]]], prod: FakeDeployment
) -> None:
    code, document = run_json("diff", "prod")
    assert code == 0 and (document["old_version"], document["new_version"]) == (2, 3)
    assert document["changes"][0] == {"path": "instance_type", "old": "t3.large", "new": "t3.xlarge"}
    shown = run("diff", "prod", "-o", "markdown").stdout
    assert "| instance&#95;type | t3.large → t3.xlarge |" in shown and "```diff" in shown
    assert "hunter2" not in shown + str(document)
