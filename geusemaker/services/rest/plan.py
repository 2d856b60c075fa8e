"""What a stop or a start would do. Pure."""

from __future__ import annotations

from collections.abc import Collection

from geusemaker.models.plan import RestPlan
from geusemaker.models.request import RestRequest
from geusemaker.models.stack import ServiceName, StackConfig, Target
from geusemaker.models.version import Version
from geusemaker.program.compose import probes


def to_stop(config: StackConfig, named: Collection[ServiceName]) -> tuple[tuple[ServiceName, ...], tuple[str, ...]]:
    """The services to stop where these are named, none meaning all, and why more than those.

    What needs a service stops with it: it could do nothing but fail.
    """
    needs = {name: probe["depends_on"] for name, probe in probes(config).items()}
    chosen = set(named or config.services)
    also = {name: sorted(chosen & set(needs[name])) for name in config.services if name not in chosen}
    why = tuple(f"{name} stops as well: it needs {' and '.join(lost)}" for name, lost in also.items() if lost)
    return _ordered(config, chosen | {name for name, lost in also.items() if lost}), why


def to_start(
    config: StackConfig, named: Collection[ServiceName], down: Collection[str]
) -> tuple[tuple[ServiceName, ...], tuple[str, ...]]:
    """The services to start where these are named, none meaning all that are down, and why more than those."""
    needs = {name: probe["depends_on"] for name, probe in probes(config).items()}
    chosen = {name for name in config.services if name in down and (not named or name in named)}
    needed = {name: sorted(one for one in chosen if name in needs[one]) for name in config.services}
    also = {name: by for name, by in needed.items() if by and name in down and name not in chosen}
    why = tuple(f"{name} starts as well: {' and '.join(by)} needs it" for name, by in also.items())
    return _ordered(config, chosen | also.keys()), why


def _ordered(config: StackConfig, chosen: Collection[str]) -> tuple[ServiceName, ...]:
    return tuple(name for name in config.services if name in chosen)


def make_plan(
    name: str,
    operation_id: str,
    active: Version,
    target: Target,
    request: RestRequest,
    services: tuple[ServiceName, ...],
    why: tuple[str, ...],
    instance: str,
) -> RestPlan:
    """The plan to have these services stop or start, and the instance ``instance`` as well, if it is named."""
    words = ", ".join(services)
    if not services and not instance:
        already = "stopped" if request.kind == "stop" else "running"
        summary = f"{', '.join(request.services) or 'All'} is {already} already"
    elif request.kind == "stop":
        what = " and then ".join(filter(None, (words, instance)))
        summary = f"{what} stops, and stays so until `geusemaker start {name}`: nothing starts it by itself"
    else:
        first = f"{instance} starts, and then {words}" if instance else f"{words} starts"
        summary = f"{first}, as v{active.number} has it"
    return RestPlan(
        deployment=name,
        kind=request.kind,
        operation_id=operation_id,
        services=services,
        instance=instance,
        summary=summary,
        because=why if services else (),
        reason=request.reason,
        active_version=active.number,
        target_kind=target.kind,
    )
