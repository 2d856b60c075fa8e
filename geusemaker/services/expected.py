"""How long services are likely to be away, by what this deployment's own changes of before took. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final, Literal

from geusemaker.models.plan import Plan
from geusemaker.models.record import OperationRecord
from geusemaker.services.guard import replaces_instance

_LAST: Final = 5
"""So many like changes are looked at: what was long ago, was of other releases and other data."""

Manner = Literal["another instance", "stopped instance", "containers"]


def told(records: Iterable[OperationRecord], plan: Plan) -> str:
    """``By the last 3 like changes: n8n about 12 s.``; empty where there is none, or nothing is away."""
    if plan.active_version is None or plan.holds_all:
        return ""
    wanted = _of_plan(plan)
    away = _away(plan, wanted)
    like = [one.away_seconds or {} for one in records if _counts(one) and _of_record(one) == wanted]
    seconds: dict[str, list[float]] = {}
    for measured in reversed(like):
        for name in away & measured.keys():
            if len(seconds.setdefault(name, [])) < _LAST:
                seconds[name].append(measured[name])
    if not seconds:
        return ""
    changes = max(map(len, seconds.values()))
    by = "the last like change" if changes == 1 else f"the last {changes} like changes"
    return f"By {by}: {', '.join(f'{name} about {_time(seconds[name])}' for name in sorted(seconds))}."


def _of_plan(plan: Plan) -> Manner:
    if replaces_instance(plan.operations):
        return "another instance"
    return "stopped instance" if plan.stops_instance else "containers"


def _counts(record: OperationRecord) -> bool:
    """A repair may have been anything, a reboot too."""
    return record.success and record.kind in ("update", "rollback")


def _of_record(record: OperationRecord) -> Manner:
    """By what it changed; see ConfigChange for how that is written."""
    paths = {text.partition(":")[0] for text in record.changes}
    if "ami" in paths:
        return "another instance"
    return "stopped instance" if "instance_type" in paths else "containers"


def _away(plan: Plan, manner: Manner) -> set[str]:
    """The services that will be away, as far as that is known."""
    if manner != "containers":
        return set(plan.config.services)
    if plan.replaced is not None:
        return set(plan.replaced)
    return {change.path.partition(".")[0] for change in plan.changes} & plan.config.services.keys()


def _time(seconds: Sequence[float]) -> str:
    """The middle one, so that a single slow night does not count."""
    middle = median(seconds)
    return f"{max(1, round(middle))} s" if middle < 90 else f"{middle / 60:.0f} min"
