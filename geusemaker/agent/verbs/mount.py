"""``mount``: the instance is set up."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_leniently, read_text, write_atomic
from geusemaker.agent.machine import MOUNT_POINT
from geusemaker.agent.mounting import (
    MOUNT_UNIT,
    RETRY_UNIT,
    docker_drop_in,
    mount_unit,
    mount_with_patience,
    retry_unit,
    system,
)
from geusemaker.agent.packages import install_packages
from geusemaker.agent.version import agent_version
from geusemaker.agent.volumes import fill_root, fill_volume, mount_volume


def mount(agent: Agent, document: Document) -> Json:
    """Make the instance one whose containers can only ever run on the mounted file system and data volume."""
    deployment, file_system_id = document.text("deployment"), document.text("file_system_id")
    source, options = document.text("source"), document.text("options")
    volume_id, volume_gib = document.optional_text("data_volume_id"), document.number("data_volume_gib", 0)
    packages = [str(name) for name in document.items("packages")]
    for value in (source, options, *packages, *filter(None, (volume_id,))):
        if not re.fullmatch(r"[A-Za-z0-9@:/._,=+-]+", value):
            raise AgentError("bad_input", "The mount's source, options or packages hold a character they may not.")
    host = {
        "deployment": deployment,
        "instance_id": document.text("instance_id"),
        "file_system_id": file_system_id,
        "data_volume_id": volume_id,
        "source": source,
        "options": options,
        "packages": packages,
        "agent": agent_version(),
    }
    mounted = agent.mount()
    if mounted is not None:
        agent.require_mount(file_system_id)
    files = {
        agent.units / MOUNT_UNIT: mount_unit(source, options),
        agent.units / "docker.service.d/geusemaker.conf": docker_drop_in(bool(volume_id)),
        agent.units / RETRY_UNIT: retry_unit(),
    }
    ready = (
        mounted is not None
        and (volume_id is None or agent.is_volume_mounted(volume_id))
        and read_leniently(agent.host_file) == host  # one that cannot be read is written anew
        and all(read_text(path) == text for path, text in files.items())
        and agent.run(("systemctl", "is-active", "docker.service"), 30, "mount_failed").code == 0
    )
    # Docker comes last: from its very first start on it finds everything mounted, or does not start.
    docker = [name for name in packages if name.startswith("docker")]
    deadline = document.number("deadline_seconds", 180)
    if not ready:
        install_packages(agent, [name for name in packages if name not in docker])
        _mount_file_system(agent, files, file_system_id, deadline)
    first = agent.on_efs(lambda: agent.store.ensure_sentinel(deployment, file_system_id), file_system_id=file_system_id)
    if not ready:
        if volume_id:
            mount_volume(agent, volume_id, file_system_id, deadline)
        if docker:
            install_packages(agent, docker)
            system(agent, "daemon-reload")
            system(agent, "enable", "--now", "docker.service")
            system(agent, "enable", RETRY_UNIT)
        write_atomic(agent.host_file, json.dumps(host))
    if volume_id and volume_gib:
        fill_volume(agent, volume_id, int(volume_gib * 2**30), deadline)
    if root_gib := document.number("root_volume_gib", 0):
        fill_root(agent, int(root_gib * 2**30), deadline)
    return {"mounted": True, "first": first, "unchanged": ready}


def _mount_file_system(agent: Agent, files: Mapping[Path, str], file_system_id: str, deadline: float) -> None:
    say = agent.reporter
    agent.efs.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(agent.efs):
        agent.efs.mkdir()
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
    system(agent, "daemon-reload")
    if agent.mount() is not None:
        system(agent, "enable", MOUNT_UNIT)
        return
    say.phase("mount", "started", f"Mounting {file_system_id}")
    mount_with_patience(agent, MOUNT_UNIT, agent.mount, deadline)
    agent.require_mount(file_system_id)
    say.phase("mount", "done", f"{file_system_id} is mounted on {MOUNT_POINT}")
