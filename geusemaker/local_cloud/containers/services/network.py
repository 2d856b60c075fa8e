"""What a container finds under a name: services that run and share a network with it, as Docker's own DNS tells.

Instances of the local cloud share the machine's loopback, so a service is reached at the port that it publishes there;
one that it does not publish is reached by nobody here.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from geusemaker.local_cloud.files import read_json

_RECORD = "config.v2.json"


class UnknownHostError(OSError):
    """No name that can be resolved from here (EAI_NONAME)."""

    def __init__(self, host: str) -> None:
        super().__init__(errno.ENOENT, f"Name or service not known: {host}")
        self.host = host


def find_address(folder: Path, loopback: str, host: str, port: int = 0) -> tuple[str, int]:
    """Where a host is, as a container sees it.

    Args:
        folder: the container's own.
        loopback: the instance's.
        host: a name, or an address, which stays what it is.
        port: the one that is listened on in the container; 0: it is only asked whether there is such a host.

    Raises:
        UnknownHostError: there is none by that name in a network that this container is in.
        ConnectionRefusedError: nobody listens there.
    """
    if host == "localhost" or host.startswith("127."):
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))  # the container itself
    if "." in host:
        return host, port
    mine = read_json(folder / _RECORD, {}).get("NetworkSettings", {}).get("Networks", {})
    for other in folder.parent.iterdir():
        record = read_json(other / _RECORD, None)
        if record is not None and record["State"]["Status"] == "running" and _is_called(record, host, mine):
            return loopback, _published(record, port) if port else 0
    raise UnknownHostError(host)


def _is_called(record: dict[str, Any], host: str, networks: dict[str, Any]) -> bool:
    its = record["NetworkSettings"].get("Networks", {})
    return any(host in its[name]["Aliases"] for name in networks.keys() & its.keys())


def _published(record: dict[str, Any], port: int) -> int:
    bindings = record["HostConfig"]["PortBindings"].get(f"{port}/tcp")
    if not bindings:
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    return int(bindings[0]["HostPort"])
