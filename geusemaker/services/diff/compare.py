"""Two configs side by side. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from geusemaker.models import resource_types
from geusemaker.models.comparison import Comparison
from geusemaker.models.plan import ResourceOperation
from geusemaker.models.shown import HIDDEN, is_secret
from geusemaker.models.site import Site
from geusemaker.models.stack import StackConfig
from geusemaker.program.compose import render
from geusemaker.services.differences import another_instance, config_changes, same_system

_CONTEXT: Final = 3
"""So many unchanged lines stand around a change, as ``diff -u`` has them."""


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    label: str
    """What it is called: ``v2``, or a file's name."""
    config: StackConfig
    number: int | None = None
    """The version's; None: it is none."""
    site: Site | None = None
    """What is open to the internet with it."""


def compare(deployment: str, old: Side, new: Side, *, data_volume: bool, models_on_volume: bool = False) -> Comparison:
    """What differs from ``old`` to ``new``.

    Args:
        deployment: its name.
        old: what was.
        new: what is, or would be.
        data_volume: whether the deployment has one beside EFS, which the compose file depends on.
        models_on_volume: whether models lie there, likewise.
    """
    before, after = (
        render(side.config, data_volume=data_volume, site=side.site, models_on_volume=models_on_volume)
        for side in (old, new)
    )
    others = [
        name
        for name in {**before["services"], **after["services"]}
        if before["services"].get(name) != after["services"].get(name)
    ]
    return Comparison(
        deployment=deployment,
        old=old.label,
        new=new.label,
        old_version=old.number,
        new_version=new.number,
        same=same_system(old.config, new.config),
        changes=list(config_changes(old.config, new.config)),
        services=others,
        compose=_unified(before, after, old.label, new.label),
        resources=_resources(old.config, new.config, containers=before != after),
    )


def _unified(before: Mapping[str, Any], after: Mapping[str, Any], old: str, new: str) -> list[str]:
    was, becomes = _text(_without_secrets(before, None)), _text(_without_secrets(_in_order_of(after, before), before))
    found = difflib.unified_diff(was, becomes, f"{old}/compose.yaml", f"{new}/compose.yaml", lineterm="", n=_CONTEXT)
    return [*found]


def _text(compose: Mapping[str, Any]) -> list[str]:
    return yaml.dump(dict(compose), Dumper=_Whole, sort_keys=False, allow_unicode=True, width=10**6).splitlines()


class _Whole(yaml.SafeDumper):
    """Writes what several services have alike at each of them: an anchor at the first moves when that goes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _in_order_of(compose: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The compose file with its services as they stand in ``other``, new ones last: their order means nothing."""
    services = compose["services"]
    names = [*(name for name in other["services"] if name in services), *services]
    return {**compose, "services": {name: services[name] for name in names}}


def _without_secrets(compose: Mapping[str, Any], other: Mapping[str, Any] | None) -> dict[str, Any]:
    """The compose file without the values of variables that look like secrets; that one is another than in ``other``
    is said.
    """
    services = {}
    for name, definition in compose["services"].items():
        was = (other["services"].get(name, {}) if other is not None else {}).get("environment", {})
        environment = {
            key: value
            if not is_secret(key, str(value))
            else f"{HIDDEN}, changed"
            if other is not None and key in was and was[key] != value
            else HIDDEN
            for key, value in definition.get("environment", {}).items()
        }
        services[name] = {**definition, **({"environment": environment} if environment else {})}
        if any(is_secret(word, word) for word in definition.get("command", ())):
            services[name]["command"] = [HIDDEN]
    return {**compose, "services": services}


def _resources(old: StackConfig, new: StackConfig, *, containers: bool) -> list[ResourceOperation]:
    """What the program (``program/``) makes of a config: the instance, and what is applied on it."""
    found = []
    if replaces := another_instance(old, new):
        found.append(_operation("replace", resource_types.INSTANCE, "instance", *replaces))
    elif old.instance_type != new.instance_type:
        found.append(_operation("update", resource_types.INSTANCE, "instance", "instanceType"))
    if containers:
        found.append(_operation("update", resource_types.REMOTE_COMMAND, "apply", "stdin"))
    return found


def _operation(op: str, resource_type: str, name: str, *paths: str) -> ResourceOperation:
    replaces = paths if op == "replace" else ()
    return ResourceOperation(op=op, type=resource_type, name=name, urn="", changed=paths, replaces=replaces)
