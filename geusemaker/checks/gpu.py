"""GPUs: whether the machine image drives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from geusemaker.models.machine_image import DEBIAN_OWNER, MachineImage
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import StackConfig, describe

GPU_CHECK: Final = "GPU"

ImageFinder = Callable[[], MachineImage | None]

_TOO_OLD: Final = frozenset({"g2", "g3", "g3s", "p2", "p3", "p3dn"})
"""Families whose GPUs are older than Turing: NVIDIA's open kernel modules, which AWS's image has, do not drive them.
https://github.com/NVIDIA/open-gpu-kernel-modules (README, "Compatible GPUs")"""


def uses_gpu(config: StackConfig) -> bool:
    """Whether a service is given the instance's GPUs."""
    return config.instance.gpus > 0 and any(describe(config, name).uses_gpu for name in config.services)


def check_gpu(config: StackConfig, find_image: ImageFinder, *, proven: bool) -> CheckResult:
    """Whoever has GPUs reserved has an AMI that can have driver and container toolkit: Debian's has neither.

    Args:
        find_image: asks AWS for the config's AMI.
        proven: this config ran healthy once.
    """
    image = find_image()
    name, looks = GPU_CHECK, "the gate runs nvidia-smi in the container that is given it"
    if image is not None and image.drives_gpus:
        if config.instance_type.partition(".")[0] in _TOO_OLD and not proven:
            detail = f"the driver on {config.ami} knows no GPU as old as that of {config.instance_type}"
            return CheckResult(name=name, status="fail", detail=f"{detail}: choose a newer type, as g4dn.xlarge")
        detail = f"{config.ami} has NVIDIA's driver and container toolkit ({image.name}); {looks}"
        return CheckResult(name=name, status="pass", detail=detail)
    if proven or (image is not None and image.owner != DEBIAN_OWNER):
        detail = f"{config.ami} has to bring NVIDIA's driver and container toolkit, which was not looked into; {looks}"
        return CheckResult(name=name, status="warn", detail=detail)
    detail = (
        f"{config.instance_type} has a GPU, and {config.ami}, Debian's AMI, has neither NVIDIA's driver nor the "
        "container toolkit, so Ollama would not start: --ami newest takes AWS's Deep Learning AMI, which has both; or "
        "choose a type without a GPU"
    )
    return CheckResult(name=name, status="fail", detail=detail)
