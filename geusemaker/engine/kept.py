"""What a destroy leaves beside what is protected. Pure: it works on the resources of an exported state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def kept_resources(resources: Iterable[Mapping[str, Any]]) -> set[str]:
    """The URNs of what is protected, and of all that it depends on: a mount target's security group, say.

    As the engine decides it for ``destroy --exclude-protected``: it was seen to leave both security groups.
    """
    by_urn = {resource["urn"]: resource for resource in resources}
    kept: set[str] = set()
    pending = [urn for urn, resource in by_urn.items() if resource.get("protect")]
    while pending:
        urn = pending.pop()
        if urn not in kept and urn in by_urn:
            kept.add(urn)
            pending += _needs(by_urn[urn])
    return kept


def _needs(resource: Mapping[str, Any]) -> list[str]:
    by_property = (resource.get("propertyDependencies") or {}).values()
    named = [resource.get("parent"), resource.get("deletedWith"), resource.get("provider", "").rpartition("::")[0]]
    return [
        *(resource.get("dependencies") or ()),
        *(urn for urns in by_property for urn in urns or ()),
        *(urn for urn in named if urn),
    ]
