"""A busy machine, made by the test itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

PROCESSES_PER_CPU = 2


@contextlib.contextmanager
def busy_machine() -> Iterator[None]:
    """While this lasts, every processor has more to do than it can."""
    count = PROCESSES_PER_CPU * (os.cpu_count() or 1)
    busy = [subprocess.Popen([sys.executable, "-ISc", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()
