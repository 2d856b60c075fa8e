"""The EBS volumes of an instance as block devices, and the programs that deal with them.

    volumes.py blkid -p -o export DEVICE
    volumes.py blockdev --getsize64 DEVICE
    volumes.py mkfs.ext4 [-q] [-F] [-U UUID] [-L LABEL] DEVICE
    volumes.py resize2fs DEVICE
    volumes.py growpart DISK NUMBER
    volumes.py findmnt … /
    volumes.py plug VOLUME …

A device is a file that holds the path of its volume's folder. In that folder ``size`` is how many GiB EBS gave it, and
a file system is ``superblock.json`` (what blkid tells of it), ``blocks`` (how many of 4 KiB it has) and ``data`` (what
is in it). ``GEUSEMAKER_INSTANCE_ROOT`` is the instance's disk; an instance that is a container has none, and its
volumes in ``/srv/volumes``.

The instance's own disk is ``/dev/nvme0n1`` with one partition, whose folder is ``p1`` in the disk's, with a ``size`` of
its own. Its files are those of the machine, and not in there; an instance that is a container has no such disk.
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


def plug_root(root: Path, folder: Path, name: str) -> None:
    """Have the instance's own disk, as after a boot: cloud-init has partition and file system fill it."""
    disk = folder / name
    if not (disk / "size").exists():
        return  # of a cloud from before disks had sizes here
    part = disk / "p1"
    part.mkdir(exist_ok=True)
    found = part / "superblock.json"
    if not found.exists():
        found.write_text(json.dumps({"UUID": str(uuid.uuid4()), "TYPE": "ext4", "USAGE": "filesystem"}))
    (part / "size").write_text((disk / "size").read_text())
    (part / "blocks").write_text(str(size_of(part) // 4096))
    (root / "dev/nvme0n1").write_text(str(disk))
    (root / "dev/nvme0n1p1").write_text(str(part))


def findmnt(root: Path, arguments: list[str]) -> int:
    if arguments[-1] != "/" or not (root / "dev/nvme0n1p1").exists():
        return 1  # findmnt(8): nothing was found
    print("/dev/nvme0n1p1 ext4")
    return 0


def growpart(root: Path, arguments: list[str]) -> int:
    disk, part = device_of(root, arguments[0]), device_of(root, f"{arguments[0]}p{arguments[1]}")
    if disk is None or part is None:
        sys.stderr.write(f"FAILED: {arguments[0]}: does not exist\n")
        return 2
    has, whole = Path(part.read_text()) / "size", (Path(disk.read_text()) / "size").read_text()
    if has.read_text() == whole:
        print(f"NOCHANGE: partition {arguments[1]} is size {int(whole) * 2**21 - 2048}. it cannot be grown")
        return 1
    has.write_text(whole)
    print(f"CHANGED: partition={arguments[1]} start=2048 new: size={int(whole) * 2**21 - 2048}")
    return 0


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


def blockdev(root: Path, arguments: list[str]) -> int:
    device = device_of(root, arguments[-1])
    if device is None:
        sys.stderr.write(f"blockdev: cannot open {arguments[-1]}: No such file or directory\n")
        return 1
    print(size_of(Path(device.read_text())))
    return 0


def size_of(volume: Path) -> int:
    """Bytes of a volume."""
    return int((volume / "size").read_text()) * 2**30


def resize2fs(root: Path, arguments: list[str]) -> int:
    device = device_of(root, arguments[-1])
    sys.stderr.write("resize2fs 1.47.2 (1-Jan-2025)\n")
    if device is None or superblock(Path(device.read_text())) is None:
        what = "No such file or directory" if device is None else "Bad magic number in super-block"
        sys.stderr.write(f"resize2fs: {what} while trying to open {arguments[-1]}\n")
        return 1
    volume = Path(device.read_text())
    blocks = size_of(volume) // 4096
    had = volume / "blocks"
    if had.exists() and int(had.read_text()) == blocks:
        sys.stderr.write(f"The filesystem is already {blocks} (4k) blocks long.  Nothing to do!\n\n")
        return 0
    had.write_text(str(blocks))
    print(f"The filesystem on {arguments[-1]} is now {blocks} (4k) blocks long.\n")
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
    (volume / "blocks").write_text(str(size_of(volume) // 4096))
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
    programs = {"blkid": blkid, "blockdev": blockdev, "mkfs.ext4": make_ext4, "resize2fs": resize2fs}
    programs |= {"findmnt": findmnt, "growpart": growpart}
    return programs[verb](root, rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
