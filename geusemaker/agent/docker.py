"""Docker and Compose, asked by their commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from geusemaker.agent.containers import Container
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.images import Image
from geusemaker.agent.machine import Machine
from geusemaker.agent.processes import Finished

PROJECT: Final = "geusemaker"


class Docker(Machine):
    """Containers and images."""

    def docker(self, *arguments: str, timeout: float = 60) -> Finished:
        return self.run(("docker", *arguments), timeout)

    def compose(self, *arguments: str, file: Path | None = None) -> list[str]:
        project = ("-p", PROJECT, "--project-directory", str(self.home), "-f", str(file or self.compose_file))
        return ["docker", "compose", *project, *arguments]

    def ensure_docker(self) -> None:
        """Docker answers; if need be it is started, which its unit allows only when the file system is mounted.

        Raises:
            AgentError: docker_failed
        """
        if self.docker("version", "--format", "{{.Server.Version}}", timeout=30).code == 0:
            return
        started = self.run(("systemctl", "start", "docker.service"), 120)
        asked = self.docker("version", "--format", "{{.Server.Version}}", timeout=30)
        if asked.code != 0:
            reason = started.reason() if started.code else asked.reason()
            raise AgentError("docker_failed", f"Docker does not answer on the instance: {reason}")

    def containers(self, project: str = PROJECT) -> dict[str, Container]:
        """Service → its container. Of two (one is being replaced) the one that runs counts, or the newer."""
        listed = self.docker("ps", "-a", "-q", "--no-trunc", "--filter", f"label=com.docker.compose.project={project}")
        if listed.code != 0:
            raise AgentError("docker_failed", f"The containers cannot be listed: {listed.reason()}")
        found: dict[str, Container] = {}
        for value in self.inspect(listed.out.split()):
            container = Container.from_inspect(value)
            other = found.get(container.service)
            if other is None or (container.running, container.created_at) > (other.running, other.created_at):
                found[container.service] = container
        return found

    def inspect(self, names: Sequence[str], kind: str = "container") -> list[Json]:
        """What Docker says of those that exist; the others are left out."""
        if not names:
            return []
        command = ("image", "inspect") if kind == "image" else ("inspect",)
        finished = self.docker(*command, *names)
        try:
            values = json.loads(finished.out or "[]")
        except ValueError as error:
            raise AgentError("docker_failed", f"docker inspect answered what is not JSON: {error}.") from error
        if finished.code != 0 and "no such" not in finished.err.lower():
            raise AgentError("docker_failed", f"docker inspect failed: {finished.reason()}")
        return [value for value in values if isinstance(value, dict)]

    def running_image(self, container: Container) -> tuple[str, list[Image]]:
        """(what really runs as ``repo:tag@digest``, all names by digest that this very image has)"""
        inspected = self.inspect([container.image_id], "image")
        digests = [Image.parse(name) for name in (inspected[0].get("RepoDigests") or [])] if inspected else []
        wanted = container.wanted_image()
        # The digest comes from the image that runs, never from what the compose file asked for.
        same = [image for image in digests if image.digest == wanted.digest and image.repository == wanted.repository]
        best = next(
            iter(same or [image for image in digests if image.repository == wanted.repository] or digests), None
        )
        if best is None:
            return container.tagged or container.image, digests
        return f"{best.repository}:{wanted.tag or 'latest'}@{best.digest}", digests

    def log_lines(self, container: str, count: int, longest: int = 400) -> list[str]:
        finished = self.stream(("docker", "logs", "--tail", str(min(count, 40)), container), 20)
        return [line[:longest] for line in finished.out.splitlines()][-count:]
