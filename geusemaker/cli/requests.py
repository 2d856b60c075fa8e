"""What was typed on the command line, as the library's requests."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr

from geusemaker.cli.session import nearest
from geusemaker.errors import InvalidInputError


def parse_images(values: Sequence[str]) -> dict[str, str]:
    """``SERVICE=REF`` texts as service → reference.

    Raises:
        InvalidInputError: no such service, a service twice, or not of this form.
    """
    images: dict[str, str] = {}
    for value in values:
        name, sign, reference = value.partition("=")
        if not sign or not reference.strip():
            raise InvalidInputError(
                f"--image {value} is not of the form SERVICE=REF.",
                next_step="Write it as --image n8n=n8nio/n8n:2.42.6.",
            )
        service = parse_service(name)
        if service in images:
            raise InvalidInputError(f"--image names {service} twice.", next_step="Give each service one image.")
        images[service] = reference.strip()
    return images


def parse_environment(values: Sequence[str]) -> dict[str, dict[str, str]]:
    """``SERVICE.KEY=VALUE`` texts as service → variable → value; an empty value removes the variable.

    Raises:
        InvalidInputError: no such service, or not of this form. The value is not repeated: it may be private.
    """
    environment: dict[str, dict[str, str]] = {}
    for text in values:
        path, sign, value = text.partition("=")
        name, dot, key = path.partition(".")
        if not sign or not dot or not key:
            raise InvalidInputError(
                f"--env {path} is not of the form SERVICE.KEY=VALUE.",
                next_step="Write it as --env n8n.GENERIC_TIMEZONE=Europe/Berlin.",
            )
        environment.setdefault(parse_service(name), {})[key] = value
    return environment


def read_secret(file: Path) -> SecretStr:
    """A secret from a file; from standard input with ``-``, where a terminal is asked without showing what is typed.

    Raises:
        InvalidInputError: the file cannot be read, or holds nothing.
    """
    try:
        if str(file) != "-":
            text = file.read_text(encoding="utf-8")
        elif sys.stdin.isatty():
            text = getpass.getpass("n8n's encryption key: ")
        else:
            text = sys.stdin.read()
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise InvalidInputError(f"{file} cannot be read.", state="Nothing was changed.") from error
    if not text.strip():
        raise InvalidInputError(f"{file} holds no key.", state="Nothing was changed.")
    return SecretStr(text.strip())


def parse_services(values: Sequence[str]) -> tuple[str, ...]:
    """Service names, each once, aliases resolved.

    Raises:
        InvalidInputError: no such service.
    """
    return tuple(dict.fromkeys(parse_service(value) for value in values))


def parse_service(name: str) -> str:
    """A service's name, aliases resolved.

    Raises:
        InvalidInputError: no such service; suggests the nearest.
    """
    from geusemaker.catalog import SERVICE_ALIASES, SERVICE_NAMES

    service = SERVICE_ALIASES.get(name.strip(), name.strip())
    if service not in SERVICE_NAMES:
        near = nearest(service, list(SERVICE_NAMES))
        known = f"The services are {', '.join(SERVICE_NAMES)}."
        raise InvalidInputError(
            f"There is no service {name!r}.", next_step=f"Did you mean {near}? {known}" if near else known
        )
    return service
