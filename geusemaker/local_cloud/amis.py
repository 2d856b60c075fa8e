"""The machine images of the local cloud: some that there are on AWS, by their real names and owners.

They tell geusemaker apart what it can set up. An instance that is a process is made of each, and differs in what the
system is called and which login it has; one that is a container is made of Debian's alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

DEBIAN_OWNER: Final = "136693071363"
"""The account that publishes Debian's images: https://wiki.debian.org/Cloud/AmazonEC2Image"""
_CANONICAL: Final = "099720109477"
_AMAZON: Final = "137112412989"
_DEEP_LEARNING: Final = "898082745236"

DEBIAN_13_AMD64: Final = "ami-0deb1300000000a64"
DEBIAN_13_ARM64: Final = "ami-0deb130000000a264"
DEBIAN_12_AMD64: Final = "ami-0deb1200000000a64"
UBUNTU_24_AMD64: Final = "ami-00b02400000000a64"
DEEP_LEARNING_AMD64: Final = "ami-0d1a2400000000a64"
AMAZON_2023_AMD64: Final = "ami-0a12023000000a640"
BARE_AMD64: Final = "ami-0deb13ba9e0000a64"
"""Debian 13 once more, as somebody's own copy of it. An instance of it that is a container has nothing of what the
agent installs, as one on AWS; of Debian's own, which most tests take, it has all, so that nobody waits for packages."""


@dataclass(frozen=True)
class System:
    """What an instance of an image is."""

    id: str
    release: str
    pretty: str
    login: str


_DEBIAN_13 = System("debian", "13", "Debian GNU/Linux 13 (trixie)", "admin")
_UBUNTU_24 = System("ubuntu", "24.04", "Ubuntu 24.04.3 LTS", "ubuntu")
_SYSTEMS: Final = {
    DEBIAN_12_AMD64: System("debian", "12", "Debian GNU/Linux 12 (bookworm)", "admin"),
    UBUNTU_24_AMD64: _UBUNTU_24,
    DEEP_LEARNING_AMD64: _UBUNTU_24,
    AMAZON_2023_AMD64: System("amzn", "2023", "Amazon Linux 2023", "ec2-user"),
}


def system_of(ami_id: str) -> System:
    """What an instance of an image is: Debian 13, unless it is one of the others above."""
    return _SYSTEMS.get(ami_id, _DEBIAN_13)


def _image(ami_id: str, architecture: str, name: str, owner: str, description: str) -> dict[str, Any]:
    return {
        "ami_id": ami_id,
        "state": "available",
        "public": True,
        "owner_id": owner,
        "image_location": f"{owner}/{name}",
        "sriov": "simple",
        "root_device_type": "ebs",
        "root_device_name": "/dev/xvda",
        "description": description,
        "image_type": "machine",
        "platform": None,
        "architecture": architecture,
        "name": name,
        "virtualization_type": "hvm",
        "hypervisor": "xen",
        "creation_date": "2025-08-14T22:12:31.000Z",
        "boot_mode": "uefi-preferred" if architecture == "x86_64" else "uefi",
    }


def has_gpu_driver(ami_id: str) -> bool:
    """Whether NVIDIA's driver and container toolkit are on it."""
    return ami_id == DEEP_LEARNING_AMD64


def disk_gib(ami_id: str) -> int:
    """The size of the disk that an image was made of."""
    return 75 if has_gpu_driver(ami_id) else 8


def smaller_disk(ami_id: str, size_gib: str | None) -> str:
    """What AWS says of a disk that is smaller than its image's; empty: it is not."""
    least = disk_gib(ami_id)
    if not size_gib or int(size_gib) >= least:
        return ""
    return f"Volume of size {size_gib}GB is smaller than snapshot 'snap-{ami_id[4:]}', expect size >= {least}GB"


def image_parameters() -> dict[str, str]:
    """AWS's public parameters in SSM that name images: name → value.

    https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html
    """
    deep_learning = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
    return {deep_learning: DEEP_LEARNING_AMD64}


def machine_images() -> list[dict[str, Any]]:
    """What moto reads from ``MOTO_AMIS_PATH``."""
    debian = "Debian 13 (20250814-2204)"
    return [
        _image(DEBIAN_13_AMD64, "x86_64", "debian-13-amd64-20250814-2204", DEBIAN_OWNER, debian),
        _image(DEBIAN_13_ARM64, "arm64", "debian-13-arm64-20250814-2204", DEBIAN_OWNER, debian),
        _image(DEBIAN_12_AMD64, "x86_64", "debian-12-amd64-20250814-2204", DEBIAN_OWNER, "Debian 12 (20250814-2204)"),
        _image(
            UBUNTU_24_AMD64, "x86_64", "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20250821",
            _CANONICAL, "Canonical, Ubuntu, 24.04, amd64 noble image",
        ),
        _image(
            DEEP_LEARNING_AMD64, "x86_64", "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20250815",
            _DEEP_LEARNING, "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04)",
        ),
        _image(
            AMAZON_2023_AMD64, "x86_64", "al2023-ami-2023.8.20250818.0-kernel-6.1-x86_64", _AMAZON,
            "Amazon Linux 2023 AMI 2023.8.20250818.0 x86_64 HVM kernel-6.1",
        ),
        _image(BARE_AMD64, "x86_64", "debian-13-amd64-20250814-2204-bare", "123456789012", "Debian 13, a bare copy"),
    ]  # fmt: skip
