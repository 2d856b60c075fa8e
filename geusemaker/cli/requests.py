"""What was typed on the command line, as the library's requests."""

from __future__ import annotations

import getpass
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from geusemaker.cli.words import nearest
from geusemaker.errors import InvalidInputError

if TYPE_CHECKING:
    from geusemaker.models.stack_file import StackFile


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
                state="",
            )
        service = parse_service(name)
        if service in images:
            raise InvalidInputError(
                f"--image names {service} twice.", next_step="Give each service one image.", state=""
            )
        images[service] = reference.strip()
    return images


def parse_domains(values: Sequence[str]) -> dict[str, str]:
    """``HOST`` (n8n's) and ``SERVICE=HOST`` texts as service → host name; an empty one takes the domain away.

    Raises:
        InvalidInputError: no such service, or one twice.
    """
    domains: dict[str, str] = {}
    for value in values:
        name, sign, host = value.partition("=")
        service = parse_service(name) if sign else "n8n"
        if service in domains:
            raise InvalidInputError(
                f"--domain names {service} twice.", next_step="Give each service one domain.", state=""
            )
        domains[service] = (host if sign else value).strip()
    return domains


def parse_pairs(values: Sequence[str], what: str) -> dict[str, str]:
    """``KEY=VALUE`` texts of ``--tag`` or ``--label`` as key → value; an empty value takes it away.

    Raises:
        InvalidInputError: not of this form, or one twice.
    """
    pairs: dict[str, str] = {}
    for text in values:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise InvalidInputError(f"{text!r} is no {what}.", next_step=f"Write it as --{what} KEY=VALUE.", state="")
        if key in pairs:
            raise InvalidInputError(f"--{what} names {key} twice.", next_step=f"Give each {what} one value.", state="")
        pairs[key] = value
    return pairs


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
                state="",
            )
        environment.setdefault(parse_service(name), {})[key] = value
    return environment


def parse_time(text: str, option: str, example: str) -> float:
    """Seconds of a time span, as ``30s``, ``5m``, ``1h30m``.

    Args:
        text: it.
        option: whose value it is.
        example: one that would do.

    Raises:
        InvalidInputError: it is none.
    """
    span = _span(text)
    if span is None:
        raise InvalidInputError(
            f"{option} {text} is no time span.", next_step=f"Write it as {option} {example}.", state=""
        )
    return span.total_seconds()


def _span(text: str) -> timedelta | None:
    parts = re.findall(r"(\d+)([smhd])", text)
    if not parts or "".join(map("".join, parts)) != text:
        return None
    return sum((timedelta(**{_UNITS[unit]: int(count)}) for count, unit in parts), timedelta())


def parse_since(text: str) -> timedelta | datetime:
    """How long ago (``30s``, ``10m``, ``2h``, ``1d``, ``1h30m``), or a time as ISO 8601 has it, by default in our zone.

    Raises:
        InvalidInputError: it is neither.
    """
    if (span := _span(text)) is not None:
        return span
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise InvalidInputError(
            f"--since {text} is neither how long ago nor a time.",
            next_step="Write it as --since 10m (s, m, h, d), or as --since '2026-01-31 14:00'.",
            state="",
        ) from None


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


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
        raise InvalidInputError(f"{file} cannot be read.") from error
    if not text.strip():
        raise InvalidInputError(f"{file} holds no key.")
    return SecretStr(text.strip())


def read_stack_file(file: str | None) -> StackFile | None:
    """The stack file that was named, ``-`` being standard input; None where none was.

    Raises:
        InvalidInputError: it cannot be read, or is none.
    """
    if file is None:
        return None
    from geusemaker.models.stack_file import StackFile

    return StackFile.load(file)


def parse_services(values: Sequence[str]) -> tuple[str, ...]:
    """Service names, each once, aliases resolved.

    Raises:
        InvalidInputError: no such service.
    """
    return tuple(dict.fromkeys(parse_service(value) for value in values))


def parse_service(name: str) -> str:
    """A service's name, aliases resolved. Whether a deployment has one of its own of that name, it tells itself.

    Raises:
        InvalidInputError: no service can be called so; suggests the nearest.
    """
    from geusemaker.catalog import SERVICE_ALIASES, SERVICE_NAMES
    from geusemaker.models.own import OWN_NAME

    service = SERVICE_ALIASES.get(name.strip(), name.strip())
    if service not in SERVICE_NAMES and not OWN_NAME.fullmatch(service):
        near = nearest(service, list(SERVICE_NAMES))
        known = f"The services are {', '.join(SERVICE_NAMES)}."
        raise InvalidInputError(
            f"There is no service {name!r}.", next_step=f"Did you mean {near}? {known}" if near else known, state=""
        )
    return service
