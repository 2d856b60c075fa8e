"""``umount`` of an instance."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from geusemaker.local_cloud.machine.mount import rewrite
from geusemaker.local_cloud.processes import is_in_use

FAILED = 32


def main(arguments: list[str]) -> int:
    root = Path(os.environ["GEUSEMAKER_INSTANCE_ROOT"])
    force = any(word in ("-l", "--lazy", "-f", "--force", "-lf", "-fl") for word in arguments)
    targets = [word for word in arguments if not word.startswith("-")]
    if len(targets) != 1:
        sys.stderr.write("umount: bad usage\nTry 'umount --help' for more information.\n")
        return 1
    seen = "/" + targets[0].removeprefix(str(root)).strip("/")
    point = root / seen.lstrip("/")
    lines = (root / "proc/self/mountinfo").read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.split(" ")[4] != seen]
    if seen == "/" or len(kept) == len(lines):
        sys.stderr.write(f"umount: {seen}: not mounted.\n")
        return FAILED
    if not force and is_in_use(point.resolve(), root):
        sys.stderr.write(f"umount: {seen}: target is busy.\n")
        return FAILED
    point.unlink()
    point.with_name(f".{point.name}.covered").rename(point)
    rewrite(root, lambda _: "".join(kept))
    return 0
