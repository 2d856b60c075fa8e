"""`make defaults`: choose the images of new deployments anew, and record them with the day.

Of each service: the newest release that steps lead to from the one of now (services/updates.py), which is published for
both architectures and of which OSV knows no critical or high hole; where each has one, the newest. The choice is
written to the catalogue's files and to ``defaults.json`` beside them. Where registries or OSV cannot be asked, what is
recorded stays, with its day: a choice without either would be none.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

from geusemaker.catalog import SERVICES, defaults
from geusemaker.catalog.service import Service
from geusemaker.cloud.advisories import Osv
from geusemaker.cloud.registry import ImageNotFoundError, Registry
from geusemaker.errors import EnvironmentProblemError, GeusemakerError
from geusemaker.models.advisory import Hole, holes
from geusemaker.models.history import utc_now
from geusemaker.models.image import ImageReference
from geusemaker.services.advisories import package_of
from geusemaker.services.updates import steps, up_to_stable
from geusemaker.targets import OSV

ARCHITECTURES = {"amd64", "arm64"}


def candidates(service: Service, image: ImageReference, tags: Iterable[str]) -> list[ImageReference]:
    """The image of now, and what steps lead to from there, oldest first."""
    tags, found = tuple(tags), [image]
    while further := steps(service, found[-1], tags):
        found += further
    return found


def choose(
    found: list[ImageReference],
    is_published: Callable[[ImageReference], bool],
    known: Callable[[ImageReference], tuple[Hole, ...]],
) -> tuple[ImageReference, tuple[Hole, ...]]:
    """The newest without a known hole, else the newest; and its holes."""
    there = [image for image in reversed(found) if is_published(image)] or [found[0]]
    without = next((image for image in there if not known(image)), there[0])
    return without, known(without)


class Asking:
    """Registries and OSV, of whom no answer is an error."""

    def __init__(self, registry: Registry, database: Osv) -> None:
        self._registry = registry
        self._database = database

    def newest(self, service: Service) -> tuple[ImageReference, tuple[Hole, ...]]:
        """What is to be a service's default, and the holes that it has all the same.

        Raises:
            GeusemakerError, ImageNotFoundError: it cannot be known.
        """
        now = ImageReference.parse(service.image)
        found = candidates(service, now, self._registry.tags(now))
        stable = up_to_stable(service, now, tuple(found), self._registry)
        return choose(list(stable) or [now], self._is_published, lambda image: self._holes(service, image))

    def _is_published(self, image: ImageReference) -> bool:
        return self._registry.architectures(image) >= ARCHITECTURES

    def _holes(self, service: Service, image: ImageReference) -> tuple[Hole, ...]:
        package = package_of(service.name, image)
        assert package is not None, f"a default has a release: {image.tagged}"
        answer = self._database.published(package[0].ecosystem, package[0].name, package[1])
        if answer.problem:
            raise EnvironmentProblemError(f"{answer.problem}.")
        return holes(package[1], answer.advisories)


def renew(folder: Path, asking: Asking, today: date, tell: Callable[[str], None]) -> bool:
    """Choose, and write the choice into a catalogue's folder; False where something could not be asked: all stays."""
    recorded = defaults.read(folder / "defaults.json")
    chosen: dict[str, str] = {}
    for name, service in sorted(SERVICES.items()):
        try:
            image, left = asking.newest(service)
        except (GeusemakerError, ImageNotFoundError) as error:
            tell(f"{name}: {str(error).splitlines()[0]}")
            tell(f"What was chosen on {recorded.day} stays, of all services.")
            return False
        chosen[name] = image.tagged
        has = f", which has {', '.join(f'{hole.id} ({hole.severity})' for hole in left)}" if left else ""
        tell(
            f"{name}: {image.tagged}{has}"
            if image.tagged == service.image
            else f"{name}: {service.image} → {image.tagged}{has}"
        )
    for name, tagged in chosen.items():
        file = folder / f"{name}.py"
        text = file.read_text(encoding="utf-8")
        old = f'    image="{SERVICES[name].image}",\n'
        if text.count(old) != 1:
            raise SystemExit(f"{file} does not have {old.strip()} once")
        file.write_text(text.replace(old, f'    image="{tagged}",\n'), encoding="utf-8")
    document = {"day": today.isoformat(), "images": chosen}
    (folder / "defaults.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return True


def main() -> None:
    """Ask, choose and write."""
    with tempfile.TemporaryDirectory() as folder:
        address = os.environ.get("GEUSEMAKER_ADVISORIES") or OSV
        asking = Asking(Registry(), Osv(address, Path(folder) / "advisories.json", utc_now, timeout_seconds=10.0))
        changed = renew(defaults.FILE.parent, asking, utc_now().date(), print)
    if changed:
        print("Recorded. Look at `git diff`, run `make test`, and say in CHANGELOG.md what changed.", file=sys.stderr)


if __name__ == "__main__":
    main()
