"""The disk of an instance that is yet to be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from geusemaker.checks.new_disk import ask_new_disk, check_new_disk
from geusemaker.models.machine_image import MachineImage
from tests.unit.fakes import World
from tests.unit.samples import config, target

GIB = 2**30
DEBIAN = MachineImage(id="ami-1", name="debian-13-amd64-1", least_gib=8)
LARGE = MachineImage(id="ami-2", name="Deep Learning …", least_gib=75)


@pytest.mark.parametrize(
    ("size", "image", "to_pull", "status", "words"),
    [
        (40, DEBIAN, 4 * GIB, "pass", "40 GiB: 8 for the system, about 11 for the images"),
        (
            20,
            DEBIAN,
            5 * GIB,
            "fail",
            "8 for the system, about 14 for the images: give --root-volume 30",
        ),
        (40, DEBIAN, None, "pass", "40 GiB; how much the images need is not known"),
        (40, None, 4 * GIB, "pass", "8 for the system"),
        (40, LARGE, None, "fail", "the machine image has a disk of 75 GiB, and the instance is to have one of 40"),
        (40, LARGE, 4 * GIB, "fail", "give --root-volume 90"),
        (80, LARGE, 4 * GIB, "fail", "80 GiB do not hold 75 for the system, about 11 for the images"),
        (90, LARGE, 4 * GIB, "pass", "75 for the system"),
    ],
)
def test_it_holds_system_and_images(
    size: int, image: MachineImage | None, to_pull: int | None, status: str, words: str
) -> None:
    found = check_new_disk(size, image, to_pull)
    assert (found.status, words in found.detail) == (status, True), found.detail


def test_an_estimate_keeps_nobody_from_bringing_a_deployment_back() -> None:
    assert check_new_disk(20, DEBIAN, 5 * GIB, lenient=True).status == "warn"
    assert check_new_disk(40, LARGE, 5 * GIB, lenient=True).status == "fail", "AWS itself refuses that"


def test_aws_and_the_registries_are_asked(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.registry.layer_bytes = 6 * GIB
    asked = (config(ami="ami-amd64"), target(root_volume_gib=20), world.cloud, world.registry)
    found = ask_new_disk(*asked, has_data=False)
    assert found.status == "fail" and "8 for the system" in found.detail
    world.registry.reachable = False
    assert "not known" in ask_new_disk(*asked, has_data=False).detail
