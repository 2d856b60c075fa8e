"""Images that are brought to the instance."""

from __future__ import annotations

import selectors
import time
from collections.abc import Mapping, Sequence
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.images import Image
from geusemaker.agent.processes import Finished
from geusemaker.agent.project import by_digest

PULL_NEWS: Final = 15.0  # how often, in seconds, a pull without news says that it goes on


def missing_images(agent: Agent, images: Mapping[str, Image]) -> set[str]:
    """The services whose image is not here yet."""
    inspected = agent.inspect(by_digest(images), "image")
    return {name for name, image in images.items() if not any(image.is_among(one) for one in inspected)}


def pull_images(agent: Agent, images: Mapping[str, Image], timeout: float) -> Json:
    """Pull, two at a time, what is not here yet. An image that is here needs no registry.

    Raises:
        AgentError: image_missing, pull_failed, no_space
    """
    say = agent.reporter
    missing = missing_images(agent, images)
    present = [name for name in images if name not in missing]
    waiting: dict[str, list[str]] = {}
    for name, image in images.items():
        if name not in present:
            waiting.setdefault(image.by_digest, []).append(name)
    pulled: list[str] = []
    deadline = time.monotonic() + timeout
    running: dict[str, _Pull] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < 2:
                    reference, names = next(iter(waiting.items()))
                    waiting.pop(reference)
                    running[reference] = pull = _Pull(agent, reference, names)
                    selector.register(pull.job.pipe, selectors.EVENT_READ, pull)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AgentError("pull_failed", f"The images were not pulled within {timeout:g} seconds.")
                for key, _ in selector.select(min(left, PULL_NEWS)):
                    pull = key.data
                    if pull.job.read():
                        continue
                    selector.unregister(pull.job.pipe)
                    del running[pull.reference]
                    finished = pull.job.finish()
                    if finished.code != 0:
                        raise pull_error(pull.reference, pull.services, finished.out)
                    for name in pull.services:
                        say.service(name, "pulled")
                    pulled += pull.services
                for pull in running.values():
                    pull.tell_if_silent()
        finally:
            for pull in running.values():
                agent.end_child(pull.job.process)
    return {"pulled": sorted(pulled), "present": sorted(present)}


class _Pull:
    """A running docker pull. It tells how many layers have come and, while none comes, that it is still at it."""

    def __init__(self, agent: Agent, reference: str, services: Sequence[str]) -> None:
        self.reference = reference
        self.services = services
        self._say = agent.reporter
        self._layers: set[str] = set()
        self._complete: set[str] = set()
        self._began = time.monotonic()
        self._tell(reference)
        self.job = agent.start(("docker", "pull", reference), self._take_line)

    def tell_if_silent(self) -> None:
        """Say after a while without news how long it has been."""
        current = time.monotonic()
        if current - self._told >= PULL_NEWS:
            self._tell(f"{self._progress()} after {current - self._began:.0f} s")

    def _take_line(self, line: str) -> None:
        layer, _, words = line.partition(": ")  # "ab12: Pulling fs layer", "ab12: Pull complete"
        if words.startswith(("Pulling fs layer", "Already exists")):
            self._layers.add(layer)
        if words.startswith(("Pull complete", "Already exists")) and layer not in self._complete:
            self._complete.add(layer)
            self._tell(self._progress())

    def _progress(self) -> str:
        return f"{len(self._complete)} of {len(self._layers | self._complete)} layers"

    def _tell(self, detail: str) -> None:
        self._told = time.monotonic()
        for name in self.services:
            self._say.service(name, "pulling", detail)


def pull_error(reference: str, services: Sequence[str], output: str) -> AgentError:
    """What a failed docker pull means, from its words."""
    words = Finished(1, output, "").reason()
    low = output.lower()
    if "no space left on device" in low:
        return AgentError(
            "no_space", f"The instance's disk is full: {reference} could not be pulled.", wanted_by=list(services)
        )
    if "manifest unknown" in low or "manifest for" in low or "not found" in low:
        return AgentError(
            "image_missing", f"{reference} is not in its registry: {words}", wanted_by=list(services), image=reference
        )
    return AgentError(
        "pull_failed", f"{reference} could not be pulled: {words}", wanted_by=list(services), image=reference
    )
