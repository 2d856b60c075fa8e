"""Whether software may run on the data as it is now: the catalog's rules, each service's own. Pure.

They are decided from what is on disk and on record. What cannot be told is a warning: no dead end.
"""

from __future__ import annotations

from collections.abc import Collection

from geusemaker.catalog import JUDGED
from geusemaker.catalog.rules import Ask, DataFacts, Verdict, release
from geusemaker.catalog.service import Service
from geusemaker.models.image import ImageReference
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import ServiceName, StackConfig


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
    ask = Ask(lenient=lenient, back="warn" if allow_downgrade or lenient else "fail", copied=copied)
    checks = []
    for service in JUDGED:
        wanted = config.services.get(service.name)
        if wanted is not None:
            if (verdict := service.compatibility(wanted.image, facts, ask)) is not None:
                checks.append(as_check(service, verdict))
            checks += _files(service, wanted.image, facts, ask)
    return checks


def as_check(service: Service, verdict: Verdict) -> CheckResult:
    """A rule's verdict, as it is shown."""
    return CheckResult(name=f"{service.title} {verdict.about}", status=verdict.status, detail=verdict.detail)


def _files(service: Service, image: ImageReference, facts: DataFacts, ask: Ask) -> list[CheckResult]:
    """Whether the data belongs to the user that the image runs as; root reads everything."""
    name = service.name
    if service.data is None or name not in facts.owners:
        return []
    wanted, (found, folder) = service.data.owner(image), facts.owners[name]
    if wanted in (0, found):
        return []
    detail = (
        f"{folder} belongs to user {found}, and {image.tagged} runs as {wanted}: it could not open its data. Take an "
        f"image that runs as {found}, or give it the data, on the instance as root: `docker stop geusemaker-{name}-1`, "
        f"then `chown -R {wanted}:{wanted} {folder}`"
    )
    return [CheckResult(name=f"{name} files", status="warn" if ask.lenient else "fail", detail=detail)]


def is_step_back(served: ImageReference | None, wanted: ImageReference) -> bool:
    """Whether this image is of an older minor version than the one that ran last."""
    old, new = release(served.tag) if served is not None else None, release(wanted.tag)
    return old is not None and new is not None and new[:2] < old[:2]
