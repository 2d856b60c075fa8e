"""``apt-mark`` of an instance: ``hold``, ``unhold``, ``showhold``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from geusemaker.local_cloud.files import write
from geusemaker.local_cloud.machine.apt_get import AVAILABLE, FAILED, read


def main(arguments: list[str]) -> int:
    dpkg = Path(os.environ["GEUSEMAKER_INSTANCE_ROOT"]) / "var/lib/dpkg"
    verb, *names = [word for word in arguments if not word.startswith("-")] or [""]
    held = read(dpkg / "held.json")
    if verb == "showhold":
        print("".join(f"{name}\n" for name in sorted(held)), end="")
        return 0
    if verb not in ("hold", "unhold"):
        sys.stderr.write(f"E: Invalid operation {verb}\n")
        return FAILED
    known = AVAILABLE | read(dpkg / "status.json")
    if unknown := [name for name in names if name not in known]:
        sys.stderr.write(f"E: Unable to locate package {unknown[0]}\n")
        return FAILED
    for name in names:
        if (verb == "hold") == (name in held):
            print(f"{name} was already {'set on' if verb == 'hold' else 'not on'} hold.")
        elif verb == "hold":
            held[name] = "hold"
            print(f"{name} set on hold.")
        else:
            del held[name]
            print(f"Canceled hold on {name}.")
    write(dpkg / "held.json", json.dumps(held))
    return 0
