"""``checkpoint`` and ``checkpoints``: copies of what services hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from geusemaker.agent.agent import Agent, hold_lease
from geusemaker.agent.clock import now
from geusemaker.agent.containers import Container
from geusemaker.agent.data.dumps import copy_databases, databases_now
from geusemaker.agent.data.qdrant import collections_now, copy_collections
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_json, sync_folder, write_atomic
from geusemaker.agent.store.checkpoints import CHECKPOINT_FILE


class Copied(NamedTuple):
    """A service whose data a checkpoint can hold."""

    title: str
    """Its name in sentences."""
    copy: Callable[[Agent, Mapping[str, Container], Json, Path, float], None]
    """Copies what it holds into a folder, and adds that to the checkpoint's own file."""
    now: Callable[[Agent, Mapping[str, Container], Json], None]
    """Adds what it holds now, without a copy."""


COPIED: Final = {
    "postgresql": Copied("PostgreSQL", copy_databases, databases_now),
    "qdrant": Copied("Qdrant", copy_collections, collections_now),
}


def checkpoint(agent: Agent, document: Document) -> Json:
    """Copy what services hold to the file system, while everything still runs."""
    operation, number, services = document.operation(), int(document.number("number", 0)), copied_services(document)
    if number < 1:
        raise AgentError("bad_input", "'number' has to be that of the version whose data is copied.")
    about = {"version": number, "operation": operation, "kind": document.text("kind")}
    with agent.registered(operation, "checkpoint"):
        hold_lease(agent, operation)
        agent.reporter.phase("checkpoint", "started", f"Copying what {' and '.join(services)} hold")
        taken = take_checkpoint(agent, about, services, document.number("deadline_seconds", 1800))
        agent.reporter.phase("checkpoint", "done", f"{sum(held['bytes'] for held in taken['holds'])} bytes")
        return taken


def checkpoints(agent: Agent, document: Document) -> Json:
    """The checkpoints there are; and what is there now of the services that ``now`` names."""
    answer: Json = {"checkpoints": agent.on_efs(agent.store.list_checkpoints, 60)}
    if document.items("now"):
        answer["now"] = data_now(agent, copied_services(document, "now"))
    return answer


def copied_services(document: Document, key: str = "services") -> list[str]:
    services = [str(name) for name in document.items(key)]
    if not services or not set(services) <= COPIED.keys():
        raise AgentError("bad_input", f"{key!r} has to name some of {', '.join(COPIED)}.")
    return services


def running_containers(agent: Agent, services: Iterable[str]) -> dict[str, Container]:
    """All containers, among them running ones of these services.

    Raises:
        AgentError: not_running
    """
    containers = agent.containers()
    for name in services:
        if name not in containers or not containers[name].running:
            raise AgentError("not_running", f"{COPIED[name].title} does not run, so its data cannot be read.")
    return containers


def take_checkpoint(agent: Agent, about: Json, services: Sequence[str], deadline: float) -> Json:
    """Take a checkpoint, all of it or nothing; again is fine.

    Raises:
        AgentError: not_running, docker_failed, qdrant_failed, checkpoint_failed, and what ``Agent.on_efs`` raises
    """
    containers = running_containers(agent, services)
    images = {name: agent.running_image(container)[0] for name, container in sorted(containers.items())}
    about = {
        "checkpoint": f"v{about['version']}/{about['operation']}",
        **about,
        "taken_at": now(),
        "images": images,
        "versions": {},
        "migrations": None,
        "aliases": {},
        "holds": [],
    }
    return agent.on_efs(lambda: _write_checkpoint(agent, about, services, containers, deadline), deadline)


def _write_checkpoint(
    agent: Agent, about: Json, services: Sequence[str], containers: Mapping[str, Container], deadline: float
) -> Json:
    """Write the copies beside their place and put them there all at once (runs in the child)."""
    import shutil

    final = agent.store.checkpoints / about["checkpoint"]
    parent, temporary = final.parent, final.parent / f".{final.name}.new"
    agent.store.checkpoints.mkdir(mode=0o700, exist_ok=True)
    parent.mkdir(mode=0o700, exist_ok=True)
    taken = read_json(final / CHECKPOINT_FILE)
    if taken is not None:
        return taken
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    try:
        for name, copied in COPIED.items():
            if name in services:
                copied.copy(agent, containers, about, temporary, deadline)
        write_atomic(temporary / CHECKPOINT_FILE, json.dumps(about), 0o600)
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(parent)
    return about


def data_now(agent: Agent, services: Sequence[str]) -> Json:
    """What a checkpoint of these services would hold were it taken now.

    Raises:
        AgentError: not_running, docker_failed, qdrant_failed
    """
    containers = running_containers(agent, services)
    found: Json = {"versions": {}, "migrations": None, "holds": []}
    for name, copied in COPIED.items():
        if name in services:
            copied.now(agent, containers, found)
    return found
