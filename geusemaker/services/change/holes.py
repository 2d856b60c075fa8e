"""Which published holes a change brings back: those of its images that what runs now does not have."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from geusemaker.catalog import SERVICES
from geusemaker.models.advisory import KnownHoles, Published, ReturningHoles, holes
from geusemaker.models.image import ImageReference
from geusemaker.models.stack import ServiceName
from geusemaker.services.advisories import ask, package_of
from geusemaker.services.change.model import Asked
from geusemaker.services.collaborators import Collaborators

SECONDS: Final = 2.0
"""So long the database is waited for, from when it is asked: less than the engine's preview takes on AWS."""


@dataclass(frozen=True)
class Returning:
    """An image that a change brings back."""

    service: ServiceName
    image: ImageReference
    running: ImageReference | None
    """What runs now; None: the service does not."""


def returning(asked: Asked) -> tuple[Returning, ...]:
    """The images of the catalogue's services that a change brings back. Pure.

    Those of an update are older ones than what runs; a rollback and ``recover`` bring services back as well. What goes
    back by itself is not looked at: nobody is asked, and it ran minutes ago.
    """
    change = asked.change
    if change.kind == "deploy" or change.trigger != "manual" or asked.options.unattended:
        return ()
    left = asked.left or asked.state.last_healthy
    now = left.config.services if left is not None else {}
    found = []
    for name, service in change.config.services.items():
        running = now[name].image if name in now else None
        if name in SERVICES and _comes_back(service.image, running, is_update=change.kind == "update"):
            found.append(Returning(name, service.image, running))
    return tuple(found)


def _comes_back(image: ImageReference, running: ImageReference | None, *, is_update: bool) -> bool:
    if running is None:
        return not is_update
    old, new = image.release, running.release
    if old is None or new is None:
        return not is_update and image.tagged != running.tagged
    return old < new


class Asking:
    """The database, being asked of the images that a change brings back, while something else is done."""

    def __init__(self, collaborators: Collaborators, asked: Asked) -> None:
        self._due = time.monotonic() + SECONDS
        database = collaborators.advisories
        self._images = returning(asked) if asked.options.advisories and database is not None else ()
        self._answers = {
            each.service: ask(database, *package)
            for each in self._images
            if database is not None and (package := package_of(each.service, each.image)) is not None
        }

    def result(self) -> KnownHoles | None:
        """What is brought back, as far as that is known in time; None where no image comes back, or nobody is asked."""
        if not self._images:
            return None
        answers = {service: self._wait(answer) for service, answer in self._answers.items()}
        return judge(self._images, answers)

    def _wait(self, answer: Future[Published]) -> Published:
        try:
            return answer.result(max(0.0, self._due - time.monotonic()))
        except TimeoutError:
            return Published(problem=f"no answer within {SECONDS:g} s")


def judge(images: tuple[Returning, ...], answers: dict[ServiceName, Published]) -> KnownHoles:
    """What is known of images that come back. Pure."""
    found: list[ReturningHoles] = []
    unknown: dict[str, None] = {}
    days = []
    for each in images:
        package, answer = package_of(each.service, each.image), answers.get(each.service)
        if package is None or answer is None:
            unknown[f"which release {each.image.tagged} is cannot be told"] = None
            continue
        if answer.problem and answer.day is None:
            unknown[answer.problem] = None
            continue
        days += [answer.day] if answer.day is not None else []
        running = package_of(each.service, each.running) if each.running is not None else None
        if each.running is not None and running is None:
            unknown[f"which release {each.running.tagged} is cannot be told"] = None
            continue
        new = holes(package[1], answer.advisories, running[1] if running is not None else "")
        if new:
            found.append(ReturningHoles(service=each.service, image=each.image.tagged, holes=new))
    return KnownHoles(returning=tuple(found), day=min(days, default=None), unknown="; ".join(unknown))
