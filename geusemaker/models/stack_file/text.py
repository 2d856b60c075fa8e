"""A YAML file as plain values, each with the line it stands on; and back. Pure.

Scalars are read as the text that was typed. YAML 1.1 would make something else of some of them (``no`` is false,
``022`` is 18, ``1:30`` is 90, ``2025-01-21`` is a date); here who knows a value's type makes a number of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from geusemaker.errors import InvalidInputError

LIMIT_BYTES: Final = 1 << 20
"""So large a file may be. A config is a few KiB, and Pulumi stores it whole with each version."""
_VALUES: Final = 50_000
"""So many values a file may have, those counted again that aliases repeat."""
_DEPTH: Final = 20

Path = tuple[str | int, ...]
"""Where a value stands: ``("services", "n8n", "image")``."""

_CORE: Final = "tag:yaml.org,2002:"
_SCALARS: Final = frozenset(
    _CORE + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge")
)


@dataclass(frozen=True)
class YamlFile:
    """What was read."""

    source: str
    """The file's name, as it was given."""
    values: dict[str, Any]
    """Maps, lists, texts; None where nothing was written."""
    lines: Mapping[Path, int] = field(default_factory=dict)
    """Where a value stands → its line, or its key's, from 1."""

    def line(self, path: Path) -> int:
        """The line of a value, or of the nearest thing around it that stands somewhere; 0: nothing does."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def place(self, path: Path) -> str:
        """``stack.yaml:12``: where a value stands."""
        line = self.line(path)
        return f"{self.source}:{line}" if line else self.source


def read_yaml(data: bytes, source: str) -> YamlFile:
    """Read a file.

    Raises:
        InvalidInputError: it is no YAML that this reads; the message has the file's name and the line.
    """
    if len(data) > LIMIT_BYTES:
        raise _problem(source, None, f"is larger than {LIMIT_BYTES >> 20} MiB, which no stack file is.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _problem(source, line, "is not UTF-8 text.") from None
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _problem(source, line, 'holds a control character; write it with an escape, as "\\x07".') from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _problem(source, mark.line + 1 if mark else None, _spoken(error)) from None
    except RecursionError:
        raise _problem(source, None, "is nested too deeply.") from None
    except (ValueError, OverflowError):  # an escape for a character that there is not
        raise _problem(source, None, "holds an escape that names no character.") from None
    if root is None:
        raise _problem(source, None, "is empty.")
    if not isinstance(root, yaml.MappingNode):
        raise _problem(source, root.start_mark.line + 1, "is to be a map, of lines such as instance_type: t3.large.")
    reader = _Reader(source)
    values = reader.value(root, ())
    return YamlFile(source, values, reader.lines)


def _spoken(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be read"
    if "\\t" in problem:
        return "is indented by a tab; YAML wants spaces."
    if "another document" in problem:
        return "a second document begins; a stack file is one document."
    if "undefined alias" in problem:
        return f"{problem.removeprefix('found ')}: no anchor of that name stands above."
    return f"{problem}{f' ({error.context})' if error.context else ''}."


class _Reader:
    """Makes values of YAML's nodes, which know where they stand."""

    def __init__(self, source: str) -> None:
        self.lines: dict[Path, int] = {}
        self._source = source
        self._left = _VALUES

    def value(self, node: yaml.Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self._left -= 1
        if self._left < 0:
            raise _problem(self._source, line, f"has more than {_VALUES:,} values, counting what aliases repeat.")
        if len(path) > _DEPTH:
            raise _problem(self._source, line, "is nested too deeply.")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        plain = _CORE + ("map" if isinstance(node, yaml.MappingNode) else "seq")
        if node.tag != plain:
            raise self._tagged(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(one, (*path, index)) for index, one in enumerate(node.value)]
        return self._map(node, path)

    def _map(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        keys: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise _problem(self._source, line, "a map or a list is no key.")
            if key_node.tag == _CORE + "merge":
                raise _problem(self._source, line, "merge keys (<<) are not read: write out what they would add.")
            if key_node.tag not in _SCALARS:
                raise self._tagged(key_node)
            key = key_node.value
            if key in keys:
                raise _problem(self._source, line, f"{key} stands here twice, first in line {keys[key]}.")
            keys[key] = line
            self.lines[(*path, key)] = line
            found[key] = self.value(value_node, (*path, key))
        return found

    def _scalar(self, node: yaml.ScalarNode) -> str | None:
        if node.tag not in _SCALARS:
            raise self._tagged(node)
        return None if node.tag == _CORE + "null" else str(node.value)

    def _tagged(self, node: yaml.Node) -> InvalidInputError:
        name = node.tag.replace(_CORE, "!!")
        return _problem(self._source, node.start_mark.line + 1, f"the tag {name} is not read: leave it out.")


def _problem(source: str, line: int | None, text: str) -> InvalidInputError:
    colon = f":{line}:" if line is not None else ""
    return InvalidInputError(f"{source}{colon} {text}")


# --- writing ----------------------------------------------------------------------------------------------------------

_ESCAPED: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\uffff"
    "\U000e0000-\U000e007f]"
)
"""What a YAML file must not hold as it is, or what nobody would see in it."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9/][A-Za-z0-9_./@+-]*(?::[A-Za-z0-9_./@+-]+)*")
_LINES: Final = re.compile(r"\S[^\r\n]*(?:\n+\S[^\r\n]*)*\n?")
"""Text of several lines that a block can hold as it is: none begins with a blank, and it does not end in empty ones."""
_RESOLVER: Final = yaml.resolver.Resolver()


def write_yaml(values: Mapping[str, Any], comments: Mapping[Path, str], quoted: Sequence[str] = ()) -> str:
    """The text of a file.

    Args:
        values: maps, lists, texts, numbers, truth values.
        comments: the lines above a value, by where it stands; () is the head of the file.
        quoted: maps of these names have their texts in quotes, whatever they are.
    """
    lines = [*_comment(comments.get((), ""), "")]
    for key, value in values.items():
        lines.append("")
        _write(lines, value, (key,), "", comments, frozenset(quoted), False)
    return "\n".join(lines).lstrip("\n") + "\n"


def _write(
    lines: list[str],
    value: Any,
    path: Path,
    indent: str,
    comments: Mapping[Path, str],
    quoted: frozenset[str],
    in_quotes: bool,
) -> None:
    lines += _comment(comments.get(path, ""), indent)
    key = f"{indent}{_text(str(path[-1]), False)}:" if isinstance(path[-1], str) else f"{indent}-"
    if isinstance(value, Mapping) and value:
        lines.append(key)
        for name, one in value.items():
            _write(lines, one, (*path, name), indent + "  ", comments, quoted, in_quotes or path[-1] in quoted)
    elif isinstance(value, list | tuple) and value:
        lines.append(key)
        for index, one in enumerate(value):
            if isinstance(one, Mapping) and one:
                begin = len(lines)
                for name, part in one.items():
                    _write(lines, part, (*path, index, name), indent + "    ", comments, quoted, in_quotes)
                lines[begin] = f"{indent}  - {lines[begin].lstrip()}"
                continue
            _write(lines, one, (*path, index), indent + "  ", comments, quoted, in_quotes)
    elif isinstance(value, str) and "\n" in value and _LINES.fullmatch(value) and not _ESCAPED.search(value):
        lines.append(f"{key} {'|' if value.endswith(chr(10)) else '|-'}")
        lines += [f"{indent}  {one}" if one else "" for one in value.removesuffix("\n").split("\n")]
    else:
        lines.append(f"{key} {_scalar(value, in_quotes)}")


def _scalar(value: Any, in_quotes: bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _text(value, in_quotes)
    return "{}" if isinstance(value, Mapping) else "[]"


def _text(text: str, in_quotes: bool) -> str:
    """A text on one line: plain where every reader of YAML takes it for the same text."""
    if not in_quotes and _PLAIN.fullmatch(text):
        words = ("true", "false", "yes", "no", "on", "off", "y", "n", "null")
        is_text = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) == _CORE + "str"  # type: ignore[no-untyped-call]
        if is_text and text.lower() not in words and not re.fullmatch(r"[0-9.+eE_-]*", text):
            return text
    return _ESCAPED.sub(_escape, json.dumps(text, ensure_ascii=False))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {one}".rstrip() for one in text.splitlines()]
