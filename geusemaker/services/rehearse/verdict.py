"""What a rehearsal says of a change, and of the way back from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from geusemaker.agent.protocol.rehearsal import Rehearsal, RehearsedService
from geusemaker.catalog import MIGRATED, REHEARSED, SERVICES
from geusemaker.models.image import ImageReference
from geusemaker.models.result import RehearsedStart
from geusemaker.models.stack import ServiceName, StackConfig
from geusemaker.models.version import WayBackKind

_WORDS: Final[dict[WayBackKind, str]] = {
    "rollback": "a rollback works",
    "with-data": "a rollback needs the data of before",
    "none": "there is no way back",
    "unknown": "the way back is unknown",
}


def measured(found: Rehearsal) -> tuple[WayBackKind, str]:
    """(the way back, why it is that one): by what runs now, started on what the other images had left.

    It works: a rollback does, and the data stays. n8n alone does not, while what it needs does: the data of before goes
    back as well, as its dump was just loaded. PostgreSQL itself does not: there is nothing to load a dump into.
    """
    broken = first_broken(found.back)
    if broken is None and MIGRATED.name in found.back:
        one = found.back[MIGRATED.name]
        return "rollback", f"{_left(MIGRATED.name, found)} works, ready after {one.seconds:.0f} s"
    if broken is None:
        return "unknown", f"{MIGRATED.title} was not started"
    why = f"{_left(broken, found)}: {problem_of(found.back[broken])}"
    return ("with-data" if broken == MIGRATED.name else "none"), why


def asks_for_a_word(found: Rehearsal) -> bool:
    """Whether a rollback needs ``--allow-data-downgrade``: migrations ran, and no rule knows them to be harmless."""
    before, after = (ImageReference.parse(images[MIGRATED.name]) for images in (found.before, found.images))
    return bool(found.migrations) and not MIGRATED.known_to_work(before, {after})


def first_broken(services: Mapping[ServiceName, RehearsedService]) -> ServiceName | None:
    """The first that does not work, in the order in which they start; None: all of them do."""
    return next((name for name in REHEARSED if name in services and problem_of(services[name])), None)


def problem_of(one: RehearsedService) -> str:
    """What keeps a service from working; empty: nothing does."""
    if not one.ready:
        return one.reason or "it does not become ready"
    return "" if one.works else f"it is ready, and does not work ({one.problem})"


def starts(found: Rehearsal) -> bool:
    """Whether all the images that were tried work on the copy."""
    return bool(found.ahead) and first_broken(found.ahead) is None


def results(
    services: Mapping[ServiceName, RehearsedService], images: Mapping[ServiceName, str]
) -> dict[ServiceName, RehearsedStart]:
    """How services started, as a result tells it."""
    return {
        name: RehearsedStart(
            image=ImageReference.parse(images[name]).tagged,
            works=not problem_of(one),
            seconds=one.seconds,
            problem=problem_of(one),
            logs=one.logs,
        )
        for name, one in services.items()
    }


def latest(found: Iterable[Rehearsal], before: StackConfig, after: StackConfig) -> Rehearsal | None:
    """The newest rehearsal of just this change, of those the instance remembers; None: there was none."""
    wanted = _digests(before), _digests(after)
    same = [one for one in found if (_known(one.before), _known(one.images)) == wanted]
    return same[-1] if same and wanted[0] != wanted[1] else None


def told(found: Rehearsal | None) -> str:
    """``rehearsed at 2026-12-01 15:30 UTC: …`` for the plan of that change; empty: it was not rehearsed."""
    if found is None:
        return ""
    try:
        at = datetime.fromisoformat(found.at).astimezone(UTC)
    except ValueError:
        return ""
    kind, why = measured(found)
    words = _WORDS[kind]
    broken = first_broken(found.ahead)
    ahead = ""
    if broken is not None:
        ahead = f"{_tagged(broken, found.images)} did not start ({problem_of(found.ahead[broken])}); "
    return f"rehearsed at {at:%Y-%m-%d %H:%M} UTC: {ahead}{words} ({why})"


def _digests(config: StackConfig) -> dict[ServiceName, str]:
    return {name: config.services[name].image.by_digest for name in REHEARSED if name in config.services}


def _known(images: Mapping[ServiceName, str]) -> dict[ServiceName, str]:
    found = {}
    for name, text in images.items():
        try:
            found[name] = ImageReference.parse(text).by_digest
        except ValueError:
            continue  # another geusemaker's agent wrote it
    return found


def _left(name: ServiceName, found: Rehearsal) -> str:
    return f"{_tagged(name, found.before)} on what {_tagged(name, found.images)} left"


def _tagged(name: ServiceName, images: Mapping[ServiceName, str]) -> str:
    return f"{SERVICES[name].title} {ImageReference.parse(images[name]).tag}"
