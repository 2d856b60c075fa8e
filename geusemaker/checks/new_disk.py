"""The disk of an instance that is yet to be made: large enough for its machine image, and for what it is to run."""

from __future__ import annotations

from typing import Final

from geusemaker.checks.cloud import Cloud
from geusemaker.checks.host import UNPACKED
from geusemaker.checks.images import Registry, layers_of
from geusemaker.models.machine_image import MachineImage
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import StackConfig, Target, root_volume_gib

SYSTEM_GIB: Final = 8
"""What a system with Docker, its logs and some room takes: the size of the disk that Debian makes its images of. Larger
images are full to a good part (AWS's Deep Learning AMIs), so of those their own size counts."""


def ask_new_disk(
    config: StackConfig, target: Target, cloud: Cloud, registry: Registry, *, has_data: bool
) -> CheckResult:
    """Ask AWS how large the machine image is, the registries how large the images are, and judge."""
    image = cloud.find_machine_image(config.ami)
    layers = layers_of([service.image for service in config.services.values()], config.instance.architecture, registry)
    to_pull = None if layers is None else sum(layers.values())
    return check_new_disk(root_volume_gib(target, config), image, to_pull, lenient=has_data)


def check_new_disk(
    size_gib: int, image: MachineImage | None, to_pull: int | None, *, lenient: bool = False
) -> CheckResult:
    """The disk holds system and images.

    Args:
        size_gib: what it is to have.
        image: what it is made of; None: not to be had, which another check tells.
        to_pull: bytes of the images, compressed; None where a registry does not tell.
        lenient: how much images take is an estimate, and no reason not to bring a deployment back.
    """
    name = "new disk"
    least = image.least_gib if image is not None else 0
    system = max(least, SYSTEM_GIB)
    images = 0 if to_pull is None else -(-int(to_pull * UNPACKED) // 2**30)
    wanted = max(system + images, least)
    larger = -(-wanted // 10) * 10
    if size_gib < least:
        # EC2 refuses it: docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EbsBlockDevice.html (VolumeSize).
        detail = f"the machine image has a disk of {least} GiB, and the instance is to have one of {size_gib}"
        return CheckResult(name=name, status="fail", detail=f"{detail}: give --root-volume {larger}")
    if to_pull is None:
        return CheckResult(name=name, status="pass", detail=f"{size_gib} GiB; how much the images need is not known")
    need = f"{system} for the system, about {images} for the images"
    if size_gib < wanted:
        detail = f"{size_gib} GiB do not hold {need}: give --root-volume {larger}"
        return CheckResult(name=name, status="warn" if lenient else "fail", detail=detail)
    return CheckResult(name=name, status="pass", detail=f"{size_gib} GiB: {need}")
