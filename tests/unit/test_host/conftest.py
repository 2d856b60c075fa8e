from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from geusemaker.host.connection import Login
from geusemaker.local_cloud.moto_backends import SSH_PORT, free_loopback_address
from geusemaker.local_cloud.ssh_server import Login as Served
from geusemaker.local_cloud.ssh_server import SshServers
from tests.unit.test_agent.conftest import machine, no_power_loss  # noqa: F401 (fixtures)

# What an instance knows as docker: each service whose name is a file in ~/containers has a container.
_DOCKER = """#!/bin/sh
if [ "$1" = ps ]; then
    [ -e "$HOME/broken" ] && { echo "permission denied" >&2; exit 1; }
    for word; do last=$word; done
    cat "$HOME/containers/${last##*=}" 2>/dev/null
    exit 0
fi
echo "$*" >> "$HOME/asked"
shift 3
exec "$@"
"""


class Sshd:
    """An instance of the local cloud as far as SSH goes: its real server, with a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        (self.home / "containers").mkdir(parents=True)
        (folder / "bin").mkdir()
        docker = folder / "bin/docker"
        docker.write_text(_DOCKER)
        docker.chmod(0o755)
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        login_key = asyncssh.generate_private_key("ssh-ed25519")
        (self.home / "authorized_keys").write_text(login_key.export_public_key().decode())
        self.loopback = free_loopback_address(20001)
        self._servers = SshServers()
        self._served = Served(
            instance_id="i-1",
            user="admin",
            host_keys=[self._host_key],
            authorized_keys=self.home / "authorized_keys",
            deaf=folder / "deaf",
            environment={"PATH": f"{folder}/bin:{os.defpath}", "HOME": str(self.home)},
            loopback=self.loopback,
            home=self.home,
            log=lambda text: None,
        )
        self.login = Login(
            address=free_loopback_address(),
            port=SSH_PORT,
            user="admin",
            private_key=login_key.export_private_key().decode(),
            host_key=self._host_key.export_public_key().decode(),
            connect_timeout=20.0,
        )
        self.open()

    def open(self) -> None:
        self._servers.listen(self._served, self.login.address)

    def close(self) -> None:
        """As a power cut: connections are gone, and nobody listens."""
        self._servers.close("i-1")

    def end(self) -> None:
        self.close()
        deadline = time.monotonic() + 20
        while self._served.sessions and time.monotonic() < deadline:  # what still ran ends with its client
            time.sleep(0.02)
        self._servers.stop()

    def container(self, service: str) -> None:
        (self.home / "containers" / service).write_text(f"id-of-{service}\n")

    def with_key(self, key: str) -> Login:
        return replace(self.login, private_key=key)

    def serve(self, port: int = 0) -> socket.socket:
        """A socket that listens on the instance's own loopback address."""
        listening = socket.create_server((self.loopback, port))
        listening.settimeout(20)
        return listening


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    made = Sshd(tmp_path)
    yield made
    made.end()
