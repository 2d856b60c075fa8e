"""Why an instance does not run that should, and how a version comes back whose instance is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from geusemaker.agent.protocol.stored import SpotNotice
from geusemaker.models.ending import InstanceEnd
from geusemaker.models.inspection import InstanceState
from geusemaker.models.stack import RollbackSettings, StackConfig
from geusemaker.services.interruption import brought_back, how_it_ended, waits_for_capacity, what_was_noticed
from tests.unit.samples import NIGHT, config

SHUTDOWN, TERMINATION = "Server.SpotInstanceShutdown", "Server.SpotInstanceTermination"
NOTICE = SpotNotice("i-1", "stop", "02:07", NIGHT.isoformat(), "boot-1", ("n8n",))
NOW = NIGHT + timedelta(minutes=1)


def spot(on_interruption: Any = "wait") -> StackConfig:
    return config(purchase="spot", rollback=RollbackSettings(on_interruption=on_interruption))


def instance(state: str = "stopped", reason: str = SHUTDOWN) -> InstanceState:
    return InstanceState(id="i-1", type="t3.large", state=state, address="", reason=reason)


@pytest.mark.parametrize(
    ("reason", "cause", "why"),
    [
        (SHUTDOWN, "interrupted", "EC2 took i-1 back, as it does with spot"),
        (TERMINATION, "interrupted", "EC2 took i-1 back, as it does with spot"),
        ("Server.ScheduledStop", "interrupted", "AWS itself ended i-1: Server.ScheduledStop"),
        ("Client.InstanceInitiatedShutdown", "interrupted", "i-1 was shut down from within"),
        ("Client.UserInitiatedShutdown", "on_purpose", "somebody had AWS end i-1"),
        ("Client.UserInitiatedHibernate", "on_purpose", "somebody had AWS end i-1"),
        ("Client.VolumeLimitExceeded", "unknown", ""),
        ("", "unknown", ""),
    ],
)
def test_ec2_tells_it_by_a_code(reason: str, cause: str, why: str) -> None:
    wanted = InstanceEnd.model_validate({"instance_id": "i-1", "cause": cause, "why": why})
    assert how_it_ended(config(), instance(reason=reason), None) == wanted
    assert how_it_ended(config(), None, instance("terminated", reason)) == wanted


@pytest.mark.parametrize("state", ["pending", "running"])
def test_one_that_runs_has_not_ended(state: str) -> None:
    assert how_it_ended(config(), instance(state), None) is None


def test_where_none_is_to_be_none_has_ended() -> None:
    assert how_it_ended(None, instance(), None) is None


def test_of_what_aws_has_forgotten_a_spot_instance_was_taken() -> None:
    forgotten = how_it_ended(spot(), None, None)
    assert forgotten is not None and (forgotten.cause, forgotten.instance_id) == ("interrupted", "")
    assert how_it_ended(config(), None, None) == InstanceEnd(cause="unknown")


@pytest.mark.parametrize(
    ("notice", "boot", "cause"),
    [
        (None, "boot-1", None),
        (SpotNotice("i-2", "stop"), "boot-1", None),
        (NOTICE, "boot-1", "ending"),
        (NOTICE, "boot-2", "interrupted"),
        (replace(NOTICE, noticed_at=(NIGHT - timedelta(hours=1)).isoformat()), "boot-1", "interrupted"),
        (replace(NOTICE, noticed_at="at night"), "boot-1", "ending"),
        (replace(NOTICE, at="", returned_at="03:20"), "boot-2", "returned"),
    ],
)
def test_what_an_instance_has_noted(notice: SpotNotice | None, boot: str, cause: str | None) -> None:
    found = what_was_noticed(notice, boot, instance("running"), NOW)
    assert (found.cause if found is not None else None) == cause


def test_an_instance_that_is_not_there_notes_nothing() -> None:
    assert what_was_noticed(NOTICE, "boot-1", None, NOW) is None
    assert what_was_noticed(NOTICE, "boot-1", instance("stopped"), NOW) is None


@pytest.mark.parametrize(
    ("held", "found", "waits"),
    [
        (spot(), instance(), True),
        (spot(), instance("stopping", TERMINATION), True),
        (spot("on-demand"), instance(), False),
        (spot(), instance(reason="Client.UserInitiatedShutdown"), False),
        (spot(), instance("terminated"), False),
        (spot(), None, False),
        (config(), instance(), False),
        (None, instance(), False),
    ],
)
def test_only_ec2_starts_what_it_stopped(held: StackConfig | None, found: InstanceState | None, waits: bool) -> None:
    assert waits_for_capacity(held, found) is waits


@pytest.mark.parametrize(
    ("held", "cause", "asked", "purchase"),
    [
        (spot(), "interrupted", False, "spot"),
        (spot("on-demand"), "interrupted", False, "on-demand"),
        (spot("on-demand"), "on_purpose", False, "spot"),
        (spot(), "on_purpose", True, "on-demand"),
        (spot(), None, True, "spot"),
        (config(), "interrupted", True, "on-demand"),
    ],
)
def test_it_comes_back_as_it_was_unless_something_says_otherwise(
    held: StackConfig, cause: Any, asked: bool, purchase: str
) -> None:
    ended = InstanceEnd(cause=cause) if cause else None
    back = brought_back(held, ended, on_demand=asked)
    assert back.purchase == purchase and back.services == held.services
