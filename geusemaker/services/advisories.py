"""Asks the database of published holes about images, while something else is done."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from geusemaker.catalog import SERVICES
from geusemaker.catalog.package import Package
from geusemaker.errors import GeusemakerError
from geusemaker.models.advisory import Published
from geusemaker.models.image import ImageReference
from geusemaker.models.stack import ServiceName
from geusemaker.services.collaborators import Advisories


def package_of(service: ServiceName, image: ImageReference) -> tuple[Package, str] | None:
    """A service's package and the version that an image is of; None for one that is not official, or of no release."""
    known = SERVICES[service]
    official = {ImageReference.parse(repository).path for repository in known.repositories}
    if known.package is None or image.path not in official:
        return None
    version = known.package.version(image)
    return (known.package, version) if version else None


def ask(advisories: Advisories, package: Package, version: str) -> Future[Published]:
    """The answer to come. Nobody waits for it at the end of the process: a name that is looked up can take minutes."""
    answer: Future[Published] = Future()

    def wait() -> None:
        try:
            answer.set_result(advisories.published(package.ecosystem, package.name, version))
        except GeusemakerError as error:
            answer.set_result(Published(problem=error.message.rstrip(".")))

    threading.Thread(target=wait, name=f"holes of {package.name}", daemon=True).start()
    return answer
