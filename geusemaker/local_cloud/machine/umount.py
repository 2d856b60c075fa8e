"""``umount`` of an instance."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FAILED = 32


def is_busy(root: Path, folder: Path) -> bool:
    """Whether a process of this instance has its working directory or an open file below ``folder``."""
    marker = f"GEUSEMAKER_INSTANCE_ROOT={root}\0".encode()
    prefix = f"{folder}/"
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or process.name == str(os.getpid()):
            continue
        try:
            if marker not in (process / "environ").read_bytes():
                continue
            for link in [process / "cwd", *(process / "fd").iterdir()]:
                place = str(link.readlink())
                if place == str(folder) or place.startswith(prefix):
                    return True
        except OSError:
            continue  # it ended, or belongs to someone else
    return False


def main(arguments: list[str]) -> int:
    root = Path(os.environ["GEUSEMAKER_INSTANCE_ROOT"])
    force = any(word in ("-l", "--lazy", "-f", "--force", "-lf", "-fl") for word in arguments)
    targets = [word for word in arguments if not word.startswith("-")]
    if len(targets) != 1:
        sys.stderr.write("umount: bad usage\nTry 'umount --help' for more information.\n")
        return 1
    seen = "/" + targets[0].removeprefix(str(root)).strip("/")
    point = root / seen.lstrip("/")
    table = root / "proc/self/mountinfo"
    lines = table.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.split(" ")[4] != seen]
    if seen == "/" or len(kept) == len(lines):
        sys.stderr.write(f"umount: {seen}: not mounted.\n")
        return FAILED
    if not force and is_busy(root, point.resolve()):
        sys.stderr.write(f"umount: {seen}: target is busy.\n")
        return FAILED
    point.unlink()
    point.with_name(f".{point.name}.covered").rename(point)
    new = table.with_name("mountinfo.new")
    new.write_text("".join(kept))
    new.replace(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
