"""Versions as they are typed: ``2`` or ``v2``, as the history shows them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from geusemaker.errors import InvalidInputError

if TYPE_CHECKING:
    from geusemaker.cli.session import Session

_FORM = re.compile(r"[vV]?([0-9]{1,9})")


def version_number(text: str) -> int:
    """The number of a version, as an option's or an argument's parser.

    Raises:
        typer.BadParameter: it is none.
    """
    number = _number(text)
    if number is None:
        raise typer.BadParameter(f"{text!r} is no version: write its number, as 2 or v2.")
    return number


def name_and_versions(current: Session, words: Sequence[str | None], most: int) -> tuple[str | None, list[int]]:
    """``[NAME] [vA] [vB]``: the name, which may be left out, and at most so many versions.

    A number alone is never a deployment's name; ``v2`` is one where there is such a deployment.

    Raises:
        InvalidInputError: a word is no version, or there are too many.
    """
    given = [word for word in words if word is not None]
    name = None
    if given and (_number(given[0]) is None or (not given[0].isdigit() and _is_deployment(current, given[0]))):
        name, given = given[0], given[1:]
    if len(given) > most:
        raise InvalidInputError(
            f"There are more words than a name and {most} version{'s' if most > 1 else ''}: {' '.join(given)}.",
        )
    numbers = []
    for word in given:
        number = _number(word)
        if number is None:
            raise InvalidInputError(f"{word!r} is no version.", next_step="Write its number, as 2 or v2.")
        numbers.append(number)
    return name, numbers


def name_and_version(current: Session, words: Sequence[str | None]) -> tuple[str | None, int]:
    """``[NAME] vN``: the name, which may be left out, and the version, which may not.

    Raises:
        InvalidInputError: a word is no version, there are too many, or none is one.
    """
    name, numbers = name_and_versions(current, words, most=1)
    if not numbers:
        raise InvalidInputError("Which version is not said.", next_step="Write its number, as 2 or v2.")
    return name, numbers[0]


def _number(text: str) -> int | None:
    match = _FORM.fullmatch(text.strip())
    return int(match[1]) if match else None


def _is_deployment(current: Session, name: str) -> bool:
    return name in current.open_readable_workspace().names()
