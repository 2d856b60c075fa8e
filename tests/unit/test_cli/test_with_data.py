"""How a rollback that takes data back as well is shown: beforehand, in the question, and at its end."""

from __future__ import annotations

import io
from typing import Any

import pytest

from geusemaker.cli.output.document import plan_document
from geusemaker.cli.output.plan import question, render_plan
from geusemaker.cli.output.result import render_result
from geusemaker.cli.output.text import Printer
from geusemaker.models.held import DataReturn, Held, Replacement
from geusemaker.models.result import RollbackResult
from tests.unit.test_cli.fakes import NIGHT, rollback_plan

THEN = Held(service="postgresql", name="n8n", tables=30, rows=100, workflows=2)
RETURN = DataReturn(
    checkpoint="v2/op-3",
    taken_at=NIGHT,
    service="n8n",
    services=("postgresql",),
    replaced=(
        Replacement(then=THEN, now=THEN.model_copy(update={"rows": 120, "workflows": 3})),
        Replacement(then=THEN.model_copy(update={"name": "gone"}), now=None),
    ),
    left=(Held(service="postgresql", name="later"),),
    kept={"n8n": "n8n_before_4"},
)


def printed(lines: Any) -> str:
    stream = io.StringIO()
    Printer(stream).lines(lines)
    return stream.getvalue()


def test_the_plan_shows_each_database_now_and_then() -> None:
    shown = printed(render_plan(rollback_plan(data_return=RETURN)))
    part = shown.partition("Data, now → then\n")[2].splitlines()
    first = "~ postgresql n8n 30 tables, 120 rows, 3 workflows → 30 tables, 100 rows, 2 workflows"
    assert " ".join(part[0].split()) == first
    second = "+ postgresql gone (not there) → 30 tables, 100 rows, 2 workflows"
    assert " ".join(part[1].split()) == second
    assert part[2].strip() == "not in the checkpoint, stays as it is: postgresql later"
    assert "now → then" not in printed(render_plan(rollback_plan()))


def test_the_question_names_the_data() -> None:
    assert "with the data of v2/op-3? " in question(rollback_plan(data_return=RETURN))
    assert "data" not in question(rollback_plan())


def test_the_document_has_it() -> None:
    document = plan_document(rollback_plan(data_return=RETURN))["data_return"]
    assert (document["checkpoint"], document["kept"]) == ("v2/op-3", {"n8n": "n8n_before_4"})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"source_version": 2}, "v4 is active, with the config of v2 and the data of v2/op-3"),
        ({"services_from": {"n8n": 2}}, "v4 is active, n8n back to v2, with the data of v2/op-3"),
        ({}, "v4 is active, with the data of v2/op-3"),
    ],
)
def test_the_end_says_which_data_and_what_is_kept(fields: dict[str, Any], said: str) -> None:
    result = RollbackResult(
        success=True,
        deployment="prod",
        version=4,
        operation_id="op-4",
        trigger="manual",
        restored="v2/op-3",
        data_kept=["n8n as it was before is kept as n8n_before_4."],
        **fields,
    )
    shown = printed(render_result(result, "rollback", "local"))
    assert said in " ".join(shown.split()) and "n8n as it was before is kept as n8n_before_4." in shown
