"""What a destroy says that it removed, compared with what AWS still has of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from geusemaker.cloud.inventory import KNOWN_BY_ID
from geusemaker.models.ownership import Tagged, is_own
from geusemaker.models.plan import CheckResult, Event, ResourceOperation
from geusemaker.services.collaborators import Cloud, Collaborators

QUIET_SECONDS: Final = 15.0
_LEAST_SECONDS: Final = 120.0
"""AWS goes on listing what it has deleted for a while, however late it is."""
_POLL_SECONDS: Final = 2.0


def promised(operations: Iterable[ResourceOperation]) -> list[ResourceOperation]:
    """What of a plan is to be gone afterwards, and can be asked for by its id."""
    return [one for one in operations if one.op == "delete" and one.type in KNOWN_BY_ID and one.provider_id]


def still_there(cloud: Cloud, wanted: Iterable[ResourceOperation]) -> list[str]:
    """What AWS still has of it, in words."""
    found = [(one, cloud.find_state(one.type, one.provider_id)) for one in wanted]
    return [str(Tagged(type=one.type, id=one.provider_id, state=state, tags={})) for one, state in found if state]


def wait_until_gone(
    collaborators: Collaborators, cloud: Cloud, wanted: list[ResourceOperation], deadline: float
) -> list[str]:
    """Wait until AWS has nothing left of it, at most until ``deadline`` (monotonic); what is left then, in words.

    A wait longer than 15 s is told, and told again each time it has doubled.
    """
    clock = collaborators.clock
    began, told = clock.monotonic(), QUIET_SECONDS
    deadline = max(deadline, began + _LEAST_SECONDS)
    while left := still_there(cloud, wanted):
        waited = clock.monotonic() - began
        if clock.monotonic() >= deadline:
            return left
        if waited >= told:
            told = 2 * waited
            text = f"Waiting for {waited:.0f} s now until AWS has deleted {', '.join(left)}."
            collaborators.on_event(Event(kind="note", message=text))
        clock.sleep(_POLL_SECONDS)
    return []


def strangers(tagged: Iterable[Tagged], known: Iterable[str], own: dict[str, str]) -> CheckResult | None:
    """What carries the deployment's name and is not in Pulumi's state: it is named, and left. Pure.

    ``known`` are the ids that the state has or that are taken up, ``own`` the tags of this stack.
    """
    ids = set(known)
    left = [one for one in tagged if one.id not in ids]
    if not left:
        return None
    names = ", ".join(f"{one}" + ("" if is_own(one.tags, own) else " of another stack") for one in left)
    return CheckResult(
        name="left over",
        status="warn",
        detail=f"{names}: under this name too, but not in Pulumi's state, so nothing is done to it. What refers to a "
        "security group of this deployment holds its deletion up",
    )
