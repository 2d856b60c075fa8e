"""How ``docker`` and ``dockerd`` talk: one JSON line a request, one JSON line an answer, over a Unix socket."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

SOCKET = Path("run/docker.sock")
CONFIG = Path("etc/geusemaker-local.json")


class DockerError(Exception):
    """A refusal of the engine, in Docker's words. ``status`` is what its HTTP API would answer."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class UnreachableError(Exception):
    """No engine listens on the socket."""


class Client:
    """One connection to the engine; not for several threads at once.

    The process's working directory becomes the socket's folder, because a socket's path has at most 107 bytes.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        path = root / SOCKET
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            os.chdir(path.parent)
            self._socket.connect(path.name)
        except OSError:
            raise UnreachableError from None
        self._lines = self._socket.makefile("rb")

    def call(self, method: str, /, **arguments: Any) -> Any:
        """The engine's answer.

        Raises:
            DockerError: the engine refused.
            UnreachableError: the engine went away.
        """
        try:
            self._socket.sendall(json.dumps({"call": method, "arguments": arguments}).encode() + b"\n")
            line = self._lines.readline()
        except OSError:
            raise UnreachableError from None
        if not line:
            raise UnreachableError
        answer = json.loads(line)
        if "error" in answer:
            raise DockerError(answer["error"], answer["status"])
        return answer["result"]

    def another(self) -> Client:
        """A further connection, for a thread of its own."""
        return Client(self._root)

    def close(self) -> None:
        """End the connection."""
        self._lines.close()
        self._socket.close()
