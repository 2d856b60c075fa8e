"""What Compose expands, in its files and in env files, purely. As github.com/compose-spec/compose-go does it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

_NAME = r"[_a-zA-Z][_a-zA-Z0-9]*"
# Go's case folding counts the long s and the Kelvin sign as letters, too.
_LETTERS = "_a-zA-Z\u017f\u212a"
_TEMPLATE = re.compile(
    rf"\$(?:(?P<escaped>\$)|(?P<named>[{_LETTERS}][{_LETTERS}0-9]*)"
    rf"|\{{(?:(?P<braced>[{_LETTERS}][{_LETTERS}0-9]*(?::?[-+?].*)?)\}}|))"
)
_OPERATOR = re.compile(rf"([{_LETTERS}][{_LETTERS}0-9]*)(:?[-+?])(.*)")
_ESCAPE = re.compile(r'\\(?:[abcfnrtv$"\\]|0\d{0,3})')
_GO_ESCAPES: Final = {**dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True)), '"': '"', "\\": "\\"}


class ComposeError(Exception):
    """The file cannot be used. ``exit_code`` is Compose's: 14 a file is missing, 15 it cannot be understood."""

    def __init__(self, message: str, exit_code: int = 15) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def interpolate(text: str, variables: Mapping[str, str], missing: Callable[[str], None]) -> str:
    """Expand ``$X``, ``${X}``, ``${X:-default}``, ``${X?error}``, ``${X:+other}`` and ``$$``.

    As compose-go 2.0.2 does it (template/template.go), its errors included: ``${`` that begins no variable is one.

    Args:
        missing: told the name of each variable that is not set and has no default.

    Raises:
        ComposeError: a required variable is missing, or the text is no template.
    """

    def expand(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "$"
        if match["named"]:
            return known(match["named"])
        if match["braced"] is None:
            raise ComposeError(f"You may need to escape any $ with another $.\n{text}")
        braced, rest = _first_braces(match[0])
        return expand_braced(braced) + interpolate(rest, variables, missing)

    def expand_braced(braced: str) -> str:
        parts = _OPERATOR.match(braced)
        if parts is None:
            return known(braced)
        name, operator, word = parts.groups()
        value = variables.get(name)
        given = value is not None and (value != "" or not operator.startswith(":"))
        if operator.endswith("?"):
            word = interpolate(word, variables, missing)
            if not given:
                raise ComposeError(f"required variable {name} is missing a value" + (f": {word}" if word else ""))
            return str(value)
        if given == operator.endswith("-"):
            return value or ""
        return interpolate(word, variables, missing)

    def known(name: str) -> str:
        if name not in variables:
            missing(name)
        return variables.get(name, "")

    return _TEMPLATE.sub(expand, text)


def _first_braces(text: str) -> tuple[str, str]:
    """What is between ``${`` and the brace that closes it, and what follows."""
    depth, position = 0, 0
    while position < len(text):
        if text[position] == "}":
            depth -= 1
            if depth == 0:
                return text[2:position], text[position + 1 :]
        elif text[position] == "{":
            depth += 1
            position += 1
        position += 1
    return text[2:-1], ""


def parse_env(text: str) -> dict[str, str]:
    """An env file, quoted as compose-go's dotenv reads it: ``'literal'``, ``"expanded\\n"``, bare up to `` #``.

    Raises:
        ComposeError: a line has no name, or a quote is not closed.
    """
    values: dict[str, str] = {}
    rest = text.replace("\r\n", "\n")
    while rest:
        line, _, after = rest.partition("\n")
        if not line.strip() or line.strip().startswith("#"):
            rest = after
            continue
        match = re.match(rf"\s*({_NAME})=", rest)
        if match is None:
            raise ComposeError(f'unexpected character in variable name near "{line.partition("=")[0]}"')
        name, rest = match[1], rest[match.end() :]
        if rest[:1] in ("'", '"'):
            quote = rest[0]
            value, rest = _quoted(rest, name)
            if quote == '"':
                value = interpolate(_ESCAPE.sub(_unescaped, value), values, lambda _: None)
            rest = rest.partition("\n")[2]
        else:
            line, _, rest = rest.partition("\n")
            value = interpolate(line.partition(" #")[0].rstrip(), values, lambda _: None)
        values[name] = value
    return values


def _unescaped(match: re.Match[str]) -> str:
    """An escape sequence in double quotes, as Go reads it; what Go does not know stays."""
    text = match[0]
    if text == "\\$":
        return "$$"  # for the expansion that follows
    if text[1] == "0":
        return chr(int(text[2:], 8)) if re.fullmatch("[0-3][0-7]{2}", text[2:]) else text
    return _GO_ESCAPES.get(text[1], text)


def _quoted(text: str, name: str) -> tuple[str, str]:
    """What stands between the quotes, and what follows them."""
    quote, position, escaped = text[0], 1, False
    characters: list[str] = []
    while position < len(text):
        character = text[position]
        position += 1
        if character == quote and not escaped:
            return "".join(characters), text[position:]
        if character == "\\" and not escaped:
            escaped = True
            continue
        if escaped and character != quote:
            characters.append("\\")
        escaped = False
        characters.append(character)
    raise ComposeError(f"unterminated quoted value of {name}")
