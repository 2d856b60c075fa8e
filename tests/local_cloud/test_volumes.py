"""blkid, mkfs.ext4 and resize2fs of an instance answer as the real ones do, on a file of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from geusemaker.local_cloud.machine import volumes

UUID = "6f1a3c0e-4b7d-4c9e-9d55-0a1b2c3d4e5f"
VOLUME = "vol-0123456789abcdef0"
BY_ID = "dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0"
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


@dataclass
class Disk:
    """An empty device, and the commands for it: the real ones, or those of an instance whose disk is ``root``."""

    device: str
    root: Path | None = None

    def run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        if self.root is None:
            command, environment = [name], {**os.environ, "PATH": _PATH}
        else:
            command = [sys.executable, "-IS", volumes.__file__, name]
            environment = {"GEUSEMAKER_INSTANCE_ROOT": str(self.root)}
        return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True)

    def probe(self, device: str = "") -> tuple[int, dict[str, str]]:
        done = self.run("blkid", "-p", "-o", "export", device or self.device)
        pairs = (line.partition("=") for line in done.stdout.splitlines())
        return done.returncode, {key: value for key, _, value in pairs if key in ("UUID", "LABEL", "TYPE", "USAGE")}

    def grow(self, gib: int) -> None:
        """Give the device its size, as EBS does."""
        if self.root is not None:
            (Path((self.root / self.device.lstrip("/")).read_text()) / "size").write_text(str(gib))
        else:
            with Path(self.device).open("ab") as file:
                file.truncate(gib * 2**30)

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("mkfs.ext4", "-q", "-F", *arguments)


@pytest.fixture(params=["stand-in", "real"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    if request.param == "real":
        if not shutil.which("mkfs.ext4", path=_PATH) or not shutil.which("blkid", path=_PATH):
            pytest.skip("THE STAND-INS OF blkid AND mkfs.ext4 ARE NOT COMPARED: e2fsprogs is not on this machine")
        image = tmp_path / "disk.img"
        disk = Disk(str(image))
        disk.grow(1)
        return disk
    root = tmp_path / "disk"
    (root / "dev").mkdir(parents=True)
    volumes.plug(root, tmp_path / "volumes", [VOLUME])
    disk = Disk("/dev/nvme1n1", root)
    disk.grow(1)
    return disk


def test_an_empty_volume_holds_nothing(disk: Disk) -> None:
    assert disk.probe() == (2, {})


def test_a_file_system_has_the_uuid_that_was_asked_for(disk: Disk) -> None:
    made = disk.make("-U", UUID, "-L", "geusemaker", disk.device)
    assert (made.returncode, made.stdout) == (0, ""), made.stderr
    told = {"UUID": UUID, "LABEL": "geusemaker", "TYPE": "ext4", "USAGE": "filesystem"}
    assert disk.probe() == (0, told)
    assert disk.make("-U", UUID, "-L", "geusemaker", disk.device).returncode == 0, "again, as after a kill"
    assert disk.probe() == (0, told)


def test_a_uuid_is_made_up_where_none_is_given(disk: Disk) -> None:
    assert disk.make(disk.device).returncode == 0
    code, told = disk.probe()
    assert (code, told["TYPE"], len(told["UUID"]), "LABEL" in told) == (0, "ext4", 36, False)


def test_a_file_system_fills_a_volume_that_was_enlarged(disk: Disk) -> None:
    assert disk.run("resize2fs", disk.device).returncode == 1, "there is none yet"
    disk.make("-U", UUID, disk.device)
    full = disk.run("resize2fs", disk.device)
    assert (full.returncode, full.stdout) == (0, "")
    assert full.stderr.endswith("The filesystem is already 262144 (4k) blocks long.  Nothing to do!\n\n")
    disk.grow(2)
    filled = disk.run("resize2fs", disk.device)
    assert filled.returncode == 0
    assert filled.stdout.endswith(f"The filesystem on {disk.device} is now 524288 (4k) blocks long.\n\n")
    assert disk.probe()[1]["UUID"] == UUID


def test_a_device_that_is_not_there(disk: Disk) -> None:
    assert disk.probe("/dev/none") == (2, {})
    assert disk.make("/dev/none").returncode == 1


def test_devices_come_and_go_with_their_volumes(tmp_path: Path) -> None:
    root, folder = tmp_path / "disk", tmp_path / "volumes"
    (root / "dev").mkdir(parents=True)
    volumes.plug(root, folder, [VOLUME])
    disk = Disk("/dev/nvme1n1", root)
    disk.grow(1)
    disk.make("-U", UUID, disk.device)
    by_uuid = root / "dev/disk/by-uuid" / UUID
    assert (root / BY_ID).resolve() == by_uuid.resolve() == root / "dev/nvme1n1"
    # Beside another one it gets another name, as with each boot on AWS; its links find it.
    volumes.plug(root, folder, ["vol-0000000000000000a", VOLUME])
    assert (root / BY_ID).resolve() == by_uuid.resolve() == root / "dev/nvme2n1"
    volumes.plug(root, folder, [])
    assert not (root / BY_ID).exists() and not by_uuid.exists() and not list((root / "dev").glob("nvme*"))
    assert (folder / VOLUME / "superblock.json").exists(), "what is on it stays"
