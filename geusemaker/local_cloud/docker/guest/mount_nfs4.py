#!/usr/bin/python3 -I
"""``mount.nfs4`` of an instance that is a container: mounts an EFS file system by its name, without an NFS client.

mount(8) calls it: ``mount.nfs4 SOURCE DIRECTORY [-o OPTIONS]``. A container has no kernel of its own to load a client
into, so what is mounted is the file system's folder, passed through by bindfs (FUSE). The mount table shows EFS's
source, with ``fuse.nfs4`` as the type. Locks go through to the folder: instances that mount it see each other's.
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


def fail(text: str) -> int:
    sys.stderr.write(f"mount.nfs4: {text}\n")
    return FAILED


def main(arguments: list[str]) -> int:
    source, target = arguments[:2]
    settings = json.loads(SETTINGS.read_text())
    match = EFS_SOURCE.fullmatch(source)
    # An EFS name resolves where the file system has a mount target in the instance's own zone, and nowhere else:
    # https://docs.aws.amazon.com/efs/latest/ug/mounting-fs-mount-cmd-dns-name.html
    known = json.loads((FILE_SYSTEMS / "mount_targets.json").read_text())
    targets = known.get(match["id"], {}).get("mount_targets", []) if match else []
    here = [
        entry
        for entry in targets
        if entry["availability_zone"] == settings["availability_zone"] and entry["state"] == "available"
    ]
    if match is None or not here or match["region"] != settings["region"]:
        return fail(f"Failed to resolve server {source.partition(':')[0]}: Name or service not known")
    folder = FILE_SYSTEMS / match["id"] / match["path"].lstrip("/")
    if not folder.is_dir():
        return fail(f"mounting {source} failed, reason given by server: No such file or directory")
    # Mounted here and not by bindfs, which would show the folder as the source.
    fuse = os.open("/dev/fuse", os.O_RDWR)
    os.set_inheritable(fuse, True)
    data = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), b"fuse.nfs4", MS_NOSUID | MS_NODEV, data.encode()):
        return fail(f"{target}: {os.strerror(ctypes.get_errno())}")
    command = ("bindfs", "--multithreaded", "--enable-lock-forwarding", str(folder), f"/dev/fd/{fuse}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
