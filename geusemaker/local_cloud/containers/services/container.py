"""A container as its processes know it: what it was started with, where its paths lie, how it shall misbehave."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from geusemaker.local_cloud.containers.services.network import find_address

_MISBEHAVIOURS = ("crash", "unhealthy", "slow", "oom", "badmigration", "shortlived", "longmigration")
SLOW_SECONDS = 20.0
BAD_MIGRATION_SECONDS = 2.0
SHORT_LIFE_SECONDS = 8.0


class Container:
    """What a process in a container knows of it.

    Attributes:
        service: whose image it was made from.
        tag: of the image.
        command: what it was started with in place of the image's own; empty: with that.
        misbehaviour: the tag's ending where it asks for one, else empty.
        environment: the container's, as ``docker inspect`` shows it.
        gpus: the names of those that it has.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        specification = json.loads((folder / "service.json").read_text())
        self.id: str = specification["id"]
        self.service: str = specification["service"]
        self.tag: str = specification["tag"]
        self.loopback: str = specification["loopback"]
        self.command: list[str] = specification.get("command", [])
        self.environment = os.environ
        self.gpus: list[str] = specification.get("gpus", [])
        ending = self.tag.rpartition("-")[2]
        self.misbehaviour = ending if ending in _MISBEHAVIOURS else ""
        self._lifeline: int = specification["lifeline"]
        self._sockets: dict[str, int] = specification["sockets"]
        self._mounts: dict[str, str] = specification["mounts"]
        self._capabilities: list[str] = specification.get("capabilities", [])
        self._read_only: bool = specification.get("read_only", False)
        self._memory: list[str] = specification.get("memory", [])
        self._slow_until = time.monotonic() + SLOW_SECONDS

    @property
    def version(self) -> str:
        """The tag as the program inside would name its version: no leading ``v``."""
        return self.tag[1:] if self.tag[:1] == "v" and self.tag[1:2].isdigit() else self.tag

    def path(self, inside: str) -> Path:
        """The host's path of a path in the container that is written to; unmounted ones are in the writable layer, and
        die with it.

        Raises:
            OSError: the layer is not writable.
        """
        best = max(
            (m for m in self._mounts if inside == m or inside.startswith(m.rstrip("/") + "/")), key=len, default=""
        )
        if best:
            return Path(self._mounts[best] + inside[len(best) :])
        if self._read_only and not any(inside == m or inside.startswith(f"{m}/") for m in self._memory):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), inside)
        return self.folder / "rootfs" / inside.lstrip("/")

    @property
    def published(self) -> list[int]:
        """Its ports that are published and that nothing listens on yet."""
        return sorted(int(port.removesuffix("/tcp")) for port in self._sockets)

    @property
    def mounted(self) -> list[str]:
        """Paths in it at which something is mounted."""
        return sorted(self._mounts)

    def listener(self, port: int) -> socket.socket:
        """The published socket of a port; one that nobody can reach where it is not published."""
        descriptor = self._sockets.pop(f"{port}/tcp", None)
        if descriptor is not None:
            return socket.socket(fileno=descriptor)
        unpublished = socket.socket(socket.AF_UNIX)
        name = f".port-{port}"
        Path(name).unlink(missing_ok=True)
        unpublished.bind(name)  # relative: the working directory is the container's folder
        unpublished.listen(8)
        return unpublished

    def find(self, host: str, port: int = 0) -> tuple[str, int]:
        """The address of a host and its port, as this container sees it.

        Raises:
            OSError: see ``network.find_address``.
        """
        return find_address(self.folder, self.loopback, host, port)

    def require(self, *wanted: str) -> None:
        """Require capabilities, without which a program of the image does not do its work.

        Raises:
            PermissionError: one was taken from the container; names what is refused.
        """
        if missing := sorted({*wanted} - {*self._capabilities}):
            raise PermissionError(1, "Operation not permitted", f"without CAP_{missing[0]}")

    def die_with_engine(self) -> None:
        """End at once when the engine ends, however that came."""

        def watch() -> None:
            os.read(self._lifeline, 1)  # returns only when no process holds the other end any more
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=watch, daemon=True).start()

    def fail_to_migrate(self) -> None:
        """Where the tag asks for it, end two seconds after the start: it listens from the start on, and migrates."""
        if self.misbehaviour == "badmigration":

            def end() -> None:
                complain("There was an error running database migrations\nError: a row that is there breaks a new rule")
                os._exit(1)

            _later(BAD_MIGRATION_SECONDS, end)

    def end_early(self, end: Callable[[], object] | None = None) -> None:
        """End by itself, where the tag asks for it.

        Killed in a moment, as the kernel kills a process beyond its limit; or by ``end`` (exit code 1 where it is left
        out) after some seconds of good health.
        """
        if self.misbehaviour == "oom":
            _later(0.3, partial(os.kill, os.getpid(), signal.SIGKILL))
        if self.misbehaviour == "shortlived":
            _later(SHORT_LIFE_SECONDS, end or partial(os._exit, 1))

    @property
    def is_ready(self) -> bool:
        """Whether the health API shall say yes now."""
        if self.misbehaviour == "slow":
            return time.monotonic() >= self._slow_until
        return self.misbehaviour not in ("unhealthy", "badmigration")


def _later(seconds: float, act: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()


class StartError(Exception):
    """The service cannot start, and says why in its log."""


def log(text: str) -> None:
    """A line of the container's log (stdout)."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """A line of the container's log (stderr)."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
