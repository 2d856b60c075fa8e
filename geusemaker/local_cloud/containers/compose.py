"""Compose files, purely: reading, interpolation, config hashes. JSON only, which is YAML too.

Of the compose specification it knows what the instances' compose files say, in the form in which they say it, and
refuses the rest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from geusemaker.local_cloud.containers import devices, labels
from geusemaker.local_cloud.containers.interpolation import ComposeError, interpolate, parse_env

_SECONDS = re.compile(r"(\d+)s")
_SIZE = re.compile(r"(\d+)([mg])")
_PORT = re.compile(r"(?:(?P<host>[^:]+):)?(?P<published>\d+):(?P<target>\d+)")
_VOLUME = re.compile(r"(?P<source>/[^:]*):(?P<target>/[^:]*)(?::(?P<mode>r[ow]))?")
_DEFAULT_NETWORK: Final = "default"
_UNPRIVILEGED: Final = ["no-new-privileges:true"]
_PRIVILEGES: Final = {
    "cap_add": "CapAdd",
    "cap_drop": "CapDrop",
    "security_opt": "SecurityOpt",
    "read_only": "ReadonlyRootfs",
    "pids_limit": "PidsLimit",
}
"""What a definition takes from its container, or leaves it → what the engine calls that."""
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")

_KNOWN: Final = frozenset(
    {
        *(
            "command",
            "deploy",
            "env_file",
            "environment",
            "image",
            "labels",
            "logging",
            "mem_limit",
            "ports",
            "restart",
        ),
        *("shm_size", "stop_grace_period", "volumes"),
        *("cap_add", "cap_drop", "networks", "pids_limit", "read_only", "security_opt", "tmpfs"),
        *("cpu_shares", "oom_score_adj"),  # nothing here weighs one process against another
    }
)


class Project:
    """A compose file, read: ``services`` maps each name to its normalised definition."""

    def __init__(
        self, name: str, folder: Path, file: Path, services: dict[str, dict[str, Any]], internal: frozenset[str]
    ) -> None:
        self.name = name
        self.folder = folder
        self.file = file
        self.services = services
        self.internal = internal
        """Its networks that lead nowhere, by their full names."""


def load(
    file: Path, name: str | None, folder: Path | None, variables: Mapping[str, str], warn: Callable[[str], None]
) -> Project:
    """Read a compose file.

    Args:
        name: of the project; else the file's own.
        folder: what relative paths start from; else the file's.

    Raises:
        ComposeError: it is missing or cannot be understood.
    """
    try:
        text = file.read_text()
    except (FileNotFoundError, NotADirectoryError):
        raise ComposeError(f"open {file}: no such file or directory", 14) from None
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ComposeError(
            f"yaml: line {error.lineno}: the local cloud's docker compose reads JSON compose files only ({error.msg})"
        ) from None
    if not isinstance(document, dict):
        raise ComposeError("Top-level object must be a mapping")
    warned: set[str] = set()

    def missing(variable: str) -> None:
        if variable not in warned:
            warn(f'The "{variable}" variable is not set. Defaulting to a blank string.')
        warned.add(variable)

    document = _interpolated(document, variables, missing)
    for key in document:
        if key not in ("name", "networks", "services"):
            raise ComposeError(f"validating {file}: (root) Additional property {key} is not allowed")
    project_name = str(name or document.get("name") or "")
    if not _PROJECT_NAME.fullmatch(project_name):
        raise ComposeError(
            f'invalid project name "{project_name}": must consist only of lowercase alphanumeric characters, hyphens, '
            "and underscores as well as start with a letter or number"
        )
    home = folder or file.parent
    networks = document.get("networks") or {}
    for network, definition in networks.items():
        if definition and set(definition) != {"internal"}:
            raise ComposeError(f"networks.{network}: the local cloud's docker compose knows no option but internal")
    internal = {network for network, definition in networks.items() if definition and definition["internal"]}
    services = {
        service: _normalise(service, definition, project_name, home, file, {*networks, _DEFAULT_NETWORK})
        for service, definition in (document.get("services") or {}).items()
    }
    return Project(project_name, home, file, services, frozenset(f"{project_name}_{network}" for network in internal))


def _interpolated(value: Any, variables: Mapping[str, str], missing: Callable[[str], None], path: str = "") -> Any:
    if isinstance(value, str):
        try:
            return interpolate(value, variables, missing)
        except ComposeError as error:
            if str(error).startswith("required variable"):
                raise ComposeError(f"error while interpolating {path}: {error}") from None
            raise ComposeError(f"invalid interpolation format for {path}.\n{error}") from None
    if isinstance(value, list):
        return [_interpolated(item, variables, missing, f"{path}.[]") for item in value]
    if isinstance(value, dict):
        return {
            key: _interpolated(item, variables, missing, f"{path}.{key}".lstrip(".")) for key, item in value.items()
        }
    return value


def _normalise(
    name: str, definition: dict[str, Any], project: str, folder: Path, file: Path, networks: set[str]
) -> dict[str, Any]:
    for key in definition:
        if key not in _KNOWN:
            raise ComposeError(f"validating {file}: services.{name} Additional property {key} is not allowed")
    if not definition.get("image"):
        raise ComposeError(
            f'service "{name}" has neither an image nor a build context specified: invalid compose project'
        )
    environment: dict[str, str] = {}
    for entry in definition.get("env_file", []):
        path = folder / entry
        if not path.is_file():
            raise ComposeError(f"env file {path} not found: stat {path}: no such file or directory", 14)
        environment.update(parse_env(path.read_text()))
    restart = definition.get("restart", "no")
    if restart not in ("no", "unless-stopped"):
        raise ComposeError(f"invalid restart policy: unknown policy '{restart}'")
    ports = [_match(_PORT, entry, "invalid containerPort") for entry in definition.get("ports", [])]
    volumes = [_match(_VOLUME, entry, "invalid volume specification") for entry in definition.get("volumes", [])]
    for network in definition.get("networks", ()):
        if network not in networks:
            raise ComposeError(f'service "{name}" refers to undefined network {network}: invalid compose project')
    if definition.get("security_opt", _UNPRIVILEGED) != _UNPRIVILEGED:
        raise ComposeError(f"services.{name}.security_opt: the local cloud's docker compose knows {_UNPRIVILEGED[0]}")
    return {
        "image": definition["image"],
        "container_name": f"{project}-{name}-1",
        "environment": {**environment, **definition.get("environment", {})},
        "labels": definition.get("labels", {}),
        "ports": [(port["target"], port["host"] or "", port["published"]) for port in ports],
        "volumes": [f"{volume['source']}:{volume['target']}:{volume['mode'] or 'rw'}" for volume in volumes],
        "restart": restart,
        "mem_limit": parse_size(definition.get("mem_limit", "0m")),
        "shm_size": parse_size(definition.get("shm_size", "64m")),
        "stop_grace_period": int(_match(_SECONDS, definition.get("stop_grace_period", "10s"), "invalid duration")[1]),
        **({"command": _words(name, definition["command"])} if "command" in definition else {}),
        # What is left out makes no difference: containers of before have hashes without it.
        **{key: definition[key] for key in ("networks", "tmpfs", *_PRIVILEGES) if key in definition},
        "others": [definition.get("deploy"), definition.get("logging")],  # the latter for nothing but the comparison
    }


def _words(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ComposeError(f"services.{name}.command: the local cloud's docker compose reads lists of words only")
    return value


def parse_size(text: str) -> int:
    """Bytes of ``512m`` or ``1g``.

    Raises:
        ComposeError: it is no size.
    """
    match = _match(_SIZE, text, "invalid size")
    return int(match[1]) << {"m": 20, "g": 30}[match[2]]


def _match(pattern: re.Pattern[str], text: Any, complaint: str) -> re.Match[str]:
    match = pattern.fullmatch(str(text))
    if match is None:
        raise ComposeError(f"{complaint}: {text}")
    return match


def config_hash(definition: dict[str, Any]) -> str:
    """What tells whether a container was made from this definition."""
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()


def networks_of(project: Project, name: str) -> dict[str, list[str]]:
    """The networks that a service's container is in → its names there."""
    definition = project.services[name]
    names = [definition["container_name"], name]
    return {f"{project.name}_{network}": names for network in definition.get("networks", [_DEFAULT_NETWORK])}


def network_labels(project: Project, network: str) -> dict[str, str]:
    """What Compose writes on a network that it makes; ``network``: with the project's name in front."""
    return {labels.PROJECT: project.name, labels.NETWORK: network.removeprefix(f"{project.name}_")}


def create_arguments(project: Project, name: str, image_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ``config`` and ``host`` of the engine's create call for a service."""
    definition = project.services[name]
    config: dict[str, Any] = {
        "Image": definition["image"],
        "Env": [f"{key}={value}" for key, value in definition["environment"].items()],
        "Labels": {
            **definition["labels"],
            labels.PROJECT: project.name,
            labels.COMPOSE_SERVICE: name,
            labels.CONFIG_HASH: config_hash(definition),
            labels.IMAGE: image_id,
            labels.NUMBER: "1",
            labels.ONE_OFF: "False",
            labels.CONFIG_FILES: str(project.file),
            labels.WORKING_DIR: str(project.folder),
            labels.VERSION: "2.26.1",
        },
        "StopTimeout": definition["stop_grace_period"],
        **({"Cmd": definition["command"]} if "command" in definition else {}),
    }
    bindings: dict[str, list[dict[str, str]]] = {}
    for target, host_ip, published in definition["ports"]:
        bindings.setdefault(f"{target}/tcp", []).append({"HostIp": host_ip, "HostPort": published})
    host = {
        "Binds": definition["volumes"],
        "RestartPolicy": definition["restart"],
        "Memory": definition["mem_limit"],
        "ShmSize": definition["shm_size"],
        "PortBindings": bindings,
        "DeviceRequests": devices.requested(definition["others"][0]),
        "Tmpfs": dict(one.partition(":")[::2] for one in definition.get("tmpfs", ())),
        **{theirs: definition[key] for key, theirs in _PRIVILEGES.items() if key in definition},
    }
    return config, host
