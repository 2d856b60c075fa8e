"""``apt-get`` of an instance: ``update`` and ``install`` of the packages that Debian 13 has and geusemaker needs.

``var/lib/apt/newer.json`` says which packages have a newer version in the archive: package → version. Who has been told
of it by an ``update`` may install that; packages on hold (``apt-mark``) are left as they are, unless the command says
``--allow-change-held-packages``.
"""

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
    "chrony": "4.6.1-3",
    "cloud-guest-utils": "0.33-1",
    "containerd": "1.7.24~ds1-6+b4",
    "curl": "8.14.1-2",
    "docker-cli": "26.1.5+dfsg1-9+b9",
    "docker-compose": "2.26.1-4",
    "docker-compose-v2": "2.27.1+ds1-0ubuntu1",
    "docker.io": "26.1.5+dfsg1-9+b9",
    "jq": "1.7.1-6",
    "nfs-common": "1:2.8.3-1",
    "python3": "3.13.5-1",
    "runc": "1.1.15+ds1-2+b4",
    "unattended-upgrades": "2.12",
}
DEPENDS = {"docker.io": ["containerd", "runc"]}
ELSEWHERE = {"debian": {"docker-compose-v2"}, "ubuntu": {"docker-cli", "docker-compose"}}
"""What only the other system has: Ubuntu's docker.io brings its commands along."""
FAILED = 100


def fail(text: str) -> int:
    sys.stderr.write(text + "\n")
    return FAILED


def system(root: Path) -> str:
    """os-release(5)'s ID."""
    told = (root / "etc/os-release").read_text().splitlines()
    return next((line.removeprefix("ID=") for line in told if line.startswith("ID=")), "")


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, text, 0o755)


def configure(root: Path, package: str) -> None:
    """What the package puts on the disk, and what its postinst does."""
    if package == "cloud-guest-utils":
        program(root / "usr/bin/growpart", script("growpart"))
    elif package == "nfs-common":
        program(root / "usr/sbin/mount.nfs4", '#!/bin/sh\nexec mount -t nfs4 "$@"\n')
    elif package in ("docker-compose", "docker-compose-v2"):
        program(root / "usr/libexec/docker/cli-plugins/docker-compose", '#!/bin/sh\nexec docker compose "$@"\n')
    elif package == "docker-cli":
        program(root / "usr/bin/docker", script("docker"))
    elif package == "docker.io":
        if system(root) == "ubuntu":
            configure(root, "docker-cli")
        unit = root / "usr/lib/systemd/system/docker.service"
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.write_text("[Service]\nType=notify\n[Install]\nWantedBy=multi-user.target\n")
        # Debian's postinst enables and starts the daemon; of a newer version it starts it anew.
        subprocess.run(["systemctl", "try-restart", "docker.service"], capture_output=True, timeout=120)
        started = subprocess.run(
            ["systemctl", "enable", "--now", "docker.service"], capture_output=True, text=True, timeout=120
        )
        if started.returncode:
            sys.stderr.write(started.stderr + 'invoke-rc.d: initscript docker, action "start" failed.\n')


def read(path: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return found


def install(root: Path, names: list[str], options: set[str]) -> int:
    status, dpkg = root / "var/lib/dpkg/status.json", root / "var/lib/dpkg"
    lists = root / "var/lib/apt/lists/updated"
    installed: dict[str, str] = json.loads(status.read_text())
    held = read(dpkg / "held.json")
    for name in names:
        # The official images come without package lists: nothing is found before an update.
        found = name in AVAILABLE and name not in ELSEWHERE.get(system(root), ()) and lists.exists()
        if not found and name not in installed:  # also from elsewhere, as docker-ce on a Deep Learning AMI
            return fail(f"E: Unable to locate package {name}")
    print("Reading package lists...\nBuilding dependency tree...\nReading state information...")
    versions = {**installed, **AVAILABLE, **read(root / "var/lib/apt/known.json")}
    wanted = dict.fromkeys(part for name in names for part in (*DEPENDS.get(name, ()), name))
    if "--only-upgrade" in options:
        wanted = dict.fromkeys(name for name in names if name in installed)
        for name in names:
            if name not in installed:
                print(f"Skipping {name}, it is not installed and only upgrades are requested.")
    newer = {name for name in wanted if installed.get(name) not in (None, versions.get(name, installed.get(name)))}
    if newer & held.keys() and "--allow-change-held-packages" not in options:
        return fail("E: Held packages were changed and -y was used without --allow-change-held-packages.")
    new = [name for name in wanted if name not in installed]
    for name in names:
        if name in installed and name not in newer:
            print(f"{name} is already the newest version ({installed[name]}).")
    print(f"{len(newer)} upgraded, {len(new)} newly installed, 0 to remove and 0 not upgraded.")
    if options & {"-s", "--simulate", "--dry-run"}:
        for name in newer:
            print(f"Inst {name} [{installed[name]}] ({versions[name]} Debian-Security:13/stable-security [amd64])")
        return 0
    for name in [*new, *(name for name in wanted if name in newer)]:
        print(f"Setting up {name} ({versions[name]}) ...", flush=True)
        configure(root, name)
        installed[name] = versions[name]
        write(status, json.dumps(installed, indent=1, sort_keys=True))
    return 0


def main(arguments: list[str]) -> int:
    root = Path(os.environ["GEUSEMAKER_INSTANCE_ROOT"])
    words: list[str] = []
    options: set[str] = set()
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word in ("-o", "-c", "-t"):
            skip = True
        elif word.startswith("-"):
            options.add(word)
        else:
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
            write(root / "var/lib/apt/known.json", json.dumps(read(root / "var/lib/apt/newer.json")))
            print("Hit:1 http://cdn-aws.deb.debian.org/debian trixie InRelease\nReading package lists...")
            return 0
        if verb == "install":
            return install(root, names, options)
        return fail(f"E: Invalid operation {verb}")
