"""What a resource's values come to: checked inputs, what is planned of outputs, and inputs from what was read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geusemaker.local_cloud.providers import wire
from geusemaker.local_cloud.providers.diff import is_same
from geusemaker.local_cloud.providers.naming import unique_name
from geusemaker.local_cloud.providers.schema import Property, Schema


def check(
    schema: Schema,
    logical_name: str,
    olds: Mapping[str, Any],
    news: Mapping[str, Any],
    *,
    region: str,
    default_tags: Mapping[str, Any],
    seed: bytes,
    proposed: str = "",
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The inputs with name, region and ``tagsAll`` filled in, and (property, reason) of what is wrong with them.

    ``proposed``: the name that the engine made by the stack's ``pulumi:autonaming``; one that there is already stays.
    """
    inputs = {name: value for name, value in news.items() if not name.startswith("__")}
    failures = [
        (name, f"Invalid or unknown key: {name!r} is not a property of {schema.token}")
        for name in inputs
        if name not in schema.properties
    ]
    failures += [
        (name, f'Missing required argument. The argument "{name}" is required, but no definition was found.')
        for name, rule in schema.properties.items()
        if rule.required and name not in inputs
    ]
    failures += [
        (group[0], f"Missing required argument. One of {', '.join(group)} must be specified.")
        for group in schema.needs_one_of
        if not any(name in inputs for name in group)
    ]
    failures += [
        (
            group[0],
            f"Invalid Attribute Combination. {given} attributes specified when one (and only one) of "
            f"[{','.join(group)}] is required",
        )
        for group in schema.exactly_one_of
        if (given := sum(name in inputs for name in group)) != 1
    ]
    defaults = []
    naming = schema.auto_name
    if naming is not None and naming.property not in inputs and naming.prefix_property not in inputs:
        defaults.append(naming.property)
        kept = olds.get(naming.property) if naming.property in olds.get("__defaults", ()) else None
        inputs[naming.property] = kept or proposed or unique_name(logical_name, seed, naming.max_length)
        if len(inputs[naming.property]) > naming.max_length:  # the bridge cuts a name of its own, and none proposed
            failures.append((naming.property, f"the name {proposed!r} has more than {naming.max_length} characters"))
    if "region" in schema.properties:
        inputs.setdefault("region", region)
    if schema.taggable:
        tags = inputs.get("tags", {})
        every = tags if isinstance(tags, wire.Unknown) else {**default_tags, **tags}
        if every:
            inputs["tagsAll"] = every
        else:
            inputs.pop("tagsAll", None)
    inputs["__defaults"] = defaults
    return inputs, failures


def planned(schema: Schema, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a resource will look like once created: what AWS decides is unknown."""
    outputs: dict[str, Any] = dict.fromkeys(schema.computed, wire.UNKNOWN)
    outputs.update({name: rule.default for name, rule in schema.properties.items() if rule.default is not None})
    if schema.taggable and "tagsAll" not in inputs:
        outputs["tagsAll"] = {}
    return {**outputs, **own(inputs)}


def inputs_from(schema: Schema, old_inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs that would lead to what was read.

    On refresh those that were given before, with today's values; on import, where none were given, all that are set.
    """
    if not old_inputs:
        found = {
            name: _settable(rule, outputs[name])
            for name, rule in schema.properties.items()
            if outputs.get(name) not in (None, "", [], {}) and outputs[name] != rule.default
        }
        return {**found, "__defaults": []}
    return {
        name: value
        if name.startswith("__")
        else _refreshed(schema.properties.get(name, Property()), value, outputs.get(name))
        for name, value in old_inputs.items()
    }


def _refreshed(rule: Property, old: Any, now: Any) -> Any:
    if rule.fields is not None and isinstance(old, Mapping) and isinstance(now, Mapping):
        return {key: _refreshed(rule.fields.get(key, Property()), old[key], now.get(key)) for key in old}
    return old if is_same(rule, old, now) else _settable(rule, now)


def _settable(rule: Property, value: Any) -> Any:
    """A value that was read, without members that cannot be given or say nothing."""
    if rule.fields is None:
        return value
    if isinstance(value, list):
        return [_settable(Property(fields=rule.fields), item) for item in value]
    if isinstance(value, Mapping):
        return {key: item for key, item in value.items() if key in rule.fields and item not in (None, "", [], {})}
    return value


def own(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs without the providers' own notes."""
    return {name: value for name, value in inputs.items() if not name.startswith("__")}
