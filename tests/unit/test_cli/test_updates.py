"""``status --updates``: what is shown, and that the exit code stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geusemaker.cli.output.text import plain
from geusemaker.cli.output.updates import render_updates
from geusemaker.models.advisory import Hole
from geusemaker.models.updates import ServiceUpdates, Updates, UpdateStep
from tests.unit.test_cli.conftest import Run
from tests.unit.test_cli.fakes import FakeDeployment, FakeWorkspace

RunJson = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def prod(ws: FakeWorkspace) -> FakeDeployment:
    """The one deployment there is."""
    return ws.known["prod"]


ONE, TWO = Hole(id="GHSA-1", severity="critical", fixed="1.101.0"), Hole(id="GHSA-2", severity="high")


def step(tag: str, *closes: Hole) -> UpdateStep:
    return UpdateStep(image=f"n8nio/n8n:{tag}", closes=closes)


STEPS = (step("1.100.2"), step("1.101.0", ONE), step("1.102.0", ONE), step("2.0.0", ONE), step("2.1.0", ONE, TWO))


def shown(*services: ServiceUpdates, asked: bool = True) -> str:
    lines = render_updates(Updates(deployment="prod", services=services, asked_for_holes=asked))
    return "\n".join(plain(one) for one in lines)


def test_the_next_ones_and_the_newest_are_shown() -> None:
    n8n = ServiceUpdates(service="n8n", image="n8nio/n8n:1.100.1", steps=STEPS, holes=(ONE, TWO))
    qdrant = ServiceUpdates(service="qdrant", image="qdrant/qdrant:v1.20.0", holes=())
    assert shown(n8n, qdrant).splitlines() == [
        "",
        "Updates",
        "  n8n     1.100.1  → 1.100.2",
        "                   → 1.101.0                    closes one critical hole (GHSA-1), 1 stay",
        "                   → 2.1.0 (2 more in between)  closes one critical and one high hole (GHSA-1, GHSA-2)",
        "  qdrant  v1.20.0  none newer to go to",
    ]


def test_holes_that_nothing_newer_closes_and_what_is_not_known() -> None:
    old = ServiceUpdates(service="n8n", image="n8nio/n8n:1.100.1", holes=(ONE,))
    away = ServiceUpdates(service="ollama", image="ollama/ollama:0.9.6", problem="it rains", holes_problem="it rains")
    told = shown(old, away)
    assert "none newer to go to  has one critical hole (GHSA-1)" in told
    assert "unknown" in told and told.count("not known: it rains") == 1
    assert "Nobody was asked for published holes" in shown(old, asked=False)
    assert "none to look for" in shown()


def test_they_are_looked_for_where_that_is_asked_for(run: Run, run_json: RunJson, prod: FakeDeployment) -> None:
    prod.newer = Updates(deployment="prod", services=(ServiceUpdates(service="n8n", image="n8nio/n8n:1", steps=STEPS),))
    result = run("status", "prod", "--updates")
    assert result.exit_code == 0 and "→ 2.1.0" in result.stdout
    code, document = run_json("status", "prod", "--updates", "--no-advisories")
    assert (code, document["exit_code"]) == (0, 0)
    assert document["updates"]["services"][0]["steps"][1]["closes"][0]["id"] == "GHSA-1"
    assert prod.requests == [("updates", True), ("updates", False)]
    assert "updates" not in run_json("status", "prod")[1] and len(prod.requests) == 2


def test_the_exit_code_is_that_of_the_deployment(run_json: RunJson, prod: FakeDeployment) -> None:
    prod.inspected = prod.inspected.model_copy(update={"status": "drifted"})
    prod.newer = Updates(deployment="prod", services=())
    assert run_json("status", "prod", "--updates")[0] == 7
