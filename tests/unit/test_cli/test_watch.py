"""``status --watch``: what is told of an operation that runs, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from geusemaker.models.inspection import Inspection, InstanceState, Interruption, ServiceState
from tests.unit.test_cli.fakes import NIGHT, FakeDeployment, FakeWorkspace, inspection

Run = Callable[..., Result]


@pytest.fixture
def prod(ws: FakeWorkspace) -> FakeDeployment:
    return ws.known["prod"]


def running(step: str, n8n: str = "running", **more: Any) -> Inspection:
    interruption = Interruption(
        operation_id="op-5", kind="update", number=5, actor="bob", host="laptop", pid=9, started_at=NIGHT,
        running=True, step=step,
    )  # fmt: skip
    service = ServiceState(image=None, healthy=n8n == "healthy", state=n8n, detail="" if n8n == "healthy" else "503")
    return inspection(**({"status": "running", "interruption": interruption, "services": {"n8n": service}} | more))


def ended(**more: Any) -> Inspection:
    service = ServiceState(image=None, healthy=True, state="running")
    return inspection(**({"active_version": 5, "services": {"n8n": service}, "summary": "v5 is active."} | more))


def test_each_step_and_each_change_of_a_service_is_told_once(run: Run, prod: FakeDeployment) -> None:
    stopped = InstanceState(id="i-1", type="t3.large", state="stopping", address="127.0.0.9")
    prod.looks = [
        running("prefetch"), running("prefetch"), running("", instance=stopped, services={}),
        running("gate", "starting"), running("gate", "starting"), running("gate", "healthy"),
        ended(status="settling", summary="All is ready for 3 s."), ended(),
    ]  # fmt: skip
    result = run("status", "prod", "--watch")
    assert result.exit_code == 0 and result.stdout.startswith("prod: healthy, v5 is active")
    told = [row.partition("] ")[2] for row in result.stderr.splitlines()]
    assert told[0].startswith("an update to v5 by bob on laptop (pid 9) is running, started ")
    assert told[1:] == [
        "prefetch: pulling images while all goes on running",
        "prefetch: n8n running (503)",
        "prefetch: done",
        "engine: the instance is stopping",
        "engine: done",
        "gate: waiting until all services are healthy, and stay so",
        "gate: n8n starting (503)",
        "gate: n8n healthy",
        "gate: done",
        "settle: All is ready for 3 s.",
        "settle: n8n healthy",
        "settle: done",
    ]


def test_what_cannot_be_seen_is_said(run: Run, prod: FakeDeployment) -> None:
    prod.looks = [running("", problems=["i-1 does not answer."]), ended()]
    assert "engine: i-1 does not answer." in run("status", "-w").stderr
    prod.looks = [running(""), ended()]
    assert "engine: nothing on the instance at this moment" in run("status", "-w").stderr


def test_without_an_operation_it_is_a_plain_status_with_its_exit_code(run: Run, prod: FakeDeployment) -> None:
    prod.inspected = inspection(status="unhealthy")
    watched, plain = run("status", "prod", "--watch"), run("status", "prod")
    assert (watched.exit_code, watched.stdout, watched.stderr) == (7, plain.stdout, "")


def test_the_document_is_that_of_the_last_look(
    run_json: Callable[..., tuple[int, dict[str, Any]]], prod: FakeDeployment
) -> None:
    prod.looks = [running("gate"), ended()]
    code, document = run_json("status", "prod", "--watch")
    assert (code, document["active_version"], document["interruption"]) == (0, 5, None)


def test_an_interrupt_ends_the_watching_and_nothing_else(run: Run, prod: FakeDeployment) -> None:
    prod.error = KeyboardInterrupt()
    result = run("status", "prod", "--watch")
    assert result.exit_code == 130 and "What was watched goes on" in result.stderr
