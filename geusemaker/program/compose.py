"""The Compose project, rendered purely from a StackConfig. Nothing in here imports Pulumi.

A config carries the number of the rendering that it was made with, and keeps it: a rollback brings the very same
compose file back. What is changed in here for all configs restarts services that nobody meant to touch, so a change is
a new number, which updates take and announce. Each has its golden file in ``tests/unit/test_program/renderings``.

Services of an operator's own are no part of that: only configs that have some are rendered with them, and all in which
they differ from those of the catalogue is theirs.

1. The first. Compose expands ``$`` in an operator's values, and containers' logs grow without end.
2. ``$`` is a character like others; logs are bounded; Crawl4AI is told where to listen.
3. Ollama has the memory that the others leave. Walls inside (``program/walls.py``): a network for each service, no
   privilege that is not needed, a key for Qdrant.
"""

from __future__ import annotations

import re
from typing import Any, Final

from geusemaker.catalog import PROXY, SERVICES
from geusemaker.errors import RefusedError
from geusemaker.models.own import OWN_FOLDER, OwnService
from geusemaker.models.site import Site
from geusemaker.models.stack import InstanceFacts, Secrets, ServiceName, StackConfig, describe
from geusemaker.program import proxy, walls

PROJECT: Final = "geusemaker"

_SYSTEM_RESERVE_MIB: Final = 512

_BESIDE_MODELS_MIB: Final = 4096
"""What a share comes to at most beside a service that takes the rest. It is what Crawl4AI's own docker-compose.yml
gives it, the hungriest of them."""

# Expanded by Compose on the instance: empty and 127.0.0.1 on AWS; the instance's own folder and loopback address
# on the local cloud, where instances share the host's file system and network.
_EFS: Final = "${GEUSEMAKER_INSTANCE_ROOT:-}/mnt/efs"
_VOLUME: Final = "${GEUSEMAKER_INSTANCE_ROOT:-}/mnt/data"
_LOOPBACK: Final = "${GEUSEMAKER_LOOPBACK:-127.0.0.1}"

_EVERYWHERE: Final = "${GEUSEMAKER_LOOPBACK:-0.0.0.0}"
"""The address of what the whole internet may reach; on the local cloud nobody but this machine."""

_TEMPLATES: Final = frozenset({"ports", "volumes"})
"""The keys of a service in which these are."""

# https://docs.docker.com/engine/logging/drivers/json-file: by default a log grows until the disk is full.
_LOGGING: Final = {"driver": "json-file", "options": {"max-size": "20m", "max-file": "5"}}

_EXPANDED = re.compile(r"\$(?:(?P<escaped>\$)|[A-Za-z_][A-Za-z_0-9]*|\{[A-Za-z_][A-Za-z_0-9]*\})")


def limits(config: StackConfig, instance: InstanceFacts | None = None) -> dict[ServiceName, int]:
    """Service → memory limit in MiB, of those that a config enables; on another instance, where one is given.

    Together they leave room for the system. The catalogue's shares count whether their services run or not, so that
    enabling one changes no other's limit. Own services, and those of the catalogue that came later, take their shares
    of what is left. Where that does not do, all become smaller, and so every service is replaced: the sum must not be
    more than there is.

    From the third rendering on, one that takes the rest has what those leave that run: models are as large as there is
    room for, and the others need no more because a machine is large. Enabling another then changes its limit, too.
    """
    memory_mib = (instance or config.instance).memory_mib
    usable = max(memory_mib - _SYSTEM_RESERVE_MIB, memory_mib // 2)
    known = {name: describe(config, name) for name in config.services}
    fixed = sum(one.memory_share for one in SERVICES.values() if one.since and one.since <= config.rendering)
    total = max(fixed, sum(one.memory_share for one in known.values()))
    found = {name: one.memory_mib or max(64, usable * one.memory_share // total) for name, one in known.items()}
    greedy = next((name for name, one in known.items() if one.takes_rest), None)
    if config.rendering < 3 or greedy is None:
        return found
    shares = {
        name: found[name] if config.services[name].own is not None else min(found[name], _BESIDE_MODELS_MIB)
        for name, one in known.items()
        if name != greedy and not one.memory_mib
    }
    return {**found, **shares, greedy: max(64, usable - sum(shares.values()))}


def render(
    config: StackConfig, *, data_volume: bool, site: Site | None = None, models_on_volume: bool = False
) -> dict[str, Any]:
    """The compose file of a config, as an object. It holds no secret: those go into env files.

    Args:
        data_volume: whether the deployment has one beside EFS.
        site: what is open to the internet.
        models_on_volume: whether models lie there, and not on EFS.
    """
    services = {
        name: _definition(config, name, data_volume, models_on_volume)
        for name in config.services
        if site is not None or not describe(config, name).serves_domains
    }
    for name, definition in services.items():
        if config.rendering >= 2 or config.services[name].own is not None:
            definition["environment"].update(describe(config, name).second_environment)
            services[name] = {**_literal(definition), "logging": _LOGGING}
    if site is not None:
        _open(services, config, site)
    if not walls.has_walls(config):
        return {"name": PROJECT, "services": services}
    return {
        "name": PROJECT,
        "networks": {name: {} for name in sorted(walls.networks(config, site))},
        "services": {name: walls.confine(one, config, name, site) for name, one in services.items()},
    }


def _open(services: dict[ServiceName, dict[str, Any]], config: StackConfig, site: Site) -> None:
    """Put what the deployment's domains ask for into the definitions; the same in each rendering."""
    for name in site.domains:
        if name in services:
            services[name]["environment"].update(SERVICES[name].domain_environment(site.url(name)))
    if PROXY.name in services:
        definition = services[PROXY.name]
        definition["environment"][proxy.CONFIG] = _escaped(proxy.configuration(config, site))
        definition |= {"command": _escaped(proxy.COMMAND), "logging": _LOGGING}
        definition["ports"] += [f"{_EVERYWHERE}:{port}:{port}" for port in site.ports]


def _definition(config: StackConfig, name: ServiceName, data_volume: bool, models_on_volume: bool) -> dict[str, Any]:
    """One service, as the first rendering has it."""
    service, known = config.services[name], describe(config, name)
    definition: dict[str, Any] = {
        "image": service.image.by_digest,
        # A container stopped on purpose (before a resize) stays down when the instance boots.
        "restart": "unless-stopped",
        "ports": [f"{_LOOPBACK}:{known.port}:{known.port}"],
        "environment": {
            # What stands here would win over the env file.
            **{key: value for key, value in known.environment.items() if key not in service.secret_environment},
            **service.environment,
        },
        "mem_limit": f"{limits(config)[name]}m",
        "stop_grace_period": f"{known.stop_seconds}s",
        "labels": {"io.geusemaker.image": service.image.tagged},
    }
    if service.own is not None:
        definition.update(_own(service.own, name, data_volume))
    if config.secrets_of(name) or service.secret_environment:
        definition["env_file"] = [f"./{name}.env"]
    if known.data is not None:
        on_volume = data_volume and known.data.lies_on_volume(models_on_volume=models_on_volume)
        place = _VOLUME if on_volume else _EFS
        definition["volumes"] = [f"{place}/{name}:{known.data.path}"]
    if known.shared_memory:
        definition["shm_size"] = known.shared_memory
    if known.uses_gpu and config.instance.gpus:
        definition["deploy"] = {
            "resources": {"reservations": {"devices": [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]}}
        }
    return definition


def _own(own: OwnService, name: ServiceName, data_volume: bool) -> dict[str, Any]:
    """What of a definition only an operator's own service has, or has in another way."""
    ports = [f"{_LOOPBACK}:{published}:{port}" for published, port in own.published]
    volumes = [
        f"{_VOLUME if data_volume and one.storage == 'volume' else _EFS}/{OWN_FOLDER}/{name}/{one.folder}:{one.path}"
        for one in own.volumes
    ]
    # An empty port list stands for the catalogue's one port, which it does not have.
    return (
        {"ports": ports}
        | ({"volumes": volumes} if volumes else {})
        | ({"command": [*own.command]} if own.command else {})
    )


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
    """Service → variables that hold secrets; the agent writes them to env files only root can read.

    Raises:
        RefusedError: a variable refers to a secret that the deployment does not have.
    """
    if missing := missing_secrets(config, secrets):
        raise RefusedError(
            f"There is no secret {', '.join(sorted(set(missing.values())))}, which {', '.join(missing)} is to have.",
            state="Nothing was changed.",
        )
    found = {
        name: {
            **{variable: getattr(secrets, field) for variable, field in config.secrets_of(name).items()},
            **{variable: secrets.find(secret) or "" for variable, secret in service.secret_environment.items()},
        }
        for name, service in config.services.items()
    }
    return {name: variables for name, variables in found.items() if variables}


def missing_secrets(config: StackConfig, secrets: Secrets) -> dict[str, str]:
    """``service.VARIABLE`` → the secret that it is to have, where there is no such."""
    return {
        f"{name}.{variable}": secret
        for name, service in config.services.items()
        for variable, secret in {**config.secrets_of(name), **service.secret_environment}.items()
        if not secrets.find(secret)
    }


def data_directories(config: StackConfig, *, data_volume: bool, models_on_volume: bool = False) -> list[dict[str, Any]]:
    """The directories on EFS and the data volume that the enabled services need, with their owners."""
    own = [
        {
            "path": f"{OWN_FOLDER}/{name}/{volume.folder}",
            "uid": service.own.uid,
            "gid": service.own.uid,
            "mode": 0o750,
            "on": "volume" if data_volume and volume.storage == "volume" else "efs",
        }
        for name, service in config.services.items()
        if service.own is not None
        for volume in service.own.volumes
    ]
    return own + [
        {
            "path": name,
            "uid": data.owner(service.image),
            "gid": data.owner(service.image),
            "mode": 0o750,
            "on": "volume" if data_volume and data.lies_on_volume(models_on_volume=models_on_volume) else "efs",
        }
        for name, service in config.services.items()
        if (data := describe(config, name).data) is not None
    ]


def _gpus(config: StackConfig, name: ServiceName) -> dict[str, int]:
    """How many GPUs have to be seen in a service's container: all of the instance's, where it is given some."""
    count = config.instance.gpus if describe(config, name).uses_gpu else 0
    return {"gpus": count} if count else {}


def probes(config: StackConfig) -> dict[str, dict[str, Any]]:
    """Service → what the agent's gate needs to judge it: image wanted, probe, deadline in seconds."""
    return {
        name: {
            "image": str(service.image),
            "probe": describe(config, name).probe(service.environment) | _gpus(config, name),
            "deadline_seconds": config.health.deadline_seconds,
            # Not Compose's depends_on: with it, Compose 2.26 restarts n8n whenever PostgreSQL's image changes.
            "depends_on": list(config.needs(name)),
        }
        for name, service in config.services.items()
    }
