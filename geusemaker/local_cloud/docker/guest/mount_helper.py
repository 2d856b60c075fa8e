#!/usr/bin/python3 -I
"""``mount.nfs4`` and ``mount.ext4`` of an instance that is a container: EFS by its name, and EBS volumes.

mount(8) calls it: ``mount.TYPE SOURCE DIRECTORY [-o OPTIONS]``. A container has no kernel of its own to load a client
into, and no block devices, so what is mounted is the folder of the file system or volume, passed through by bindfs
(FUSE). The mount table shows the source as on AWS, with ``fuse.nfs4`` or ``fuse.ext4`` as the type. Locks go through to
the folder: instances that mount it see each other's.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
from pathlib import Path

FAILED = 32  # mount(8): "mount failure"
SETTINGS = Path("/etc/geusemaker-local.json")
FILE_SYSTEMS = Path("/srv/file_systems")
EFS_SOURCE = re.compile(r"(?P<host>(?P<id>fs-[0-9a-f]+)\.efs\.(?P<region>[a-z0-9-]+)\.amazonaws\.com):(?P<path>/.*)")
MS_NOSUID, MS_NODEV = 2, 4


class Refused(Exception):
    """Why nothing is mounted."""


def efs_folder(source: str) -> Path:
    settings = json.loads(SETTINGS.read_text())
    server, _, path = source.partition(":")
    match = EFS_SOURCE.fullmatch(source)
    # An EFS name resolves where the file system has a mount target in the instance's own zone, and nowhere else:
    # https://docs.aws.amazon.com/efs/latest/ug/mounting-fs-mount-cmd-dns-name.html
    # There the VPC has to resolve names, too; an address leads there without.
    known = json.loads((FILE_SYSTEMS / "mount_targets.json").read_text())
    targets = [(name, entry) for name, one in known.items() for entry in one["mount_targets"]]
    here = [
        name
        for name, entry in targets
        if entry["state"] == "available"
        and (
            entry.get("ip_address") == server
            or (
                match is not None
                and match["id"] == name
                and match["region"] == settings["region"]
                and entry["availability_zone"] == settings["availability_zone"]
                and entry.get("has_name", True)
            )
        )
    ]
    if not here and re.fullmatch(r"[0-9.]+", server):
        raise Refused("Connection timed out")
    if not here:
        raise Refused(f"Failed to resolve server {server}: Name or service not known")
    folder = FILE_SYSTEMS / str(here[0]) / path.lstrip("/")
    if not folder.is_dir():
        raise Refused(f"mounting {source} failed, reason given by server: No such file or directory")
    return folder


def volume_folder(source: str) -> Path:
    """A device is a file that holds the path of its volume's folder; see volumes.py."""
    try:
        folder = Path(Path(source).read_text()) / "data"
    except OSError:
        raise Refused(f"special device {source} does not exist") from None
    if not folder.is_dir():
        raise Refused(f"wrong fs type, bad option, bad superblock on {source}")
    return folder


def main(name: str, arguments: list[str]) -> int:
    source, target = arguments[:2]
    kind = name.rpartition(".")[2]
    try:
        if kind == "ext4":
            source = os.path.realpath(source)
            folder = volume_folder(source)
        else:
            folder = efs_folder(source)
    except Refused as refused:
        sys.stderr.write(f"{name}: {refused}\n")
        return FAILED
    # Mounted here and not by bindfs, which would show the folder as the source.
    fuse = os.open("/dev/fuse", os.O_RDWR)
    os.set_inheritable(fuse, True)
    data = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), f"fuse.{kind}".encode(), MS_NOSUID | MS_NODEV, data.encode()):
        sys.stderr.write(f"{name}: {target}: {os.strerror(ctypes.get_errno())}\n")
        return FAILED
    command = ("bindfs", "--multithreaded", "--enable-lock-forwarding", str(folder), f"/dev/fd/{fuse}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[0]).name, sys.argv[1:]))
