"""Processes of this machine: programs run with a deadline and never left behind, and who still lives."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_TERM_SECONDS = 5.0
_EXEC_SECONDS = 0.2
"""Far longer than a process has no command line on its way from one program to another."""
_PLUGIN = "pulumi-"
"""What the names of the engine's own programs begin with: pulumi-resource-aws, pulumi-language-python."""


@dataclass(frozen=True)
class _Stat:
    """From proc(5), ``/proc/pid/stat``."""

    name: str
    state: str
    session: int
    birth: str


def process_birth(pid: int) -> str:
    """When a process began, in clock ticks since boot: with it a pid is unique. Empty where that cannot be told."""
    stat = _read_stat(pid)
    return stat.birth if stat is not None else ""


def is_alive(pid: int, born: str = "") -> bool:
    """Whether a process lives, and is the one that was ``born`` then: after a reboot its number may be another's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    stat = _read_stat(pid)
    if stat is None:
        return True  # a system without /proc
    return stat.state not in "ZX" and (not born or stat.birth == born)


def runs_program(pid: int, *names: str) -> bool:
    """Whether a living process was started from a program one of whose ``names`` is part of the path."""
    if not is_alive(pid):
        return False
    try:
        program = _read_program(pid)
    except OSError:
        return True  # it cannot be told
    return any(name.encode() in program for name in names)


def _read_program(pid: int) -> bytes:
    """The path that a process was started from; empty for a thread of the kernel.

    It is empty as well for the moment in which a process becomes its program (execve), and tells nothing then.
    """
    deadline = time.monotonic() + _EXEC_SECONDS
    while True:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
        if program or time.monotonic() > deadline:
            return program
        time.sleep(0.001)


def engines_of(stack: str, *names: str) -> list[int]:
    """The processes of this machine that were started from one of these programs, to work on this stack."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended just now, or is another user's
        works_on = ("--stack", stack) in itertools.pairwise(arguments)
        is_engine = any(name in arguments[0] for name in names)
        if is_engine and (works_on or f"--stack={stack}" in arguments) and is_alive(int(entry.name)):
            found.append(int(entry.name))
    return found


def end_plugins(session: int) -> list[int]:
    """Kill the plugins of an engine that was killed and led this session; they would go on without it.

    Returns:
        their process ids; none where there is no /proc.
    """
    ended = []
    for entry in Path("/proc").glob("[0-9]*"):
        pid = int(entry.name)
        stat = _read_stat(pid)
        if stat is None or stat.session != session or pid == session or not stat.name.startswith(_PLUGIN):
            continue
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            ended.append(pid)
    return ended


def _read_stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    before, _, after = text.rpartition(")")  # the name between the brackets may hold anything
    fields = after.split()
    return _Stat(name=before.partition("(")[2], state=fields[0], session=int(fields[3]), birth=fields[19])


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
