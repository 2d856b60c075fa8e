"""Documents and answers from JSON, and to it."""

from __future__ import annotations

import functools
import json
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Json = dict[str, Any]
T = TypeVar("T")


def to_json(document: Any) -> Json:
    """A document as it is sent: what is None is left out."""
    return {one.name: value for one in fields(document) if (value := getattr(document, one.name)) is not None}


def read(kind: type[T], value: Any) -> T:
    """A document or an answer from its JSON object.

    Raises:
        TypeError: a field that has no default is missing.
    """
    make: Any = kind
    told = value if isinstance(value, Mapping) else {}
    found: T = make(
        **{
            name: None if told[name] is None else take(told[name])
            for name, (take, takes_null) in _readers(make).items()
            if name in told and (takes_null or told[name] is not None)
        }
    )
    return found


@functools.cache
def _readers(kind: Any) -> dict[str, tuple[Callable[[Any], Any], bool]]:
    """Field → what reads its value, and whether null is one."""
    return {name: (_reader(hint), type(None) in get_args(hint)) for name, hint in get_type_hints(kind).items()}


def _reader(hint: Any) -> Callable[[Any], Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is types.UnionType:
        take = _reader(next(one for one in arguments if one is not type(None)))
        return lambda value: None if value is None else take(value)
    if isinstance(hint, type) and is_dataclass(hint):
        return functools.partial(read, hint)
    if origin is dict:
        take = _reader(arguments[1])
        return lambda value: {key: take(one) for key, one in value.items()}
    if origin in (list, tuple):
        take = _reader(arguments[0])
        return lambda value: origin(take(one) for one in value)
    return lambda value: value


def read_line(line: str) -> Json | None:
    """The event in a line of the agent's; None for what a login's start-up files may print."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("event"), str) else None
