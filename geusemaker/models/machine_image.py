"""A machine image (AMI): what AWS says of it, and what that means for an instance made of it."""

from __future__ import annotations

import re
from typing import Final

from geusemaker.models.base import Model

DEBIAN_OWNER: Final = "136693071363"
"""The account that publishes Debian's images, https://wiki.debian.org/Cloud/AmazonEC2Image."""
UBUNTU_OWNER: Final = "099720109477"
"""Canonical's, https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/."""

DEBIAN_LOGIN: Final = "admin"

ROOM_GIB: Final = 25
"""What the images of all services take on an instance's own disk, and those of the version before, about."""

WANTED: Final = "Debian 13, Ubuntu 24.04, a later one of these, or AWS's Deep Learning Base AMI for such an Ubuntu"


class MachineImage(Model):
    """What AWS tells of an AMI."""

    id: str
    name: str = ""
    owner: str = ""
    """The account that published it."""
    owner_alias: str = ""
    """"amazon", "aws-marketplace" or nothing."""
    platform: str = ""
    """As "Linux/UNIX", "Red Hat Enterprise Linux", "Windows"."""
    architecture: str = ""
    """amd64, arm64, or another one's own name."""
    least_gib: int = 0
    """The size of the disk that it was made of: an instance's own is not smaller."""

    @property
    def comfortable_gib(self) -> int:
        """The size of an instance's own disk that has room for the services' images, too; in tens."""
        return -(-(self.least_gib + ROOM_GIB) // 10) * 10

    @property
    def drives_gpus(self) -> bool:
        """Whether NVIDIA's driver and container toolkit are on it, by its name: AWS's Deep Learning AMIs."""
        return re.match(r"Deep Learning .*\b(Nvidia Driver|GPU)\b", self.name, re.IGNORECASE) is not None


class Recognised(Model):
    """What an AMI is, by its publisher and its name."""

    system: str = ""
    """As "Ubuntu 24.04"; empty: nobody knows."""
    login: str = ""
    """The login that it has."""
    refused: str = ""
    """Why no instance is made of it; empty: nothing speaks against it."""


# Names and publishers: https://docs.aws.amazon.com/dlami/latest/devguide/find-dlami-id.html and the pages above.
_DEBIAN = re.compile(r"debian-(\d+)-")
_UBUNTU = re.compile(r"\bubuntu[^0-9]*?(?:[a-z]+-)?(\d\d)\.(\d\d)\b", re.IGNORECASE)
_OTHERS: Final = {
    r"amzn2|al20\d\d|amazon[ -]?linux|bottlerocket": "Amazon Linux",
    r"rhel|red.?hat": "Red Hat Enterprise Linux",
    r"\b(open)?suse\b|\bsles\b": "SUSE Linux",
    r"centos|\brocky\b|almalinux|fedora|oraclelinux|\bol\d-": "a Linux of Red Hat's family",
    r"windows": "Windows",
    r"freebsd|openbsd|macos": "no Linux",
}
"""What a name says that is no system with apt → what it is."""


def recognise(image: MachineImage) -> Recognised:
    """What an AMI is. Pure; a name is believed, and the agent looks once more at the system itself."""
    platform = image.platform.lower()
    for words, what in _OTHERS.items():
        if re.search(words, image.name, re.IGNORECASE) or re.search(words, platform):
            return Recognised(system=what, refused=f"it is {what}, which has no apt packages")
    if image.owner == DEBIAN_OWNER or image.name.startswith("debian-"):
        return _debian(image)
    if found := _UBUNTU.search(image.name):
        return _ubuntu(int(found[1]), int(found[2]))
    return Recognised()


def _debian(image: MachineImage) -> Recognised:
    found = _DEBIAN.match(image.name)
    if found is None:
        return Recognised(system="Debian", login=DEBIAN_LOGIN)
    release = int(found[1])
    # Compose v2 is a package from Debian 13 on, and Python 3.11 from 12.
    why = f"it is Debian {release}, which has no package of Compose v2" if release < 13 else ""
    return Recognised(system=f"Debian {release}", login=DEBIAN_LOGIN, refused=why)


def _ubuntu(year: int, month: int) -> Recognised:
    system = f"Ubuntu {year}.{month:02}"
    why = f"it is {system}, whose Python is older than 3.11" if (year, month) < (24, 4) else ""
    return Recognised(system=system, login="ubuntu", refused=why)
