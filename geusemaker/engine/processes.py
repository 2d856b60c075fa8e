"""Long-running programs that make the engine: run with a deadline, never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

_TERM_SECONDS = 5.0


@contextlib.contextmanager
def started(
    command: Sequence[str | Path],
    *,
    output: IO[bytes] | int,
    errors: IO[bytes] | int,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    keep_open: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a process group of its own, which is ended, children included, when the block is left.

    ``keep_open`` are descriptors that the program inherits: a lock stays held when we are killed and it goes on.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env=environment,
        cwd=folder,
        pass_fds=keep_open,
        process_group=0,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            _signal_group(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=_TERM_SECONDS)
            except subprocess.TimeoutExpired:
                _signal_group(process.pid, signal.SIGKILL)
                process.wait()


def wait_until_ended(
    process: subprocess.Popen[bytes], timeout: float, on_tick: Callable[[float], None], every: float
) -> bool:
    """Wait at most ``timeout`` seconds, calling ``on_tick(seconds so far)`` every ``every`` seconds.

    Returns:
        whether the program ended by itself.
    """
    begin = time.monotonic()
    while (passed := time.monotonic() - begin) < timeout:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=min(every, timeout - passed))
            return True
        on_tick(time.monotonic() - begin)
    return False


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended just now
        os.killpg(group, number)
