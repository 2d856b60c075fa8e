"""How services that went back alone are told, wherever versions and changes are shown."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest

from geusemaker.cli.output.document import failure_document, inspection_document, plan_document
from geusemaker.cli.output.history import render_history
from geusemaker.cli.output.picture import Beside, render_page
from geusemaker.cli.output.plan import question, render_plan
from geusemaker.cli.output.result import render_result
from geusemaker.cli.output.text import Printer
from geusemaker.cli.output.version import render_version
from geusemaker.errors import RefusedError
from geusemaker.models.inspection import Inspection
from geusemaker.models.parts import parts_told
from geusemaker.models.result import RollbackResult
from geusemaker.models.version import Provenance, RollbackRecord
from geusemaker.models.version_report import VersionReport
from tests.unit.test_cli.fakes import NIGHT, config, inspection, rollback_plan, version

PARTS = {"n8n": 2, "qdrant": 2}


def printed(lines: Any) -> str:
    stream = io.StringIO()
    Printer(stream).lines(lines)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({}, ""),
        ({"n8n": 2}, "n8n back to v2"),
        (PARTS, "n8n and qdrant back to v2"),
        ({"n8n": 2, "qdrant": 1}, "n8n back to v2, qdrant back to v1"),
    ],
)
def test_what_is_said(parts: dict[str, int], told: str) -> None:
    assert parts_told(parts) == told


def history(**more: Any) -> Inspection:
    """v1 to v3 by updates; v4 has the n8n of v2 back."""
    versions = [
        version(1, "deploy"),
        version(2, config=config(n8n="1.92.0")),
        version(3, config=config("t3.xlarge", "1.93.0")),
        version(4, "rollback", config=config("t3.xlarge", "1.92.0"), services_from={"n8n": 2}, status="active", **more),
    ]
    record = RollbackRecord(
        timestamp=NIGHT,
        trigger="manual",
        success=True,
        previous_state_version=3,
        version=4,
        services_from={"n8n": 2},
        operation_id="op-4",
    )
    return inspection(versions=versions, rollbacks=[record], active_version=4)


def test_in_the_history() -> None:
    lines = printed(render_history(history(), width=60)).splitlines()
    [line] = [line for line in lines if "● v4 " in line]
    assert line.endswith("n8n back to v2") and "None" not in line
    assert "n8n back to v2, same as v1" in printed(render_history(history(same_as=1)))


def test_in_all_columns() -> None:
    table, _, rollbacks = printed(render_history(history(same_as=1), all_columns=True)).partition("Rollbacks\n")
    [line] = [line for line in table.splitlines() if line.startswith("v4 ")]
    assert "  n8n back to v2  " in line
    assert "v3 → v4 (n8n back to v2)" in rollbacks


def test_on_the_page_with_an_arc_to_where_it_came_from() -> None:
    text = render_page(history(reason="webhooks"), Beside((), {}), datetime(2025, 3, 1, tzinfo=UTC))
    assert text.count('class="arc by-hand"') == 1
    assert "<title>v4: n8n back to v2: webhooks</title>" in text
    assert "<small>rollback (n8n back to v2), active, healthy</small>" in text


def test_of_one_version() -> None:
    report = VersionReport(
        deployment="prod", version=history().versions[3], config_told=[], active=True, default_target=False
    )
    assert "    rollback (n8n back to v2) by ann@box" in printed(render_version(report))


def test_in_the_plan_and_its_question() -> None:
    plan = rollback_plan(source_version=None, services_from=PARTS)
    assert "rollback prod: v3 → v4 (n8n and qdrant back to v2)" in printed(render_plan(plan))
    assert question(plan) == "Roll n8n and qdrant of prod back to v2? [y/N] "


def test_in_the_result() -> None:
    result = RollbackResult(
        success=True, deployment="prod", version=4, trigger="manual", services_from=PARTS, health_status={"n8n": True}
    )
    text = printed(render_result(result, "rollback", "local"))
    assert "prod is rolled back: v4 is active and healthy, n8n and qdrant back to v2" in text


def test_in_the_documents() -> None:
    document = inspection_document(history())
    assert [one["services_from"] for one in document["versions"]] == [{}, {}, {}, {"n8n": 2}]
    assert document["rollbacks"][0]["services_from"] == {"n8n": 2}
    plan = rollback_plan(source_version=None, services_from=PARTS)
    assert plan_document(plan)["services_from"] == PARTS
    error = RefusedError("No.")
    told = failure_document(error, verb="rollback", deployment="prod", seconds=1.0, plan=plan)
    assert (told["services_from"], told["source_version"]) == (PARTS, None)
    assert failure_document(error, verb="rollback", deployment="prod", seconds=1.0, plan=None)["services_from"] == {}


def test_what_an_older_geusemaker_wrote_is_read() -> None:
    old = Provenance.model_validate_json(
        '{"number": 4, "operation_id": "op-4", "kind": "rollback", "source_version": 2, "actor": "ann",'
        ' "created_at": "2025-01-21T02:03:00Z"}'
    )
    assert old.services_from == {} and old.source_version == 2
