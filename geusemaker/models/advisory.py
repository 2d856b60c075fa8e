"""Published holes of releases, as OSV's records tell of them, and which releases they are in. Pure.

The form, and how its ranges are read: ossf.github.io/osv-schema, *affected[].ranges[].events* and *Evaluation*.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final, Literal

from geusemaker.models.base import Model
from geusemaker.models.stack import ServiceName

Severity = Literal["critical", "high"]
EventKind = Literal["introduced", "fixed", "last_affected", "limit"]

Order = tuple[tuple[int, ...], tuple[tuple[int, int, str], ...]]

_VERSION: Final = re.compile(r"v?(\d+(?:\.\d+)*)(?:[-_.]?([A-Za-z0-9][A-Za-z0-9.-]*))?(?:\+.*)?")
_LATER: Final = re.compile(r"(post|patch)(?![a-z])", re.IGNORECASE)
_NUMBERS: Final = 4
_SHOWN: Final = 3
"""So many ids a sentence has; the documents have all."""
_AT_ONCE: Final[dict[str, int]] = {"fixed": 0, "introduced": 1, "last_affected": 2}
"""What counts later where two events are of one version: one that has it only just does have it."""


def order(version: str) -> Order:
    """What versions are ordered by: numbers, then what comes before a release by the rules of semver.org, point 11.

    A version that cannot be read is before all others.
    """
    match = _VERSION.fullmatch(version.strip())
    if match is None:
        return (-1,) * _NUMBERS, ()
    numbers = tuple(int(part) for part in match[1].split("."))
    padded = (*numbers, *(0,) * (_NUMBERS - len(numbers)))
    if not match[2]:
        return padded, ((2, 0, ""),)
    if _LATER.match(match[2]):
        return padded, ((3, 0, ""), *_parts(match[2]))
    return padded, _parts(match[2])


def _parts(suffix: str) -> tuple[tuple[int, int, str], ...]:
    """Numbers by their value and before words; fewer parts before more."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"[.-]", suffix) if part)


class Span(Model):
    """A range of releases: what happened to a hole at which version, as OSV lists it."""

    events: tuple[tuple[EventKind, str], ...]
    """(what, the version)"""

    def holds(self, version: str) -> bool:
        """Whether a version is in it."""
        here = order(version)
        limits = [at for kind, at in self.events if kind == "limit" and at != "*"]
        if limits and not any(here < order(at) for at in limits):
            return False
        has = False
        for kind, at in self._in_order():
            if kind == "last_affected":
                has = has and here <= order(at)
            elif at == "0" or here >= order(at):
                has = kind == "introduced"
        return has

    def fixed_after(self, version: str) -> str:
        """The first version after it that has the hole no more; empty where none is named."""
        here = order(version)
        return next((at for kind, at in self._in_order() if kind == "fixed" and order(at) > here), "")

    def _in_order(self) -> list[tuple[EventKind, str]]:
        events = (event for event in self.events if event[0] != "limit")
        return sorted(events, key=lambda event: (event[1] != "0", order(event[1]), _AT_ONCE[event[0]]))


class Advisory(Model):
    """A published hole of a package that is critical or high."""

    id: str
    """OSV's, as ``GHSA-v98v-ff95-f3cp``."""
    aliases: tuple[str, ...] = ()
    """What others call the same hole."""
    severity: Severity
    """As its publisher says, else by its CVSS 3 score."""
    summary: str = ""
    """In a line."""
    spans: tuple[Span, ...] = ()
    """Where its releases are ordered."""
    versions: tuple[str, ...] = ()
    """The releases that have it, one by one, where there are no ranges of them."""

    def affects(self, version: str) -> bool:
        """Whether a release has it."""
        bare = version.removeprefix("v")
        named = any(each.removeprefix("v") == bare for each in self.versions)
        return named or any(span.holds(version) for span in self.spans)

    def fixed_after(self, version: str) -> str:
        """The release with which one of ``version`` is rid of it; empty where none is named."""
        found = {span.fixed_after(version) for span in self.spans if span.holds(version)} - {""}
        return min(found, key=order, default="")


class Published(Model):
    """What the database said of a release."""

    advisories: tuple[Advisory, ...] = ()
    """The holes that it has; one hole may be there by several publishers."""
    day: date | None = None
    """When it was said, where it could not be asked now; None: now, or within the last day."""
    problem: str = ""
    """Why it is not known, as the end of a sentence; empty: it is."""


class Hole(Model):
    """A published hole that a release has."""

    id: str
    """GitHub's number of it, else a CVE's, else the publisher's."""
    aliases: tuple[str, ...] = ()
    """All other numbers that it has."""
    severity: Severity
    """The worst that a publisher says."""
    fixed: str = ""
    """The release that is rid of it; empty: none is named."""
    summary: str = ""
    """In a line."""


class ReturningHoles(Model):
    """An image that a change brings back, and the holes of it that what runs now does not have."""

    service: ServiceName
    """Whose image."""
    image: str
    """``repository:tag``."""
    holes: tuple[Hole, ...]
    """The worst first."""

    @property
    def told(self) -> str:
        """``going back to n8n 1.100.1 brings back 2 critical holes, fixed in 1.121.0 (GHSA-…)``."""
        what = f"going back to {self.service} {self.image.rpartition(':')[2]} brings back {counted(self.holes)}"
        return what + fixed_and_named(self.holes)


class KnownHoles(Model):
    """What a change brings back of published holes that are critical or high."""

    returning: tuple[ReturningHoles, ...] = ()
    """The images that have such holes."""
    day: date | None = None
    """Of when this is, where the database could not be asked now; None: of today."""
    unknown: str = ""
    """Why it is not known of each image, in a phrase; empty: it is."""

    @property
    def told(self) -> str:
        """In one sentence; empty: there are none. What is not known is no part of it."""
        of = f" (as of {self.day})" if self.day is not None and self.returning else ""
        return "; ".join(each.told for each in self.returning) + of


def holes(version: str, advisories: Iterable[Advisory], but: str = "") -> tuple[Hole, ...]:
    """The holes of a release, each once, the worst first.

    Args:
        version: the release.
        advisories: what was published of it: these records are taken to be of this release.
        but: holes that this one has as well are left out; empty: none is.
    """
    found = []
    for same in _merged(advisories):
        if but and any(each.affects(but) for each in same):
            continue
        names = sorted({name for each in same for name in (each.id, *each.aliases)}, key=_best_known)
        fixes = {each.fixed_after(version) for each in same} - {""}
        worst: Severity = "critical" if any(each.severity == "critical" for each in same) else "high"
        found.append(
            Hole(
                id=names[0],
                aliases=tuple(names[1:]),
                severity=worst,
                fixed=max(fixes, key=order, default=""),
                summary=next((each.summary for each in same if each.summary), ""),
            )
        )
    return tuple(sorted(found, key=lambda hole: (hole.severity != "critical", hole.id)))


def _merged(advisories: Iterable[Advisory]) -> list[list[Advisory]]:
    """Records of one hole together: they name one another, or the same CVE."""
    groups: list[tuple[set[str], list[Advisory]]] = []
    for each in advisories:
        names, same = {each.id, *each.aliases}, [each]
        apart = []
        for group in groups:
            if group[0] & names:
                names, same = names | group[0], [*group[1], *same]
            else:
                apart.append(group)
        groups = [*apart, (names, same)]
    return [same for _, same in groups]


def _best_known(name: str) -> tuple[int, str]:
    kinds = ("GHSA-", "CVE-")
    return next((at for at, kind in enumerate(kinds) if name.startswith(kind)), len(kinds)), name


def counted(found: Sequence[Hole]) -> str:
    """``2 critical holes``, ``one critical and 3 high holes``."""
    numbers = [(sum(hole.severity == kind for hole in found), kind) for kind in ("critical", "high")]
    there = [(number, kind) for number, kind in numbers if number]
    words = [f"{number if number > 1 else 'one'} {kind}" for number, kind in there]
    return f"{' and '.join(words)} {'hole' if there[-1:] and there[-1][0] == 1 else 'holes'}"


def fixed_and_named(found: Sequence[Hole]) -> str:
    """``, fixed in 1.121.3 (GHSA-…, GHSA-…)``: the release in which all are, and the worst ones' numbers."""
    fixes = [hole.fixed for hole in found]
    fixed = f", fixed in {max(fixes, key=order)}" if all(fixes) else ""
    return f"{fixed} ({named(found)})"


def named(found: Sequence[Hole]) -> str:
    """The numbers of the first of them."""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(hole.id for hole in found[:_SHOWN]) + more
