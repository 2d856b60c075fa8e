"""Compose files, purely: reading, interpolation, config hashes. JSON only, which is YAML too.

Of the compose specification it knows what the instances' compose files say, in the form in which they say it, and
refuses the rest. Interpolation and env files follow github.com/compose-spec/compose-go.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from geusemaker.local_cloud.containers import labels

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
_SECONDS = re.compile(r"(\d+)s")
_SIZE = re.compile(r"(\d+)([mg])")
_PORT = re.compile(r"(?:(?P<host>[^:]+):)?(?P<published>\d+):(?P<target>\d+)")
_VOLUME = re.compile(r"(?P<source>/[^:]*):(?P<target>/[^:]*)(?::(?P<mode>r[ow]))?")
_PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")

_KNOWN: Final = frozenset(
    {
        *("deploy", "env_file", "environment", "image", "labels", "logging", "mem_limit", "ports", "restart"),
        *("shm_size", "stop_grace_period", "volumes"),
    }
)


class ComposeError(Exception):
    """The file cannot be used. ``exit_code`` is Compose's: 14 a file is missing, 15 it cannot be understood."""

    def __init__(self, message: str, exit_code: int = 15) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Project:
    """A compose file, read: ``services`` maps each name to its normalised definition."""

    def __init__(self, name: str, folder: Path, file: Path, services: dict[str, dict[str, Any]]) -> None:
        self.name = name
        self.folder = folder
        self.file = file
        self.services = services


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


def parse_env(text: str) -> dict[str, str]:
    """An env file, quoted as compose-go's dotenv reads it: ``'literal'``, ``"expanded\\n"``, bare up to `` #``.

    Raises:
        ComposeError: a line has no name, or a quote is not closed.
    """
    values: dict[str, str] = {}
    rest = text.replace("\r\n", "\n")
    while rest:
        line, _, after = rest.partition("\n")
        if not line.strip() or line.strip().startswith("#"):
            rest = after
            continue
        match = re.match(rf"\s*({_NAME})=", rest)
        if match is None:
            raise ComposeError(f'unexpected character in variable name near "{line.partition("=")[0]}"')
        name, rest = match[1], rest[match.end() :]
        if rest[:1] in ("'", '"'):
            quote = rest[0]
            value, rest = _quoted(rest, name)
            if quote == '"':
                value = interpolate(_ESCAPE.sub(_unescaped, value), values, lambda _: None)
            rest = rest.partition("\n")[2]
        else:
            line, _, rest = rest.partition("\n")
            value = interpolate(line.partition(" #")[0].rstrip(), values, lambda _: None)
        values[name] = value
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
    """What stands between the quotes, and what follows them."""
    quote, position, escaped = text[0], 1, False
    characters: list[str] = []
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
        if key not in ("name", "services"):
            raise ComposeError(f"validating {file}: (root) Additional property {key} is not allowed")
    project_name = str(name or document.get("name") or "")
    if not _PROJECT_NAME.fullmatch(project_name):
        raise ComposeError(
            f'invalid project name "{project_name}": must consist only of lowercase alphanumeric characters, hyphens, '
            "and underscores as well as start with a letter or number"
        )
    home = folder or file.parent
    services = {
        service: _normalise(service, definition, project_name, home, file)
        for service, definition in (document.get("services") or {}).items()
    }
    return Project(project_name, home, file, services)


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


def _normalise(name: str, definition: dict[str, Any], project: str, folder: Path, file: Path) -> dict[str, Any]:
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
        # What the stand-in has no use for still counts as a change of the definition.
        "others": [definition.get("deploy"), definition.get("logging")],
    }


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
    }
    return config, host
