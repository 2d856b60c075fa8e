"""A machine whose local cloud makes its instances containers of a Docker daemon, and runs real images on them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from geusemaker.local_cloud.docker.command import Docker
from geusemaker.local_cloud.docker.parts import LABEL
from tests.docker_daemon import docker_daemon
from tests.end_to_end.real_images import RealImages
from tests.end_to_end.world import World


@dataclass
class Containers:
    """The machine's Docker daemon, and the one instance in it."""

    world: World
    docker: Docker

    @property
    def images(self) -> RealImages:
        registry = self.world.json("local", "status")["registry"]
        return RealImages(self.docker, registry.removeprefix("http://"))

    def inspect(self) -> dict[str, Any]:
        """What Docker says of the instance."""
        [name] = self._own("-i-")
        found = self.docker.find("container", name)
        assert found is not None
        return found

    def on_instance(self, *command: str) -> str:
        """Run a command as root on the instance."""
        return self.docker.run("exec", self.inspect()["Id"], *command)

    def sql(self, statement: str) -> str:
        """Ask PostgreSQL on the instance."""
        psql = ("psql", "-At", "-v", "ON_ERROR_STOP=1", "-U", "geusemaker", "-d", "n8n", "-c", statement)
        return self.on_instance("docker", "exec", "geusemaker-postgresql-1", *psql)

    def crawler(self) -> str:
        """The version that Crawl4AI's stand-in answers with."""
        answer = self.on_instance("curl", "-sS", "http://127.0.0.1:11235/health")
        return str(json.loads(answer)["version"])

    def running(self) -> dict[str, str]:
        """Service → its container's id and since when it has been running, as they change when it is replaced."""
        shown = "{{.Name}} {{.Id}} {{.State.StartedAt}}"
        found = self.on_instance("sh", "-c", f"docker inspect --format '{shown}' $(docker ps --quiet)").splitlines()
        return {line.split("-")[1]: line for line in found}

    def registry(self) -> str:
        """The container that is the image registry."""
        [name] = self._own("-registry")
        return name

    def _own(self, named: str) -> list[str]:
        only = ("--filter", f"label={LABEL}={self.world.cloud}", "--filter", f"name={named}")
        return self.docker.run("ps", "--all", "--quiet", *only).split()

    def pulls(self, since: str) -> list[tuple[float, str]]:
        """What a Docker daemon asked the registry for since a moment: when that was answered, and the repository."""
        log = self.docker.run("logs", "--timestamps", "--since", since, self.registry())
        found = re.findall(r'^(\S+) .*"GET /v2/(\S+)/(?:manifests|blobs)/.* "docker/', log, re.MULTILINE)
        return [(datetime.fromisoformat(at).timestamp(), repository) for at, repository in found]

    def things(self) -> set[str]:
        """Every container, volume and network in the daemon; of one that others use too, those of this local cloud."""
        only = () if self.world.extra else ("--filter", f"label={LABEL}={self.world.cloud}")
        kinds = (("ps", "--all", "--no-trunc"), ("volume", "ls"), ("network", "ls", "--no-trunc"))
        return {f"{kind[0]} {name}" for kind in kinds for name in self.docker.run(*kind, "--quiet", *only).split()}

    def build_instance_image(self) -> None:
        """Start the local cloud, by a deploy that finds no image yet. The first one on a machine takes minutes."""
        refused = self.world.run(
            "deploy", "demo", "--local-runtime", "docker", "--service", "crawl4ai", "--image",
            "crawl4ai=unclecode/crawl4ai:0.6.0", "--yes", code=5, timeout=1800,
        )  # fmt: skip
        assert "has no image unclecode/crawl4ai:0.6.0" in refused.stderr


@contextmanager
def containers_in(folder: Path) -> Iterator[Containers]:
    """A machine in the folder with nothing deployed; everything is gone afterwards. Skips where Docker cannot run."""
    with docker_daemon(folder) as host:
        world = World.at(folder)
        world.extra = {"DOCKER_HOST": host} if host else {}
        made = Containers(world, Docker(host))
        before = made.things(), world.processes()
        try:
            yield made
        finally:
            world.run("local", "reset", "--yes")
        assert ((made.things(), world.processes()), world.cloud.exists()) == (before, False)
