"""StackFile: the whole desired state of a deployment as a file under version control has it.

Its keys are the names of the fields of a config, with what a plan calls settings under ``settings`` and what no version
has under ``deployment``; ``models/fields.py`` has what the schema says of each.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, PrivateAttr, ValidationError

from geusemaker.catalog import SERVICE_ALIASES, SERVICE_NAMES, SERVICES
from geusemaker.errors import InvalidInputError
from geusemaker.models import fields
from geusemaker.models.base import Model
from geusemaker.models.fields import Told, told
from geusemaker.models.own import OwnProbe, OwnService, OwnVolume, shown_command
from geusemaker.models.secrets import SECRET_NAME
from geusemaker.models.shown import HIDDEN, is_secret
from geusemaker.models.stack import ServiceName, StackConfig, Target, root_volume_gib
from geusemaker.models.stack_file.mistakes import invalid
from geusemaker.models.stack_file.parts import (
    Bought,
    Part,
    StackFileFacts,
    StackFileService,
    StackFileSettings,
    Text,
    not_newest,
    whole_map,
)
from geusemaker.models.stack_file.text import LIMIT_BYTES, YamlFile, read_yaml, write_yaml
from geusemaker.models.stack_file.text import Path as Place

STANDARD_INPUT: Final = "-"

_REFERENCE: Final = re.compile(r"\$\{secret:(" + SECRET_NAME.pattern + r")\}")
_LITERAL: Final = re.compile(r"\$+\{secret:")
"""How a value begins that is no reference and would be read as one: with one ``$`` more than it has."""

FACTS: Final = Told(about="Facts of the deployment, which no version has and no rollback touches.")


class StackFile(Part):
    """The whole desired state of a deployment, as a file has it.

    Services, and each one's environment, are all of them: what the file does not have goes away. Of anything else that
    it does not have, the deployment keeps what it has; a first deploy takes the defaults.
    """

    instance_type: Annotated[Text, fields.INSTANCE_TYPE] = None
    """EC2's name for it, as ``t3.large``; None: the deployment's."""
    purchase: Annotated[Bought, fields.PURCHASE] = None
    """How the instance is bought, on demand or spot; None: as the deployment's is."""
    ami: Annotated[Text, AfterValidator(not_newest), fields.AMI] = None
    """The instance's machine image; None: the deployment's."""
    services: Annotated[
        dict[ServiceName, Annotated[StackFileService, BeforeValidator(whole_map)]],
        BeforeValidator(whole_map),
        fields.SERVICES,
    ]
    """Those that run, and no other."""
    settings: Annotated[StackFileSettings, BeforeValidator(whole_map), fields.SETTINGS] = StackFileSettings()
    """Settings of geusemaker's own."""
    deployment: Annotated[StackFileFacts, BeforeValidator(whole_map), FACTS] = StackFileFacts()
    """What no version has."""

    _read: YamlFile = PrivateAttr(default=YamlFile("the stack file", {}))
    _head: str = PrivateAttr(default="")

    @property
    def source(self) -> str:
        """The file's name, as it was given."""
        return self._read.source

    def place(self, *path: str) -> str:
        """``stack.yaml:12``: where something stands in it."""
        return self._read.place(path)

    @classmethod
    def load(cls, path: str | Path) -> StackFile:
        """Read a file; ``-`` is standard input.

        Raises:
            InvalidInputError: it cannot be read, or is no stack file; the message has its name and the line.
        """
        if str(path) == STANDARD_INPUT:
            return cls.parse(sys.stdin.buffer.read(LIMIT_BYTES + 1), "standard input")
        try:
            with Path(path).open("rb") as file:
                data = file.read(LIMIT_BYTES + 1)
        except OSError as error:
            raise InvalidInputError(f"The stack file {path} cannot be read: {error.strerror or error}.") from None
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: str | bytes, source: str = "the stack file") -> StackFile:
        """Read the text of a file.

        Args:
            data: its text, or its bytes.
            source: what it is called in errors.

        Raises:
            InvalidInputError: it is no stack file; the message has ``source`` and the line.
        """
        read = read_yaml(data.encode() if isinstance(data, str) else data, source)
        try:
            file = cls.model_validate(read.values)
        except ValidationError as error:
            raise invalid(read, error, _KEYS) from None  # its own text repeats values
        _check_names(file, read)
        if not file.services:
            raise InvalidInputError(
                f"{read.place(('services',))}: no service is named, and a deployment runs at least one.",
            )
        file._read = read
        return file

    @classmethod
    def of(
        cls,
        config: StackConfig,
        target: Target | None = None,
        head: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> StackFile:
        """The file that says what a config and its deployment are. No secret is in it.

        Args:
            config: the config.
            target: where the deployment is, which has its facts; None: the file says nothing of them.
            head: the comment at its beginning.
            labels: the deployment's.
        """
        values = dict(_told_under(fields.SETTINGS.path or "", config))
        facts: dict[str, Any] = {}
        if target is not None:
            of_target = [name for name in StackFileFacts.model_fields if name not in ("domains", "labels")]
            facts = {name: getattr(target, name) for name in of_target}
            facts["labels"] = dict(labels) if labels else None
            facts["domains"] = dict(target.site.domains) if target.site is not None else None
            facts["root_volume_gib"] = root_volume_gib(target, config)
            facts |= {name: facts[name] or None for name in ("data_volume_gib", "tags", "permissions_boundary")}
        file = cls(
            instance_type=config.instance_type,
            purchase=config.purchase,
            **({"ami": config.ami} if config.ami else {}),
            services={
                name: StackFileService(
                    **_described(name, service.own),
                    image=service.image,
                    environment={
                        **{key: _written(name, key, value) for key, value in service.environment.items()},
                        **{key: f"${{secret:{secret}}}" for key, secret in service.secret_environment.items()},
                    },
                )
                for name, service in config.services.items()
                if service.own is not None or name in SERVICE_NAMES
            },
            settings=StackFileSettings(**values),
            deployment=StackFileFacts.model_construct(**{name: one for name, one in facts.items() if one is not None}),
        )
        file._head = head
        return file

    def values(self) -> dict[str, Any]:
        """What it has, as the file would have it: nothing stands in it that keeps what the deployment has."""
        found: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        for name, service in found["services"].items():
            if "volumes" in service:
                service["volumes"] = [_short(volume) for volume in service["volumes"]]
            if "probe" in service:
                plain = OwnProbe.model_construct(kind="").model_dump()
                service["probe"] = {key: one for key, one in service["probe"].items() if one and one != plain[key]}
            first, last = ({key: service.pop(key, None)} for key in ("image", "environment"))
            found["services"][name] = {key: value for key, value in {**first, **service, **last}.items() if value}
        return {key: value for key, value in found.items() if value or key == "services"}

    def to_yaml(self) -> str:
        """The text of the file."""
        comments: dict[Place, str] = {(): self._head, ("deployment",): FACTS.about.rstrip(".") + ":"}
        return write_yaml(self.values(), comments, quoted=("environment",))

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON schema by which an editor completes and checks such a file."""
        from geusemaker.models.stack_file.schema import schema_of

        return schema_of(cls)


def secret_reference(value: str) -> str | None:
    """The name that a value refers to; None where it is no reference."""
    match = _REFERENCE.fullmatch(value)
    return match[1] if match else None


def plain_value(value: str) -> str:
    """What a value that is no reference means."""
    return value[1:] if value.startswith("$$") and _LITERAL.match(value) else value


def _written(service: str, variable: str, value: str) -> str:
    """A variable's value as a file has it: one that looks like a secret is named, not told."""
    if is_secret(variable, value):
        return f"${{secret:{service}.{variable}}}"
    return f"${value}" if _LITERAL.match(value) else value


def hidden_command(service: str, what: str) -> tuple[str]:
    """What stands in a file for a command that looks as if a secret were in it: it is not told, and stays."""
    return (f"${{secret:{service}.{what}}}",)


def _described(name: str, own: OwnService | None) -> dict[str, Any]:
    """What the file says of a service of one's own."""
    if own is None:
        return {}
    said = {key: getattr(own, key) for key in own.model_dump()}
    if shown_command(own.command) == HIDDEN:
        said["command"] = hidden_command(name, "command")
    if own.probe is not None and shown_command(own.probe.command) == HIDDEN:
        said["probe"] = own.probe.model_copy(update={"command": hidden_command(name, "probe.command")})
    return said


def _short(volume: dict[str, str]) -> dict[str, str] | str:
    return f"{volume['folder']}:{volume['path']}" if volume["storage"] == "efs" else volume


def _check_names(file: StackFile, read: YamlFile) -> None:
    """Refuse what is said of a service that geusemaker knows and says itself, and other names of such a service.

    Raises:
        InvalidInputError
    """
    for name, service in file.services.items():
        own = [key for key in OwnService.model_fields if key in service.model_fields_set]
        if name in SERVICE_ALIASES:
            raise InvalidInputError(
                f"{read.place(('services', name))}: there is no service {name!r}.",
                next_step=f"Did you mean {SERVICE_ALIASES[name]}?",
            )
        if name in SERVICES and name not in SERVICE_NAMES:
            raise InvalidInputError(
                f"{read.place(('services', name))}: {name} comes and goes with the deployment's domains.",
                next_step="Leave it out, and name the domains under deployment.",
            )
        if name in SERVICES and own:
            raise InvalidInputError(
                f"{read.place(('services', name, own[0]))}: {own[0]} of {name} is geusemaker's to say: it is for "
                "services that geusemaker does not know.",
                next_step="Leave the line out.",
            )


def _told_under(path: str, model: Model) -> Iterator[tuple[str, Any]]:
    """(what a plan calls it, value) of what is in those fields of a model that are told under a path."""
    for name, field in type(model).model_fields.items():
        if told(field.metadata).path == path:
            inner = getattr(model, name)
            for key, one in type(inner).model_fields.items():
                yield told(one.metadata).path or key, getattr(inner, key)


_KEYS: Final = {
    "": list(StackFile.model_fields),
    "services": list(StackFileService.model_fields),
    "settings": list(StackFileSettings.model_fields),
    "deployment": list(StackFileFacts.model_fields),
    "probe": list(OwnProbe.model_fields),
    "volumes": list(OwnVolume.model_fields),
}
"""Part of a file → its keys."""
