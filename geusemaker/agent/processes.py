"""Commands that the agent runs, and the processes of the machine, told by /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from geusemaker.agent.clock import wait_until
from geusemaker.agent.files import read_text


class Finished(NamedTuple):
    """A command that ended."""

    code: int
    out: str
    err: str

    def reason(self) -> str:
        """Its last words, for a message."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return " ".join(lines[-3:])[:600] or f"exit status {self.code}"


class Job:
    """A running command whose output (both streams together) arrives line by line."""

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], on_line: Callable[[str], None] | None = None
    ) -> None:
        self.tail: deque[str] = deque(maxlen=40)
        self._on_line = on_line
        self._rest = b""
        self.process = subprocess.Popen(
            list(argv), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self.process.stdout is not None
        self.pipe = self.process.stdout
        os.set_blocking(self.pipe.fileno(), False)

    def read(self) -> bool:
        """Take in what is there; False at the end of the output."""
        try:
            data = os.read(self.pipe.fileno(), 65536)
        except BlockingIOError:
            return True
        *lines, self._rest = (self._rest + data).split(b"\n") if data else (self._rest, b"")
        if len(self._rest) > 65536:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._take(line.decode(errors="replace").rstrip("\r"))
        return bool(data)

    def _take(self, line: str) -> None:
        if not line:
            return
        self.tail.append(line)
        if self._on_line:
            self._on_line(line)

    def finish(self) -> Finished:
        self.pipe.close()
        return Finished(self.process.wait(), "\n".join(self.tail), "")


class Process(NamedTuple):
    """A living process. Together with its start time (in clock ticks since boot) a pid is unique."""

    start: str
    parent: int
    group: int
    session: int


def find_process(pid: int) -> Process | None:
    """The process, if there is one and not only its exit status is left; see proc(5), ``/proc/pid/stat``."""
    text = read_text(Path(f"/proc/{pid}/stat")) if pid > 0 else None
    if text is None:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything, brackets and spaces included
    return None if fields[0] in "ZX" else Process(fields[19], int(fields[1]), int(fields[2]), int(fields[3]))


def environment_of(process: Path) -> list[bytes]:
    """The variables of a process, given as its folder in /proc.

    It has none, and no command, at the moment at which it becomes another program: that is waited out.

    Raises:
        OSError: it ended, is not ours to look at, or never had a program.
    """
    deadline = time.monotonic() + 0.5
    seen = b""
    while True:
        environment = (process / "environ").read_bytes()
        command = b"" if environment else (process / "cmdline").read_bytes()
        # A command beside no variables is believed the second time: the moment may lie between the two.
        if environment or (command and seen) or time.monotonic() >= deadline:
            return environment.split(b"\0")
        (process / "exe").readlink()  # a kernel's thread has none
        seen = command
        time.sleep(0.001)


def living_processes() -> dict[int, Process]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                process = find_process(int(entry.name))
                if process:
                    found[int(entry.name)] = process
    return found


def descendants(pid: int) -> set[int]:
    """All processes below this one, without those that made a session of their own: these are services to stay."""
    alive = living_processes()
    session = alive[pid].session if pid in alive else None
    children: dict[int, list[int]] = {}
    for child, process in alive.items():
        if process.session == session:
            children.setdefault(process.parent, []).append(child)
    found: set[int] = set()
    pending = [pid]
    while pending:
        for child in children.get(pending.pop(), []):
            found.add(child)
            pending.append(child)
    return found


def end_processes(find: Callable[[], set[int]], grace: float = 5.0) -> set[int]:
    """End the processes that ``find`` names until it names none: SIGTERM, and SIGKILL after ``grace`` seconds.

    Returns those that were signalled. Raises TimeoutError when some cannot be ended.
    """
    signalled: set[int] = set()

    def send(number: signal.Signals, pids: set[int]) -> None:
        for pid in sorted(pids):  # parents first: an agent is to end as told, not for its child's end
            signalled.add(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    asked: set[int] = set()

    def all_gone() -> bool:
        left = find()
        send(signal.SIGTERM, left - asked)
        asked.update(left)
        return not left

    if wait_until(all_gone, grace):
        return signalled

    def none_left() -> bool:
        left = find()
        send(signal.SIGKILL, left)
        return not left

    if not wait_until(none_left, 5.0):
        raise TimeoutError(f"processes {sorted(find())} cannot be ended")
    return signalled
