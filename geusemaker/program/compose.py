"""The Compose project, rendered purely from a StackConfig. Nothing in here imports Pulumi.

A config carries the number of the rendering that it was made with, and keeps it: a rollback brings the very same
compose file back. What is changed in here for all configs restarts services that nobody meant to touch, so a change is
a new number, which updates take and announce. Each has its golden file in ``tests/unit/test_program/renderings``.

1. The first. Compose expands ``$`` in an operator's values, and containers' logs grow without end.
2. ``$`` is a character like others; logs are bounded; Crawl4AI is told where to listen.
"""

from __future__ import annotations

import re
from typing import Any, Final

from geusemaker.catalog import SERVICES
from geusemaker.models.stack import Secrets, ServiceName, StackConfig

PROJECT: Final = "geusemaker"

_SYSTEM_RESERVE_MIB: Final = 512

# Expanded by Compose on the instance: empty and 127.0.0.1 on AWS; the instance's own folder and loopback address
# on the local cloud, where instances share the host's file system and network.
_EFS: Final = "${GEUSEMAKER_INSTANCE_ROOT:-}/mnt/efs"
_VOLUME: Final = "${GEUSEMAKER_INSTANCE_ROOT:-}/mnt/data"
_LOOPBACK: Final = "${GEUSEMAKER_LOOPBACK:-127.0.0.1}"

_TEMPLATES: Final = frozenset({"ports", "volumes"})
"""The keys of a service in which these are."""

# https://docs.docker.com/engine/logging/drivers/json-file: by default a log grows until the disk is full.
_LOGGING: Final = {"driver": "json-file", "options": {"max-size": "20m", "max-file": "5"}}

_EXPANDED = re.compile(r"\$(?:(?P<escaped>\$)|[A-Za-z_][A-Za-z_0-9]*|\{[A-Za-z_][A-Za-z_0-9]*\})")


def memory_limits(memory_mib: int, rendering: int) -> dict[ServiceName, int]:
    """Service → memory limit in MiB, of all there are, enabled or not; together they leave room for the system."""
    usable = max(memory_mib - _SYSTEM_RESERVE_MIB, memory_mib // 2)
    total = sum(service.memory_share for service in SERVICES.values() if service.since <= rendering)
    return {name: max(64, usable * service.memory_share // total) for name, service in SERVICES.items()}


def render(config: StackConfig, *, data_volume: bool) -> dict[str, Any]:
    """The compose file of a config, as an object. It holds no secret: those go into env files.

    ``data_volume``: whether the deployment has one beside EFS.
    """
    services = {name: _definition(config, name, data_volume) for name in config.services}
    if config.rendering >= 2:
        for name, definition in services.items():
            definition["environment"].update(SERVICES[name].second_environment)
        services = {name: {**_literal(definition), "logging": _LOGGING} for name, definition in services.items()}
    return {"name": PROJECT, "services": services}


def _definition(config: StackConfig, name: ServiceName, data_volume: bool) -> dict[str, Any]:
    """One service, as the first rendering has it."""
    service, known = config.services[name], SERVICES[name]
    definition: dict[str, Any] = {
        "image": service.image.by_digest,
        # A container stopped on purpose (before a resize) stays down when the instance boots.
        "restart": "unless-stopped",
        "ports": [f"{_LOOPBACK}:{known.port}:{known.port}"],
        "environment": {**known.environment, **service.environment},
        "mem_limit": f"{memory_limits(config.instance.memory_mib, config.rendering)[name]}m",
        "stop_grace_period": f"{known.stop_seconds}s",
        "labels": {"io.geusemaker.image": service.image.tagged},
    }
    if known.secrets:
        definition["env_file"] = [f"./{name}.env"]
    if known.data is not None:
        place = _VOLUME if data_volume and known.data.on_volume else _EFS
        definition["volumes"] = [f"{place}/{name}:{known.data.path}"]
    if known.shared_memory:
        definition["shm_size"] = known.shared_memory
    if known.uses_gpu and config.instance.gpus:
        definition["deploy"] = {
            "resources": {"reservations": {"devices": [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]}}
        }
    return definition


def expanded(text: str) -> str:
    """What Compose makes of an operator's value in the first rendering, as far as it can be told: no variable is set.

    Forms with braces that are more than ``${NAME}`` are left as they are.
    """
    return _EXPANDED.sub(lambda match: "$" if match["escaped"] else "", text)


def carried(text: str) -> str:
    """A value of the first rendering for a later one, in which ``$`` means nothing.

    It keeps what it meant where only ``$$`` was written for ``$``. What named a variable was hardly meant to: it
    becomes what was typed, and the plan shows that as a change.
    """
    names_one = any(not match["escaped"] for match in _EXPANDED.finditer(text)) or "${" in text.replace("$$", "")
    return text if names_one else expanded(text)


def _literal(definition: dict[str, Any]) -> dict[str, Any]:
    """A service in which nothing but the places that are ours to expand is a template to Compose."""
    return {key: value if key in _TEMPLATES else _escaped(value) for key, value in definition.items()}


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return value


def secret_environment(config: StackConfig, secrets: Secrets) -> dict[str, dict[str, str]]:
    """Service → variables that hold secrets; the agent writes them to env files only root can read."""
    return {
        name: {variable: getattr(secrets, field) for variable, field in SERVICES[name].secrets.items()}
        for name in config.services
        if SERVICES[name].secrets
    }


def data_directories(config: StackConfig, *, data_volume: bool) -> list[dict[str, Any]]:
    """The directories on EFS and the data volume that the enabled services need, with their owners."""
    return [
        {
            "path": name,
            "uid": data.owner(service.image),
            "gid": data.owner(service.image),
            "mode": 0o750,
            "on": "volume" if data_volume and data.on_volume else "efs",
        }
        for name, service in config.services.items()
        if (data := SERVICES[name].data) is not None
    ]


def probes(config: StackConfig) -> dict[str, dict[str, Any]]:
    """Service → what the agent's gate needs to judge it: image wanted, probe, deadline in seconds."""
    return {
        name: {
            "image": str(service.image),
            "probe": SERVICES[name].probe(service.environment),
            "deadline_seconds": config.health.deadline_seconds,
            # Not Compose's depends_on: with it, Compose 2.26 restarts n8n whenever PostgreSQL's image changes.
            "depends_on": list(SERVICES[name].needs),
        }
        for name, service in config.services.items()
    }
