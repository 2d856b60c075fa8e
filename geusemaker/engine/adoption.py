"""Takes into a stack's state what AWS has and the state lacks. Pure: it works on an exported state's ``deployment``."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import Any, Final

from geusemaker.models import resource_types

DATA_TYPES: Final = (
    resource_types.FILE_SYSTEM,
    resource_types.BACKUP_POLICY,
    resource_types.MOUNT_TARGET,
)
"""What holds every deployment's data; the program names each of them, and a data volume as well, ``data``."""

_KEPT: Final = {*DATA_TYPES, resource_types.DATA_VOLUME}
"""What no operation removes, unless its owner says so: it is protected from the first moment."""

_GENERATED: Final = {resource_types.FILE_SYSTEM: "creationToken"}
"""Type → the property that the provider makes up where the program gives none, and that replaces when it changes."""


def adopt(deployment: dict[str, Any], found: Mapping[str, str], aws: Mapping[str, str] | None = None) -> None:
    """Make what was found (URN → id) resources of the state; a refresh then reads the rest.

    ``aws`` is how the AWS provider is set up, for a state that has none yet.

    Pending creations become what they were to be. Of others, data that the state lost, only the id is known: they come
    right after their provider and the stack, their parent, because what uses them stands later in the list. Which of
    the two is first differs from one deployment to the next: the engine registers them side by side.
    """
    pending = deployment.get("pending_operations") or []
    created = [
        operation["resource"]
        for operation in pending
        if operation["type"] == "creating" and operation["resource"]["urn"] in found
    ]
    for resource in created:
        resource |= {"id": found[resource["urn"]], "outputs": resource.get("inputs", {})}
    resources: list[dict[str, Any]] = deployment.get("resources") or []  # an empty state has none
    deployment["resources"] = resources
    resources += created
    deployment["pending_operations"] = [operation for operation in pending if operation["resource"] not in created]
    known = {resource["urn"] for resource in resources}
    if not resources and found and aws:
        resources += _foundation(next(iter(found)), aws)
    providers = [index for index, resource in enumerate(resources) if resource["type"] == "pulumi:providers:aws"]
    stacks = [index for index, resource in enumerate(resources) if resource["type"] == "pulumi:pulumi:Stack"]
    if not providers or not stacks:
        return  # nothing is left of the deployment that could be built upon
    provider, stack = resources[providers[-1]], resources[stacks[0]]
    place = max(providers[-1], stacks[0]) + 1
    resources[place:place] = [
        {
            "urn": urn,
            "custom": True,
            "id": identifier,
            "type": _type_of(urn),
            "inputs": {},
            "outputs": {},
            "parent": stack["urn"],
            "protect": _type_of(urn) in _KEPT,
            "retainOnDelete": _type_of(urn) in _KEPT,
            "provider": f"{provider['urn']}::{provider['id']}",
        }
        for urn, identifier in found.items()
        if urn not in known
    ]


def _foundation(urn: str, aws: Mapping[str, str]) -> list[dict[str, Any]]:
    """What an empty state needs under it: the stack, and the provider that the engine would make by itself."""
    prefix = "::".join(urn.split("::")[:2])
    stack, project = prefix.removeprefix("urn:pulumi:").split("::")
    provider = f"default_{aws['version'].replace('.', '_')}"
    return [
        {
            "urn": f"{prefix}::pulumi:pulumi:Stack::{project}-{stack}",
            "custom": False,
            "type": "pulumi:pulumi:Stack",
        },
        {
            "urn": f"{prefix}::pulumi:providers:aws::{provider}",
            "custom": True,
            "id": str(uuid.uuid4()),
            "type": "pulumi:providers:aws",
            "inputs": dict(aws),
            "outputs": dict(aws),
        },
    ]


def keep_generated(deployment: dict[str, Any], urns: Collection[str]) -> bool:
    """Note of resources that a refresh read for the first time which of their names the provider had made up.

    Without that note it would make up others, and replace the resource.

    Returns:
        Whether there was any.
    """
    changed = False
    for resource in deployment["resources"]:
        name = _GENERATED.get(resource["type"])
        if resource["urn"] in urns and name in resource["inputs"]:
            resource["inputs"]["__defaults"] = [name]
            changed = True
    return changed


def _type_of(urn: str) -> str:
    return urn.split("::")[-2].rsplit("$", 1)[-1]
