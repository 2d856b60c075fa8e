"""What an unattended process may repair by itself: an instance that nobody wanted to stop, and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from geusemaker.errors import RefusedError
from geusemaker.models.inspection import Inspection
from geusemaker.models.version import Provenance, Version
from geusemaker.services.interruption import waits_for_capacity
from geusemaker.services.judgement import AS_IT_SHOULD_BE

MOST: Final = 3
WINDOW: Final = timedelta(hours=24)
"""So many repairs in so long; what needs more is for a person."""
LONGEST_PAUSE: Final = 3600.0


@dataclass(frozen=True)
class Decision:
    """What is done at one look, and why."""

    verdict: Literal["well", "waits", "repairs", "leaves", "gave-up"]
    why: str = ""


def decide(found: Inspection, now: datetime) -> Decision:
    """What is done about a deployment.

    Args:
        found: how it is.
        now: the time, in UTC.
    """
    ended = found.ended
    if found.status == "running":
        return Decision("waits", "an operation is under way")
    if ended is not None and ended.cause == "ending":
        return Decision("waits", ended.why)
    if found.status in AS_IT_SHOULD_BE and ended is not None and ended.cause == "returned":
        return Decision("repairs", ended.why)
    if found.status in AS_IT_SHOULD_BE or found.status == "settling":
        return Decision("well")
    lost = ended is not None and ended.cause == "interrupted" and found.status in ("unreachable", "unhealthy")
    failed = found.status == "failed" and bool(found.versions) and is_repair(found.versions[-1].provenance)
    if not lost and not failed:
        return Decision("leaves", found.summary)
    why = ended.why if ended is not None and ended.why else "the last repair failed"
    active = next((one for one in found.versions if one.number == found.active_version), None)
    if active is not None and waits_for_capacity(active.config, found.instance):
        return Decision("waits", why)
    if repairs_since(found.versions, now - WINDOW) >= MOST:
        return Decision("gave-up", why)
    return Decision("repairs", why)


def require_interrupted(found: Inspection, now: datetime) -> None:
    """Refuse where nobody is there to be asked and it is no interrupted instance.

    Raises:
        RefusedError
    """
    decision = decide(found, now)
    if decision.verdict != "repairs":
        raise RefusedError(
            f"This is not repaired unattended: {decision.why or found.summary}",
            state="Nothing was changed.",
            next_step=f"`geusemaker status {found.deployment}` says how it is.",
        )


def is_repair(provenance: Provenance) -> bool:
    """Whether an operation brought back what was interrupted."""
    return (provenance.kind, provenance.trigger) == ("recover", "spot_interruption")


def repairs_since(versions: Iterable[Version], then: datetime) -> int:
    """How many attempts to bring it back the history knows, whoever made them."""
    return sum(is_repair(one.provenance) and one.provenance.created_at > then for one in versions)


def pause(every: float, failures: int) -> float:
    """Seconds until the next look: twice as long after each attempt that came to nothing, an hour at most."""
    return min(every * 2.0 ** min(failures, 16), max(every, LONGEST_PAUSE))
