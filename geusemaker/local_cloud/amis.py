"""The machine images of the local cloud: Debian's own, by their real names and owner."""

from __future__ import annotations

from typing import Any, Final

DEBIAN_OWNER: Final = "136693071363"
"""The account that publishes Debian's images: https://wiki.debian.org/Cloud/AmazonEC2Image"""

DEBIAN_13_AMD64: Final = "ami-0deb1300000000a64"
DEBIAN_13_ARM64: Final = "ami-0deb130000000a264"


def _image(ami_id: str, architecture: str, debian_architecture: str) -> dict[str, Any]:
    name = f"debian-13-{debian_architecture}-20250814-2204"
    return {
        "ami_id": ami_id,
        "state": "available",
        "public": True,
        "owner_id": DEBIAN_OWNER,
        "image_location": f"{DEBIAN_OWNER}/{name}",
        "sriov": "simple",
        "root_device_type": "ebs",
        "root_device_name": "/dev/xvda",
        "description": "Debian 13 (20250814-2204)",
        "image_type": "machine",
        "platform": None,
        "architecture": architecture,
        "name": name,
        "virtualization_type": "hvm",
        "hypervisor": "xen",
        "creation_date": "2025-08-14T22:12:31.000Z",
        "boot_mode": "uefi-preferred" if architecture == "x86_64" else "uefi",
    }


def machine_images() -> list[dict[str, Any]]:
    """What moto reads from ``MOTO_AMIS_PATH``."""
    return [_image(DEBIAN_13_AMD64, "x86_64", "amd64"), _image(DEBIAN_13_ARM64, "arm64", "arm64")]
