"""The Compose project, rendered purely from a StackConfig. Nothing in here imports Pulumi.

A config carries the number of the rendering that it was made with, and keeps it: a rollback brings the very same
compose file back. What is changed in here for all configs restarts services that nobody meant to touch, so a change is
a new number, which updates take and announce. Each has its golden file in ``tests/unit/test_program/renderings``.

1. The first. Compose expands ``$`` in an operator's values, and containers' logs grow without end.
2. ``$`` is a character like others; logs are bounded; Crawl4AI is told where to listen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from geusemaker.models.owners import owner
from geusemaker.models.stack import SERVICE_PORTS, Secrets, ServiceName, StackConfig
from geusemaker.program.readiness import probe

PROJECT: Final = "geusemaker"

# Shares of the instance's memory. They are fixed over all five services, enabled or not, so that enabling one
# never changes (and so never restarts) the others.
_MEMORY_SHARES: Final[dict[ServiceName, int]] = {
    "ollama": 8,
    "crawl4ai": 3,
    "postgresql": 2,
    "n8n": 2,
    "qdrant": 2,
}
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

_VOLUMES: Final[dict[ServiceName, str]] = {
    "postgresql": "/var/lib/postgresql/data",
    "n8n": "/home/node/.n8n",
    "ollama": "/root/.ollama",
    "qdrant": "/qdrant/storage",
}
"""Service → where its image keeps data. Crawl4AI is stateless."""

_ON_VOLUME: Final[frozenset[ServiceName]] = frozenset({"qdrant"})
"""Those whose data is on the data volume, where there is one: "Qdrant won't work with Network file systems such as NFS"
(qdrant.tech/documentation/guides/installation, "Storage")."""

_ENVIRONMENT: Final[dict[ServiceName, dict[str, str]]] = {
    "postgresql": {
        "POSTGRES_USER": "geusemaker",
        "POSTGRES_DB": "n8n",
        # A folder below the mount point: initdb refuses one that holds anything else.
        "PGDATA": "/var/lib/postgresql/data/pgdata",
    },
    "n8n": {
        "DB_TYPE": "postgresdb",
        "DB_POSTGRESDB_HOST": "postgresql",
        "DB_POSTGRESDB_PORT": "5432",
        "DB_POSTGRESDB_DATABASE": "n8n",
        "DB_POSTGRESDB_USER": "geusemaker",
        "N8N_PORT": "5678",
    },
    # Models are read from EFS: loading takes longer than Ollama's default allows, and pruning at start would
    # delete blobs that an older version still needs.
    "ollama": {"OLLAMA_LOAD_TIMEOUT": "15m", "OLLAMA_NOPRUNE": "1"},
    "qdrant": {},
    "crawl4ai": {},
}

# What an operator's own environment must not touch, beside all of the above: other places for data, other secrets than
# the generated ones, another port than the one that is published and probed.
_RESERVED: Final[dict[ServiceName, frozenset[str]]] = {
    "postgresql": frozenset({"POSTGRES_PASSWORD", "POSTGRES_HOST_AUTH_METHOD", "PGPORT", "POSTGRES_INITDB_WALDIR"}),
    "n8n": frozenset(
        {
            "DB_POSTGRESDB_PASSWORD",
            "DB_POSTGRESDB_SCHEMA",
            "DB_TABLE_PREFIX",
            "HOME",
            "N8N_BINARY_DATA_STORAGE_PATH",
            "N8N_CONFIG_FILES",
            "N8N_ENCRYPTION_KEY",
            "N8N_ENDPOINT_HEALTH",
            "N8N_STORAGE_PATH",
            "N8N_USER_FOLDER",
        }
    ),
    "ollama": frozenset({"HOME", "OLLAMA_HOST", "OLLAMA_MODELS"}),
    "qdrant": frozenset(
        {"QDRANT__STORAGE__STORAGE_PATH", "QDRANT__STORAGE__SNAPSHOTS_PATH", "QDRANT__SERVICE__HTTP_PORT"}
    ),
    "crawl4ai": frozenset({"CRAWL4AI_API_TOKEN", "GUNICORN_BIND"}),
}
LATELY_RESERVED: Final = frozenset(
    {
        *("DB_TABLE_PREFIX", "N8N_ENDPOINT_HEALTH", "GUNICORN_BIND", "HOME"),
        *("N8N_BINARY_DATA_STORAGE_PATH", "N8N_STORAGE_PATH", "POSTGRES_INITDB_WALDIR"),
    }
)
"""Those that versions of before may have, healthy as they were."""
_OPEN: Final = frozenset({"OLLAMA_LOAD_TIMEOUT"})
"""Defaults that may be overridden."""


def memory_limits(memory_mib: int) -> dict[ServiceName, int]:
    """Service → memory limit in MiB; together they leave room for the system."""
    usable = max(memory_mib - _SYSTEM_RESERVE_MIB, memory_mib // 2)
    total = sum(_MEMORY_SHARES.values())
    return {name: max(64, usable * share // total) for name, share in _MEMORY_SHARES.items()}


def reserved_environment(service: ServiceName) -> frozenset[str]:
    """The variables of a service that only geusemaker sets."""
    names = (_RESERVED[service] | _ENVIRONMENT[service].keys()) - _OPEN
    # Both of these images read each variable from a file as well, which another name points to.
    return names | {f"{name}_FILE" for name in names} if service in ("n8n", "postgresql") else names


def reserved_among(service: ServiceName, variables: Iterable[str]) -> list[str]:
    """Those of a service's variables that only geusemaker sets, in order."""
    reserved = reserved_environment(service)
    # Qdrant reads its variables whether they are in capitals or not (its config crate compares them in lower case).
    return sorted(key for key in variables if (key.upper() if service == "qdrant" else key) in reserved)


def render(config: StackConfig, *, data_volume: bool) -> dict[str, Any]:
    """The compose file of a config, as an object. It holds no secret: those go into env files.

    ``data_volume``: whether the deployment has one beside EFS.
    """
    services = {name: _definition(config, name, data_volume) for name in config.services}
    if config.rendering >= 2:
        if "crawl4ai" in services:
            # By itself 0.8.7 and later bind [::], and do not start where the host has no IPv6.
            services["crawl4ai"]["environment"]["GUNICORN_BIND"] = f"0.0.0.0:{SERVICE_PORTS['crawl4ai']}"
        services = {name: {**_literal(definition), "logging": _LOGGING} for name, definition in services.items()}
    return {"name": PROJECT, "services": services}


def _definition(config: StackConfig, name: ServiceName, data_volume: bool) -> dict[str, Any]:
    """One service, as the first rendering has it."""
    service, port = config.services[name], SERVICE_PORTS[name]
    definition: dict[str, Any] = {
        "image": service.image.by_digest,
        # A container stopped on purpose (before a resize) stays down when the instance boots.
        "restart": "unless-stopped",
        "ports": [f"{_LOOPBACK}:{port}:{port}"],
        "environment": {**_ENVIRONMENT[name], **service.environment},
        "mem_limit": f"{memory_limits(config.instance.memory_mib)[name]}m",
        "stop_grace_period": "60s" if name == "postgresql" else "20s",
        "labels": {"io.geusemaker.image": service.image.tagged},
    }
    if name in ("postgresql", "n8n", "crawl4ai"):
        definition["env_file"] = [f"./{name}.env"]
    if name in _VOLUMES:
        place = _VOLUME if data_volume and name in _ON_VOLUME else _EFS
        definition["volumes"] = [f"{place}/{name}:{_VOLUMES[name]}"]
    if name == "postgresql":
        definition["shm_size"] = "256m"
    if name == "crawl4ai":
        definition["shm_size"] = "1g"  # its browser crashes with Docker's default of 64 MB
    if name == "ollama" and config.instance.gpus:
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
    environment: dict[ServiceName, dict[str, str]] = {
        "postgresql": {"POSTGRES_PASSWORD": secrets.postgresql_password},
        "n8n": {
            "DB_POSTGRESDB_PASSWORD": secrets.postgresql_password,
            "N8N_ENCRYPTION_KEY": secrets.n8n_encryption_key,
        },
        "crawl4ai": {"CRAWL4AI_API_TOKEN": secrets.crawl4ai_token},
    }
    return {name: environment[name] for name in config.services if name in environment}


def data_directories(config: StackConfig, *, data_volume: bool) -> list[dict[str, Any]]:
    """The directories on EFS and the data volume that the enabled services need, with their owners."""
    return [
        {
            "path": name,
            # A directory made by root would be unwritable for the image's user.
            "uid": owner(name, service.image),
            "gid": owner(name, service.image),
            "mode": 0o750,
            "on": "volume" if data_volume and name in _ON_VOLUME else "efs",
        }
        for name, service in config.services.items()
        if name in _VOLUMES
    ]


def probes(config: StackConfig) -> dict[str, dict[str, Any]]:
    """Service → what the agent's gate needs to judge it: image wanted, probe, deadline in seconds."""
    return {
        name: {
            "image": str(service.image),
            "probe": probe(name, service.environment),
            "deadline_seconds": config.health.deadline_seconds,
            # Not Compose's depends_on: with it, Compose 2.26 restarts n8n whenever PostgreSQL's image changes.
            "depends_on": ["postgresql"] if name == "n8n" else [],
        }
        for name, service in config.services.items()
    }
