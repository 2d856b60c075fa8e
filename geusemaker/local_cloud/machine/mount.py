"""``mount`` of an instance: mounts EFS over NFS 4, as ``mount.nfs4`` does, volumes, and lists what is mounted.

A mounted file system is a symbolic link from the mount point to the file system's folder, and a line in the
instance's ``/proc/self/mountinfo``. What the mount point's directory held is covered until it is unmounted.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geusemaker.local_cloud.files import write

FAILED = 32  # mount(8): "mount failure"
EFS_SOURCE = re.compile(r"(?P<host>(?P<id>fs-[0-9a-f]+)\.efs\.(?P<region>[a-z0-9-]+)\.amazonaws\.com):(?P<path>/.*)")
ADDRESS = re.compile(r"[0-9.]+")
DEFAULTS = {"vers": "4.1", "rsize": "1048576", "wsize": "1048576"}


def fail(text: str, code: int = FAILED) -> int:
    sys.stderr.write(text + "\n")
    return code


def inside(root: Path, path: str) -> tuple[Path, str]:
    """A path of the instance as (real path, path as the instance sees it)."""
    seen = "/" + path.removeprefix(str(root)).strip("/")
    return root / seen.lstrip("/"), seen


def mounted(root: Path) -> list[list[str]]:
    lines = (root / "proc/self/mountinfo").read_text().splitlines()
    return [line.split(" ") for line in lines if line]


def show(root: Path) -> int:
    for fields in mounted(root):
        dash = fields.index("-")
        kind, source, options = fields[dash + 1 : dash + 4]
        print(f"{source} on {fields[4]} type {kind} ({options})")
    return 0


def by_name(known: dict[str, Any], source: str, settings: dict[str, Any]) -> tuple[str, str] | None:
    """(file system, its mount target's address) that a name leads to.

    That is so where the file system has a mount target in the instance's own zone and the VPC resolves names:
    https://docs.aws.amazon.com/efs/latest/ug/mounting-fs-mount-cmd-dns-name.html
    """
    match = EFS_SOURCE.fullmatch(source)
    if match is None or match["region"] != settings["region"]:
        return None
    for entry in known.get(match["id"], {}).get("mount_targets", []):
        here = entry["availability_zone"] == settings["availability_zone"] and entry["state"] == "available"
        if here and entry.get("has_name", True):
            return match["id"], entry["ip_address"]
    return None


def by_address(known: dict[str, Any], address: str) -> tuple[str, str] | None:
    """The same of a mount target's address."""
    for name, file_system in known.items():
        for entry in file_system["mount_targets"]:
            if entry["ip_address"] == address and entry["state"] == "available":
                return name, address
    return None


def mount_nfs(root: Path, source: str, target: str, options: str) -> int:
    settings = json.loads((root / "etc/geusemaker-local.json").read_text())
    point, seen = inside(root, target)
    if not (root / "usr/sbin/mount.nfs4").exists():
        return fail(
            f"mount: {seen}: bad option; for several filesystems (e.g. nfs, cifs) you might need a "
            "/sbin/mount.<type> helper program."
        )
    if not point.is_dir():
        return fail(f"mount.nfs4: mount point {seen} does not exist")
    if any(fields[4] == seen for fields in mounted(root)):
        return fail(f"mount.nfs4: {seen} is busy or already mounted")
    local = Path(settings["local_dir"])
    try:
        known = json.loads((local / "file_systems/mount_targets.json").read_text())
    except FileNotFoundError:
        known = {}
    server, _, path = source.partition(":")
    found = by_address(known, server) if ADDRESS.fullmatch(server) else by_name(known, source, settings)
    if found is None and ADDRESS.fullmatch(server):
        return fail("mount.nfs4: Connection timed out")
    if found is None:
        return fail(f"mount.nfs4: Failed to resolve server {server}: Name or service not known")
    name, address = found
    folder = local / "file_systems" / name / path.lstrip("/")
    if not folder.is_dir():
        return fail(f"mount.nfs4: mounting {source} failed, reason given by server: No such file or directory")

    given = [option for option in options.split(",") if option and not option.startswith(("_", "nfsvers="))]
    names = {option.partition("=")[0] for option in given}
    full = ["rw", *(f"{name}={value}" for name, value in DEFAULTS.items() if name not in names), *given]
    cover(root, point, seen, folder, f"nfs4 {source} {','.join(dict.fromkeys(full))},addr={address}")
    return 0


def mount_volume(root: Path, source: str, target: str, options: str) -> int:
    point, seen = inside(root, target)
    device = (root / source.lstrip("/")).resolve()
    if not device.is_file():
        return fail(f"mount: {seen}: special device {source} does not exist.")
    if not point.is_dir():
        return fail(f"mount: {seen}: mount point does not exist.")
    name = f"/{device.relative_to(root.resolve())}"
    if any(fields[4] == seen for fields in mounted(root)):
        return fail(f"mount: {seen}: {name} already mounted or mount point busy.")
    volume = Path(device.read_text())
    if not (volume / "superblock.json").exists():
        return fail(
            f"mount: {seen}: wrong fs type, bad option, bad superblock on {name}, missing codepage or helper program, "
            "or other error."
        )
    cover(root, point, seen, volume / "data", f"ext4 {name} rw,{options or 'defaults'}")
    return 0


def cover(root: Path, point: Path, seen: str, folder: Path, described: str) -> None:
    """Let the folder be seen at the mount point."""
    point.rename(point.with_name(f".{point.name}.covered"))
    point.symlink_to(folder.absolute())
    number = 100 + len(mounted(root))
    rewrite(root, lambda text: f"{text}{number} 1 0:{number} / {seen} rw,relatime shared:{number} - {described}\n")


def rewrite(root: Path, change: Callable[[str], str]) -> None:
    path = root / "proc/self/mountinfo"
    write(path, change(path.read_text()), 0o644)


def main(arguments: list[str]) -> int:
    root = Path(os.environ["GEUSEMAKER_INSTANCE_ROOT"])
    kind, options, rest = "", "", []
    words = iter(arguments)
    for word in words:
        if word in ("-t", "--types"):
            kind = next(words, "")
        elif word in ("-o", "--options"):
            options = next(words, "")
        elif word.startswith("-") and word not in ("-v", "-n", "-s"):
            return fail(f"mount: unsupported option '{word}' on an instance of the local cloud", 1)
        elif not word.startswith("-"):
            rest.append(word)
    if not rest:
        return show(root)
    if len(rest) != 2:
        return fail("mount: bad usage\nTry 'mount --help' for more information.", 1)
    if kind == "ext4":
        return mount_volume(root, rest[0], rest[1], options)
    if kind not in ("nfs", "nfs4", ""):
        return fail(f"mount: {rest[1]}: unknown filesystem type '{kind}'.")
    return mount_nfs(root, rest[0], rest[1], options)
