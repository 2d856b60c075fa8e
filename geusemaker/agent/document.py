"""The verb's input, read with checks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from geusemaker.agent.errors import AgentError

Json = dict[str, Any]
OPERATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_SERVICE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Document(NamedTuple):
    """The verb's input, read with checks. Messages name keys and never values: values may be secret."""

    values: Mapping[str, Any]

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not value:
            raise AgentError("bad_input", f"The document needs {key!r} as text.")
        return value

    def optional_text(self, key: str) -> str | None:
        return None if self.values.get(key) in (None, "") else self.text(key)

    def operation(self, key: str = "operation") -> str:
        value = self.text(key)
        if not OPERATION.fullmatch(value):
            raise AgentError("bad_input", f"{key!r} is not an operation id.")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise AgentError("bad_input", f"{key!r} has to be a number of 0 or more.")
        return value

    def mapping(self, key: str) -> Json:
        value = self.values.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise AgentError("bad_input", f"{key!r} has to be an object.")
        return value

    def items(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise AgentError("bad_input", f"{key!r} has to be a list.")
        return value

    def service_map(self, key: str) -> Json:
        value = self.mapping(key)
        for name in value:
            check_service_name(name)
        return value


def check_service_name(name: str) -> str:
    """The name, if it can safely become a file name."""
    if not _SERVICE.fullmatch(name):
        raise AgentError("bad_input", "A service name may hold lower-case letters, digits, - and _ only.")
    return name


def read_document(text: str) -> Document:
    try:
        value = json.loads(text) if text.strip() else {}
    except ValueError:
        raise AgentError("bad_input", "The document on stdin is not JSON.") from None
    if not isinstance(value, dict):
        raise AgentError("bad_input", "The document on stdin is not an object.")
    return Document(value)
