"""Whether software may run on the data as it is now. Pure; decided from what is on disk and on record.

PostgreSQL: a server starts only on data of its own major version, which PG_VERSION on disk tells; up and down alike.
    Source: PostgreSQL documentation, "Upgrading a PostgreSQL Cluster"; the server checks it (ValidatePgVersion in
    src/backend/utils/init/miscinit.c).
PostgreSQL: another C library (Alpine's, Debian's) sorts text otherwise, so indexes on text have to be built anew.
    Source: PostgreSQL wiki, "Locale data changes".
Qdrant: one minor version upwards at a time, none left out.
    Source: qdrant.tech/documentation/upgrades ("you also can not skip versions").
Qdrant: an older minor version need not read what a newer one wrote; the way back is a snapshot of the older one.
    Source: the same page; Qdrant promises that storage is read by the same and by the next minor version only.
    qdrant.tech/documentation/concepts/snapshots: a snapshot is restored by the minor version that made it.
n8n: an older version does not know the migrations that a newer one ran, and its way back is a restore of the data from
    before them; see geusemaker.services.newer_data.

Ollama's models, and Crawl4AI, which keeps nothing, have no such rule. What cannot be told is a warning: no dead end.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from geusemaker.models.checkpoint import Checkpoint
from geusemaker.models.image import ImageReference
from geusemaker.models.owners import owner
from geusemaker.models.plan import CheckResult, CheckStatus
from geusemaker.models.stack import ServiceName, StackConfig
from geusemaker.services import collation

JUDGED: Final[tuple[ServiceName, ...]] = ("postgresql", "qdrant", "n8n")
"""The services whose data decides which software may run on it."""

_POSTGRESQL_SUFFIX = re.compile(r"(?:^|[-_.])pg(\d{1,2})(?!\d)")
_POSTGRESQL_TAG = re.compile(r"v?(\d{1,2})(?:\.(\d+))?(?![\d])")
_RELEASE = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?![\d])")
_OLDEST_POSTGRESQL: Final = 9
"""A smaller number in front is not the server's version, but that of an extension the image is named after."""


@dataclass(frozen=True)
class DataFacts:
    """What is known of the data now."""

    postgresql: str | None = None
    """PG_VERSION on disk: ``16``, or ``9.6`` in the old days."""
    served: Mapping[str, ImageReference] = field(default_factory=dict)
    """Service → the image that last ran healthy on its data."""
    owners: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Service → the user that its folder with data belongs to, and the folder on the instance."""
    migrations: frozenset[str] | None = None
    """The migrations that n8n's database has been through."""
    migrations_then: frozenset[str] | None = None
    """Those it had been through when the n8n image that is wanted now last ran healthy."""
    deployment: str = "NAME"
    checkpoints: Sequence[Checkpoint] = ()
    """Those there are, oldest first; looked up only where Qdrant is to go back."""
    n8n_works: bool = False
    """Whether the n8n that is wanted is known to work on what newer ones have migrated."""
    n8n_restore: str = ""
    """The command that puts n8n's data back as it was before; empty when no checkpoint holds that."""


@dataclass(frozen=True)
class _Ask:
    """Under which conditions is judged."""

    lenient: bool
    back: CheckStatus
    """The verdict on older software that may not read the data."""
    copied: Collection[ServiceName]


def compatibility_checks(
    config: StackConfig,
    facts: DataFacts,
    *,
    allow_downgrade: bool = False,
    lenient: bool = False,
    copied: Collection[ServiceName] = (),
) -> list[CheckResult]:
    """One result for each service with a rule that applies.

    Args:
        config: what is to run.
        facts: what it is to run on.
        allow_downgrade: the operator takes the risk of going back (``--allow-data-downgrade``).
        lenient: nobody can be asked: a return by itself, or a recovery. Only what is known to be impossible fails.
        copied: the services whose data a checkpoint holds before anything changes.
    """
    ask = _Ask(lenient=lenient, back="warn" if allow_downgrade or lenient else "fail", copied=copied)
    checks = []
    for name, judge in (("postgresql", _postgresql), ("qdrant", _qdrant), ("n8n", _n8n)):
        service = config.services.get(name)  # type: ignore[call-overload]  # the names are literals
        if service is not None:
            found = (judge(service.image, facts, ask), _files(name, service.image, facts, ask))
            checks += [check for check in found if check is not None]
    return checks


def _files(name: str, image: ImageReference, facts: DataFacts, ask: _Ask) -> CheckResult | None:
    """Whether the data belongs to the user that the image runs as; root reads everything."""
    wanted = owner(name, image)
    found, folder = facts.owners.get(name, (wanted, ""))
    if wanted in (0, found):
        return None
    return _result(
        f"{name} files",
        "warn" if ask.lenient else "fail",
        f"{folder} belongs to user {found}, and {image.tagged} runs as {wanted}: it could not open its data. Take an "
        f"image that runs as {found}, or give it the data, on the instance as root: `docker stop geusemaker-{name}-1`, "
        f"then `chown -R {wanted}:{wanted} {folder}`",
    )


def is_step_back(served: ImageReference | None, wanted: ImageReference) -> bool:
    """Whether this image is of an older minor version than the one that ran last."""
    old, new = release(served.tag) if served is not None else None, release(wanted.tag)
    return old is not None and new is not None and new[:2] < old[:2]


def postgresql_major(tag: str) -> str | None:
    """The major version that a tag names, as PG_VERSION would tell it; None where it names none."""
    if match := _POSTGRESQL_SUFFIX.search(tag):
        return match[1]
    match = _POSTGRESQL_TAG.match(tag)
    if match is None or int(match[1]) < _OLDEST_POSTGRESQL:
        return None
    if int(match[1]) == _OLDEST_POSTGRESQL:
        return f"9.{match[2]}" if match[2] else None
    return match[1]


def release(tag: str) -> tuple[int, int, int] | None:
    """The release that a tag names: (1, 14, 1) of ``v1.14.1-gpu``; None where it names none."""
    match = _RELEASE.match(tag)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def _postgresql(image: ImageReference, facts: DataFacts, ask: _Ask) -> CheckResult | None:
    served = facts.served.get("postgresql")
    on_disk = facts.postgresql or (postgresql_major(served.tag) if served is not None else None)
    if on_disk is None:
        return None
    wanted = postgresql_major(image.tag)
    if wanted is None:
        return _result(
            "PostgreSQL data",
            "warn",
            f"the data is of PostgreSQL {on_disk}; whether {image.tagged} is of that version cannot be told",
        )
    if wanted != on_disk:
        return _result(
            "PostgreSQL data",
            "fail",
            f"the data is of PostgreSQL {on_disk}, and {image.tagged} does not start on it: a major version cannot be "
            "crossed in place, in neither direction (docs/data.md tells how to carry the data over by hand)",
        )
    if served is not None and (order := collation.foreseen(served, image)):
        return _result("PostgreSQL data", "warn", order)
    return _result("PostgreSQL data", "pass", f"of PostgreSQL {on_disk}, as {image.tagged} is")


def _qdrant(image: ImageReference, facts: DataFacts, ask: _Ask) -> CheckResult | None:
    served = facts.served.get("qdrant")
    if served is None or _same(served, image):
        return None
    old, new = release(served.tag), release(image.tag)
    step = f"from {served.tagged} to {image.tagged}"
    if old is None or new is None or (new[0] > old[0]):
        return _result("Qdrant data", "warn", f"whether the data can go {step} cannot be told")
    if new[:2] == old[:2]:
        if new < old:
            return _result("Qdrant data", "warn", f"{step} is a step back, if within one minor version")
        return _result("Qdrant data", "pass", f"{step}: the same minor version")
    if new < old:
        return _result(
            "Qdrant data",
            ask.back,
            f"{step} is a downgrade: older versions need not read what newer ones wrote. {_way_back(facts, new[:2])}",
        )
    if new[1] > old[1] + 1:
        # No way back, and none forward: no flag makes Qdrant read it.
        return _result(
            "Qdrant data",
            "warn" if ask.lenient else "fail",
            f"{step} leaves out a minor version: Qdrant migrates its data one minor version at a time; "
            f"go to the newest {old[0]}.{old[1] + 1} first",
        )
    if ask.lenient:
        return _result("Qdrant data", "pass", f"{step}: the next minor version")
    only = "only the snapshots that are taken first lead" if "qdrant" in ask.copied else "no snapshot is taken to lead"
    return _result("Qdrant data", "warn", f"{step} is the next minor version: {only} back to {old[0]}.{old[1]}")


def _way_back(facts: DataFacts, minor: tuple[int, int]) -> str:
    of_minor = (
        checkpoint
        for checkpoint in reversed(facts.checkpoints)
        if "qdrant" in checkpoint.services and (release(checkpoint.versions.get("qdrant", "")) or ())[:2] == minor
    )
    found = next(of_minor, None)
    which = f"{minor[0]}.{minor[1]}"
    if found is None:
        return f"No checkpoint has snapshots of {which}; --allow-data-downgrade takes the risk"
    return (
        f"Checkpoint {found.checkpoint} has snapshots of {which}: go back with --allow-data-downgrade, then run "
        f"`geusemaker restore {facts.deployment} --checkpoint {found.checkpoint} --service qdrant`"
    )


def _n8n(image: ImageReference, facts: DataFacts, ask: _Ask) -> CheckResult | None:
    served = facts.served.get("n8n")
    if served is None:
        return None
    same = _same(served, image)
    old, new = release(served.tag), release(image.tag)
    if not same and old is not None and new is not None and new >= old:
        return _result("n8n data", "pass", f"{image.tagged} migrates what {served.tagged} left")
    if facts.migrations is None or facts.migrations_then is None:
        if same:
            return None
        return _result(
            "n8n data",
            "warn",
            f"whether n8n migrated its database since {image.tagged} ran is not on record; going back may fail",
        )
    added = sorted(facts.migrations - facts.migrations_then)
    if not added:
        return None if same else _result("n8n data", "pass", f"no migration has run since {image.tagged} did")
    named = ", ".join(added[:3]) + (" …" if len(added) > 3 else "")
    count = "one migration" if len(added) == 1 else f"{len(added)} migrations"
    ran = f"a newer n8n has run {count} that {image.tagged} does not know ({named})"
    if facts.n8n_works:
        return _result("n8n data", "warn", f"{ran}; it is known to work on them, but for binary data of the newer one")
    back = "go back" if same else "go back with --allow-data-downgrade"
    way = (
        f"{back}, then run `{facts.n8n_restore}`, which puts the data back as it was before"
        if facts.n8n_restore
        else f"no checkpoint holds the data as it was before; {back} to take the risk"
    )
    # What comes back to what ran last is no downgrade that anybody chose: a version in between failed.
    return _result("n8n data", "warn" if same else ask.back, f"{ran}: it starts, and logins may fail. The way: {way}")


def _same(one: ImageReference, other: ImageReference) -> bool:
    return one.by_digest == other.by_digest


def _result(name: str, status: CheckStatus, detail: str) -> CheckResult:
    return CheckResult(name=name, status=status, detail=detail)
