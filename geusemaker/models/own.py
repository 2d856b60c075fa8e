"""A service of one's own: what an operator says of a container that geusemaker does not know.

Nothing in here can reach beyond the container: no privileged mode, host network, device or folder of the instance but
those below the service's own one. What the model has no field for cannot be asked for.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_serializer, model_validator

from geusemaker.catalog.service import Service
from geusemaker.models.base import Model
from geusemaker.models.image import ImageReference
from geusemaker.models.shown import HIDDEN, is_secret

OWN_NAME: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,28}[a-z0-9])?")
"""It becomes a host name, a folder and part of the container's name."""

OWN_FOLDER: Final = "own"
"""Below which, on EFS and on the data volume, each such service has its folder."""

STOP_SECONDS: Final = 20

LOWEST_PORT: Final = 1024
"""Lower ones are the instance's own (SSH), or open to the world one day (HTTP)."""
HIGHEST_PORT: Final = 65535

_FOLDER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PATH: Final = re.compile(r"/[A-Za-z0-9/._@+-]*")
"""Nothing in it means anything to Compose, which expands what a volume is."""
_NOT_IN_CONTAINER: Final = ("/proc", "/sys", "/dev")
_PROBE_PATH: Final = re.compile(r"/[!-~]*")


class OwnVolume(Model):
    """A folder of the service's that outlives its container. Written short as ``FOLDER:/path/in/container``."""

    folder: str
    """Its name below the service's own folder."""
    path: str
    """Where the container has it."""
    storage: Literal["efs", "volume"] = "efs"
    """On EFS, or on the data volume (EFS, where the deployment has none): what NFS does not do for, as SQLite."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        folder, _, path = value.partition(":")
        return {"folder": folder, "path": path}

    @field_validator("folder")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not _FOLDER.fullmatch(value):
            raise ValueError(
                f"{value!r} is no folder's name: write the volume as data:/path, with letters, digits, . _ and - in "
                "the name; it lies below the service's own folder, and no other folder can be mounted"
            )
        return value

    @field_validator("path")
    @classmethod
    def _is_a_place_in_the_container(cls, value: str) -> str:
        path = posixpath.normpath(value) if value else ""
        parts = value.split("/")
        if not _PATH.fullmatch(value) or value.startswith("//") or ".." in parts or path == "/":
            raise ValueError(f"{value!r} is no path that a container can have a folder at; write it as /data")
        if any(path == place or path.startswith(f"{place}/") for place in _NOT_IN_CONTAINER):
            raise ValueError(f"{value!r} is the kernel's: a container has no folder of its own there")
        return path

    def __str__(self) -> str:
        return f"{self.folder}:{self.path}" + (" on the data volume" if self.storage == "volume" else "")


class OwnProbe(Model):
    """How it is asked whether it is ready."""

    kind: Literal["http", "tcp", "command"]
    """HTTP answers 200; a TCP connection is taken and kept; a command in the container ends with 0."""
    port: Annotated[int, Field(ge=1, le=HIGHEST_PORT)] | None = None
    """The container's port, which has to be a published one; None: the first of these."""
    path: str = "/"
    """Of HTTP."""
    command: tuple[str, ...] = ()
    """Of the command: program and arguments, without a shell."""

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        return words(value)

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        if not _PROBE_PATH.fullmatch(value):
            raise ValueError(f"{value!r} is no path; write it as /health")
        return value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.kind == "command") != bool(self.command):
            raise ValueError("a probe of the kind command has a command, and no other has one")
        return self

    def __str__(self) -> str:
        what = {"http": self.path, "tcp": "", "command": shown_command(self.command)}[self.kind]
        return " ".join(filter(None, [self.kind, what, f"at port {self.port}" if self.port else ""]))


class OwnService(Model):
    """What runs, beside image and environment, which each service has."""

    command: tuple[str, ...] = ()
    """Instead of the image's own; as a list, or as a text that is split as a shell would."""
    ports: tuple[str, ...] = ()
    """``PUBLISHED:PORT``, or one number for both: published on the instance's loopback address only."""
    volumes: tuple[OwnVolume, ...] = ()
    """What of its data is kept."""
    uid: Annotated[int, Field(ge=0, le=65535)] = 0
    """The user, and its group, that new folders of it belong to: that which the image runs as."""
    probe: OwnProbe | None = None
    """None: it is ready when its container runs, and stays so."""
    memory_share: Annotated[int, Field(ge=1, le=64)] = 1
    """In shares as the catalogue's services have (n8n 2, Ollama 8 of 17 together)."""
    needs: tuple[str, ...] = ()
    """Services that have to be ready before it can be, and that it reaches; of the catalogue's no others but n8n."""
    stop_seconds: Annotated[int, Field(ge=1, le=300)] = STOP_SECONDS
    """How long it may take to stop by itself."""

    @field_validator("command", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        return words(value)

    @field_validator("ports", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        return tuple(_pair(one) for one in value) if isinstance(value, list | tuple) else value

    @field_validator("needs")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for what, values in (
            ("port", [str(published) for published, _ in self.published]),
            ("folder", [volume.folder for volume in self.volumes]),
            ("path", [volume.path for volume in self.volumes]),
        ):
            if twice := sorted({value for value in values if values.count(value) > 1}):
                raise ValueError(f"the {what} {twice[0]} is given twice")
        probe = self.probe
        if probe is not None and probe.kind != "command" and self.address_port is None:
            wanted = f"port {probe.port}" if probe.port else "a port"
            raise ValueError(f"its probe asks {wanted}, which has to be among its ports")
        return self

    @model_serializer(mode="wrap")
    def _said(self, handler: Any) -> dict[str, Any]:
        # What is left out stays so: a field that a later release adds makes no difference to a stored config.
        found: dict[str, Any] = handler(self)
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        return {name: value for name, value in found.items() if getattr(self, name) != defaults[name]}

    @property
    def published(self) -> list[tuple[int, int]]:
        """(port on the loopback address, port of the container)"""
        return [(int(published), int(port)) for published, _, port in (one.partition(":") for one in self.ports)]

    @property
    def address_port(self) -> int | None:
        """The port on the loopback address that is probed, or shown as the service's address."""
        wanted = self.probe.port if self.probe is not None else None
        return next((published for published, port in self.published if wanted in (None, port)), None)

    @property
    def told(self) -> dict[str, str]:
        """What it is, for people: what is asked about it → the answer. A word that looks like a secret is not shown."""
        found = {
            "command": shown_command(self.command),
            "ports": ", ".join(self.ports),
            "volumes": ", ".join(str(volume) for volume in self.volumes),
            "uid": str(self.uid) if self.uid else "",
            "probe": str(self.probe or ""),
            "memory_share": str(self.memory_share),
            "needs": ", ".join(self.needs),
            "stop_seconds": str(self.stop_seconds) if self.stop_seconds != STOP_SECONDS else "",
        }
        return {name: text for name, text in found.items() if text}


LEAST_MIB: Final = 16
"""What a container of any kind needs; what this one needs, only its operator knows."""


def shown_command(command: tuple[str, ...]) -> str:
    """A command as a person may see it; not at all where a word of it looks like a secret."""
    return HIDDEN if any(is_secret(word, word) for word in command) else shlex.join(command)


def words(value: Any) -> Any:
    """A command that is given as one text, split as a shell splits it."""
    if not isinstance(value, str):
        return value
    try:
        return tuple(shlex.split(value))
    except ValueError as error:
        raise ValueError(f"the command cannot be split into words: {str(error).lower()}") from None


def _pair(value: Any) -> str:
    text = str(value)
    published, colon, port = text.partition(":")
    numbers = [published, port if colon else published]
    if isinstance(value, bool) or not all(re.fullmatch(r"[1-9]\d{0,4}", one) for one in numbers):
        raise ValueError(
            f"{text!r} is no port; write 8080, or 3000:8080 for port 8080 of the container at 3000. It is published on "
            "the instance's loopback address, and on no other"
        )
    if not LOWEST_PORT <= int(numbers[0]) <= HIGHEST_PORT or int(numbers[1]) > HIGHEST_PORT:
        raise ValueError(f"port {numbers[0]} cannot be published: it has to be {LOWEST_PORT} to {HIGHEST_PORT}")
    return ":".join(numbers)


def check_needs(needs: Mapping[str, tuple[str, ...]]) -> None:
    """Services need what is there, and none itself by way of others.

    Raises:
        ValueError: it is not so.
    """
    for name, wanted in needs.items():
        if missing := [one for one in wanted if one not in needs]:
            raise ValueError(f"{name} needs {missing[0]}, which is not among the services: enable it, or leave it out")
    left = dict(needs)
    while left:
        free = [name for name, wanted in left.items() if not any(one in left for one in wanted)]
        if not free:
            raise ValueError(f"{' and '.join(sorted(left))} need each other in a circle: none could start first")
        for name in free:
            del left[name]


def describe_own(own: OwnService, name: str, image: ImageReference) -> Service:
    """An own service, as the catalogue describes one."""
    probe = own.probe
    readiness: dict[str, Any] = {"kind": "running"}
    if probe is not None:
        readiness = {"kind": probe.kind}
        if probe.kind == "http":
            readiness["path"] = probe.path
        if probe.kind == "command":
            readiness["command"] = list(probe.command)
    return Service(
        name=name,
        title=name,
        image=image.tagged,
        repositories=(),
        port=own.address_port or 0,
        memory_share=own.memory_share,
        least_mib=LEAST_MIB,
        stop_seconds=own.stop_seconds,
        needs=own.needs,
        readiness=readiness,
    )
