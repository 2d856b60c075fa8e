"""What an AMI is, by its publisher and its name."""

from __future__ import annotations

import pytest

from geusemaker.models.machine_image import DEBIAN_OWNER, MachineImage, recognise


@pytest.mark.parametrize(
    ("name", "owner", "system", "login"),
    [
        ("debian-13-amd64-20250814-2204", DEBIAN_OWNER, "Debian 13", "admin"),
        ("debian-14-arm64-20270814-1", DEBIAN_OWNER, "Debian 14", "admin"),
        (
            "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20250821",
            "099720109477",
            "Ubuntu 24.04",
            "ubuntu",
        ),
        ("ubuntu-minimal/images/hvm-ssd-gp3/ubuntu-plucky-25.04-arm64-minimal-1", "0", "Ubuntu 25.04", "ubuntu"),
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) 20250815", "8", "Ubuntu 24.04", "ubuntu"),
        ("Deep Learning ARM64 Base OSS Nvidia Driver GPU AMI (Ubuntu 26.04) 1", "8", "Ubuntu 26.04", "ubuntu"),
    ],
)
def test_what_is_set_up(name: str, owner: str, system: str, login: str) -> None:
    found = recognise(MachineImage(id="ami-1", name=name, owner=owner, platform="Linux/UNIX"))
    assert (found.system, found.login, found.refused) == (system, login, "")


@pytest.mark.parametrize(
    ("name", "platform", "why"),
    [
        ("debian-12-amd64-20250814-2204", "Linux/UNIX", "it is Debian 12, which has no package of Compose v2"),
        ("ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-1", "Linux/UNIX", "it is Ubuntu 22.04, whose Python"),
        ("al2023-ami-2023.8.20250818.0-kernel-6.1-x86_64", "Linux/UNIX", "it is Amazon Linux, which has no apt"),
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Amazon Linux 2023) 1", "Linux/UNIX", "it is Amazon Linux"),
        ("RHEL-9.4.0_HVM-20240605-x86_64-82-Hourly2-GP3", "Red Hat Enterprise Linux", "it is Red Hat"),
        ("golden", "Red Hat Enterprise Linux with HA", "it is Red Hat Enterprise Linux"),
        ("golden", "SUSE Linux", "it is SUSE Linux"),
        ("Rocky-9-EC2-Base-9.4", "Linux/UNIX", "it is a Linux of Red Hat's family"),
        ("Windows_Server-2022-English-Full-Base-2025", "Windows", "it is Windows"),
    ],
)
def test_what_is_refused(name: str, platform: str, why: str) -> None:
    assert recognise(MachineImage(id="ami-1", name=name, platform=platform)).refused.startswith(why)


@pytest.mark.parametrize("name", ["", "golden-2026", "NVIDIA VM Image 2024.10.1-ENC", "24.04"])
def test_what_nobody_knows(name: str) -> None:
    assert recognise(MachineImage(id="ami-1", name=name, owner="123456789012")) == recognise(MachineImage(id="ami-2"))


def test_an_image_of_debians_by_another_name() -> None:
    found = recognise(MachineImage(id="ami-1", name="debian-sid-amd64-daily", owner=DEBIAN_OWNER))
    assert (found.system, found.login, found.refused) == ("Debian", "admin", "")
