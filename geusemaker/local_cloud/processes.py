"""Processes of the local cloud, found in ``/proc``. Standard library only, as instances' programs are."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = [
    "end_processes",
    "find_instance_processes",
    "find_running",
    "is_in_use",
    "is_same_process",
    "start_time",
    "wait_until_gone",
]

_PROC = Path("/proc")
_PROGRAMS = os.fsencode(Path(__file__).resolve().parent) + b"/"
INSTANCE_VARIABLE = "GEUSEMAKER_INSTANCE_ROOT"
"""Every process of an instance carries it; its value is the instance's disk."""
_BECOMES_ANOTHER = 0.5
"""Longest wait, in seconds, for a process that becomes another program: microseconds, unless processors are busy."""


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when there is none (a zombie counts as none)."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The command, second field, may hold spaces and parentheses.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


def is_same_process(pid: int, started: int | None) -> bool:
    """Whether ``pid`` is still the process that started then, and not a later one with its number.

    One that had ended before it was looked at has no start (None): none that is there is that one.
    """
    return started is not None and start_time(pid) == started


def _belongs(pid: str, folder: str) -> bool:
    """Whether a process is one of an instance at or below ``folder``.

    By its environment; or, since a container's process has the container's own, because it runs a program of the
    local cloud on something of the instance's disk.
    """
    environment, command = _read_words(pid)

    def is_below(path: bytes) -> bool:
        text = os.fsdecode(path)
        return text == folder or text.startswith(folder + "/")

    prefix = f"{INSTANCE_VARIABLE}=".encode()
    if any(entry.startswith(prefix) and is_below(entry[len(prefix) :]) for entry in environment):
        return True
    return any(word.startswith(_PROGRAMS) for word in command) and any(map(is_below, command))


def _read_words(pid: str) -> tuple[list[bytes], list[bytes]]:
    """The process's environment and command; both empty once it has ended.

    Both are empty, too, at the moment at which a process becomes another program (execve has given it new memory
    and not yet written them there): that moment is waited out. What stays empty has neither.
    """
    process = _PROC / pid
    deadline = time.monotonic() + _BECOMES_ANOTHER
    seen = b""
    while True:
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
            # A command beside an empty environment is believed the second time: the moment may lie between the two.
            if environment or (command and seen) or time.monotonic() >= deadline:
                return environment.split(b"\0"), command.split(b"\0")
            (process / "exe").readlink()  # a kernel thread and a zombie run no program
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return [], []
        seen = command
        time.sleep(0.001)


def find_instance_processes(folder: Path) -> dict[int, int]:
    """The living processes (pid → start time) of every instance whose disk is ``folder`` or lies below it.

    None is missed because it left its session or lost its parent.
    """
    found: dict[int, int] = {}
    for process in _others():
        if _belongs(process.name, str(folder)):
            started = start_time(int(process.name))
            if started is not None:
                found[int(process.name)] = started
    return found


def is_in_use(folder: Path, root: Path) -> bool:
    """Whether a process of the instance whose disk is ``root`` works in the folder, or has something in it open."""
    marker = f"{INSTANCE_VARIABLE}={root}".encode()
    for process in _others():
        with contextlib.suppress(OSError):  # it ended, or belongs to someone else
            if marker in (process / "environ").read_bytes().split(b"\0"):
                links = [process / "cwd", *(process / "fd").iterdir()]
                if any(link.readlink().is_relative_to(folder) for link in links):
                    return True
    return False


def find_running(program: str, folder: Path) -> list[int]:
    """The processes that run a program of this name and work in the folder."""
    found = []
    for process in _others():
        with contextlib.suppress(OSError):
            if (process / "exe").readlink().name == program and (process / "cwd").readlink() == folder.resolve():
                found.append(int(process.name))
    return found


def _others() -> Iterator[Path]:
    """Every process but this one."""
    return (entry for entry in _PROC.iterdir() if entry.name.isdigit() and int(entry.name) != os.getpid())


def _send(processes: Iterable[tuple[int, int]], number: signal.Signals) -> None:
    for pid, started in processes:
        if is_same_process(pid, started):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue  # it ended by itself in between


def wait_until_gone(processes: dict[int, int], timeout: float) -> dict[int, int]:
    """Wait until the processes are gone; those still there after ``timeout`` seconds are returned."""
    deadline = time.monotonic() + timeout
    while True:
        left = {pid: started for pid, started in processes.items() if is_same_process(pid, started)}
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(0.01)


def end_processes(folder: Path, grace: float) -> None:
    """End every process of the instances below ``folder``: SIGTERM, ``grace`` seconds later SIGKILL.

    Looks again until none is left, because a process may start another one while it is told to end.

    Raises:
        TimeoutError: some are still there 10 s after SIGKILL.
    """
    if grace > 0:
        processes = find_instance_processes(folder)
        _send(processes.items(), signal.SIGTERM)
        wait_until_gone(processes, grace)
    deadline = time.monotonic() + 10
    # Twice, because one that ended while it was looked for may have started another that was not listed yet.
    while processes := find_instance_processes(folder) or _look_again(folder):
        if time.monotonic() >= deadline:
            raise TimeoutError(f"processes {sorted(processes)} of {folder} cannot be killed")
        _send(processes.items(), signal.SIGKILL)
        wait_until_gone(processes, 0.2)


def _look_again(folder: Path) -> dict[int, int]:
    time.sleep(0.01)
    return find_instance_processes(folder)
