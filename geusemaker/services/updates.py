"""UpdatesService: which newer releases there are of what runs, as far as one step leads, and the holes each closes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from geusemaker.catalog import SERVICES
from geusemaker.catalog.package import plain_release
from geusemaker.catalog.rules import Ask, DataFacts
from geusemaker.catalog.service import Service
from geusemaker.cloud.registry import ImageNotFoundError
from geusemaker.errors import GeusemakerError
from geusemaker.models.advisory import Hole, Published, holes
from geusemaker.models.image import ImageReference
from geusemaker.models.stack import ServiceName
from geusemaker.models.updates import ServiceUpdates, Updates, UpdateStep
from geusemaker.services.advisories import ask, package_of
from geusemaker.services.collaborators import Collaborators, Registry
from geusemaker.services.states import get_state

_SECONDS: Final = 10.0
"""So long the database of holes is waited for: nothing hurries here."""
_LOOKED_AT: Final = 12
"""So many of the newest lines are compared with what the makers call stable."""


def steps(service: Service, image: ImageReference, tags: Iterable[str]) -> tuple[ImageReference, ...]:
    """The newest release of each minor line that an image can be followed by in one step, oldest first. Pure.

    Of the same variant (``-alpine``), no pre-releases, and by the catalogue's rules on data: no other major version of
    PostgreSQL, no minor version of Qdrant left out.
    """
    here = plain_release(image.tag)
    found = re.fullmatch(r"(v?)[\d.]+(-.+)?", image.tag)
    if not here or found is None:
        return ()
    prefix, variant = found[1], found[2] or ""
    newest: dict[tuple[int, ...], tuple[tuple[int, ...], ImageReference]] = {}
    for tag in tags:
        release = plain_release(tag)
        if tag != f"{prefix}{'.'.join(map(str, release))}{variant}" or len(release) != len(here) or release <= here:
            continue
        wanted = image.model_copy(update={"tag": tag, "digest": None})
        line = release[: max(len(release) - 1, 1)]
        if release >= newest.get(line, ((),))[0] and _is_permitted(service, image, wanted):
            newest[line] = (release, wanted)
    return tuple(wanted for _, wanted in sorted(newest.values(), key=lambda each: each[0]))


def _is_permitted(service: Service, image: ImageReference, wanted: ImageReference) -> bool:
    verdict = service.compatibility(
        wanted, DataFacts(served={service.name: image}), Ask(lenient=False, back="fail", copied=())
    )
    return verdict is None or (verdict.status != "fail" and verdict.known)


class UpdatesService:
    """Looks for newer releases; changes nothing, and asks neither AWS nor the instance."""

    def __init__(self, collaborators: Collaborators, *, advisories: bool = True) -> None:
        self._with = collaborators
        self._database = collaborators.advisories if advisories else None

    def look(self) -> Updates:
        """What there is newer of each service of the version that is active; never an error where somebody is away.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
        """
        active = get_state(self._with).active
        running = {
            name: service.image
            for name, service in (active.config.services if active is not None else {}).items()
            if name in SERVICES
        }
        database = self._database
        due = time.monotonic() + _SECONDS
        packages = {name: package for name, image in running.items() if (package := package_of(name, image))}
        asked = {name: ask(database, *package) for name, package in packages.items()} if database is not None else {}
        with ThreadPoolExecutor(max(len(running), 1)) as pool:
            listed = dict(zip(running, pool.map(lambda name: self._steps(name, running[name]), running), strict=True))
        answers = {name: _wait(answer, due) for name, answer in asked.items()}
        return Updates(
            deployment=self._with.deployment,
            services=tuple(
                _told(name, image, *listed[name], answers.get(name), database is not None)
                for name, image in running.items()
            ),
            asked_for_holes=database is not None,
        )

    def _steps(self, name: ServiceName, image: ImageReference) -> tuple[tuple[ImageReference, ...], str]:
        """(where it can go, why that is not known)"""
        if not plain_release(image.tag):
            return (), "which release it is cannot be told"
        try:
            found = steps(SERVICES[name], image, self._with.registry.tags(image))
            return up_to_stable(SERVICES[name], image, found, self._with.registry), ""
        except ImageNotFoundError as error:
            return (), str(error)
        except GeusemakerError as error:
            return (), error.message.rstrip(".")


def up_to_stable(
    service: Service, image: ImageReference, found: tuple[ImageReference, ...], registry: Registry
) -> tuple[ImageReference, ...]:
    """Without those after the one that the makers call stable, where they give releases before that a plain number.

    A registry in which none of the newest is called so tells nothing of it, and none is left out.
    """
    if not service.stable_tag or not found:
        return found
    try:
        stable = registry.digest(image.model_copy(update={"tag": service.stable_tag, "digest": None}))
    except ImageNotFoundError:
        return found
    newest = found[-_LOOKED_AT:]
    with ThreadPoolExecutor(len(newest)) as pool:
        digests = list(pool.map(registry.digest, newest))
    last = max((at for at, digest in enumerate(digests) if digest == stable), default=len(newest) - 1)
    return found[: len(found) - len(newest) + last + 1]


def _wait(answer: Future[Published], due: float) -> Published:
    try:
        return answer.result(max(0.0, due - time.monotonic()))
    except TimeoutError:
        return Published(problem=f"no answer within {_SECONDS:g} s")


def _told(
    name: ServiceName,
    image: ImageReference,
    found: tuple[ImageReference, ...],
    problem: str,
    answer: Published | None,
    is_asked: bool,
) -> ServiceUpdates:
    """What is known of one service. Pure."""
    package = package_of(name, image)
    known = answer is not None and package is not None and not (answer.problem and answer.day is None)
    unknown = "which release it is cannot be told" if answer is None else answer.problem

    def closed(wanted: str) -> tuple[Hole, ...] | None:
        if answer is None or package is None or not known:
            return None
        return holes(package[1], answer.advisories, wanted)

    def version(wanted: ImageReference) -> str:
        after = package_of(name, wanted)
        return after[1] if after is not None else ""

    return ServiceUpdates(
        service=name,
        image=image.tagged,
        steps=tuple(UpdateStep(image=wanted.tagged, closes=closed(version(wanted))) for wanted in found),
        holes=closed(""),
        day=answer.day if answer is not None else None,
        problem=problem,
        holes_problem=unknown if is_asked and not known else "",
    )
