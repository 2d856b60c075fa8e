"""Compose files, purely: reading, interpolation, normalising, config hashes. JSON only, which is YAML too.

The rules are those of the compose specification and github.com/compose-spec/compose-go; what is not known is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

_NAME = r"[_a-zA-Z][_a-zA-Z0-9]*"
# Go's case folding counts the long s and the Kelvin sign as letters, too.
_LETTERS = "_a-zA-Z\u017f\u212a"
_TEMPLATE = re.compile(
    rf"\$(?:(?P<escaped>\$)|(?P<named>[{_LETTERS}][{_LETTERS}0-9]*)"
    rf"|\{{(?:(?P<braced>[{_LETTERS}][{_LETTERS}0-9]*(?::?[-+?].*)?)\}}|))"
)
_OPERATOR = re.compile(rf"([{_LETTERS}][{_LETTERS}0-9]*)(:?[-+?])(.*)")
_ESCAPE = re.compile(r'\\(?:[abcfnrtv$"\\]|0\d{0,3})')
_GO_ESCAPES: Final = {**dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True)), '"': '"', "\\": "\\"}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?", re.IGNORECASE)
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_UNITS: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}

KNOWN: Final = frozenset(
    {
        "command",
        "container_name",
        "cpus",
        "depends_on",
        "deploy",
        "env_file",
        "environment",
        "expose",
        "gpus",
        "hostname",
        "image",
        "init",
        "labels",
        "logging",
        "mem_limit",
        "platform",
        "ports",
        "pull_policy",
        "restart",
        "runtime",
        "security_opt",
        "shm_size",
        "stop_grace_period",
        "stop_signal",
        "ulimits",
        "user",
        "volumes",
        "working_dir",
    }
)
"""The keys of a service that may be written; those that the stand-in has no use for still count as its definition."""


class ComposeError(Exception):
    """The file cannot be used. ``exit_code`` is Compose's: 14 a file is missing, 15 it cannot be understood."""

    def __init__(self, message: str, exit_code: int = 15) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Project:
    """A compose file, read: ``services`` maps each name to its normalised definition."""

    def __init__(self, name: str, folder: Path, files: list[Path], services: dict[str, dict[str, Any]]) -> None:
        self.name = name
        self.folder = folder
        self.files = files
        self.services = services

    def in_order(self, names: list[str] | None = None, *, dependencies: bool = True) -> list[str]:
        """Service names, each after those it depends on.

        Args:
            names: only these; all where None.
            dependencies: whether what they depend on belongs to it.

        Raises:
            ComposeError: no such service.
        """
        wanted = list(self.services) if names is None else names
        for name in wanted:
            if name not in self.services:
                raise ComposeError(f"no such service: {name}", 1)
        order: list[str] = []

        def visit(name: str) -> None:
            for other in self.services[name]["depends_on"]:
                if dependencies or other in wanted:
                    visit(other)
            if name not in order:
                order.append(name)

        for name in wanted:
            visit(name)
        return order


def interpolate(text: str, variables: Mapping[str, str], missing: Callable[[str], None]) -> str:
    """Expand ``$X``, ``${X}``, ``${X:-default}``, ``${X?error}``, ``${X:+other}`` and ``$$``.

    As compose-go 2.0.2 does it (template/template.go), its errors included: ``${`` that begins no variable is one.

    Args:
        missing: told the name of each variable that is not set and has no default.

    Raises:
        ComposeError: a required variable is missing, or the text is no template.
    """

    def expand(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        if match["named"]:
            return known(match["named"])
        if match["braced"] is None:
            raise ComposeError(f"You may need to escape any $ with another $.\n{text}")
        braced, rest = _first_braces(match[0])
        return expand_braced(braced) + interpolate(rest, variables, missing)

    def expand_braced(braced: str) -> str:
        parts = _OPERATOR.match(braced)
        if parts is None:
            return known(braced)
        name, operator, word = parts.groups()
        value = variables.get(name)
        given = value is not None and (value != "" or not operator.startswith(":"))
        if operator.endswith("?"):
            word = interpolate(word, variables, missing)
            if not given:
                raise ComposeError(f"required variable {name} is missing a value" + (f": {word}" if word else ""))
            return str(value)
        if given == operator.endswith("-"):
            return value or ""
        return interpolate(word, variables, missing)

    def known(name: str) -> str:
        if name not in variables:
            missing(name)
        return variables.get(name, "")

    return _TEMPLATE.sub(expand, text)


def _first_braces(text: str) -> tuple[str, str]:
    """What is between ``${`` and the brace that closes it, and what follows."""
    depth, position = 0, 0
    while position < len(text):
        if text[position] == "}":
            depth -= 1
            if depth == 0:
                return text[2:position], text[position + 1 :]
        elif text[position] == "{":
            depth += 1
            position += 1
        position += 1
    return text[2:-1], ""


def parse_env(text: str, variables: Mapping[str, str]) -> dict[str, str]:
    """An env file, quoted as compose-go's dotenv reads it: ``'literal'``, ``"expanded\\n"``, bare up to `` #``.

    Raises:
        ComposeError: a line has no name, or a quote is not closed.
    """
    values: dict[str, str] = {}
    rest = text.replace("\r\n", "\n")
    while rest:
        line, _, after = rest.partition("\n")
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            rest = after
            continue
        match = re.match(rf"\s*(?:export\s+)?({_NAME}(?:[.\[\]-]?[_a-zA-Z0-9]+)*)\s*(?:([=:])[ \t]*)?", rest)
        if match is None:
            raise ComposeError(f'unexpected character in variable name near "{stripped.partition("=")[0]}"')
        name, rest = match[1], rest[match.end() :]
        if match[2] is None:
            # A bare name takes the value from the environment, if there is one.
            if name in variables:
                values[name] = variables[name]
            rest = rest.partition("\n")[2]
            continue
        known = {**variables, **values}
        if rest[:1] in ("'", '"'):
            value, rest = _quoted(rest, name)
            if value[0] == '"':
                values[name] = interpolate(_ESCAPE.sub(_unescaped, value[1:]), known, lambda _: None)
            else:
                values[name] = value[1:]
            rest = rest.partition("\n")[2]
        else:
            line, _, rest = rest.partition("\n")
            values[name] = interpolate(line.partition(" #")[0].rstrip(), known, lambda _: None)
    return values


def _unescaped(match: re.Match[str]) -> str:
    """An escape sequence in double quotes, as Go reads it; what Go does not know stays."""
    text = match[0]
    if text == "\\$":
        return "$$"  # for the expansion that follows
    if text[1] == "0":
        return chr(int(text[2:], 8)) if re.fullmatch("[0-3][0-7]{2}", text[2:]) else text
    return _GO_ESCAPES.get(text[1], text)


def _quoted(text: str, name: str) -> tuple[str, str]:
    quote, characters, position, escaped = text[0], [text[0]], 1, False
    while position < len(text):
        character = text[position]
        position += 1
        if character == quote and not escaped:
            return "".join(characters), text[position:]
        if character == "\\" and not escaped:
            escaped = True
            continue
        if escaped and character != quote:
            characters.append("\\")
        escaped = False
        characters.append(character)
    raise ComposeError(f"unterminated quoted value of {name}")


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``1m30s``, ``2h``.

    Raises:
        ComposeError: it is no duration.
    """
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ComposeError(f'invalid duration "{text}"')
    return sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1, 0.001), strict=True))


def parse_size(value: int | str) -> int:
    """Bytes of ``512m``, ``1g``, ``1024``.

    Raises:
        ComposeError: it is no size.
    """
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise ComposeError(f"invalid size: '{value}'")
    return int(float(match[1]) * (1 << _UNITS[match[2].lower()]))


def load(
    files: list[Path],
    name: str | None,
    folder: Path | None,
    variables: Mapping[str, str],
    warn: Callable[[str], None],
) -> Project:
    """Read a compose file.

    Args:
        name: of the project; else ``COMPOSE_PROJECT_NAME``, the file's own, or the folder's.
        folder: what relative paths start from; else the file's.

    Raises:
        ComposeError: it is missing or cannot be understood.
    """
    if len(files) != 1:
        raise ComposeError("the local cloud's docker compose reads exactly one compose file")
    file = files[0]
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
    home = folder or file.parent
    dotenv = home / ".env"
    if dotenv.is_file():
        variables = {**parse_env(dotenv.read_text(), variables), **variables}
    warned: set[str] = set()

    def missing(variable: str) -> None:
        if variable not in warned:
            warn(f'The "{variable}" variable is not set. Defaulting to a blank string.')
        warned.add(variable)

    document = _interpolated(document, variables, missing)
    for key in document:
        if key not in ("name", "version", "services", "volumes", "networks") and not key.startswith("x-"):
            raise ComposeError(f"validating {file}: (root) Additional property {key} is not allowed")
    project_name = name or variables.get("COMPOSE_PROJECT_NAME") or document.get("name") or home.resolve().name.lower()
    if not _PROJECT_NAME.fullmatch(project_name):
        raise ComposeError(
            f'invalid project name "{project_name}": must consist only of lowercase alphanumeric characters, hyphens, '
            "and underscores as well as start with a letter or number"
        )
    volumes = document.get("volumes") or {}
    services = {
        service: _normalise(service, definition, project_name, home, variables, volumes, file)
        for service, definition in (document.get("services") or {}).items()
    }
    for service, definition in services.items():
        for other in definition["depends_on"]:
            if other not in services:
                raise ComposeError(f'service "{service}" depends on undefined service {other}: invalid compose project')
    _refuse_cycles(services)
    return Project(project_name, home, files, services)


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
    name: str,
    definition: dict[str, Any],
    project: str,
    folder: Path,
    variables: Mapping[str, str],
    volumes: dict[str, Any],
    file: Path,
) -> dict[str, Any]:
    for key in definition:
        if key not in KNOWN and not key.startswith("x-"):
            raise ComposeError(f"validating {file}: services.{name} Additional property {key} is not allowed")
    if not definition.get("image"):
        raise ComposeError(
            f'service "{name}" has neither an image nor a build context specified: invalid compose project'
        )
    environment: dict[str, str] = {}
    env_files = definition.get("env_file") or []
    for entry in [env_files] if isinstance(env_files, str | dict) else env_files:
        path = folder / (entry if isinstance(entry, str) else entry["path"])
        if path.is_file():
            environment.update(parse_env(path.read_text(), variables))
        elif isinstance(entry, str) or entry.get("required", True):
            raise ComposeError(f"env file {path} not found: stat {path}: no such file or directory", 14)
    for key, value in _mapping(definition.get("environment")).items():
        if value is not None:
            environment[key] = value
        elif key in variables:
            environment[key] = variables[key]
    grace = definition.get("stop_grace_period")
    limits = ((definition.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    memory = definition.get("mem_limit") or limits.get("memory") or 0
    command = definition.get("command")
    normal: dict[str, Any] = {
        "image": definition["image"],
        "container_name": definition.get("container_name") or f"{project}-{name}-1",
        "environment": environment,
        "labels": {key: value or "" for key, value in _mapping(definition.get("labels")).items()},
        "depends_on": _dependencies(name, definition.get("depends_on")),
        "ports": [_port(entry) for entry in definition.get("ports") or []],
        "volumes": [_volume(entry, project, folder, volumes, name) for entry in definition.get("volumes") or []],
        "restart": _restart(definition.get("restart", "no")),
        "mem_limit": parse_size(memory),
        "shm_size": parse_size(definition.get("shm_size") or 64 << 20),
        "stop_grace_period": None if grace is None else parse_duration(grace),
        "stop_signal": definition.get("stop_signal"),
        "hostname": definition.get("hostname"),
        "command": command.split() if isinstance(command, str) else command,
        "pull_policy": definition.get("pull_policy") or "",
        "platform": definition.get("platform"),
    }
    # What the stand-in has no use for still counts as a change of the definition.
    others = KNOWN - normal.keys() - {"env_file", "deploy"}
    normal["others"] = {key: definition[key] for key in sorted(others & definition.keys())}
    normal["deploy"] = definition.get("deploy")
    return normal


def _mapping(value: Any) -> dict[str, str | None]:
    if isinstance(value, list):
        pairs = (str(entry).partition("=") for entry in value)
        return {key: text if equals else None for key, equals, text in pairs}
    return {key: None if item is None else _scalar(item) for key, item in (value or {}).items()}


def _scalar(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _dependencies(name: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        for other, how in value.items():
            condition = (how or {}).get("condition", "service_started")
            if condition != "service_started":
                raise ComposeError(f"services.{name}.depends_on.{other}: the local cloud does not know {condition}")
    return sorted(value or [])


def _port(entry: Any) -> dict[str, str]:
    if isinstance(entry, dict):
        return {
            "target": f"{entry['target']}/{entry.get('protocol', 'tcp')}",
            "published": str(entry.get("published", "")),
            "host_ip": entry.get("host_ip", ""),
        }
    text, _, protocol = str(entry).partition("/")
    *host, target = text.split(":")
    if not target.isdigit() or len(host) > 2 or (host and not host[-1].isdigit()):
        raise ComposeError(f"invalid containerPort: {entry}")
    return {
        "target": f"{target}/{protocol or 'tcp'}",
        "published": host[-1] if host else "",
        "host_ip": host[0] if len(host) == 2 else "",
    }


def _volume(entry: Any, project: str, folder: Path, volumes: dict[str, Any], service: str) -> str:
    if isinstance(entry, dict):
        source, target = str(entry.get("source", "")), str(entry["target"])
        mode = "ro" if entry.get("read_only") else "rw"
    else:
        source, _, rest = str(entry).partition(":")
        target, _, mode = rest.partition(":")
    if not target.startswith("/"):
        raise ComposeError(f"services.{service}.volumes: invalid volume specification: {entry!r}")
    if source.startswith((".", "/", "~")):
        path = Path(source).expanduser()
        source = str(path if path.is_absolute() else (folder / path).resolve())
    elif source not in volumes:
        raise ComposeError(f'service "{service}" refers to undefined volume {source}: invalid compose project')
    else:
        source = (volumes[source] or {}).get("name") or f"{project}_{source}"
    return f"{source}:{target}:{mode or 'rw'}"


def _restart(text: str) -> dict[str, Any]:
    name, _, count = str(text).partition(":")
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise ComposeError(f"invalid restart policy: unknown policy '{name}'")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def _refuse_cycles(services: dict[str, dict[str, Any]]) -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ComposeError(f"dependency cycle detected: {' -> '.join((*path[path.index(name) :], name))}")
        if name not in done:
            for other in services[name]["depends_on"]:
                visit(other, (*path, name))
            done.add(name)

    for name in services:
        visit(name, ())


def config_hash(definition: dict[str, Any]) -> str:
    """What tells whether a container was made from this definition; only the pull policy does not count (hash.go)."""
    counted = {key: value for key, value in definition.items() if key != "pull_policy"}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()


def create_arguments(project: Project, name: str, image_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ``config`` and ``host`` of the engine's create call for a service."""
    from geusemaker.local_cloud.containers import labels

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
            labels.DEPENDENCIES: ",".join(f"{other}:service_started:false" for other in definition["depends_on"]),
            labels.CONFIG_FILES: ",".join(str(file) for file in project.files),
            labels.WORKING_DIR: str(project.folder),
            labels.VERSION: "2.26.1",
        },
        "Hostname": definition["hostname"],
        "StopSignal": definition["stop_signal"],
        "Cmd": definition["command"],
    }
    if definition["stop_grace_period"] is not None:
        config["StopTimeout"] = int(-(-definition["stop_grace_period"] // 1))
    host = {
        "Binds": definition["volumes"],
        "RestartPolicy": definition["restart"],
        "Memory": definition["mem_limit"],
        "ShmSize": definition["shm_size"],
        "PortBindings": {},
    }
    for port in definition["ports"]:
        if port["published"]:
            bindings = host["PortBindings"].setdefault(port["target"], [])
            bindings.append({"HostIp": port["host_ip"], "HostPort": port["published"]})
    return config, host
