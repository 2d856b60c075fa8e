"""What one local cloud has in the Docker daemon besides its instances: a network and an image registry."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from geusemaker.local_cloud.docker.command import REMOVAL_SECONDS, Docker, DockerError
from geusemaker.local_cloud.docker.image import image_name

__all__ = ["LABEL", "REGISTRY_PORT", "DockerParts"]

LABEL: Final = "io.geusemaker.local-cloud"
"""On everything that a local cloud makes; its value is the local cloud's folder."""

REGISTRY_HOST: Final = "registry"
REGISTRY_PORT: Final = 5000
_STOP_SECONDS: Final = 110


class DockerParts:
    """The things in the daemon that belong to the local cloud in ``folder``."""

    def __init__(self, docker: Docker, folder: Path) -> None:
        self.docker = docker
        self.folder = folder
        self.prefix = f"geusemaker-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"
        self.label = f"{LABEL}={folder}"
        self.network = self.prefix
        self._registry = f"{self.prefix}-registry"
        self._images = f"{self.prefix}-images"

    def start(self) -> str:
        """Make and start what instances need; the registry's URL on this machine.

        Raises:
            DockerError: something could not be made or started.
        """
        if self.docker.find("network", self.network) is None:
            self.docker.run("network", "create", "--label", self.label, self.network)
        if self.docker.find("volume", self._images) is None:
            self.docker.run("volume", "create", "--label", self.label, self._images)
        if self.docker.find("container", self._registry) is None:
            self.docker.run(
                "create", "--name", self._registry, "--label", self.label,
                "--network", self.network, "--network-alias", REGISTRY_HOST,
                "--publish", f"127.0.0.1::{REGISTRY_PORT}",
                "--volume", f"{self._images}:/var/lib/registry",
                "--entrypoint", "docker-registry",
                image_name(), "serve", "/etc/docker/registry/config.yml",
            )  # fmt: skip
        self.docker.run("start", self._registry)
        return f"http://127.0.0.1:{self.published_port(self._registry, REGISTRY_PORT)}"

    def stop(self) -> None:
        """Stop the registry; its images stay.

        Raises:
            DockerError: it could not be stopped.
        """
        if self.docker.find("container", self._registry) is not None:
            self.docker.run("stop", self._registry)

    def published_port(self, container: str, port: int) -> int:
        """Where a running container's port is on this machine's loopback address.

        Raises:
            DockerError: it is not published.
        """
        found = self.docker.run("port", container, f"{port}/tcp").splitlines()
        if not found:
            raise DockerError(f"Port {port} of {container} is not published.")
        return int(found[0].rpartition(":")[2])

    def stop_everything(self) -> None:
        """Stop what still runs, as a daemon that was killed leaves it behind.

        Raises:
            DockerError: the Docker daemon does not answer, or something could not be stopped.
        """
        running = self.docker.run("ps", "--quiet", "--filter", f"label={self.label}").split()
        if running:
            self.docker.run("stop", "--time", str(_STOP_SECONDS), *running, timeout=_STOP_SECONDS + 20)

    def remove_everything(self) -> None:
        """Remove every container, volume and network of this local cloud, with the data on them.

        Raises:
            DockerError: the Docker daemon does not answer, or something could not be removed.
        """
        only = ("--quiet", "--filter", f"label={self.label}")
        if containers := self.docker.run("ps", "--all", *only).split():
            self.docker.run("rm", "--force", "--volumes", *containers, timeout=REMOVAL_SECONDS)
        for kind in ("volume", "network"):
            if found := self.docker.run(kind, "ls", *only).split():
                self.docker.run(kind, "rm", *found, timeout=REMOVAL_SECONDS)

    def empty(self, folder: Path) -> None:
        """Remove what a folder holds, whoever it belongs to: containers write as users of their own.

        Raises:
            DockerError: it could not be removed.
        """
        options = ("--rm", "--pull", "never", "--label", self.label, "--network", "none")
        volume = ("--volume", f"{folder}:/emptied", "--entrypoint", "find")
        self.docker.run("run", *options, *volume, image_name(), "/emptied", "-mindepth", "1", "-delete")
