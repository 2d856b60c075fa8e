"""Reading logs, and following them over lost connections, with a scripted agent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from geusemaker.agent.protocol.documents import LogsDocument
from geusemaker.agent.protocol.looks import LogEvent, Logs
from geusemaker.errors import HostError, InvalidInputError
from geusemaker.models.reach import LogLine
from geusemaker.services.reach import logs as module
from geusemaker.services.reach.logs import Asked, follow_logs, read_logs
from geusemaker.services.reach.service import ReachService
from tests.unit.fakes import World

Round = Callable[["Agent"], None]


def event(second: int, line: str, service: str = "n8n") -> LogEvent:
    return LogEvent(service, line, f"2026-01-01T00:00:{second:02}.000000000Z")


def line(second: int, text: str, service: str = "n8n") -> LogLine:
    return LogLine(service, text, datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC))


class Agent:
    """Plays the rounds of a script, and then waits until the connection is closed."""

    def __init__(self, *rounds: Round) -> None:
        self.rounds = list(rounds)
        self.asked: list[LogsDocument] = []
        self.closed = threading.Event()

    def logs(self, asked: LogsDocument, on_log: Any, on_alive: Any = None, on_event: Any = None) -> Logs:
        self.asked.append(asked)
        self.say, self.alive = on_log, on_alive
        if not self.rounds:
            on_alive({})
            self.closed.wait(60)
            raise HostError("The connection was closed.", code="unreachable")
        self.rounds.pop(0)(self)
        return Logs()

    def close(self) -> None:
        self.closed.set()


def lost(agent: Agent) -> None:
    raise HostError("gone", code="unreachable")


def following(world: World, agent: Agent, **asked: Any) -> Generator[LogLine, None, None]:
    @contextmanager
    def open_host(*_: Any) -> Iterator[Agent]:
        yield agent

    collaborators = replace(world.collaborators(), open_host=open_host)  # type: ignore[arg-type]
    return follow_logs(collaborators, Asked(**asked))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_PAUSE", 0.0)


def test_lines_are_read_by_time(deployed: World) -> None:
    found = read_logs(deployed.collaborators(), Asked(lines=5))
    assert {one.line for one in found} == {f"{name} said" for name in deployed.machine.services}
    assert found[0].time == datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert [one.line for one in read_logs(deployed.collaborators(), Asked("n8n"))] == ["n8n said"]
    mixed = [line(2, "late"), line(1, "early", "qdrant"), LogLine("n8n", "unknown", None), line(2, "later")]
    assert [one.line for one in module.in_order(mixed)] == ["unknown", "early", "late", "later"]


def test_a_service_that_is_not_there_is_refused(deployed: World) -> None:
    with pytest.raises(InvalidInputError, match="no service 'quadrant'"):
        read_logs(deployed.collaborators(), Asked("quadrant"))
    with pytest.raises(InvalidInputError):
        next(following(deployed, Agent(), service="quadrant"))


@pytest.mark.parametrize(
    ("asked", "lines", "since"),
    [
        (Asked(), 100, ""),
        (Asked(lines=None, since=timedelta(minutes=10)), 0, "600s"),
        (Asked(since=datetime(2026, 1, 1, 1, tzinfo=UTC)), 100, "2026-01-01T01:00:00.000Z"),
    ],
)
def test_how_it_is_asked_for(deployed: World, asked: Asked, lines: int, since: str) -> None:
    document = asked.document(ReachService(deployed.collaborators()).find())
    assert (document.lines, document.since, document.service) == (lines, since, None)


def test_what_there_was_comes_by_time_and_what_comes_as_it_comes(deployed: World) -> None:
    def speak(agent: Agent) -> None:
        for one in (event(1, "a"), event(3, "c"), event(2, "b", "qdrant")):
            agent.say(one)
        agent.alive({"n8n": event(3, "").time})
        agent.say(event(9, "i"))
        agent.say(event(8, "h", "qdrant"))

    told = following(deployed, Agent(speak))
    assert [next(told).line for _ in range(5)] == ["a", "b", "c", "i", "h"]
    told.close()


def test_a_lost_connection_is_made_again_and_nothing_is_told_twice(deployed: World) -> None:
    def first(agent: Agent) -> None:
        agent.say(event(1, "a"))
        agent.alive({"n8n": event(1, "").time, "qdrant": event(5, "").time})
        agent.say(event(2, "b"))
        lost(agent)

    def second(agent: Agent) -> None:
        agent.say(event(2, "b"))
        agent.say(event(2, "b2"))
        agent.alive({})

    agent = Agent(first, lost, second)
    told = following(deployed, agent, lines=7)
    assert [next(told) for _ in range(3)] == [line(1, "a"), line(2, "b"), line(2, "b2")]
    told.close()
    assert [asked.resume for asked in agent.asked][:3] == [
        {},
        {"n8n": event(2, "").time, "qdrant": event(5, "").time},
        {"n8n": event(2, "").time, "qdrant": event(5, "").time},
    ]
    said = [each.message for each in deployed.events]
    assert said.count("The connection to the instance was lost; it is being made again.") == 1
    assert said.count("Connected to the instance again.") == 1


@pytest.mark.parametrize("code", ["unreachable", "no_such_service", "docker_failed"])
def test_what_does_not_even_begin_is_an_error(deployed: World, code: str) -> None:
    def fail(agent: Agent) -> None:
        raise HostError("no", code=code)

    with pytest.raises(HostError) as caught:
        next(following(deployed, Agent(fail)))
    assert caught.value.code == code and "`geusemaker status prod`" in caught.value.next_step


def test_a_key_that_is_refused_and_is_no_other_one_ends_it(deployed: World) -> None:
    def first(agent: Agent) -> None:
        agent.say(event(1, "a"))
        agent.alive({})
        raise HostError("refused", code="auth_failed")

    told = following(deployed, Agent(first))
    assert next(told) == line(1, "a")
    with pytest.raises(HostError, match="refused"):
        next(told)


def test_closing_it_ends_what_waits(deployed: World) -> None:
    agent = Agent(lambda agent: (agent.say(event(1, "a")), agent.alive({}))[1])
    told = following(deployed, agent)
    next(told)
    told.close()
    assert agent.closed.is_set()
    assert "geusemaker-logs" not in {thread.name for thread in threading.enumerate()}
