"""What is wrong with a stack file, with the line of each mistake. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from pydantic import ValidationError

from geusemaker.errors import InvalidInputError
from geusemaker.models.stack_file.text import Path, YamlFile

_PROBLEMS: Final = 5
"""So many mistakes of a file are told at once."""

_BOUNDS: Final = {"greater_than_equal": ("ge", "at least"), "less_than_equal": ("le", "at most")}


def invalid(read: YamlFile, error: ValidationError, keys: Mapping[str, Sequence[str]]) -> InvalidInputError:
    """The error that tells a file's mistakes.

    Args:
        read: the file.
        error: what its model says of it.
        keys: part of a file → its keys; the whole is the part without a name.
    """
    said: dict[str, tuple[int, str]] = {}
    for one in error.errors(include_url=False):
        loc = tuple(part for part in one["loc"] if part != "[key]")
        text, hint = _problem(loc, one, keys)
        said.setdefault(f"{read.place(loc)}: {text}", (read.line(loc), hint))
    told = sorted(said, key=lambda text: said[text][0])
    hints = [said[text][1] for text in told[:_PROBLEMS] if said[text][1]]
    more = f" (and {len(said) - _PROBLEMS} more)" if len(said) > _PROBLEMS else ""
    return InvalidInputError("; ".join(told[:_PROBLEMS]) + more + ".", next_step=hints[0] if hints else "")


def _problem(loc: Path, error: Any, keys: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    """What is wrong, and what may have been meant."""
    above, last = loc[:-1], str(loc[-1])
    name = ".".join(str(part) for part in loc)
    kind = error["type"]
    if kind == "extra_forbidden":
        # A service's own name, and a number in a list, are no names of a part.
        part = [
            str(one) for index, one in enumerate(above) if isinstance(one, str) and (index, above[0]) != (1, "services")
        ]
        known = keys.get(part[-1] if part else "", [])
        near = get_close_matches(last, known, n=1)
        where = ".".join(str(part) for part in above) or "a stack file"
        return (
            f"{where} has no key {last!r}",
            f"Did you mean {near[0]}?" if near else f"It has {', '.join(known)}." if known else "",
        )
    if kind == "missing":
        return f"{name} is missing{': it names the services that run' if loc == ('services',) else ''}", ""
    if kind == "string_type":
        got = error["input"]
        if got is None:
            return f'{name} has no value: write "" for an empty one, or leave the line out', ""
        return f"{name} is to be a text, and is a {'map' if isinstance(got, dict) else 'list'}", ""
    if kind in ("model_type", "dict_type"):
        return f"{name} is to be a map, of lines such as key: value", ""
    if kind == "tuple_type":
        return f"{name} is to be a list, each line beginning with a hyphen", ""
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"{name} is to be {words} {error['ctx'][bound]}", ""
    message = str(error["msg"]).removeprefix("Value error, ").removesuffix(".")
    if kind == "value_error":
        return f"{name}: {message}" if message[:1] in "'\"" else f"{name} {message}", ""
    return f"{name}: {message[:1].lower()}{message[1:]}", ""
