"""A wait that is long is told: what is waited for, and for how long."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from geusemaker.engine.waiting import Waiting
from geusemaker.models.plan import Event
from tests.unit.test_engine.test_events import engine_event, state, step

GROUP = "aws:ec2/securityGroup:SecurityGroup"
URN = f"urn:pulumi:prod::geusemaker::{GROUP}::storage"


def group(op: str, **more: Any) -> dict[str, Any]:
    return {"metadata": step(op, GROUP, urn=URN, **more)}


def begun(op: str = "delete") -> Any:
    return engine_event(resourcePreEvent=group(op, old=state(type=GROUP, urn=URN, id="sg-1")))


def test_what_has_begun_and_not_ended_is_under_way() -> None:
    waiting = Waiting(lambda event: None)
    waiting.watch(begun("same"))
    assert waiting.under_way == []
    waiting.watch(begun())
    assert waiting.under_way == ["deleting security group storage (sg-1)"]
    waiting.watch(engine_event(resOutputsEvent=group("delete")))
    assert waiting.under_way == []
    waiting.watch(engine_event(resourcePreEvent=group("create")))
    assert waiting.under_way == ["making security group storage"]
    waiting.watch(engine_event(resOpFailedEvent=group("create") | {"status": 1, "steps": 1}))
    assert waiting.under_way == []


def test_a_long_wait_is_told_and_told_again() -> None:
    told: list[Event] = []
    twice = threading.Event()

    def on_event(event: Event) -> None:
        told.append(event)
        if len(told) == 2:
            twice.set()

    waiting = Waiting(on_event)
    waiting.watch(begun())
    with waiting.telling(quiet_seconds=0.05):
        assert twice.wait(30)
    assert all("deleting security group storage (sg-1)" in event.message for event in told)
    assert all(event.kind == "note" and event.message.startswith("Waiting for ") for event in told)


@pytest.mark.parametrize("quiet_seconds", [60.0, 0.01])
def test_nothing_is_told_where_nothing_is_waited_for(quiet_seconds: float) -> None:
    told: list[Event] = []
    waiting = Waiting(told.append)
    if quiet_seconds == 60.0:
        waiting.watch(begun())
    with waiting.telling(quiet_seconds):
        pass
    assert told == []
