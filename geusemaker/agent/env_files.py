"""Compose's env files, in which the services' secrets lie on the instance."""

from __future__ import annotations

import re
from typing import Any

from geusemaker.agent.errors import AgentError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def env_file(variables: Any) -> str:
    """A Compose env file. Plain values stand as they are, others quoted so that Compose reads them back unchanged.

    Quoting as in github.com/compose-spec/compose-go, dotenv: single quotes are literal, double quotes know escapes.
    """
    if not isinstance(variables, dict):
        raise AgentError("bad_input", "A service's environment has to be an object.")
    lines = []
    for key, value in sorted(variables.items()):
        if not isinstance(value, str) or not _VARIABLE.fullmatch(key):
            raise AgentError("bad_input", "A service's environment has to map variable names to text.")
        if re.fullmatch(r"[A-Za-z0-9_./+=:@%,-]*", value):
            lines.append(f"{key}={value}")
        elif not re.search(r"['\\\n\r]", value):
            lines.append(f"{key}='{value}'")
        else:
            escaped = re.sub(r'([\\"$])', r"\\\1", value).replace("\n", "\\n").replace("\r", "\\r")
            lines.append(f'{key}="{escaped}"')
    return "".join(line + "\n" for line in lines)


def parse_env_file(text: str) -> dict[str, str]:
    """The variables of a file that ``env_file`` wrote."""
    lines = (line.partition("=") for line in text.split("\n") if "=" in line)
    return {name: parse_env_value(value) for name, _, value in lines}


def parse_env_value(text: str) -> str:
    """The value that ``env_file`` wrote."""
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1]
    if len(text) >= 2 and text[0] == text[-1] == '"':
        escapes = {"n": "\n", "r": "\r"}
        return re.sub(r"\\(.)", lambda match: escapes.get(match[1], match[1]), text[1:-1])
    return text
