"""Pulumi's lock on a stack: who holds it, in each kind of backend. Pure but for the folder that is read.

A folder and an object store hold one small file a lock, with pid, host, user and time; the engine names them all when
it refuses to run (pkg/backend/diy/lock.go). Pulumi Cloud answers 409 and names nobody
(pkg/backend/httpstate/backend.go).
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from geusemaker.engine.project import PROJECT
from geusemaker.errors import BackendDamagedError
from geusemaker.models.history import LockOwner

_NAMED: Final = re.compile(r"created by (?P<user>.+)@(?P<host>\S+) \(pid (?P<pid>\d+)\) at (?P<time>\S+)")
_UNNAMED: Final = re.compile(
    r"\[409\] Conflict: .*(?:update|operation).*(?:in progress|running)"
    r"|another update is currently in progress|common-issues/update-conflicts",
    re.IGNORECASE,
)

IsEngine = Callable[[int], bool]
"""pid → whether that process is an engine that runs on this machine."""


def foremost(owners: Iterable[LockOwner]) -> LockOwner | None:
    """Of several owners the one that keeps the lock from being removed: who lives here, then who is elsewhere."""

    def rank(owner: LockOwner) -> int:
        here = owner.host == socket.gethostname()
        return 0 if here and owner.lives else 2 if here else 1

    return min(owners, key=rank, default=None)


def read_refusal(text: str, is_engine: IsEngine) -> LockOwner | None:
    """Whose lock the engine was refused for; None where the text is of something else."""
    named = [
        LockOwner(
            pid=int(found["pid"]),
            user=found["user"],
            host=found["host"],
            since=found["time"],
            lives=is_engine(int(found["pid"])),
        )
        for found in _NAMED.finditer(text)
    ]
    if named:
        return foremost(named)
    return unnamed(lives=True) if _UNNAMED.search(text) else None


def unnamed(lives: bool) -> LockOwner:
    """The holder of a lock that the backend does not name.

    Args:
        lives: whether an engine works on the stack on this machine, as far as is known.
    """
    return LockOwner(pid=0, user="", host="", since="", lives=lives)


def read_folder(backend: Path, deployment: str, is_engine: IsEngine) -> list[LockOwner]:
    """The owners of the locks in a folder backend.

    Raises:
        BackendDamagedError: a lock cannot be read.
    """
    owners = []
    for file in sorted((backend / ".pulumi" / "locks").glob(f"*/{PROJECT}/{deployment}/*.json")):
        try:
            lock = json.loads(file.read_bytes())
            pid = int(lock["pid"])
            owners.append(
                LockOwner(
                    pid=pid,
                    user=lock["username"],
                    host=lock["hostname"],
                    since=lock["timestamp"],
                    lives=is_engine(pid),
                )
            )
        except FileNotFoundError:
            continue  # released just now
        except (ValueError, KeyError, TypeError) as error:
            raise BackendDamagedError(
                f"The lock {file} in the Pulumi backend cannot be read, so whose it is cannot be told.",
                file=str(file),
                reason=str(error),
                state="Nothing was changed.",
                next_step=f"If no operation runs anywhere, `geusemaker doctor {deployment} --repair` sets it aside.",
            ) from error
    return owners
