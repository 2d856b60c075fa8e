"""Replace or update in place: a pure decision over old inputs, old state and new inputs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from geusemaker.local_cloud.providers.schema import Property, Schema
from geusemaker.local_cloud.providers.wire import Unknown, contains_unknown

Kind = Literal["add", "delete", "update"]

_PLAIN: Final = Property()
_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")


@dataclass(frozen=True)
class Change:
    """One property that differs: its path in Pulumi's notation and whether it replaces the resource."""

    path: str
    property: str
    kind: Kind
    replaces: bool


def changes(
    schema: Schema,
    old_inputs: Mapping[str, Any],
    old_state: Mapping[str, Any],
    news: Mapping[str, Any],
    ignore: Iterable[str] = (),
) -> list[Change]:
    """What differs between the inputs of the last run and the new ones, as the AWS provider sees it.

    ``old_state`` decides for an optional computed input that was not given before: giving what AWS chose already is
    no change. Properties whose names begin with two underscores are the providers' own and are left out, and so
    are those in ``ignore``.
    """
    ignored = set(ignore)
    found: list[Change] = []
    for name in sorted(set(old_inputs) | set(news)):
        if name.startswith("__") or name in ignored:
            continue
        rule = schema.properties.get(name, _PLAIN)
        old = old_inputs.get(name)
        if old is None and rule.computed:
            old = old_state.get(name)
        found.extend(_compare(rule, name, name, old, news.get(name), rule.replaces))
    return found


def plain_changes(old_inputs: Mapping[str, Any], news: Mapping[str, Any], replaces: Iterable[str] = ()) -> list[Change]:
    """What differs where no rule is known: values are the same when they are equal.

    A property in ``replaces`` replaces only when it changes as a whole, not when something inside it does: so decides
    pulumi-go-provider, and leaves the rest to ``replaceOnChanges`` of the SDKs.
    """
    whole = set(replaces)
    return [
        Change(change.path, change.property, change.kind, change.path in whole)
        for name in sorted(set(old_inputs) | set(news))
        if name != "version" and not name.startswith("__")
        for change in _compare_values(name, name, old_inputs.get(name), news.get(name), False)
    ]


def join_path(path: str, key: str) -> str:
    """The path of a member, quoted where the key is not a plain identifier."""
    if _IDENTIFIER.match(key):
        return f"{path}.{key}" if path else key
    return f"{path}[{json.dumps(key)}]"


def is_same(rule: Property, old: Any, new: Any) -> bool:
    """Whether two known values mean the same under a property's rule."""
    return _canonical(rule, old) == _canonical(rule, new)


def _compare(rule: Property, name: str, path: str, old: Any, new: Any, replaces: bool) -> Iterator[Change]:
    if new is None and (rule.computed or old is None):
        return
    if isinstance(new, Unknown):
        yield Change(path, name, "add" if old is None else "update", replaces)
        return
    if not contains_unknown(new) and is_same(rule, old, new):
        return
    if new is None:
        yield Change(path, name, "delete", replaces)
    elif old is None:
        yield Change(path, name, "add", replaces)
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        yield from _compare_objects(rule, name, path, old, new, replaces)
    elif isinstance(old, list) and isinstance(new, list):
        if rule.unordered:
            yield from _compare_sets(rule, name, path, old, new, replaces)
        else:
            yield from _compare_lists(rule, name, path, old, new, replaces)
    else:
        yield Change(path, name, "update", replaces)


def _compare_objects(
    rule: Property, name: str, path: str, old: Mapping[str, Any], new: Mapping[str, Any], replaces: bool
) -> Iterator[Change]:
    if rule.fields is None:
        yield from _compare_values(name, path, old, new, replaces)
        return
    for key in sorted(set(old) | set(new)):
        nested = rule.fields.get(key, _PLAIN)
        yield from _compare(nested, name, join_path(path, key), old.get(key), new.get(key), replaces or nested.replaces)


def _compare_lists(
    rule: Property, name: str, path: str, old: list[Any], new: list[Any], replaces: bool
) -> Iterator[Change]:
    for index in range(max(len(old), len(new))):
        before = old[index] if index < len(old) else None
        after = new[index] if index < len(new) else None
        yield from _compare(Property(fields=rule.fields), name, f"{path}[{index}]", before, after, replaces)


def _compare_sets(
    rule: Property, name: str, path: str, old: list[Any], new: list[Any], replaces: bool
) -> Iterator[Change]:
    element = Property(fields=rule.fields)
    before = {_canonical(element, item): index for index, item in enumerate(old)}
    after = {_canonical(element, item): index for index, item in enumerate(new)}
    gone = sorted(index for key, index in before.items() if key not in after)
    come = sorted(index for key, index in after.items() if key not in before)
    for index in sorted({*gone, *come}):
        kind: Kind = "update" if index in gone and index in come else "delete" if index in gone else "add"
        yield Change(f"{path}[{index}]", name, kind, replaces)


def _compare_values(name: str, path: str, old: Any, new: Any, replaces: bool) -> Iterator[Change]:
    """Differences where every value means just itself: an empty string is not the same as none."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(set(old) | set(new)):
            yield from _compare_values(name, join_path(path, key), old.get(key), new.get(key), replaces)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else None
            after = new[index] if index < len(new) else None
            yield from _compare_values(name, f"{path}[{index}]", before, after, replaces)
    elif old != new or type(old) is not type(new):
        yield Change(path, name, "add" if old is None else "delete" if new is None else "update", replaces)


def _canonical(rule: Property, value: Any) -> str | None:
    plain = _plain(rule, value)
    return None if plain is None else json.dumps(plain, sort_keys=True)


def _plain(rule: Property, value: Any) -> Any:
    """A value with everything left out that says nothing.

    Defaults, and zero values where there is no default: Terraform's plugin SDK cannot tell those from "not given".
    """
    if isinstance(value, Unknown):
        return {"unknown": id(value)}
    if value is not None and rule.normalize is not None:
        value = rule.normalize(value)
    if isinstance(value, Mapping):
        if rule.fields is not None:
            members = {key: _plain(rule.fields.get(key, _PLAIN), item) for key, item in value.items()}
            value = {key: item for key, item in members.items() if item is not None}
    elif isinstance(value, list):
        value = [_plain(Property(fields=rule.fields), item) for item in value]
        if rule.unordered:
            value.sort(key=lambda item: json.dumps(item, sort_keys=True))
    if rule.default is None:
        return value or None
    return None if value == rule.default else value
