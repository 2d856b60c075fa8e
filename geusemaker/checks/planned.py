"""What the engine plans, held against what AWS has: a plan leaves out what Pulumi's state does not know of. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from geusemaker.checks.cloud import CheckContext
from geusemaker.errors import GeusemakerError
from geusemaker.models import resource_types
from geusemaker.models.identity import MissingRights
from geusemaker.models.inspection import InstanceState
from geusemaker.models.plan import CheckResult, ResourceOperation, cut_off


def check_there(
    context: CheckContext, operations: Sequence[ResourceOperation], addresses: Sequence[str]
) -> list[CheckResult]:
    """The instance and the address that Pulumi's state names are there; only what is wrong is told.

    Else the change would go on until it waits in vain for an answer of what is gone. ``addresses``: the allocation ids
    of the Elastic IPs with the deployment's tag.
    """
    instance = context.instance
    there = {
        resource_types.INSTANCE: ("instance", [instance.id] if instance is not None else []),
        resource_types.ADDRESS: ("Elastic IP", addresses),
    }
    said = []
    made_anew = cut_off(operations)  # of that it is known that it is gone
    for operation in operations:
        what, found = there.get(operation.type, ("", ()))
        if operation.urn in made_anew and not found:
            continue
        if what and operation.provider_id and operation.provider_id not in found:
            now = f"AWS has {found[0]} in its place" if found else "it was removed by other means"
            said.append(f"the {what} {operation.provider_id} is gone: {now}")
    attached = not any(each.type == resource_types.ADDRESS_ASSOCIATION and each.op == "create" for each in operations)
    if not said and instance is not None and addresses and not instance.address and attached:
        said.append(f"the Elastic IP {addresses[0]} is not associated with {instance.id} any more")
    way = f"`geusemaker recover {context.deployment}` puts that right"
    return [CheckResult(name="there", status="fail", detail=f"{text}; {way}") for text in said]


def check_rights(missing: MissingRights) -> list[CheckResult]:
    """The credentials may do what the plan begins with; only what is missing is told."""
    policy = "`geusemaker doctor --aws-policy` prints all that is needed"
    if missing.refused:
        detail = f"the credentials may not do {' and '.join(missing.refused)}; {policy}"
        return [CheckResult(name="rights", status="fail", detail=detail)]
    if missing.doubtful:
        detail = f"IAM's simulation does not find {', '.join(missing.doubtful)} allowed; {policy}"
        return [CheckResult(name="rights", status="warn", detail=detail)]
    return []


def check_drift(
    context: CheckContext, instance: InstanceState, operations: Sequence[ResourceOperation], *, grows: bool = False
) -> CheckResult:
    """The instance is of the type, and the data volume of the size, that Pulumi's state says.

    Else the plan would leave out a change that it does not see, or make one that was made. ``grows``: whether the data
    volume is to.
    """
    resized = any(each.type == resource_types.DATA_VOLUME and "size" in each.changed for each in operations)
    if resized and not grows:
        return CheckResult(
            name="drift",
            status="fail",
            detail=f"the data volume has {context.target.data_volume_gib} GiB, changed by other means; "
            f"`geusemaker recover {context.deployment}` takes that up",
        )
    if not grows and any(
        each.type == resource_types.INSTANCE and each.op == "update" and "rootBlockDevice" in each.changed
        for each in operations
    ):
        return CheckResult(
            name="drift",
            status="fail",
            detail=f"the instance's own disk has {context.target.root_volume_gib} GiB, changed by other means; "
            f"`geusemaker recover {context.deployment}` takes that up",
        )
    wanted = context.config.instance_type
    changes_type = any(
        operation.type == resource_types.INSTANCE
        and (operation.op not in ("same", "update") or "instanceType" in operation.changed)
        for operation in operations
    )
    if instance.type == wanted or changes_type:
        return CheckResult(name="drift", status="pass", detail=f"{instance.id} is a {instance.type}, as it was left")
    return CheckResult(
        name="drift",
        status="fail",
        detail=f"{instance.id} is a {instance.type}, changed by other means; "
        f"`geusemaker recover {context.deployment}` puts that right",
    )


def check_ami(context: CheckContext, found: str | GeusemakerError | None, *, makes_instance: bool) -> CheckResult:
    """The pinned AMI exists and is of the instance type's architecture, where an instance is to be made of it.

    Debian takes its AMIs back one day. The instance that was made of one goes on, and so can all its changes.
    """
    ami, wanted = context.config.ami, context.config.instance.architecture
    if isinstance(found, GeusemakerError):
        return CheckResult(name="AMI", status="fail", detail=found.message)
    if found is None and not makes_instance:
        detail = f"{ami} is not to be had any more; the instance made of it stays, another one could not be made"
        return CheckResult(name="AMI", status="warn", detail=detail)
    if found is None:
        detail = f"{ami or 'no AMI'} does not exist; `--ami newest` takes today's Debian 13"
        return CheckResult(name="AMI", status="fail", detail=detail)
    if found != wanted:
        detail = f"{ami} is for {found}, but {context.config.instance_type} is {wanted}"
        if context.has_data:
            command = f"geusemaker update {context.deployment} --instance-type {context.config.instance_type}"
            detail += f"; `{command} --ami newest --allow-replace` takes today's Debian 13 for it, on another instance"
        return CheckResult(name="AMI", status="fail", detail=detail)
    return CheckResult(name="AMI", status="pass", detail=f"{ami} ({found})")
