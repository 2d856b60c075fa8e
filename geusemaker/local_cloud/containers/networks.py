"""Networks of an instance: a record each on disk. Which containers are in one, the containers' own records say.

Texts are those of moby (libnetwork/error.go, daemon/network.go).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

from geusemaker.local_cloud.containers.api import DockerError
from geusemaker.local_cloud.files import read_json, write_json


class NetworkStore:
    """All networks of one instance.

    Args:
        storage: Docker's folder on the instance's disk.
    """

    def __init__(self, storage: Path) -> None:
        self._file = storage / "network/networks.json"
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._networks: dict[str, dict[str, Any]] = read_json(self._file, {})

    def create(self, name: str, labels: dict[str, str], *, internal: bool = False) -> str:
        """Make one; its id. That it is ``internal`` is written down: what shares a machine's network is in it anyway.

        Raises:
            DockerError: there is one of that name (409).
        """
        with self._lock:
            if name in self._networks:
                raise DockerError(f"network with name {name} already exists", 409)
            made = {
                "Name": name,
                "Id": secrets.token_hex(32),
                "Driver": "bridge",
                "Scope": "local",
                "Internal": internal,
                "Labels": labels,
            }
            self._networks[name] = made
            self._save()
            return str(made["Id"])

    def get(self, name: str) -> dict[str, Any]:
        """By name.

        Raises:
            DockerError: there is none (404).
        """
        with self._lock:
            if name not in self._networks:
                raise DockerError(f"network {name} not found", 404)
            return dict(self._networks[name])

    def all(self) -> list[dict[str, Any]]:
        """All of them, by name."""
        with self._lock:
            return [dict(self._networks[name]) for name in sorted(self._networks)]

    def prune(self, label: str, used: Collection[str]) -> list[str]:
        """Remove those with a label that no container is in; their names.

        Args:
            label: ``key=value``.
            used: the networks that containers are in, stopped ones as well.
        """
        key, _, value = label.partition("=")
        with self._lock:
            gone = [
                name for name, one in self._networks.items() if one["Labels"].get(key) == value and name not in used
            ]
            for name in gone:
                del self._networks[name]
            self._save()
        return sorted(gone)

    def _save(self) -> None:
        write_json(self._file, self._networks)
