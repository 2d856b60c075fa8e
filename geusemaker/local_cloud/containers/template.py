"""The part of Go's text/template that ``--format`` is used with: fields, ``json`` and plain text."""

from __future__ import annotations

import json
import re
from typing import Any

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)


class TemplateError(Exception):
    """The template uses something this stand-in does not know, or a field that is not there."""


def render(template: str, value: Any) -> str:
    """The template filled from ``value``.

    Raises:
        TemplateError: see there.
    """
    return _ACTION.sub(lambda match: _evaluate(match[1], value), template).replace("\\n", "\n").replace("\\t", "\t")


def _evaluate(expression: str, value: Any) -> str:
    tokens = expression.split()
    if not tokens:
        raise TemplateError(f"template parsing error: missing value for command {expression!r}")
    head, *arguments = tokens
    if head == "json" and len(arguments) == 1:
        return json.dumps(_operand(arguments[0], value), separators=(",", ":"))
    if arguments or not head.startswith("."):
        raise TemplateError(f"template parsing error: template: :1: function {head!r} not defined")
    return _text(_operand(head, value))


def _operand(path: str, value: Any) -> Any:
    if not path.startswith("."):
        raise TemplateError(f"template parsing error: template: :1: unexpected {path!r} in operand")
    for name in [part for part in path.split(".") if part]:
        if not isinstance(value, dict) or name not in value:
            raise TemplateError(f'template: :1:2: executing "" at <{path}>: map has no entry for key {name!r}')
        value = value[name]
    return value


def _text(value: Any) -> str:
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + " ".join(_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_text(item)}" for key, item in sorted(value.items())) + "]"
    return str(value)
