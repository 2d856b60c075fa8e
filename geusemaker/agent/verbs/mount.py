"""``mount``: the instance is set up."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_leniently, read_text, write_atomic
from geusemaker.agent.machine import MOUNT_POINT
from geusemaker.agent.mounting import (
    RETRY_UNIT,
    docker_drop_in,
    mount_unit,
    mount_with_patience,
    retry_unit,
    system,
)
from geusemaker.agent.mounts import MOUNT_UNIT
from geusemaker.agent.packages import install_packages
from geusemaker.agent.spot import NOTICE_UNIT, notice_files
from geusemaker.agent.system import await_first_boot, docker_packages, find_system
from geusemaker.agent.upkeep import keep_up, upkeep_files, upkeep_packages
from geusemaker.agent.version import agent_version
from geusemaker.agent.volumes import fill_root, fill_volume, mount_volume
from geusemaker.agent.walls import put_up_walls


def mount(agent: Agent, document: Document) -> Json:
    """Make the instance one whose containers can only ever run on the mounted file system and data volume."""
    deployment, file_system_id = document.text("deployment"), document.text("file_system_id")
    source, options = document.text("source"), document.text("options")
    volume_id, volume_gib = document.optional_text("data_volume_id"), document.number("data_volume_gib", 0)
    for value in (file_system_id, source, options, *filter(None, (volume_id,))):
        if not re.fullmatch(r"[A-Za-z0-9@:/._,=+-]+", value):
            raise AgentError("bad_input", "The mount's source or options hold a character they may not.")
    host = {
        "deployment": deployment,
        "instance_id": document.text("instance_id"),
        "file_system_id": file_system_id,
        "data_volume_id": volume_id,
        "source": source,
        "options": options,
        "agent": agent_version(),
    }
    mounted = agent.mount()
    if mounted is not None:
        agent.require_mount(file_system_id)
    files = {
        agent.units / MOUNT_UNIT: mount_unit(source, options, file_system_id),
        agent.units / "docker.service.d/geusemaker.conf": docker_drop_in(bool(volume_id)),
        agent.units / RETRY_UNIT: retry_unit(),
    }
    is_spot = document.values.get("spot") is True
    if is_spot:
        files |= notice_files(agent)
    ready = (
        mounted is not None
        and (volume_id is None or agent.is_volume_mounted(volume_id))
        and read_leniently(agent.host_file) == host  # one that cannot be read is written anew
        and all(read_text(path) == text for path, text in (files | upkeep_files(agent)).items())
        and agent.run(("systemctl", "is-active", "docker.service"), 30, "mount_failed").code == 0
    )
    deadline = document.number("deadline_seconds", 180)
    docker: tuple[str, ...] = ()
    before = read_leniently(agent.host_file)
    if not ready:
        await_first_boot(agent)
        docker = _docker(agent, set_up=bool(before))
        install_packages(agent, ["nfs-common"])
        _mount_file_system(agent, files, file_system_id, deadline)
    first = agent.on_efs(lambda: agent.store.ensure_sentinel(deployment, file_system_id), file_system_id=file_system_id)
    if not ready:
        if volume_id:
            mount_volume(agent, volume_id, file_system_id, deadline)
        # Docker comes last: from its very first start on it finds everything mounted, or does not start.
        keeping = upkeep_packages(agent)
        install_packages(agent, docker if before else [*docker, *keeping])
        system(agent, "daemon-reload")
        put_up_walls(agent)
        system(agent, "enable", "--now", "docker.service")
        system(agent, "enable", RETRY_UNIT)
        _keep_up(agent, docker, keeping, set_up=bool(before))
        write_atomic(agent.host_file, json.dumps(host))
        if is_spot:
            system(agent, "enable", NOTICE_UNIT)
            system(agent, "restart", NOTICE_UNIT)
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


def _docker(agent: Agent, *, set_up: bool) -> tuple[str, ...]:
    """The packages that are Docker and Compose here; none on an instance that works, of a system that nobody knows.

    Raises:
        AgentError: unsupported_system
    """
    try:
        return docker_packages(agent, find_system(agent))
    except AgentError as error:
        if not set_up:
            raise
        agent.reporter.note(f"Docker stays as it is: {error.message}")
        return ()


def _keep_up(agent: Agent, docker: Sequence[str], packages: Sequence[str], *, set_up: bool) -> None:
    """Have security updates and the like set up. On an instance that works already it is no reason to stop here.

    Raises:
        AgentError: package_failed
    """
    if not docker:
        return
    try:
        keep_up(agent, docker, packages)
    except AgentError as error:
        if not set_up:
            raise
        agent.reporter.note(f"Security updates could not be set up: {error.message}")
