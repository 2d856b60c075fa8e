"""``logs``: what there is, and what comes while it is followed."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from geusemaker.agent.errors import AgentError
from geusemaker.agent.verbs import logs as module
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import N8N, POSTGRES, QDRANT, DirectAgent, apply_document, do

IMAGES = {"postgresql": POSTGRES, "n8n": N8N, "qdrant": QDRANT}


@pytest.fixture
def deployed(mounted: DirectAgent, machine: Machine) -> DirectAgent:
    machine.publish(*IMAGES.values())
    do(mounted, "begin", operation="op-1")
    do(mounted, "apply", **apply_document("op-1", IMAGES))
    return mounted


def told(agent: DirectAgent, event: str = "log") -> list[dict[str, Any]]:
    return [line for line in agent.reporter.lines if line["event"] == event]


def texts(agent: DirectAgent, **asked: Any) -> list[str]:
    before = len(told(agent))
    do(agent, "logs", **asked)
    return [line["line"] for line in told(agent)[before:]]


def stamp(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000000000Z"


def test_lines_come_service_by_service_with_their_times_and_without_secrets(
    deployed: DirectAgent, machine: Machine
) -> None:
    machine.container("qdrant", logs=["started with a-very-secret-word"])
    assert do(deployed, "logs", lines=5) == {"lines": 3}
    assert told(deployed) == [
        {"event": "log", "service": "n8n", "time": stamp(0), "line": "a line"},
        {"event": "log", "service": "postgresql", "time": stamp(0), "line": "a line"},
        {"event": "log", "service": "qdrant", "time": stamp(0), "line": "started with ***"},
    ]
    assert do(deployed, "logs", service="n8n", lines=5) == {"lines": 1}
    with pytest.raises(AgentError) as caught:
        do(deployed, "logs", service="ollama")
    assert caught.value.code == "no_such_service"


def test_the_last_ones_since_then_that_hold_a_text(deployed: DirectAgent, machine: Machine) -> None:
    machine.container("n8n", logs=["Error: one", "fine", "error: two", "fine", "a-very-secret-word ERROR three"])
    assert texts(deployed, service="n8n", lines=2) == ["fine", "*** ERROR three"]
    assert texts(deployed, service="n8n", lines=2, grep="eRRor") == ["error: two", "*** ERROR three"]
    assert texts(deployed, service="n8n", lines=0, grep="error", since=stamp(1)) == ["error: two", "*** ERROR three"]
    assert texts(deployed, service="n8n", lines=0, since="600s") != []
    assert texts(deployed, service="n8n", grep="very-secret") == [], "what is not told is not found"


def test_who_lost_us_goes_on_from_the_last_line_that_was_seen(deployed: DirectAgent, machine: Machine) -> None:
    machine.container("n8n", logs=["one", "two", "three", "four"])
    assert texts(deployed, service="n8n", lines=1, resume={"n8n": stamp(1)}) == ["two", "three", "four"]
    assert texts(deployed, service="ollama", resume={"ollama": stamp(1)}) == [], "its container is being replaced"


def test_dockers_own_words_are_no_line_of_the_service(deployed: DirectAgent, machine: Machine) -> None:
    machine.fail("docker logs", "Error response from daemon: configured logging driver does not support reading")
    do(deployed, "logs", service="n8n")
    assert told(deployed) == []
    assert [note["message"] for note in told(deployed, "note")] == [
        "n8n: Error response from daemon: configured logging driver does not support reading"
    ]


def test_following_tells_what_comes_and_where_it_is(
    deployed: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    machine.container("n8n", logs=["one"])
    following = threading.Thread(target=lambda: do(deployed, "logs", service="n8n", lines=5, follow=30))
    following.start()
    wait(lambda: len(told(deployed, "alive")) > 1)
    assert told(deployed, "alive")[-1]["at"] == {"n8n": stamp(0)}
    machine.container("n8n", logs=["one", "two"])
    wait(lambda: any(line["line"] == "two" for line in told(deployed)))
    machine.container("n8n", status="exited", exit_code=3, pid=0)
    wait(lambda: bool(told(deployed, "note")))
    machine.container("n8n", status="running", pid=9, started_at="2026-01-02T00:00:00Z", logs=["one", "two", "three"])
    wait(lambda: any(line["line"] == "three" for line in told(deployed)))
    deployed.reporter.gone = True
    following.join(30)
    assert not following.is_alive(), "nobody listens any more"
    notes = [note["message"] for note in told(deployed, "note")]
    assert notes == ["n8n: exited (exit code 3)", "n8n: its container was started"]


def test_following_ends_in_time_and_leaves_nothing_behind(deployed: DirectAgent, machine: Machine) -> None:
    machine.update(hang={"docker logs --follow": 60})
    began = time.monotonic()
    do(deployed, "logs", service="n8n", follow=0.3)
    assert 0.3 <= time.monotonic() - began < 20


def wait(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
