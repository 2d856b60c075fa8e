"""What a run of the engine that failed is called. Pure."""

from __future__ import annotations

from typing import Final

from geusemaker.agent.protocol.answers import Applied, FailedService, Failure
from geusemaker.agent.protocol.looks import Gate
from geusemaker.agent.protocol.reading import read
from geusemaker.cloud.refusals import Refusal, find_refusal
from geusemaker.models.history import ApplyOutcome
from geusemaker.models.inspection import InstanceState
from geusemaker.models.version import Trigger

_UNHEALTHY: Final = "unhealthy"
_PENDING: Final = ("waiting", "migrating")
_WAITS: Final = {
    "agent": "the instance to let us in over SSH",
    "mount": "the instance to have its data mounted",
    "apply": "the containers to be replaced",
    "gate": "the services to become healthy",
}
"""The program's commands, by what the engine waits for while one runs."""


def gate_of(outcome: ApplyOutcome) -> Gate | None:
    """What the gate said that passed; None: it did not, or did not come to it."""
    told = outcome.agent_results.get("gate")
    return None if told is None else read(Gate, told)


def applied_of(outcome: ApplyOutcome) -> Applied:
    """What the instance said it did when the containers were replaced; nothing where it did not come to its end."""
    return read(Applied, outcome.agent_results.get("apply"))


def failure_of(outcome: ApplyOutcome) -> Failure | None:
    """What the agent said where a command on the instance failed."""
    return None if outcome.agent_error is None else read(Failure, outcome.agent_error)


def health_of(outcome: ApplyOutcome) -> dict[str, bool]:
    """Service → whether it was healthy in the end, of those that the gate spoke of."""
    if (gate := gate_of(outcome)) is not None:
        return gate.health
    failure = failure_of(outcome) or Failure()
    return {name: service.state == "healthy" for name, service in failure.detail.services.items()}


def to_blame(outcome: ApplyOutcome) -> dict[str, FailedService]:
    """Service → what is the matter with it, of those that the gate failed because of.

    A definite failure ends the gate at once: the others were still being waited for, and are not to blame. Where all
    were being waited for until the deadline passed, all are.
    """
    failure = failure_of(outcome) or Failure()
    unhealthy = {name: found for name, found in sorted(failure.detail.services.items()) if found.state != "healthy"}
    return {name: found for name, found in unhealthy.items() if found.state not in _PENDING} or unhealthy


def trigger_of(outcome: ApplyOutcome) -> Trigger:
    """Why a return is made: the deadline passed, the gate said no, or the engine, AWS or the instance refused."""
    if outcome.timed_out:
        return "timeout"
    failure = failure_of(outcome)
    return "health_check_failed" if failure is not None and failure.code == _UNHEALTHY else "apply_failed"


def refusal_in(outcome: ApplyOutcome) -> Refusal | None:
    """What AWS refused, where it is one of its usual refusals."""
    return find_refusal([*outcome.diagnostics, outcome.failure]) if outcome.agent_error is None else None


def waited_for(outcome: ApplyOutcome, instance: InstanceState | None, instance_type: str) -> str:
    """What a run that was stopped at its deadline was waiting for; empty where nobody knows.

    The provider goes on asking for an instance that AWS has no capacity for, and does not say so: what AWS has of the
    instance by now tells.
    """
    if not outcome.waiting:
        return ""
    parts = [_WAITS.get(name) or f"AWS to be done with {name}" for name in outcome.waiting]
    text = f" It was waiting for {' and '.join(parts)}."
    if any(name.startswith("Instance ") for name in outcome.waiting):
        found = f"{instance.id} is {instance.state}" if instance is not None else "there is none"
        text += (
            f" AWS says of the instance: {found}. Where that stays so, it mostly has no {instance_type} in this zone "
            "right now: try again later, or choose another --instance-type."
        )
    return text
