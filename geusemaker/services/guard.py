"""The plan guard: what a plan must never do, whoever asks for it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from geusemaker.models import resource_types
from geusemaker.models.plan import ResourceOperation, cut_off

DATA_TYPES: Final = {
    resource_types.FILE_SYSTEM: "file system",
    resource_types.MOUNT_TARGET: "mount target",
    resource_types.ACCESS_POINT: "access point",
    resource_types.BACKUP_POLICY: "backup policy",
    resource_types.DATA_VOLUME: "data volume",
    resource_types.ATTACHMENT: "data volume attachment",
}

SINGLE: Final = {
    resource_types.INSTANCE: "instance",
    resource_types.ADDRESS: "Elastic IP",
    resource_types.FILE_SYSTEM: "file system",
    resource_types.DATA_VOLUME: "data volume",
}
"""What there must never be two of under one deployment's name, whoever made the other."""

# pkg/resource/deploy/step.go and step_generator.go of github.com/pulumi/pulumi.
_PROTECTED: Final = re.compile(
    r'resource "urn:pulumi:[^":]+::[^":]+::(?P<type>[^"]+)::(?P<name>[^":]+)"[^"]*'
    r'("[^"]*" )?(cannot be deleted\s+because it is protected|as it is currently marked for protection)'
)
_REPLACEMENTS: Final = {
    "replace",
    "create-replacement",
    "delete-replaced",
    "import-replacement",
    "read-replacement",
    "discard-replaced",
    "remove-pending-replace",
}
_DELETIONS: Final = {"delete", "discard"}


def refusals(
    operations: Iterable[ResourceOperation],
    *,
    has_data: bool,
    allow_replace: bool = False,
    file_system: str = "",
    living: Mapping[str, str] | None = None,
    because: Sequence[str] = (),
    no_instance: bool = False,
) -> list[str]:
    """Why this plan may not be applied; empty when it may.

    Args:
        operations: the plan's resource operations.
        has_data: whether the deployment has (or had) a version, so that its data exists.
        allow_replace: whether the operator allowed another instance in place of this one.
        file_system: the id of the file system that holds the data, as the instance or AWS knows it; empty: not known.
        living: type → what AWS has of it under the deployment's name (``SINGLE`` types), in words.
        because: the inputs for which another instance is made, where the engine names none: of its own trigger it does
            not.
        no_instance: whether AWS has no instance. The rest of a replacement that was cut off makes one then, in place of
            none, and that needs nobody's leave.
    """
    operations = _with_causes(operations)
    reasons: list[str] = []
    gone = set(cut_off(operations)) if no_instance else set()
    allow_replace |= any(each.type == resource_types.INSTANCE and each.urn in gone for each in operations)
    moves = allow_replace and replaces_instance(operations)
    for operation in operations:
        if operation.op == "create" and (found := (living or {}).get(operation.type)):
            reasons.append(f"it would create a second {SINGLE[operation.type]} while {found} lives")
        if kind := DATA_TYPES.get(operation.type):
            if operation.type == resource_types.ATTACHMENT and moves and _only_follows_the_instance(operation):
                continue
            reasons += _data_refusals(operation, kind, has_data)
            stands_for = operation.provider_id if operation.type == resource_types.FILE_SYSTEM else ""
            if file_system and stands_for not in ("", file_system):
                reasons.append(
                    f"Pulumi's state names the file system {operation.provider_id}, but the data is on {file_system}"
                )
        elif operation.type == resource_types.INSTANCE:
            reasons += _instance_refusals(operation, has_data, allow_replace, because)
            if operation.op == "create-replacement" and operation.urn not in gone:
                reasons.append(
                    "it would start the new instance before the old one is gone: two would serve one data set"
                )
        if operation.op == "delete-replaced":
            gone.add(operation.urn)
    return list(dict.fromkeys(reasons))


def _with_causes(operations: Iterable[ResourceOperation]) -> list[ResourceOperation]:
    """Each step of a replacement with what causes it, which the engine tells with only one of them."""
    operations = list(operations)
    causes = {each.urn: each.replaces for each in operations if each.replaces}
    return [
        each.model_copy(update={"replaces": causes.get(each.urn, ())}) if each.op in _REPLACEMENTS else each
        for each in operations
    ]


def replaces_instance(operations: Iterable[ResourceOperation]) -> bool:
    """Whether another instance takes the place of this one; what this one has on its disk is gone then."""
    return any(each.type == resource_types.INSTANCE and each.op in _REPLACEMENTS for each in operations)


def makes_an_instance(operations: Iterable[ResourceOperation]) -> bool:
    """Whether an instance is made, the first one or another."""
    made = _REPLACEMENTS | {"create"}
    return any(each.type == resource_types.INSTANCE and each.op in made for each in operations)


def engine_refusals(diagnostics: Iterable[str]) -> list[str]:
    """Why the engine itself would not make the plan: what its error lines say of protected resources."""
    reasons = []
    for line in diagnostics:
        if found := _PROTECTED.search(line):
            type = found["type"].rsplit("$", 1)[-1]
            verb = "delete" if "cannot be deleted" in line else "replace"
            reasons.append(f"it would {verb} the {DATA_TYPES.get(type, type)} {found['name']}, which is protected")
    return list(dict.fromkeys(reasons))


def _data_refusals(operation: ResourceOperation, kind: str, has_data: bool) -> list[str]:
    what = f"the {kind} {operation.provider_id or operation.name}"
    if operation.op in _DELETIONS:
        return [f"it would delete {what}"]
    if operation.op in _REPLACEMENTS:
        because = f", because {', '.join(operation.replaces)} changed" if operation.replaces else ""
        return [f"it would replace {what}{because}"]
    if operation.op == "create":
        if operation.type == resource_types.ATTACHMENT:
            return []  # it makes nothing; a volume that another instance has, AWS does not give
        return [f"it would create a second, empty {kind} beside the one that holds the data"] if has_data else []
    if operation.unprotects:
        return [f"it would take the protection off {what}"]
    # The attachment is never protected: the engine would then not replace it along with an instance either.
    if not operation.protected and has_data and operation.type != resource_types.ATTACHMENT:
        return [f"{what} is no longer protected in Pulumi's state (`pulumi state protect` puts that back)"]
    return []


def _only_follows_the_instance(attachment: ResourceOperation) -> bool:
    """Whether the same volume goes over to the instance that replaces this one."""
    return attachment.op in _REPLACEMENTS and set(attachment.replaces) <= {"instanceId"}


def _instance_refusals(
    operation: ResourceOperation, has_data: bool, allow_replace: bool, because: Sequence[str]
) -> list[str]:
    if operation.op in _REPLACEMENTS and not allow_replace:
        inputs = ", ".join(operation.replaces or because)
        why = f", because {inputs} changed" if inputs else ""
        return [f"it would replace the instance {operation.provider_id}{why} (--allow-replace allows that)"]
    if operation.op in _DELETIONS and has_data:
        return [f"it would delete the instance {operation.provider_id}"]
    return []


def same_plan(shown: Iterable[ResourceOperation], now: Iterable[ResourceOperation]) -> bool:
    """Whether two previews would do the same to the same resources with the same inputs."""
    return _fingerprint(shown) == _fingerprint(now)


def _fingerprint(operations: Iterable[ResourceOperation]) -> set[tuple[str, str, str, tuple[str, ...]]]:
    # A creation's inputs hold a generated name, a new one for each preview.
    return {
        (
            operation.urn,
            operation.op,
            "" if operation.op == "create" else operation.inputs_digest,
            tuple(sorted(operation.changed)),
        )
        for operation in operations
    }
