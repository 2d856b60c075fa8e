"""What image registries are asked before a change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from geusemaker.agent.protocol.looks import Health
from geusemaker.cloud.registry import ImageNotFoundError
from geusemaker.errors import GeusemakerError
from geusemaker.models.image import ImageReference
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import StackConfig


class Registry(Protocol):
    """What the checks ask image registries."""

    def architectures(self, image: ImageReference) -> set[str]: ...
    def layers(self, image: ImageReference, architecture: str) -> dict[str, int]: ...


@dataclass(frozen=True)
class Published:
    """What an image's registry says of it.

    ``problem`` says why an image is not to be had; ``sure`` whether the registry said that, or could not be asked.
    """

    problem: str = ""
    sure: bool = True


def ask_registries(config: StackConfig, registry: Registry) -> dict[str, Published]:
    """Whether the registries still give the images for the instance's architecture, by service; asked side by side."""
    wanted = config.instance.architecture

    def ask(image: ImageReference) -> Published:
        try:
            architectures = registry.architectures(image)
        except ImageNotFoundError as error:
            return Published(str(error))
        except GeusemakerError as error:
            return Published(error.message.rstrip("."), sure=False)
        if architectures and wanted not in architectures:
            return Published(f"{image.tagged} is not published for {wanted}")
        return Published()

    images = [service.image for service in config.services.values()]
    with ThreadPoolExecutor(max_workers=max(len(images), 1)) as pool:
        return dict(zip(config.services, pool.map(ask, images), strict=True))


def check_images(
    config: StackConfig,
    published: Mapping[str, Published],
    missing: Iterable[str] | None = None,
    *,
    on_new_instance: bool = False,
) -> CheckResult:
    """Every image is to be had: from its registry, or because the instance keeps it.

    Args:
        config: the config that is to be made real.
        published: what ``ask_registries`` found.
        missing: the services whose image is not on the instance; None where that is not known.
        on_new_instance: the images are pulled when the instance that keeps them is gone already: nothing may be unsure.
    """
    problems = {name: found for name, found in published.items() if found.problem}
    needed = set(published if missing is None else missing)
    gone = {name: each.problem for name, each in problems.items() if name in needed and (each.sure or on_new_instance)}
    # A registry that does not answer now may do so to the instance; the prefetch decides.
    unsure = [found.problem for name, found in problems.items() if name not in gone]
    if gone:
        why = "; another instance has to pull every image anew" if on_new_instance else ""
        return CheckResult(name="images", status="fail", detail="; ".join(dict.fromkeys(gone.values())) + why)
    if unsure:
        kept = "" if needed & problems.keys() else "; kept on the instance, so no registry is needed"
        return CheckResult(name="images", status="warn", detail="; ".join(dict.fromkeys(unsure)) + kept)
    accessible = f"{len(published)} accessible for {config.instance.architecture}"
    return CheckResult(name="images", status="pass", detail=accessible)


def bytes_to_pull(health: Health, config: StackConfig, active: StackConfig | None, registry: Registry) -> int | None:
    """What the images that are not on the instance take in the registry; None where that is not known.

    Layers count once, and not at all where the image that runs now has them, too.
    """
    missing = health.missing_images
    if missing is None:
        return None
    architecture = config.instance.architecture
    images = [config.services[name].image for name in missing if name in config.services]
    there = [active.services[name].image for name in missing if active is not None and name in active.services]
    wanted = layers_of(images, architecture, registry)
    if wanted is None:
        return None
    shared = layers_of(there, architecture, registry, lenient=True) or {}
    return sum(size for digest, size in wanted.items() if digest not in shared)


def layers_of(
    images: Iterable[ImageReference], architecture: str, registry: Registry, *, lenient: bool = False
) -> dict[str, int] | None:
    """The layers of images, each once: digest → bytes, compressed. None where one image's are not to be had, which
    ``lenient`` leaves out."""

    def known(image: ImageReference) -> dict[str, int] | None:
        try:
            return registry.layers(image, architecture)
        except (GeusemakerError, ImageNotFoundError):
            return None

    images = list(images)
    if not images:
        return {}
    with ThreadPoolExecutor(max_workers=len(images)) as pool:
        found = list(pool.map(known, images))
    if None in found and not lenient:
        return None
    return {digest: size for layers in found for digest, size in (layers or {}).items()}
