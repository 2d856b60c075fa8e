"""``export``, and ``-f`` of ``deploy``, ``update`` and ``diff``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from geusemaker.cli.output.text import Printer
from geusemaker.models.stack_file import StackFile
from tests.unit.test_cli.fakes import FakeDeployment, FakeWorkspace

Run = Callable[..., Result]
RunJson = Callable[..., tuple[int, dict[str, Any]]]

TEXT = 'services:\n  postgresql:\n  n8n:\n    environment:\n      NOTE: "é \\u202e"\n'


@pytest.fixture
def prod(ws: FakeWorkspace) -> FakeDeployment:
    return ws.known["prod"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "stack.yaml"
    path.write_text(TEXT)
    return path


def asked(prod: FakeDeployment) -> Any:
    [request] = prod.requests
    return request


def test_export_prints_the_file_and_nothing_else(run: Run, prod: FakeDeployment) -> None:
    result = run("export", "prod")
    assert result.exit_code == 0 and result.stdout.startswith("# All of prod.\n\ninstance_type: t3.large\n")
    assert StackFile.parse(result.stdout).services["n8n"].image is not None
    assert run("export", "--version", "v3").exit_code == 0
    assert prod.requests == [("export", None), ("export", 3)]


def test_export_as_json_is_a_stack_file_too(run_json: RunJson) -> None:
    code, document = run_json("export", "prod")
    assert code == 0 and StackFile.parse(json.dumps(document)).instance_type == "t3.large"


def test_the_schema_needs_no_deployment(run: Run, ws: FakeWorkspace) -> None:
    ws.known.clear()
    result = run("export", "--schema")
    assert result.exit_code == 0 and json.loads(result.stdout)["properties"]["services"]["description"]


@pytest.mark.parametrize("verb", ["deploy", "update"])
def test_a_file_is_handed_over(verb: str, run: Run, prod: FakeDeployment, file: Path) -> None:
    assert run(verb, "prod", "-f", str(file), "--prune", "--again", "--reason", "as in git", "--yes").exit_code == 0
    request = asked(prod)
    assert request.desired.services["n8n"].environment == {"NOTE": "é \u202e"}
    assert (request.prune, request.again, request.reason) == (True, True, "as in git")


@pytest.mark.parametrize(("yes", "prune"), [(["--yes"], False), ([], True)])
def test_where_somebody_is_asked_the_answer_is_enough(
    yes: list[str], prune: bool, run: Run, prod: FakeDeployment, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Printer, "can_ask", lambda self: True)
    monkeypatch.setattr(Printer, "ask", lambda self, question: "y")
    run("update", "prod", "-f", str(file), *yes)
    assert asked(prod).prune is prune


def test_a_file_comes_by_standard_input(run: Run, prod: FakeDeployment) -> None:
    assert run("update", "prod", "-f", "-", "--yes", input=TEXT.encode()).exit_code == 0
    assert asked(prod).desired.source == "standard input"


def test_a_mistake_ends_with_2_and_its_line_before_anything_is_opened(
    run: Run, ws: FakeWorkspace, prod: FakeDeployment, file: Path
) -> None:
    file.write_text("services:\n  n8n:\n    imge: x\n")
    result = run("update", "prod", "-f", str(file), "--yes")
    assert result.exit_code == 2 and f"{file}:3: services.n8n has no key 'imge'." in result.stderr
    assert "Did you mean image?" in result.stderr and not prod.requests


def test_diff_of_a_file_ends_with_7_where_something_differs(run: Run, prod: FakeDeployment, file: Path) -> None:
    result = run("diff", "prod", "-f", str(file))
    assert result.exit_code == 7 and "instance_type" in result.stdout
    prod.compared = prod.compared.model_copy(update={"changes": [], "compose": []})
    assert run("diff", "prod", "-f", str(file)).exit_code == 0
    assert run("diff", "prod").exit_code == 0
    assert [request[0] for request in prod.requests] == ["diff"] * 3
    assert run("diff", "prod", "v2", "-f", str(file)).exit_code == 2


def test_diff_of_a_file_as_a_document(run_json: RunJson, file: Path) -> None:
    code, document = run_json("diff", "prod", "-f", str(file))
    assert (code, document["exit_code"]) == (7, 7) and document["changes"]
