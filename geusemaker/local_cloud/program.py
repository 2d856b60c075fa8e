"""An instance's programs: what it knows as ``systemctl`` or ``docker`` is ``python -IS program.py systemctl …``.

They run with the standard library only: finding third-party packages would take longer than most of them run.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

PROGRAMS: Final = {
    "apt-get": "machine.apt_get",
    "apt-mark": "machine.apt_mark",
    "blkid": "machine.volumes blkid",
    "blockdev": "machine.volumes blockdev",
    "dpkg": "machine.dpkg",
    "docker": "containers.cli",
    "dockerd": "containers.daemon",
    "dpkg-query": "machine.dpkg_query",
    "findmnt": "machine.volumes findmnt",
    "gpgv": "machine.gpgv",
    "iptables": "machine.iptables",
    "growpart": "machine.volumes growpart",
    "mkfs.ext4": "machine.volumes mkfs.ext4",
    "mount": "machine.mount",
    "resize2fs": "machine.volumes resize2fs",
    "session-manager-plugin": "session_plugin",
    "service": "containers.services.run",
    "systemctl": "machine.systemctl",
    "umount": "machine.umount",
}
"""Name → the module whose ``main`` it is, and what comes before its arguments."""


def command(name: str, *arguments: str) -> list[str]:
    """The command line that runs a program."""
    return [sys.executable, "-IS", str(Path(__file__).resolve()), name, *arguments]


def script(name: str) -> str:
    """What stands in ``/usr/bin`` for it."""
    import shlex

    return f'#!/bin/sh\nexec {shlex.join(command(name))} "$@"\n'


def _main(name: str, arguments: list[str]) -> int:
    # Of the two packages above only their places are known here: they themselves need third-party packages.
    folder = Path(__file__).resolve().parent
    for package, place in (("geusemaker", folder.parent), ("geusemaker.local_cloud", folder)):
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = [str(place)]
    module, *before = PROGRAMS[name].split()
    code: int = importlib.import_module(f"geusemaker.local_cloud.{module}").main([*before, *arguments])
    return code


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], sys.argv[2:]))
