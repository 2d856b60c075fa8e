"""``health``: one look at everything."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geusemaker.agent.agent import Agent, or_problem
from geusemaker.agent.containers import Container, life_of, state_of
from geusemaker.agent.data import ollama
from geusemaker.agent.data.migration import look_at_migration, migration_detail, migration_state
from geusemaker.agent.document import Document, Json
from geusemaker.agent.domains import look_at_domains
from geusemaker.agent.env_files import env_file
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_text
from geusemaker.agent.images import Image
from geusemaker.agent.probes import Seen
from geusemaker.agent.project import services_of
from geusemaker.agent.pulls import missing_images
from geusemaker.agent.reboot import boot_id, why_reboot
from geusemaker.agent.watches import PROBE_TIMEOUT, parse_watches, probe_services


def health(agent: Agent, document: Document) -> Json:
    """One look at everything, without waiting."""
    agent.reporter.hide(agent.secrets())
    watches = parse_watches(agent, document)
    problem = ""
    containers: dict[str, Container] = {}
    try:
        containers = agent.containers()
    except AgentError as error:
        problem = error.message
    running = [watch for name, watch in watches.items() if name in containers and containers[name].running]
    answers = probe_services(agent, running, PROBE_TIMEOUT)
    services = {}
    for name in sorted({*watches, *containers}):
        container = containers.get(name)
        healthy, detail, starting = answers.get(name, Seen(False, problem or state_of(container)))
        port = watches[name].probe.port if name in watches else None
        services[name] = {
            "image": agent.running_image(container)[0] if container else None,
            "state": container.status if container else "missing",
            "healthy": healthy if name in watches else None,
            "detail": detail,
            "address": f"{agent.address}:{port}" if port else None,
            "pid": container.pid if container else None,
            "migration": _migration_state(agent, containers) if name == "n8n" and starting else None,
            **life_of(container),
        }
    mounted = agent.mount()
    volume_id = agent.data_volume_id()
    project, environment = document.values.get("compose"), document.values.get("environment")
    wanted = {name: Image.parse(str(text)) for name, text in (document.values.get("images") or {}).items()}
    missing = or_problem(lambda: missing_images(agent, wanted))[0]
    store = agent.store
    looked, data_problem = or_problem(
        lambda: agent.on_efs(
            lambda: [
                *store.read_lease(),
                store.sentinel(),
                store.stopped(),
                store.interruption(),
                store.rehearsals(),
                store.backup_state(),
            ],
            5,
        )
    )
    lease, lease_damaged, sentinel, stopped, interruption, rehearsals, backups = looked or [
        *(None, None, None),
        *({}, {}, []),
        None,
    ]
    return {
        "services": services,
        "missing_images": None if missing is None else sorted(missing),
        "differs": _differences(agent, project, environment or {}) if project else None,
        "mount": {"mounted": mounted is not None, "file_system_id": mounted.file_system_id if mounted else None},
        "data_volume": {"id": volume_id, **_volume_state(agent, volume_id)} if volume_id else None,
        "volumes": {
            name: list(service.get("volumes") or ())
            for name, service in (agent.compose_document().get("services") or {}).items()
        },
        "lease": lease,
        "lease_damaged": lease_damaged,
        "sentinel": sentinel,
        "sentinel_known": looked is not None,
        "data_problem": data_problem if mounted is not None else None,
        "stopped": stopped,
        "interruption": interruption or None,
        "rehearsals": rehearsals,
        "backups": backups,
        "domains": look_at_domains(agent, document),
        "models": _models(agent, containers) if document.values.get("models") else None,
        "reboot": why_reboot(agent.root),
        "boot": boot_id(agent.root),
        "operations_running": agent.running_operations(),
        "instance_id": agent.host().get("instance_id"),
        "disk": _disk(agent.root),
        "problem": problem or None,
    }


def _models(agent: Agent, containers: Mapping[str, Container]) -> dict[str, int] | None:
    return ollama.sizes(agent, {name: one for name, one in containers.items() if one.running})


def _migration_state(agent: Agent, containers: Mapping[str, Container]) -> Json | None:
    """Whether n8n, which lives and is not ready, migrates; None where nothing can be told of that."""
    first = look_at_migration(agent, containers.get("postgresql"))
    if first is None:
        return None
    state, look = migration_state(None, first), first
    if state == "idle":  # one look cannot tell the next statement of a transaction
        time.sleep(1)
        look = look_at_migration(agent, containers.get("postgresql")) or first
        state = migration_state(first, look)
    return {"state": state, "done": look.done, "detail": migration_detail(state, look)}


def _differences(agent: Agent, project: Json, environment: Mapping[str, Any]) -> dict[str, list[str]]:
    """What `apply` would replace: service → whether its ``definition`` or its ``secrets`` are not what lies here."""
    agent.reporter.hide(value for variables in environment.values() for value in variables.values())
    there = agent.compose_document().get("services") or {}
    found = {}
    for name, definition in services_of(project)[0].items():
        secrets = env_file(environment[name]) if name in environment else None
        found[name] = [
            *(["definition"] if there.get(name) != definition else []),
            *(["secrets"] if name in there and secrets != read_text(agent.home / f"{name}.env") else []),
        ]
    return {name: what for name, what in found.items() if what}


def _disk(root: Path) -> Json:
    """The disk that images are kept on."""
    folder = root / "var/lib/docker"
    return _space(folder if folder.is_dir() else root)


def _volume_state(agent: Agent, volume_id: str) -> Json:
    mounted = agent.is_volume_mounted(volume_id)
    return {"mounted": mounted, **(_space(agent.data) if mounted else {})}


def _space(folder: Path) -> Json:
    """How large the file system is that a folder is on, and how much of it is free, in bytes."""
    usage = os.statvfs(folder)
    return {"total_bytes": usage.f_blocks * usage.f_frsize, "free_bytes": usage.f_bavail * usage.f_frsize}
