"""The gate: readiness, the settle time, and telling a migration from a hang."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.agent.agent import Agent
from geusemaker.agent.data.migration import MigrationLook, Session, migration_state
from geusemaker.agent.errors import AgentError
from geusemaker.agent.exchange import Answer
from geusemaker.agent.probes import Probe, Seen
from geusemaker.agent.watches import probe_services
from tests.unit.test_agent import support
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import (
    AUTHENTICATION,
    N8N,
    POSTGRES,
    QDRANT,
    DirectAgent,
    apply_document,
    do,
    http_service,
    replying,
)

IMAGES = {"postgresql": POSTGRES, "n8n": N8N, "qdrant": QDRANT}


def gate_document(
    operation: str, images: dict[str, str], ports: dict[str, int], deadline: float = 60, **changes: Any
) -> dict[str, Any]:
    """What a gate is asked; the deadline is long unless a test is about it, since machines are slow at times."""
    document = support.gate_document(operation, images, ports, deadline_seconds=deadline, **changes)
    for service in document["services"].values():
        service["deadline_seconds"] = deadline
    return document


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    with http_service() as http, replying(AUTHENTICATION) as postgresql:
        yield {"n8n": http, "qdrant": http, "postgresql": postgresql}


@pytest.fixture
def deployed(mounted: DirectAgent, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> DirectAgent:
    monkeypatch.setattr("geusemaker.agent.gate.SETTLE_POLL", 0.05)
    machine.publish(*IMAGES.values())
    do(mounted, "begin", operation="op-1")
    do(mounted, "apply", **apply_document("op-1", IMAGES))
    return mounted


def at_round(monkeypatch: pytest.MonkeyPatch, act: Callable[[int, dict[str, Seen]], None]) -> list[float]:
    """Let ``act`` change what the services answered in each round (1, 2 …); the moments of all rounds."""
    moments: list[float] = []
    probe = probe_services

    def probing(agent: Agent, watches: Any, timeout: float) -> dict[str, Seen]:
        answers = probe(agent, list(watches), timeout)
        moments.append(time.monotonic())
        act(len(moments), answers)
        return answers

    for module in ("gate", "watches"):
        monkeypatch.setattr(f"geusemaker.agent.{module}.probe_services", probing)
    return moments


def failed(agent: DirectAgent, document: dict[str, Any]) -> AgentError:
    with pytest.raises(AgentError) as caught:
        do(agent, "gate", **document)
    return caught.value


# the settle time


def test_all_have_to_stay_ready_for_the_settle_time(
    deployed: DirectAgent, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(number: int, answers: dict[str, Seen]) -> None:
        if number == 4:
            answers["qdrant"] = Seen(False, "HTTP 503")

    moments = at_round(monkeypatch, act)
    assert do(deployed, "gate", **gate_document("op-1", IMAGES, ports, settle_seconds=0.5))["healthy"]
    assert moments[-1] - moments[3] >= 0.5, "the time begins anew"
    assert any("begins anew" in note for note in deployed.reporter.notes())


def test_settling_has_time_of_its_own(deployed: DirectAgent, ports: dict[str, int]) -> None:
    document = gate_document("op-1", IMAGES, ports, deadline=5, settle_seconds=6)
    started = time.monotonic()
    assert do(deployed, "gate", **document)["healthy"]
    assert time.monotonic() - started >= 6


def test_who_is_ill_again_after_the_deadline_is_not_waited_for(
    deployed: DirectAgent, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()

    def act(number: int, answers: dict[str, Seen]) -> None:
        if time.monotonic() - started > 6:
            answers["qdrant"] = Seen(False, "HTTP 503")

    at_round(monkeypatch, act)
    error = failed(deployed, gate_document("op-1", IMAGES, ports, deadline=5, settle_seconds=30))
    assert (error.code, error.detail["services"]["qdrant"]["state"]) == ("unhealthy", "unhealthy")
    assert "HTTP 503" in error.message


def test_a_container_that_dies_while_it_settles_fails_the_gate(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(number: int, answers: dict[str, Seen]) -> None:
        if number == 4:
            machine.container("qdrant", restarts=1)  # and it runs again, and answers

    at_round(monkeypatch, act)
    error = failed(deployed, gate_document("op-1", IMAGES, ports, settle_seconds=30))
    assert error.detail["services"]["qdrant"]["state"] == "restarting"


@pytest.mark.parametrize("number", [1, 3])
def test_answers_of_two_lives_do_not_add_up(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Somebody's ``docker restart`` counts as no restart to Docker: only the start tells."""

    def act(now: int, answers: dict[str, Seen]) -> None:
        if now == number:
            machine.container("qdrant", started="2030-01-01T00:00:00Z")

    moments = at_round(monkeypatch, act)
    answer = do(deployed, "gate", **gate_document("op-1", IMAGES, ports, settle_seconds=0.3))
    assert answer["services"]["qdrant"]["started_at"] == "2030-01-01T00:00:00Z"
    assert moments[-1] - moments[number] >= 0.3
    assert "waiting" in deployed.reporter.states("qdrant")


def test_the_gate_tells_which_lives_it_saw(deployed: DirectAgent, ports: dict[str, int]) -> None:
    document = gate_document("op-1", IMAGES, ports)
    gate = do(deployed, "gate", **document)["services"]
    health = do(deployed, "health", **document)["services"]
    for name in IMAGES:
        for key in ("container", "started_at", "restarts"):
            assert gate[name][key] == health[name][key] is not None
        assert health[name]["age_seconds"] >= gate[name]["age_seconds"] >= 0


def test_a_container_that_does_not_run_has_no_age(deployed: DirectAgent, machine: Machine) -> None:
    machine.container("n8n", status="exited", pid=0)
    assert do(deployed, "health", services={})["services"]["n8n"]["age_seconds"] is None


# readiness

OK = Answer(b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n\r\n" + b'{"status":"ok"}')
TEXT = Answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nn8n is starting up. Please wait")
NOT_FOUND = Answer(b"HTTP/1.1 404 Not Found\r\n\r\nCannot GET")
ERROR = Answer(b'HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n\r\n{"status":"error"}')
REFUSED = Answer(b"", "connection refused")
N8N_PROBE = Probe("http", 5678, "/healthz/readiness", "/healthz", json=True, also=("/rest/settings",))


@pytest.mark.parametrize(
    ("readiness", "healthz", "settings", "healthy", "starting"),
    [
        (OK, OK, OK, True, False),
        (ERROR, OK, OK, False, True),
        (ERROR, OK, TEXT, False, True),
        (OK, OK, NOT_FOUND, False, False),
        (OK, OK, TEXT, False, False),
        (OK, OK, REFUSED, False, False),
        (TEXT, OK, TEXT, False, True),
        (NOT_FOUND, OK, OK, True, False),
        (NOT_FOUND, ERROR, OK, False, False),
        (NOT_FOUND, OK, NOT_FOUND, False, False),
        (REFUSED, REFUSED, REFUSED, False, False),
        (ERROR, REFUSED, REFUSED, False, False),
    ],
)
def test_liveness_is_not_readiness(
    readiness: Answer, healthz: Answer, settings: Answer, healthy: bool, starting: bool
) -> None:
    answers = {"/healthz/readiness": readiness, "/healthz": healthz, "/rest/settings": settings}
    seen = N8N_PROBE.judge(answers)
    assert (seen.healthy, seen.starting) == (healthy, starting)
    assert seen.detail


def test_settings_may_be_at_any_of_several_paths() -> None:
    probe = Probe("http", 5678, "/r", also=("/rest/settings", "/n8n/rest/settings"))
    assert probe.judge({"/r": OK, "/rest/settings": NOT_FOUND, "/n8n/rest/settings": OK}).healthy
    assert "/rest/settings" in probe.judge({"/r": OK, "/rest/settings": NOT_FOUND, "/n8n/rest/settings": TEXT}).detail


def n8n_document(port: int, database: int, **changes: Any) -> dict[str, Any]:
    document = gate_document("op-1", IMAGES, {"n8n": port, "qdrant": port, "postgresql": database}, **changes)
    document["services"]["n8n"]["probe"] |= {
        "path": "/healthz/readiness",
        "fallback": "/healthz",
        "json": True,
        "also": ["/rest/settings"],
    }
    return document


def test_n8n_is_asked_as_its_probe_says(deployed: DirectAgent, ports: dict[str, int]) -> None:
    for readiness, settings, healthy in (
        ((200, "{}"), (200, "{}"), True),
        ((404, ""), (200, "{}"), True),
        ((200, "{}"), (404, ""), False),
        ((503, "{}"), (200, "{}"), False),
    ):
        with http_service(**{"healthz/readiness": readiness, "rest/settings": settings}) as port:
            document = n8n_document(port, ports["postgresql"], deadline=60 if healthy else 1)
            assert do(deployed, "health", **document)["services"]["n8n"]["healthy"] is healthy
            assert do(deployed, "gate", **document)["healthy"] if healthy else failed(deployed, document)


def test_the_manifest_tells_whether_n8n_was_ready(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int]
) -> None:
    (machine.root / "mnt/efs/n8n").mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        port = stack.enter_context(http_service(**{"rest/settings": (200, "{}")}))
        do(deployed, "gate", **n8n_document(port, ports["postgresql"]))
        assert do(deployed, "manifest")["services"]["n8n"]["ready"] is True
        machine.container("n8n", status="restarting", pid=0)
        assert do(deployed, "manifest")["services"]["n8n"]["ready"] is False
    machine.container("n8n", status="running", pid=7)
    assert do(deployed, "manifest")["services"]["n8n"]["ready"] is False


def test_who_gives_no_answer_in_time_is_asked_again_whether_it_is_ready(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine.root / "mnt/efs/n8n").mkdir(parents=True, exist_ok=True)

    def act(number: int, answers: dict[str, Seen]) -> None:
        if number <= 2:
            answers["n8n"] = Seen(False, "ready, but /rest/settings: no answer within 2 s")

    with http_service(**{"rest/settings": (200, "{}")}) as port:
        do(deployed, "gate", **n8n_document(port, ports["postgresql"]))
        moments = at_round(monkeypatch, act)
        assert do(deployed, "manifest")["services"]["n8n"]["ready"] is True
    assert len(moments) == 3


# migrations


def session(**facts: Any) -> Session:
    defaults: dict[str, Any] = {
        **{"pid": "1", "state": "idle", "wait": "Client", "transaction": "", "query": "10.0"},
        **{"seconds": 0.5, "blockers": ""},
    }
    return Session(**{**defaults, **facts})


PING = session(state="active", wait="", transaction="11.0", seconds=0.001)
LONG = session(state="active", wait="IO", transaction="11.0", seconds=7.0)
BETWEEN = session(state="idle in transaction", transaction="11.0", query="12.0")
LOCKED = session(state="active", wait="Lock", transaction="11.0", seconds=7.0, blockers="99")
SLEEPING = session(state="active", wait="Timeout", transaction="11.0", seconds=7.0)


def look(done: int | None, *sessions: Session) -> MigrationLook:
    return MigrationLook(done, sessions)


@pytest.mark.parametrize(
    ("before", "now", "state"),
    [
        (None, look(7), "idle"),
        (look(7), look(8), "working"),
        (look(None), look(1), "working"),
        (look(7), look(8, LOCKED), "working"),
        (look(7, LOCKED), look(7, LOCKED), "waiting"),
        (look(7), look(7, LONG, LOCKED), "waiting"),
        (None, look(7, LONG), "working"),
        (None, look(7, PING), "idle"),
        (look(7), look(7, PING), "idle"),
        (look(7), look(7, SLEEPING), "idle"),
        (look(7, BETWEEN), look(7, BETWEEN), "idle"),
        (look(7, BETWEEN), look(7, session(state="active", wait="", transaction="11.0", query="13.0")), "working"),
        (look(7, BETWEEN), look(7, session(state="active", wait="", transaction="12.0", query="13.0")), "idle"),
        (look(7, session()), look(7, session(query="12.0")), "idle"),
    ],
)
def test_a_migration_is_told_from_a_hang(before: MigrationLook | None, now: MigrationLook, state: str) -> None:
    assert migration_state(before, now) == state


@given(st.lists(st.builds(session, wait=st.sampled_from(["", "IO", "Client", "Timeout", "LWLock"])), max_size=4))
def test_waiting_is_for_a_lock_only(sessions: list[Session]) -> None:
    now = look(3, *sessions)
    assert migration_state(now, now) != "waiting"
    assert migration_state(now, look(3, *sessions, LOCKED)) == "waiting"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geusemaker.agent.gate.MIGRATION_POLL", 0.0)
    monkeypatch.setattr("geusemaker.agent.gate.MIGRATION_STALL", 1.0)


def database(machine: Machine, done: int, *sessions: str) -> None:
    machine.update(rows={"n8n": {"SELECT pid": list(sessions), "SELECT count": [str(done)]}})


IDLE_ROW = "7|idle|Client|0|100.5|0.3|"
LOCK_ROW = "7|active|Lock|100.1|100.5|9.3|4711"


@pytest.mark.usefixtures("quick")
def test_one_look_tells_no_migration(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    database(machine, 7, IDLE_ROW)

    def act(number: int, answers: dict[str, Seen]) -> None:
        if number > 1:
            answers["n8n"] = Seen(True, "HTTP 200")

    at_round(monkeypatch, act)
    with http_service(**{"healthz/readiness": (503, "{}")}) as port:
        assert do(deployed, "gate", **n8n_document(port, ports["postgresql"]))["healthy"]
    assert "migrating" not in deployed.reporter.states("n8n")
    assert "starting: 7 migrations are done" in [line.get("detail") for line in deployed.reporter.lines]


@pytest.mark.usefixtures("quick")
def test_a_migration_that_gets_on_is_waited_for_beyond_the_deadline(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geusemaker.agent.gate.MIGRATION_STALL", 30.0)
    started, done = time.monotonic(), 0

    def act(number: int, answers: dict[str, Seen]) -> None:
        nonlocal done
        done += 1
        database(machine, done, IDLE_ROW)
        if time.monotonic() - started > 4:  # three seconds after its deadline
            answers["n8n"] = Seen(True, "HTTP 200")

    at_round(monkeypatch, act)
    with http_service(**{"healthz/readiness": (503, "{}")}) as port:
        document = n8n_document(port, ports["postgresql"])
        document["services"]["n8n"]["deadline_seconds"] = 1
        assert do(deployed, "gate", **document)["healthy"]
    assert "migrating" in deployed.reporter.states("n8n")
    assert any("migrations are done" in line.get("detail", "") for line in deployed.reporter.lines)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("row", "says"),
    [
        (LOCK_ROW, "its migration waits for a lock that session 4711 holds: 5 migrations are done"),
        (IDLE_ROW, "nothing happens in its database"),
    ],
)
def test_a_migration_that_hangs_ends_at_the_deadline(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int], row: str, says: str
) -> None:
    database(machine, 5, row)
    with http_service(**{"healthz/readiness": (503, "{}")}) as port:
        error = failed(deployed, n8n_document(port, ports["postgresql"], deadline=5))
    assert error.detail["services"]["n8n"]["state"] == "unhealthy"
    assert says in error.message


def test_a_database_that_cannot_be_asked_leaves_the_deadline_as_it_is(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int]
) -> None:
    machine.fail("docker exec", "no such container")
    with http_service(**{"healthz/readiness": (503, "{}")}) as port:
        assert "HTTP 503" in failed(deployed, n8n_document(port, ports["postgresql"], deadline=5)).message


@pytest.mark.parametrize(
    ("row", "state"), [(LOCK_ROW, "waiting"), (IDLE_ROW, "idle"), ("7|active||1|2|30|", "working")]
)
def test_health_tells_what_n8n_is_at(
    deployed: DirectAgent, machine: Machine, ports: dict[str, int], row: str, state: str
) -> None:
    database(machine, 5, row)
    with http_service(**{"healthz/readiness": (503, "{}")}) as port:
        services = do(deployed, "health", **n8n_document(port, ports["postgresql"]))["services"]
    migration = services["n8n"]["migration"]
    assert (migration["state"], migration["done"]) == (state, 5)
    assert services["qdrant"]["migration"] is None
