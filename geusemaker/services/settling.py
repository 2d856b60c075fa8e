"""The settle time: how long all services have to stay ready before anybody calls that healthy. Pure.

It is a fact of the deployment. A version does not carry it, so no rollback shortens or lengthens it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from geusemaker.agent.protocol.looks import Life, ServiceHealth
from geusemaker.errors import InvalidInputError
from geusemaker.models.history import ApplyOutcome
from geusemaker.models.plan import ConfigChange
from geusemaker.models.stack import SETTLE_LIMIT_SECONDS, Target


def settle_seconds(wanted: int | None, default: int) -> int:
    """What was asked for, or the default.

    Raises:
        InvalidInputError: it cannot be had.
    """
    if wanted is None:
        return default
    if not 0 <= wanted <= SETTLE_LIMIT_SECONDS:
        raise InvalidInputError(
            f"Services can be given 0 to {SETTLE_LIMIT_SECONDS} seconds to settle, not {wanted}.",
        )
    return wanted


def with_settle_time(target: Target, wanted: int | None) -> Target:
    """The target with the settle time that is asked for.

    Raises:
        InvalidInputError: it cannot be had.
    """
    return target.model_copy(update={"settle_seconds": settle_seconds(wanted, target.settle_seconds)})


def settle_change(before: Target | None, after: Target) -> tuple[ConfigChange, ...]:
    """The line of a plan that says so."""
    if before is None or before.settle_seconds == after.settle_seconds:
        return ()
    return (ConfigChange(path="settle_seconds", old=str(before.settle_seconds), new=str(after.settle_seconds)),)


def not_healthy(names: Iterable[str], before: Mapping[str, Life], now: Mapping[str, ServiceHealth]) -> dict[str, str]:
    """Service → why it is not healthy any more, of those that the gate called healthy in ``before``."""
    found = other_lives(before, now)
    for name in names:
        service = now.get(name) or ServiceHealth()
        if name not in found and not service.healthy:
            found[name] = service.detail or service.state or "there is no container"
    return found


def not_healthy_after_all(ill: Mapping[str, str]) -> ApplyOutcome:
    """What a run of the engine comes to whose services were healthy at its end, and are not any more.

    To the rest of an operation it is the gate that failed.
    """
    services = {name: {"state": "unhealthy", "reason": why, "healthy": False} for name, why in ill.items()}
    text = "; ".join(f"{name}: {why}" for name, why in sorted(ill.items()))
    error = {
        "event": "error",
        "code": "unhealthy",
        "message": f"Not healthy: {text}.",
        "detail": {"services": services},
    }
    return ApplyOutcome(succeeded=False, agent_error=error)


def other_lives(before: Mapping[str, Life], now: Mapping[str, Life]) -> dict[str, str]:
    """Service → what is not as it was between two looks at the same containers; what was not told is not compared."""
    found = {}
    for name, old in before.items():
        new = now.get(name)
        if new is None:
            found[name] = "there is no container any more"
        elif old.container and new.container != old.container:
            found[name] = "its container was replaced"
        elif old.started_at and (new.started_at, new.restarts) != (old.started_at, old.restarts):
            found[name] = "it was started again"
    return found
