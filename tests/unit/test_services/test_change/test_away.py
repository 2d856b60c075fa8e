"""How long services were away, and where that is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from geusemaker.errors import HostError
from geusemaker.models.plan import Event
from geusemaker.services.change.away import Away
from tests.unit.fakes import FakeClock, World


class StillClock(FakeClock):
    """One that goes on by sleeping alone."""

    def monotonic(self) -> float:
        return self._now.timestamp()


class Told:
    """Events of services, at moments of a clock."""

    def __init__(self, *running: str) -> None:
        self.clock = StillClock()
        self.passed: list[Event] = []
        self.away = Away(self.clock, self.passed.append, running)

    def say(self, name: str, state: str, after: float = 0.0) -> None:
        self.clock.sleep(after)
        self.away.event(Event(kind="service", name=name, state=state))


def test_from_the_stop_to_the_first_look_that_finds_it_ready() -> None:
    told = Told("n8n", "qdrant")
    told.say("n8n", "stopping")
    told.say("n8n", "starting", 2)
    told.say("n8n", "healthy", 3)
    told.say("n8n", "healthy", 9)
    told.say("qdrant", "healthy")
    assert told.away.seconds == {"n8n": 5.0}
    assert [event.state for event in told.passed] == ["stopping", "starting", "healthy", "healthy", "healthy"]


def test_twice_away_is_both() -> None:
    told = Told("n8n")
    for _ in range(2):
        told.say("n8n", "stopping", 10)
        told.say("n8n", "stopping", 1)
        told.say("n8n", "healthy", 1)
    assert told.away.seconds == {"n8n": 4.0}


def test_what_did_not_run_or_does_not_come_back_was_not_away() -> None:
    told = Told("n8n")
    told.say("redis", "stopping")
    told.say("redis", "healthy", 1)
    told.say("n8n", "stopping")
    told.say("n8n", "removed", 1)
    told.away.event(Event(kind="phase", name="n8n", state="stopping"))
    assert told.away.seconds == {}


@pytest.fixture
def deployed(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.deploy()
    world.machine.stops_for = 3.0
    return world


def test_a_change_tells_it_and_the_version_keeps_it(deployed: World) -> None:
    away = deployed.n8n("2.43.0").away_seconds
    assert away.keys() == {"n8n"} and away["n8n"] >= 3
    first, last = deployed.inspect().versions
    assert (first.away_seconds, last.away_seconds) == ({}, away)


def test_what_no_journal_in_reach_tells_is_not_known(deployed: World) -> None:
    deployed.n8n("2.43.0")
    deployed.host_failures["journal"] = HostError("it hangs.", code="unreachable")
    deployed.records.records.clear()
    assert [version.away_seconds for version in deployed.inspect().versions] == [None, None]


def test_a_failed_change_tells_it_until_what_was_there_is_back(deployed: World) -> None:
    result = deployed.n8n("2.43.0-crash")
    assert result.exit_code == 3 and result.away_seconds.keys() == {"n8n"}
    back = deployed.inspect().versions[-1]
    assert (
        back.provenance.kind == "rollback" and 3 <= (back.away_seconds or {})["n8n"] <= result.away_seconds["n8n"] - 3
    )
