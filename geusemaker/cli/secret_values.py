"""Secret values that are given to a command, never in its arguments: every process of a machine can read those."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from geusemaker.cli.requests import parse_service
from geusemaker.errors import InvalidInputError

_NOTHING: Final = "Nothing was changed."
_FORMS: Final = "--secret-env {path} asks for it; =@FILE, =- (standard input) and =env:VARIABLE read it."


def parse_secret_environment(values: Sequence[str]) -> tuple[dict[str, dict[str, str]], dict[str, SecretStr]]:
    """``SERVICE.KEY[=FROM]`` texts as service → variable → name of its secret, and the values of those secrets.

    Raises:
        InvalidInputError: no such service, not of this form, or a value cannot be read. What follows the sign is not
            repeated: it may be a value.
    """
    variables: dict[str, dict[str, str]] = {}
    given: dict[str, SecretStr] = {}
    if sum(text.partition("=")[2] == "-" for text in values) > 1:
        raise InvalidInputError("Standard input can be only one secret's value.", state=_NOTHING)
    for text in values:
        path, sign, source = text.partition("=")
        name, dot, key = path.partition(".")
        if not dot or not key:
            raise InvalidInputError(
                f"--secret-env {path} is not of the form SERVICE.KEY.",
                state=_NOTHING,
                next_step="Write it as --secret-env n8n.SMTP_PASS.",
            )
        service = parse_service(name)
        if key in variables.setdefault(service, {}):
            raise InvalidInputError(f"--secret-env names {service}.{key} twice.", state=_NOTHING)
        secret = f"{service}.{key}"
        if source.startswith("secret:"):
            secret = source.removeprefix("secret:")
        elif sign and not source:
            secret = ""
        else:
            given[secret] = read_value(source if sign else None, secret, _FORMS.format(path=path))
        variables[service][key] = secret
    return variables, given


def read_value(source: str | None, name: str, forms: str) -> SecretStr:
    """A secret's value: from ``@FILE``, ``-`` (standard input), ``env:VARIABLE``; None: a terminal is asked.

    The line break at its end is no part of it.

    Raises:
        InvalidInputError: it cannot be read, or there is no such form; ``forms`` says which there are.
    """
    if source is None:
        text = _asked(name, forms)
    elif source == "-":
        text = _read_input(name)
    elif source.startswith("@"):
        text = _read_file(Path(source[1:]), name)
    elif source.startswith("env:"):
        found = os.environ.get(source.removeprefix("env:"))
        if found is None:
            raise InvalidInputError(
                f"The environment has no variable {source.removeprefix('env:')} for {name}.", state=_NOTHING
            )
        text = found
    else:
        raise InvalidInputError(
            f"The value of {name} is never an argument: every process of this machine can read those.",
            state=f"{_NOTHING} If that was the value, take it for known.",
            next_step=forms,
        )
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise InvalidInputError(f"The value of {name} is empty.", state=_NOTHING)
    return SecretStr(text)


def _asked(name: str, forms: str) -> str:
    if not sys.stdin.isatty():
        raise InvalidInputError(
            f"Nobody can be asked for the value of {name}: there is no terminal.", next_step=forms, state=""
        )
    try:
        return getpass.getpass(f"{name}: ")
    except EOFError as error:
        raise InvalidInputError(f"No value of {name} was given.", state=_NOTHING) from error


def _read_input(name: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(f"{name}: ")
    try:
        return sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"Standard input, for the value of {name}, cannot be read as text.", state=_NOTHING
        ) from error


def _read_file(file: Path, name: str) -> str:
    try:
        return file.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InvalidInputError(f"{file}, for the value of {name}, cannot be read.", state=_NOTHING) from error
