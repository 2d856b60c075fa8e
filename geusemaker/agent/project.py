"""The compose project on the instance: checked, put in place, brought up."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.docker import PROJECT
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_leniently, read_text, write_atomic
from geusemaker.agent.images import Image
from geusemaker.agent.processes import Job

CANDIDATE: Final = "compose.candidate.json"  # a compose file that is being checked


def services_of(project: Json) -> tuple[Json, dict[str, Image]]:
    """The services of a compose file, and their images."""
    services = Document(project).service_map("services")
    if not services:
        raise AgentError("bad_input", "The compose file has no services.")
    return services, {name: Image.parse(str(service.get("image", ""))) for name, service in services.items()}


def by_digest(images: Mapping[str, Image]) -> list[str]:
    return sorted({image.by_digest for image in images.values()})


def compose_text(project: Json) -> str:
    """The compose file as text that is JSON, and that Compose, which reads YAML, understands in the same way.

    A character beyond U+FFFF stands as it is, since YAML knows no surrogate pairs; all else that is not ASCII is
    escaped, since YAML forbids some of it.
    """
    text = json.dumps(project, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return re.sub("[\x7f-\uffff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def begin_check(agent: Agent, project: Json) -> Job | None:
    """Have Compose begin to check a compose file; None for one that it is known to accept.

    It goes on while Docker is asked other things. What ``prefetch`` has had checked, before anything stopped, ``apply``
    finds accepted: right after a boot, with all services down, there is enough to do.
    """
    text = compose_text(project)
    if text in map(read_text, (agent.compose_file, agent.next_compose_file, agent.previous_compose_file)):
        return None
    agent.home.mkdir(parents=True, exist_ok=True)
    for name, service in project["services"].items():
        if service.get("env_file") and not (agent.home / f"{name}.env").exists():
            write_atomic(agent.home / f"{name}.env", "", 0o600)  # Compose wants it to be there
    write_atomic(agent.home / CANDIDATE, text)
    return agent.start(agent.compose("config", "--quiet", file=agent.home / CANDIDATE), None)


def end_check(agent: Agent, checking: Job | None) -> None:
    """Wait for the check's end.

    Raises:
        AgentError: apply_failed, when Compose does not accept the file
    """
    if checking is None:
        return
    [checked] = agent.finish_jobs([checking], 60)
    if checked.code != 0:
        (agent.home / CANDIDATE).unlink(missing_ok=True)
        reason = checked.reason().rstrip(".")
        raise AgentError("apply_failed", f"Compose does not accept the compose file: {reason}. Nothing was changed.")
    (agent.home / CANDIDATE).replace(agent.next_compose_file)


def put_project(agent: Agent, project: Json, env_files: Mapping[str, str]) -> None:
    """Put env files and compose file, which Compose has accepted, in place."""
    home = agent.home
    for name, content in env_files.items():
        if read_text(home / f"{name}.env") != content:
            write_atomic(home / f"{name}.env", content, 0o600)
    current = read_text(agent.compose_file)
    if compose_text(project) != current:
        if current is not None:
            write_atomic(agent.previous_compose_file, current)
        write_atomic(agent.compose_file, compose_text(project))
        agent.next_compose_file.unlink(missing_ok=True)
    for file in home.glob("*.env"):
        if file.stem not in env_files:
            file.unlink()


def held_services(agent: Agent, operation: str, images: Mapping[str, Image]) -> list[str] | None:
    """The services that have containers, all of them stopped, where this operation has brought these images as well.

    None: not known, and Docker has to be asked.
    """
    prepared = read_leniently(agent.prepared_file)
    if (prepared.get("operation"), prepared.get("images")) != (operation, by_digest(images)):
        return None
    held: list[str] | None = prepared.get("held")
    return held


_COMPOSE_STATES: Final = {
    "Recreate": "stopping",
    "Stopping": "stopping",
    "Starting": "starting",
    "Started": "running",
    "Removed": "removed",
}


def compose_up(agent: Agent, there: Collection[str], only: Sequence[str] | None = None) -> None:
    """Bring services up, and remove those that the compose file has no more.

    ``there``: those that are spoken of; ``only``: those that are to run, None for all of them.
    """
    if only is not None and not only:
        return  # to Compose, no name means every service

    def on_line(line: str) -> None:
        match = re.match(rf"\s*Container (?:[0-9a-f]+_)?{PROJECT}-(.+?)-\d+\s+(\w+)", line)
        if match and match[2] in _COMPOSE_STATES and match[1] in there:
            agent.reporter.service(match[1], _COMPOSE_STATES[match[2]])

    finished = agent.stream(
        agent.compose("up", "-d", "--remove-orphans", "--pull", "never", *(only or ())), 600, on_line
    )
    if finished.code == 0:
        return
    low = finished.out.lower()
    if "no such image" in low or "image not found" in low:
        raise AgentError("image_missing", f"An image is not on the instance: {finished.reason()}")
    if "no space left on device" in low:
        raise AgentError("no_space", f"The instance's disk is full: {finished.reason()}")
    states = {name: container.status for name, container in agent.containers().items()}
    raise AgentError(
        "apply_failed",
        f"The services could not be started: {finished.reason()}",
        output=finished.out.splitlines()[-20:],
        containers=states,
    )
