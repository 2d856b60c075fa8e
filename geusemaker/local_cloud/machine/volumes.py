"""The EBS volumes of an instance as block devices, and ``blkid`` and ``mkfs.ext4`` for them.

    volumes.py blkid -p -o export DEVICE
    volumes.py mkfs.ext4 [-q] [-F] [-U UUID] [-L LABEL] DEVICE
    volumes.py plug VOLUME …

A device is a file that holds the path of its volume's folder. In that folder a file system is ``superblock.json`` (what
blkid tells of it) and ``data`` (what is in it). ``GEUSEMAKER_INSTANCE_ROOT`` is the instance's disk; an instance that
is a container has none, and its volumes in ``/srv/volumes``.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path

VOLUMES = Path("/srv/volumes")


def plug(root: Path, folder: Path, attached: Iterable[str]) -> None:
    """Have a device for each attached volume, and for no other, with the links that udev makes."""
    links, dev = root / "dev/disk", root / "dev"
    shutil.rmtree(links, ignore_errors=True)
    for device in dev.glob("nvme[1-9]n1"):
        device.unlink()
    for number, name in enumerate(sorted(attached), 1):
        volume = folder / name
        volume.mkdir(parents=True, exist_ok=True)
        device = dev / f"nvme{number}n1"
        device.write_text(str(volume))
        _link(links / "by-id" / f"nvme-Amazon_Elastic_Block_Store_{name.replace('-', '')}", device)
        _link_uuid(device, volume)


def _link(link: Path, device: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(f"../../{device.name}")


def _link_uuid(device: Path, volume: Path) -> None:
    found = superblock(volume)
    if found is not None:
        _link(device.parent / "disk/by-uuid" / found["UUID"], device)


def superblock(volume: Path) -> dict[str, str] | None:
    """What is on the volume, in blkid's words."""
    try:
        found: dict[str, str] = json.loads((volume / "superblock.json").read_text())
    except FileNotFoundError:
        return None
    return found


def device_of(root: Path, path: str) -> Path | None:
    """The real file of a device named as the instance sees it."""
    device = (root / path.lstrip("/")).resolve()
    return device if device.is_file() else None


def blkid(root: Path, arguments: list[str]) -> int:
    device = device_of(root, arguments[-1])
    if device is None:
        sys.stderr.write(f"blkid: error: {arguments[-1]}: No such file or directory\n")
        return 2
    found = superblock(Path(device.read_text()))
    if found is None:
        return 2  # blkid(8): nothing was found
    for key, value in {"DEVNAME": arguments[-1], **found}.items():
        print(f"{key}={value}")
    return 0


def make_ext4(root: Path, arguments: list[str]) -> int:
    settings = dict(itertools.pairwise(arguments))
    device = device_of(root, arguments[-1])
    if device is None:
        sys.stderr.write(f"The file {arguments[-1]} does not exist and no size was specified.\n")
        return 1
    volume = Path(device.read_text())
    shutil.rmtree(volume / "data", ignore_errors=True)
    (volume / "data").mkdir()
    found = {
        "UUID": settings.get("-U") or str(uuid.uuid4()),
        "BLOCK_SIZE": "4096",
        "TYPE": "ext4",
        "USAGE": "filesystem",
    }
    if "-L" in settings:
        found = {"LABEL": settings["-L"], **found}
    new = volume / "superblock.new"
    new.write_text(json.dumps(found))
    new.replace(volume / "superblock.json")
    _link_uuid(device, volume)
    return 0


def main(arguments: list[str]) -> int:
    root = Path(os.environ.get("GEUSEMAKER_INSTANCE_ROOT") or "/")
    verb, rest = arguments[0], arguments[1:]
    if verb == "plug":
        plug(root, VOLUMES, rest)
        return 0
    return blkid(root, rest) if verb == "blkid" else make_ext4(root, rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
