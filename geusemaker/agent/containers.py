"""What Docker says of a container, and what is final about that."""

from __future__ import annotations

from typing import NamedTuple

from geusemaker.agent.clock import now, seconds_between
from geusemaker.agent.document import Json
from geusemaker.agent.images import Image


class Container(NamedTuple):
    """What ``docker inspect`` says of a service's container."""

    id: str
    service: str
    image_id: str
    image: str
    """The reference the compose file gave."""
    tagged: str
    """The label that tells the tag, where the reference is by digest."""
    status: str
    oom_killed: bool
    exit_code: int
    error: str
    pid: int
    created_at: str
    started_at: str
    restarts: int

    @classmethod
    def from_inspect(cls, value: Json) -> Container:
        state, config = value.get("State") or {}, value.get("Config") or {}
        labels = config.get("Labels") or {}
        return cls(
            id=value.get("Id", ""),
            service=labels.get("com.docker.compose.service", value.get("Name", "").lstrip("/")),
            image_id=value.get("Image", ""),
            image=config.get("Image", ""),
            tagged=labels.get("io.geusemaker.image", ""),
            status=state.get("Status", ""),
            oom_killed=bool(state.get("OOMKilled")),
            exit_code=int(state.get("ExitCode") or 0),
            error=state.get("Error") or "",
            pid=int(state.get("Pid") or 0),
            created_at=value.get("Created", ""),
            started_at=state.get("StartedAt", ""),
            restarts=int(value.get("RestartCount") or 0),
        )

    @property
    def running(self) -> bool:
        return self.status == "running"

    def wanted_image(self) -> Image:
        """Repository and digest as started, with the tag its label tells."""
        image = Image.parse(self.image)
        return image._replace(tag=image.tag or Image.parse(self.tagged).tag)


class Failure(NamedTuple):
    """Why a service will not become healthy by waiting."""

    state: str
    reason: str


def find_failure(container: Container | None, tolerated_restarts: int, excused: bool) -> Failure | None:
    """What is final about a container's state, so that the gate need not wait for its deadline.

    Args:
        container: the service's container; None when there is none.
        tolerated_restarts: a restart count up to here is not held against it.
        excused: something it depends on is not up yet, so an exit tells nothing about it.
    """
    if container is None:
        return Failure("missing", "there is no container")
    # Of one that runs, Docker says so for as long as it runs: a tab of its browser or a model was killed, and not it.
    if container.oom_killed and not container.running:
        return Failure("exited", f"it ran out of memory (exit code {container.exit_code})")
    if container.status == "dead" or (container.status == "created" and container.error):
        return Failure("exited", container.error or "the container is dead")
    if excused:
        return None
    if container.restarts > tolerated_restarts:
        # Once it runs again, Docker has forgotten how it ended, and says 0.
        how = "it ended" if container.running else f"it exited (exit code {container.exit_code})"
        return Failure("restarting", f"{how} and is restarted again and again")
    if container.status in ("exited", "removing"):
        return Failure(
            "exited", " ".join(filter(None, [f"it exited (exit code {container.exit_code})", container.error]))
        )
    return None


def life_of(container: Container | None) -> Json:
    """Which container it is, since when it runs and for how long (seconds), how often it was restarted."""
    running = container is not None and container.running
    age = seconds_between(container.started_at, now()) if container is not None and running else None
    return {
        "container": container.id if container else None,
        "started_at": container.started_at if container else None,
        "age_seconds": None if age is None or age == float("inf") else max(0.0, age),
        "restarts": container.restarts if container else 0,
    }


def state_of(container: Container | None) -> str:
    if container is None:
        return "there is no container"
    words = [container.status, f"(exit code {container.exit_code})" if container.status == "exited" else ""]
    return " ".join(filter(None, [*words, "out of memory" if container.oom_killed else "", container.error]))
