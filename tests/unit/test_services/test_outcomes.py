"""What a failed run of the engine is called."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.models.history import ApplyOutcome
from geusemaker.models.inspection import InstanceState
from geusemaker.services import notices
from geusemaker.services.outcomes import to_blame, trigger_of, waited_for
from tests.unit.fakes import World
from tests.unit.samples import config

CAPACITY = "api error InsufficientInstanceCapacity: We currently do not have sufficient capacity"


@pytest.mark.parametrize(
    ("outcome", "trigger"),
    [
        ({"timed_out": True}, "timeout"),
        ({"timed_out": True, "agent_error": {"code": "unhealthy"}}, "timeout"),
        ({"agent_error": {"code": "unhealthy"}}, "health_check_failed"),
        ({"agent_error": {"code": "mount_failed"}}, "apply_failed"),
        ({"diagnostics": (CAPACITY,)}, "apply_failed"),
        ({"failure": "The engine was killed."}, "apply_failed"),
    ],
)
def test_triggers(outcome: dict[str, Any], trigger: str) -> None:
    assert trigger_of(ApplyOutcome(succeeded=False, **outcome)) == trigger


@pytest.mark.parametrize(
    ("states", "blamed"),
    [
        ({"n8n": "waiting", "qdrant": "healthy", "redis": "restarting"}, ["redis"]),
        ({"n8n": "migrating", "qdrant": "waiting", "redis": "healthy"}, ["n8n", "qdrant"]),
        ({}, []),
    ],
)
def test_what_was_still_being_waited_for_is_not_to_blame(states: dict[str, str], blamed: list[str]) -> None:
    detail = {"services": {name: {"state": state} for name, state in states.items()}}
    outcome = ApplyOutcome(succeeded=False, agent_error={"code": "unhealthy", "detail": detail})
    assert [*to_blame(outcome)] == blamed


def test_a_deadline_names_what_was_waited_for_and_what_aws_says() -> None:
    outcome = ApplyOutcome(succeeded=False, timed_out=True, waiting=("Instance instance",))
    stopped = InstanceState(id="i-1", type="t3.large", state="stopped", address="")
    said = waited_for(outcome, stopped, "g5.xlarge")
    assert "waiting for AWS to be done with Instance instance." in said
    assert "i-1 is stopped" in said and "no g5.xlarge in this zone" in said
    assert "there is none" in waited_for(outcome, None, "g5.xlarge")
    gate = ApplyOutcome(succeeded=False, timed_out=True, waiting=("gate",))
    assert waited_for(gate, stopped, "t3.large") == " It was waiting for the services to become healthy."
    assert waited_for(ApplyOutcome(succeeded=False, timed_out=True), stopped, "t3.large") == ""


def test_a_refusal_of_aws_is_one_sentence_with_a_next_step() -> None:
    outcome = ApplyOutcome(succeeded=False, diagnostics=(CAPACITY,))
    assert notices.failure(outcome, config()).endswith("(InsufficientInstanceCapacity).")
    assert notices.mend("prod", "/e", outcome).startswith("Try again later, or choose another --instance-type; then")
    full = ApplyOutcome(succeeded=False, agent_error={"code": "no_space", "message": "Full."})
    assert notices.mend("prod", "/e", full).startswith("Mend what stood in the way")
    ill = ApplyOutcome(succeeded=False, agent_error={"code": "unhealthy"})
    assert notices.mend("prod", None, ill) == "Update prod to a mended release."


def test_a_return_after_a_refusal_has_its_own_trigger_and_says_what_to_do(deployed: World) -> None:
    deployed.engine.outcomes.append("no-capacity")
    result = deployed.update(instance_type="t3.xlarge")
    assert (result.exit_code, result.rolled_back_to) == (3, 1)
    assert "AWS has no capacity for this instance type in this zone right now" in str(result.error_message)
    assert "choose another --instance-type" in result.next_step
    newest = deployed.state().versions[-1]
    assert newest.provenance.trigger == "apply_failed"


def test_a_provider_that_repeats_itself_in_silence_is_stopped_once_ec2_says_why(deployed: World) -> None:
    deployed.engine.outcomes.append("silent-provider")
    began = deployed.clock.monotonic()
    result = deployed.update(instance_type="t3.xlarge")
    assert (result.exit_code, result.rolled_back_to) == (3, 1)
    assert "AWS has no capacity for this instance type in this zone right now" in str(result.error_message)
    assert "choose another --instance-type" in result.next_step
    assert deployed.state().versions[-1].provenance.trigger == "apply_failed"
    assert deployed.clock.monotonic() - began < 60
