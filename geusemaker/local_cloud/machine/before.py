"""What a unit runs before it starts: its ``ExecStartPre=`` (systemd.service(5))."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterable

_SECONDS = 60.0


def run_before(lines: Iterable[str]) -> str:
    """Run them one after the other; why the unit may not start, empty where it may.

    A line that begins with a hyphen may fail.
    """
    for line in lines:
        word, *arguments = shlex.split(line.removeprefix("-"))
        program = shutil.which(word)
        if program is None:
            return f"Unable to locate executable '{word}': No such file or directory"
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=_SECONDS)
        if done.returncode != 0 and not line.startswith("-"):
            return done.stderr.strip() or f"Control process exited, code=exited, status={done.returncode}"
    return ""
