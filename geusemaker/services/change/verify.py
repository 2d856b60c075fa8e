"""Looks whether what the engine called done is so: the instance, the data, the services once more."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from geusemaker.errors import GeusemakerError
from geusemaker.models.checkpoint import DataNow
from geusemaker.models.held import DataReturn
from geusemaker.models.history import ApplyOutcome
from geusemaker.models.result import NewerData
from geusemaker.program.compose import probes
from geusemaker.services import crossing, data_return, manifest
from geusemaker.services.change.work import Work
from geusemaker.services.collaborators import Host
from geusemaker.services.outcomes import applied_of, gate_of
from geusemaker.services.settling import not_healthy, other_lives

_LAST_LOOKS: Final = 5


@dataclass(frozen=True)
class Seen:
    """What was seen after the engine's run."""

    host: Host | None = None
    problem: str = ""
    """What is not as it should be, so that a person has to look."""
    ill: Mapping[str, str] = field(default_factory=dict)
    """Service → why it is not any more as the gate left it."""
    after: dict[str, Any] | None = None
    """The manifest of the data."""
    became: manifest.Comparison = field(default_factory=manifest.Comparison)
    """What became of the data that was there before."""
    crossed: NewerData | None = None
    """Set where what runs now is older than what migrated its data."""


def verify(work: Work, outcome: ApplyOutcome, before: dict[str, Any] | None) -> Seen:
    """Look. What fails in it is a problem that is seen, and no error: its exit code says that nothing was changed."""
    change, plan, connection = work.change, work.plan, work.connection
    problem, ill = "", dict[str, str]()
    after: dict[str, Any] | None = None
    host: Host | None = None
    crossed: NewerData | None = None
    became = manifest.Comparison()
    try:
        with work.phase("verify"), ThreadPoolExecutor(1) as pool:
            known = None if plan.stops_instance else connection.host
            data = pool.submit(manifest.read, known) if known is not None else None
            instance = work.collaborators.cloud(change.target.region).find_instance(work.asked.name)
            if instance is None or instance.type != plan.config.instance_type or instance.state != "running":
                found = f"{instance.type}, {instance.state}" if instance else "missing"
                problem = f"the instance is not the {plan.config.instance_type} that was asked for ({found})"
            host = known if known is not None else connection.renew(change.target, instance)
            if host is not None:
                after = data.result() if data is not None else manifest.read(host)
                applied = applied_of(outcome)
                became = manifest.compare(data_return.comparable(before, plan.data_return, applied), after)
                lost = [*became.losses, *_not_returned(host, plan.data_return, after)]
                if lost:
                    problem = "DATA IS MISSING after the change: " + "; ".join(lost)
                asked = work.asked
                crossed = crossing.look(
                    work.collaborators, host, asked.state, asked.left, plan.config, change.began_with, after
                )
                # Last: what is said next is that all is healthy.
                ill = _look_again(work, host, outcome)
    except GeusemakerError as error:
        problem = f"it could not be verified ({error.message.rstrip('.')})"
        host = work.after_failure()
    return Seen(host, problem, ill, after, became, crossed)


def _not_returned(host: Host, returned: DataReturn | None, after: dict[str, Any]) -> list[str]:
    """What of the data that went back is not there: it is compared with its checkpoint, not with what made way."""
    if returned is None:
        return []
    now = DataNow.model_validate(host.checkpoints(returned.services).now)
    return data_return.lacking(returned, now, data_return.all_databases(after))


def _look_again(work: Work, host: Host, outcome: ApplyOutcome) -> dict[str, str]:
    """Service → why it is not any more as the gate left it. Who gives no answer in time is asked again."""
    config = work.plan.config
    gate = gate_of(outcome)
    left = gate.services if gate is not None else {}
    ill: dict[str, str] = {}
    for number in range(_LAST_LOOKS):
        if number:
            work.collaborators.clock.sleep(1.0)
        health = host.health(probes(config))
        ill = not_healthy([name for name in config.services if name not in health.stopped], left, health.services)
        if not ill or other_lives(left, health.services):
            break
    return ill
