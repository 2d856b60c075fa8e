from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.agent.__main__ import _fail
from geusemaker.agent.agent import Agent
from geusemaker.agent.clock import seconds_between, wait_until
from geusemaker.agent.containers import Container, find_failure
from geusemaker.agent.errors import AgentError
from geusemaker.agent.exchange import Answer, exchange, http_complete, judge_http
from geusemaker.agent.probes import Probe, Seen, judge_postgresql, postgresql_complete
from geusemaker.agent.watches import probe_services
from tests.unit.test_agent.fakes import Machine, pinned
from tests.unit.test_agent.support import (
    AUTHENTICATION,
    N8N,
    POSTGRES,
    QDRANT,
    DirectAgent,
    apply_document,
    do,
    gate_document,
    http_service,
    postgresql_error,
    replying,
)

IMAGES = {"postgresql": POSTGRES, "n8n": N8N, "qdrant": QDRANT}


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """Healthy services."""
    with http_service() as http, replying(AUTHENTICATION) as postgresql:
        yield {"n8n": http, "qdrant": http, "postgresql": postgresql}


@pytest.fixture
def deployed(mounted: DirectAgent, machine: Machine) -> DirectAgent:
    """Everything runs, and op-1 holds the deployment."""
    machine.publish(*IMAGES.values())
    do(mounted, "begin", operation="op-1")
    do(mounted, "apply", **apply_document("op-1", IMAGES))
    return mounted


def failed(agent: DirectAgent, document: dict[str, Any]) -> AgentError:
    with pytest.raises(AgentError) as caught:
        do(agent, "gate", **document)
    return caught.value


def test_healthy_services_pass_and_are_told(deployed: DirectAgent, ports: dict[str, int]) -> None:
    answer = do(deployed, "gate", **gate_document("op-1", IMAGES, ports))
    assert answer["healthy"] is True
    assert {name: service["image"] for name, service in answer["services"].items()} == {
        name: pinned(tagged) for name, tagged in IMAGES.items()
    }
    assert deployed.reporter.states("qdrant")[-1] == "healthy"
    assert do(deployed, "manifest")["served"]["n8n"]["image"] == pinned(N8N)


def test_one_success_is_not_enough(
    deployed: DirectAgent, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[dict[str, Seen]] = []
    probe = probe_services

    def flaky(agent: Agent, watches: Any, timeout: float) -> dict[str, Seen]:
        answers = probe(agent, watches, timeout)
        if len(rounds) == 1:
            answers["qdrant"] = Seen(False, "HTTP 503")
        rounds.append(answers)
        return answers

    monkeypatch.setattr("geusemaker.agent.gate.probe_services", flaky)
    do(deployed, "gate", **gate_document("op-1", IMAGES, ports, consecutive_successes=2))
    assert len([one for one in rounds if "qdrant" in one]) == 5  # yes, no, yes, yes, and the last look at all


def test_a_container_that_exits_ends_the_wait_at_once(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int]
) -> None:
    machine.container("qdrant", status="exited", exit_code=1, pid=0, logs=["panic: a-very-secret-word is wrong"])
    started = time.monotonic()
    error = failed(deployed, gate_document("op-1", IMAGES, ports, deadline_seconds=60))
    assert time.monotonic() - started < 45
    assert error.code == "unhealthy"
    assert error.detail["services"]["qdrant"]["state"] == "exited"
    _fail(deployed, error.code, error.message, error.detail)
    assert deployed.reporter.lines[-1]["detail"]["services"]["qdrant"]["logs"] == ["panic: *** is wrong"]


def test_a_container_that_restarts_ends_the_wait(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int]
) -> None:
    machine.container("qdrant", status="restarting", restarts=1, exit_code=3)
    error = failed(deployed, gate_document("op-1", IMAGES, ports))
    assert error.detail["services"]["qdrant"]["state"] == "restarting"
    assert "exit code 3" in error.message


def test_a_container_without_memory_says_so(deployed: DirectAgent, machine: Machine, ports: dict[str, int]) -> None:
    machine.container("n8n", status="restarting", restarts=1, oom=True, exit_code=137)
    assert "ran out of memory" in failed(deployed, gate_document("op-1", IMAGES, ports)).message


def test_why_it_restarts_is_looked_for_when_it_runs_again_already(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.container("qdrant", restarts=2)
    wait = wait_until

    def exits(condition: Callable[[], bool], timeout: float, interval: float = 0.05) -> bool:
        machine.container("qdrant", status="restarting", oom=True, exit_code=137)
        return wait(condition, timeout, interval)

    monkeypatch.setattr("geusemaker.agent.gate.wait_until", exits)
    assert "ran out of memory" in failed(deployed, gate_document("op-1", IMAGES, ports)).message


def test_no_exit_code_is_told_of_one_that_was_not_seen_to_end(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geusemaker.agent.gate.NEXT_EXIT", 0.1)
    machine.container("qdrant", restarts=2)
    message = failed(deployed, gate_document("op-1", IMAGES, ports)).message
    assert "qdrant: it ended and is restarted again and again." in message


def test_a_missing_container_ends_the_wait(deployed: DirectAgent, machine: Machine, ports: dict[str, int]) -> None:
    state = machine.state
    state["containers"] = {key: one for key, one in state["containers"].items() if one["service"] != "qdrant"}
    machine.state = state
    assert failed(deployed, gate_document("op-1", IMAGES, ports)).detail["services"]["qdrant"]["state"] == "missing"


def test_restarts_from_before_the_change_are_not_held_against_a_container(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int]
) -> None:
    machine.container("qdrant", restarts=4)
    do(deployed, "apply", **apply_document("op-1", IMAGES))
    assert do(deployed, "gate", **gate_document("op-1", IMAGES, ports))["healthy"]


def test_what_depends_on_another_service_may_fail_until_that_is_up(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.container("n8n", status="restarting", restarts=3, exit_code=1, pid=0)
    rounds = 0
    probe = probe_services

    def starting(agent: Agent, watches: Any, timeout: float) -> dict[str, Seen]:
        nonlocal rounds
        rounds += 1
        answers = probe(agent, watches, timeout)
        if rounds < 4 and "postgresql" in answers:
            answers["postgresql"] = Seen(False, "the database system is starting up")
        if rounds == 5:
            machine.container("n8n", status="running", restarts=4, pid=99)
        return answers

    monkeypatch.setattr("geusemaker.agent.gate.probe_services", starting)
    assert do(deployed, "gate", **gate_document("op-1", IMAGES, ports))["healthy"]
    assert {"waiting"} <= set(deployed.reporter.states("n8n"))


def test_what_still_fails_once_that_is_up_is_not_excused(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int]
) -> None:
    machine.container("n8n", status="restarting", restarts=9, exit_code=1, pid=0)
    looks = deployed.containers

    def look() -> dict[str, Container]:
        found = looks()
        machine.container("n8n", restarts=found["n8n"].restarts + 1)
        return found

    deployed.containers = look  # type: ignore[assignment,method-assign]
    error = failed(deployed, gate_document("op-1", IMAGES, ports, deadline_seconds=30))
    assert error.detail["services"]["n8n"]["state"] == "restarting"
    assert error.detail["services"]["postgresql"]["state"] in ("healthy", "waiting")


def test_a_service_that_never_answers_well_ends_at_its_own_deadline(
    deployed: DirectAgent, ports: dict[str, int]
) -> None:
    with http_service(**{"": (503, "warming up")}) as bad:
        document = gate_document("op-1", IMAGES, {**ports, "n8n": bad}, deadline_seconds=30)
        document["services"]["n8n"]["deadline_seconds"] = 0.5
        error = failed(deployed, document)
    assert error.detail["services"]["n8n"]["state"] == "unhealthy"
    assert "HTTP 503 warming up" in error.message
    assert error.detail["services"]["qdrant"]["state"] == "healthy"


def test_the_whole_wait_has_a_deadline_too(deployed: DirectAgent, ports: dict[str, int]) -> None:
    with http_service(**{"": (500, "")}) as bad:
        document = gate_document("op-1", IMAGES, {**ports, "n8n": bad}, deadline_seconds=0.5)
        document["services"]["n8n"]["deadline_seconds"] = 60
        assert failed(deployed, document).code == "unhealthy"


def test_a_service_that_dies_while_others_are_waited_for_is_noticed(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = probe_services

    def dying(agent: Agent, watches: Any, timeout: float) -> dict[str, Seen]:
        chosen = list(watches)
        if "qdrant" not in {watch.name for watch in chosen}:
            machine.container("qdrant", status="exited", exit_code=9, pid=0)
        return {**probe(agent, chosen, timeout), "n8n": Seen(False, "not yet")}

    monkeypatch.setattr("geusemaker.agent.gate.probe_services", dying)
    document = gate_document("op-1", IMAGES, ports, deadline_seconds=20)
    document["services"]["n8n"]["deadline_seconds"] = 20
    assert failed(deployed, document).detail["services"]["qdrant"]["state"] == "exited"


def test_another_image_than_the_wanted_one_is_a_failure(deployed: DirectAgent, ports: dict[str, int]) -> None:
    document = gate_document("op-1", IMAGES, ports)
    document["services"]["qdrant"]["image"] = pinned("qdrant/qdrant:v1.15.0")
    error = failed(deployed, document)
    assert (error.code, error.detail["services"]["qdrant"]["state"]) == ("image_mismatch", "image_mismatch")
    assert f"{pinned(QDRANT)} runs instead of" in error.message


def test_an_image_without_a_digest_is_not_compared(deployed: DirectAgent, ports: dict[str, int]) -> None:
    document = gate_document("op-1", IMAGES, ports)
    document["services"]["qdrant"]["image"] = QDRANT
    assert do(deployed, "gate", **document)["services"]["qdrant"]["image"] == pinned(QDRANT)


def test_the_gate_notices_data_that_went_away(deployed: DirectAgent, machine: Machine, ports: dict[str, int]) -> None:
    deployed.store.sentinel_file.unlink()
    assert failed(deployed, gate_document("op-1", IMAGES, ports)).code == "data_loss"
    machine.unmount()
    assert failed(deployed, gate_document("op-1", IMAGES, ports)).code == "not_mounted"


@pytest.mark.parametrize(("healthy", "outcome"), [(True, "done"), (False, "failed")])
def test_a_lease_that_apply_took_is_ended_by_the_gate(
    mounted: DirectAgent, machine: Machine, ports: dict[str, int], healthy: bool, outcome: str
) -> None:
    machine.publish(*IMAGES.values())
    do(mounted, "apply", **apply_document("op-1", IMAGES))
    if healthy:
        do(mounted, "gate", **gate_document("op-1", IMAGES, ports))
    else:
        machine.container("n8n", status="dead")
        failed(mounted, gate_document("op-1", IMAGES, ports))
    lease = mounted.store.lease() or {}
    assert (lease["state"], lease["outcome"]) == ("released", outcome)


@pytest.mark.parametrize(
    "probe",
    [
        None,
        {"kind": "exec", "port": 1},
        {"kind": "http", "port": 0},
        {"kind": "http", "port": 70000},
        {"kind": "http", "port": 1, "path": "x"},
        {"kind": "http", "port": 1, "path": "/ HTTP/1.1\r\nX: y"},
    ],
)
def test_a_probe_that_is_none_is_refused(deployed: DirectAgent, probe: Any) -> None:
    document = gate_document("op-1", {"qdrant": QDRANT}, {"qdrant": 1})
    document["services"]["qdrant"]["probe"] = probe
    assert failed(deployed, document).code == "bad_input"


# decisions


def container(**facts: Any) -> Container:
    defaults: dict[str, Any] = {
        **dict.fromkeys(("id", "service", "image_id", "image", "tagged", "error", "created_at", "started_at"), ""),
        **{"status": "running", "oom_killed": False, "exit_code": 0, "pid": 1, "restarts": 0},
    }
    return Container(**{**defaults, **facts})


@pytest.mark.parametrize(
    ("facts", "excused", "state"),
    [
        ({}, False, None),
        ({"restarts": 1}, False, "restarting"),
        ({"restarts": 1}, True, None),
        ({"status": "exited", "exit_code": 2}, False, "exited"),
        ({"status": "exited"}, True, None),
        ({"status": "dead"}, True, "exited"),
        ({"status": "created"}, False, None),
        ({"status": "created", "error": "bind failed"}, False, "exited"),
        ({"status": "restarting", "oom_killed": True}, True, "exited"),
        ({"oom_killed": True}, False, None),
        ({"status": "paused"}, False, None),
    ],
)
def test_what_is_final_about_a_container(facts: dict[str, Any], excused: bool, state: str | None) -> None:
    failure = find_failure(container(**facts), 0, excused)
    assert (failure.state if failure else None) == state


def test_dockers_timestamps_are_compared_and_unreadable_ones_are_far_apart() -> None:
    assert seconds_between("2026-01-01T00:00:00.123456789Z", "2026-01-01T00:01:01Z") == 61
    assert seconds_between("", "2026-01-01T00:01:01Z") == float("inf")


# probes


def ask(probe: Probe, timeout: float = 1.0) -> tuple[bool, str]:
    return probe.judge(exchange(probe.requests("127.0.0.1", "geusemaker"), timeout))[:2]


@pytest.mark.parametrize(
    ("reply", "healthy", "seen"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True, "HTTP 200"),
        (b"HTTP/1.1 503 Unavailable\r\n\r\nnot   yet\n", False, "HTTP 503 not yet"),
        (
            b"HTTP/1.1 404 Not Found\r\n\r\n<!DOCTYPE html>\n<html><head>\n<title>Error</title>\n</head>\n<body>"
            b"<pre>Cannot GET /rest/settings</pre>\n</body></html>",
            False,
            "HTTP 404 Cannot GET /rest/settings",
        ),
        (b"HTTP/1.1 500 Oops\r\n\r\n1 < 2 <3", False, "HTTP 500 1 < 2 <3"),
        (b"SSH-2.0-OpenSSH\r\n", False, "the answer is not HTTP"),
        (b"", False, "the connection was closed without an answer"),
    ],
)
def test_http_answers_are_judged(reply: bytes, healthy: bool, seen: str) -> None:
    with replying(reply) as port:
        assert ask(Probe("http", port, "/healthz")) == (healthy, seen)


def test_an_answer_with_a_length_is_complete_without_the_connections_end() -> None:
    started = time.monotonic()
    with replying(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", hold=True) as port:
        assert ask(Probe("http", port), 60)[0]
    assert time.monotonic() - started < 45


@pytest.mark.parametrize(
    ("reply", "healthy", "seen"),
    [
        (AUTHENTICATION, True, "accepting connections"),
        (postgresql_error("57P03", "the database system is starting up"), False, "the database system is starting up"),
        (postgresql_error("53300", "sorry, too many clients already"), True, "sorry, too many clients already"),
        (b"HTTP/1.1 400\r\n\r\n", False, "the answer is not PostgreSQL's"),
    ],
)
def test_postgresql_answers_are_judged_as_pg_isready_does(reply: bytes, healthy: bool, seen: str) -> None:
    with replying(reply) as port:
        assert ask(Probe("postgresql", port)) == (healthy, seen)


def test_a_port_on_which_nobody_listens_is_told() -> None:
    with replying(b"") as port:
        pass
    assert ask(Probe("http", port)) == (False, "connection refused")


def test_a_silent_service_does_not_keep_the_others_waiting() -> None:
    with ExitStack() as stack:
        silent = stack.enter_context(replying(b"", hold=True))
        good = stack.enter_context(http_service())
        probes = {"silent": Probe("http", silent), "good": Probe("http", good)}
        started = time.monotonic()
        answers = exchange({name: probe.requests("127.0.0.1", "")["/"] for name, probe in probes.items()}, 0.5)
    assert time.monotonic() - started < 20
    assert probes["good"].judge({"/": answers["good"]}).healthy
    assert answers["silent"] == Answer(b"", "no answer within 0.5 s")


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(data: bytes) -> None:
    judge_http(Answer(data))
    judge_postgresql(Answer(data))
    http_complete(data)
    postgresql_complete(data)
