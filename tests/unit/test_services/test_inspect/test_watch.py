"""Looks again and again, as long as something goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from geusemaker.errors import EngineError, HostError, RefusedError
from geusemaker.models.inspection import Inspection, Interruption
from geusemaker.services.inspect.watch import watch
from tests.unit.fakes import Killed, World

RUNS = Interruption(operation_id="op-2", kind="update", number=2, actor="bob", running=True)


def look(status: str = "healthy", interruption: Interruption | None = None) -> Inspection:
    return Inspection(deployment="prod", target="local", status=status, interruption=interruption)


def watched(*found: Inspection | Exception) -> tuple[list[str], int]:
    """The statuses that were seen, and how often it was waited."""
    looks, pauses = iter(found), []

    def one() -> Inspection:
        seen = next(looks)
        if isinstance(seen, Exception):
            raise seen
        return seen

    return [seen.status for seen in watch(one, lambda: pauses.append(1))], len(pauses)


def test_it_ends_when_nothing_goes_on() -> None:
    assert watched(look()) == (["healthy"], 0)
    assert watched(look("running", RUNS), look("settling"), look("healthy")) == (["running", "settling", "healthy"], 2)


def test_a_killed_operation_is_not_waited_for() -> None:
    assert watched(look("interrupted", RUNS.model_copy(update={"running": False}))) == (["interrupted"], 0)


def test_some_looks_may_fail() -> None:
    hangs = [HostError("it reboots."), EngineError("the lock is held.")]
    assert watched(look("running", RUNS), *hangs, *hangs, look()) == (["running", "healthy"], 5)


def test_many_looks_in_a_row_or_a_refusal_end_it() -> None:
    with pytest.raises(HostError, match=r"it hangs\. What is watched goes on, seen or not\."):
        watched(*[HostError("it hangs.")] * 5)
    with pytest.raises(RefusedError):
        watched(RefusedError("another account."))


@pytest.fixture
def at_the_gate(deployed: World) -> Iterator[World]:
    """An update of another machine, which waits for its services."""
    deployed.fail_at("engine.up", Killed())
    with pytest.raises(Killed):
        deployed.n8n("1.101.0")
    intent = deployed.state().intent
    assert intent is not None
    deployed.engine.set_intent(intent.model_copy(update={"host": "elsewhere"}))
    deployed.machine.working[intent.operation_id] = "gate"
    yield deployed


def test_the_step_of_another_machines_operation_is_told(at_the_gate: World) -> None:
    found = at_the_gate.inspect().interruption
    assert found is not None and (found.running, found.host, found.step) == (True, "elsewhere", "gate")
    at_the_gate.machine.working.clear()
    found = at_the_gate.inspect().interruption
    assert found is not None and found.step == ""
