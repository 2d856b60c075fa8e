"""How the services are that should run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from geusemaker.agent.protocol.looks import ServiceHealth
from geusemaker.models.inspection import ServiceState, StoppedService
from geusemaker.models.stack import ServiceName
from geusemaker.program.compose import probes
from geusemaker.services.judgement.facts import Facts, Judgement
from geusemaker.services.rollback.target import mending

_AGAIN_AND_AGAIN: Final = 3
"""So often Docker has started a service again by itself that starting it once more does not help."""


def judge_services(facts: Facts) -> Judgement:
    """How the services are that should run."""
    state = facts.state
    assert state.active is not None
    name, active = state.name, state.active
    resting: dict[str, StoppedService] = {
        service: note
        for service, note in facts.stopped.items()
        if service in active.config.services and not _runs(facts.services.get(service))
    }
    apart = "".join(f" {_resting(service, note)}." for service, note in sorted(resting.items()))
    awake = [service for service in sorted(active.config.services) if service not in resting]
    drifted = drift(facts, resting)
    ill = [service for service in awake if _is_ill(facts, service)]
    repairs = (*drifted, *(f"{service}: {_how(facts.services.get(service))}" for service in ill))
    restarts = _hanging(facts, ill)
    if drifted:
        also = f" Not healthy: {', '.join(ill)}." if ill else ""
        return Judgement(
            "drifted",
            f"v{active.number} is active, but {'; '.join(drifted)}. {mending(state, 'puts it right')}{also}{apart}",
            repairs,
            restarts,
        )
    if ill:
        told = ", ".join(f"{service} ({_how(facts.services.get(service))})" for service in ill)
        failing = _failing(facts, ill)
        way = mending(state, "starts what should run", failing=bool(failing))
        way = f"; {way}" if way.startswith("`") else f". {way}"
        return Judgement(
            "unhealthy",
            f"v{active.number} is active, but not healthy: {told}. See `geusemaker logs {name} {ill[0]}`{way}{apart}",
            repairs,
            restarts,
            failing,
        )
    young = [service for service in awake if _is_young(facts, service)]
    if young:
        return Judgement(
            "settling",
            f"v{active.number} is active and answers; it is called healthy when it has done so for "
            f"{facts.settle_seconds:g} s without a restart: {', '.join(young)} started less than that ago.{apart}",
        )
    if resting:
        only = sorted(resting)[0] if len(resting) == 1 else ""
        start = f"geusemaker start {name} {only}".strip()
        return Judgement("stopped", f"v{active.number} is active.{apart} `{start}` starts it again.")
    return Judgement("healthy", f"v{active.number} is active and healthy.")


def drift(facts: Facts, resting: Mapping[str, StoppedService] | None = None) -> list[str]:
    """Where what is there is not what the active version and the target say. A stopped service may be behind."""
    active, target, volume, instance = facts.state.active, facts.state.target, facts.volume, facts.instance
    if active is None:
        return []
    found = []
    if volume is not None and target is not None and volume.size_gib != target.data_volume_gib:
        found.append(f"the data volume has {volume.size_gib} GiB, not {target.data_volume_gib}")
    if instance is not None and instance.type != active.config.instance_type:
        found.append(f"the instance is a {instance.type}, not a {active.config.instance_type}")
    if instance is not None and instance.others:
        found.append(f"{', '.join(instance.others)} carries the deployment's tag as well")
    return found + [
        f"{name} runs {found_service.image}"
        for name, service in active.config.services.items()
        if name not in (resting or {})
        and (found_service := facts.services.get(name)) is not None
        and found_service.image is not None
        and found_service.image.rpartition("@")[2] != service.image.digest
    ]


def _resting(service: str, note: StoppedService) -> str:
    why = f" ({note.reason})" if note.reason else ""
    return f"{service} is stopped on purpose, by {note.by} since {_moment(note.since)}{why}"


def _moment(told: str) -> str:
    """An instant to the minute, with its time zone; as it is noted where that is in another form."""
    try:
        noted = datetime.fromisoformat(told)
    except ValueError:
        return told
    return noted.replace(tzinfo=noted.tzinfo or UTC).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _runs(service: ServiceState | None) -> bool:
    return service is not None and (service.healthy or service.state in ("running", "restarting", "paused"))


def _is_ill(facts: Facts, service: str) -> bool:
    found = facts.services.get(service)
    return facts.asked and (found is None or not found.healthy)


def _how(service: ServiceState | None) -> str:
    if service is None:
        return "there is no container"
    return service.detail or service.state or "does not answer"


def _hanging(facts: Facts, ill: Sequence[ServiceName]) -> tuple[ServiceName, ...]:
    return tuple(
        service
        for service in ill
        if (found := facts.services.get(service)) is not None and found.state in ("running", "unhealthy")
    )


def _failing(facts: Facts, ill: Sequence[ServiceName]) -> tuple[ServiceName, ...]:
    """Those that end again and again although all that they need is healthy."""
    assert facts.state.active is not None
    needs = {name: one["depends_on"] for name, one in probes(facts.state.active.config).items()}
    return tuple(
        service
        for service in ill
        if (found := facts.services.get(service)) is not None
        and _ends_again_and_again(found.state, found.restarts)
        and not set(needs[service]) & set(ill)
    )


def fails_by_itself(watched: Mapping[str, Any], services: Mapping[str, ServiceHealth]) -> bool:
    """Whether a service ends again and again although all that it needs is healthy.

    Args:
        watched: what was asked for, with what each service depends on.
        services: how they are.
    """
    ill = {name for name, found in services.items() if not found.healthy}
    return any(
        _ends_again_and_again(services[name].state, services[name].restarts)
        and not {*watched[name]["depends_on"]} & ill
        for name in ill & set(watched)
    )


def _ends_again_and_again(state: str, restarts: int) -> bool:
    return state == "restarting" or restarts >= _AGAIN_AND_AGAIN


def _is_young(facts: Facts, service: str) -> bool:
    found = facts.services.get(service)
    return found is not None and found.age_seconds is not None and found.age_seconds < facts.settle_seconds
