"""``apt-get`` of an instance: ``update`` and ``install`` of the packages that Debian 13 has and geusemaker needs."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

from geusemaker.local_cloud.files import write
from geusemaker.local_cloud.program import script

AVAILABLE = {
    "ca-certificates": "20250419",
    "cloud-guest-utils": "0.33-1",
    "curl": "8.14.1-2",
    "docker-cli": "26.1.5+dfsg1-9+b9",
    "docker-compose": "2.26.1-4",
    "docker.io": "26.1.5+dfsg1-9+b9",
    "jq": "1.7.1-6",
    "nfs-common": "1:2.8.3-1",
    "python3": "3.13.5-1",
}
FAILED = 100


def fail(text: str) -> int:
    sys.stderr.write(text + "\n")
    return FAILED


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, text, 0o755)


def configure(root: Path, package: str) -> None:
    """What the package puts on the disk, and what its postinst does."""
    if package == "cloud-guest-utils":
        program(root / "usr/bin/growpart", script("growpart"))
    elif package == "nfs-common":
        program(root / "usr/sbin/mount.nfs4", '#!/bin/sh\nexec mount -t nfs4 "$@"\n')
    elif package == "docker-compose":
        program(root / "usr/libexec/docker/cli-plugins/docker-compose", '#!/bin/sh\nexec docker compose "$@"\n')
    elif package == "docker-cli":
        program(root / "usr/bin/docker", script("docker"))
    elif package == "docker.io":
        unit = root / "usr/lib/systemd/system/docker.service"
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.write_text("[Service]\nType=notify\n[Install]\nWantedBy=multi-user.target\n")
        # Debian's postinst enables and starts the daemon.
        started = subprocess.run(
            ["systemctl", "enable", "--now", "docker.service"], capture_output=True, text=True, timeout=120
        )
        if started.returncode:
            sys.stderr.write(started.stderr + 'invoke-rc.d: initscript docker, action "start" failed.\n')


def install(root: Path, names: list[str], simulate: bool) -> int:
    status = root / "var/lib/dpkg/status.json"
    lists = root / "var/lib/apt/lists/updated"
    installed: dict[str, str] = json.loads(status.read_text())
    for name in names:
        # The official images come without package lists: nothing is found before an update.
        if name not in AVAILABLE or not (lists.exists() or name in installed):
            return fail(f"E: Unable to locate package {name}")
    print("Reading package lists...\nBuilding dependency tree...\nReading state information...")
    new = [name for name in dict.fromkeys(names) if name not in installed]
    for name in names:
        if name in installed:
            print(f"{name} is already the newest version ({installed[name]}).")
    print(f"0 upgraded, {len(new)} newly installed, 0 to remove and 0 not upgraded.")
    if simulate:
        return 0
    for name in new:
        print(f"Setting up {name} ({AVAILABLE[name]}) ...", flush=True)
        configure(root, name)
        installed[name] = AVAILABLE[name]
        write(status, json.dumps(installed, indent=1, sort_keys=True))
    return 0


def main(arguments: list[str]) -> int:
    root = Path(os.environ["GEUSEMAKER_INSTANCE_ROOT"])
    words: list[str] = []
    simulate = False
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word in ("-o", "-c", "-t"):
            skip = True
        elif word in ("-s", "--simulate", "--dry-run"):
            simulate = True
        elif not word.startswith("-"):
            words.append(word)
    if not words:
        return fail("E: No operation given")
    verb, names = words[0], words[1:]
    with (root / "var/lib/dpkg/lock-frontend").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return fail(
                "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by another process\n"
                "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), "
                "is another process using it?"
            )
        if verb == "update":
            lists = root / "var/lib/apt/lists/updated"
            lists.parent.mkdir(parents=True, exist_ok=True)
            lists.touch()
            print("Hit:1 http://cdn-aws.deb.debian.org/debian trixie InRelease\nReading package lists...")
            return 0
        if verb == "install":
            return install(root, names, simulate)
        return fail(f"E: Invalid operation {verb}")
