"""Calls for an instance that take more than one request: waiting, a stop and start, what hangs on it."""

from __future__ import annotations

from typing import Any, Final

from geusemaker.local_cloud.providers.aws.api import Attempt, Aws, doing, failed

START_TIMEOUT: Final = 600.0
STOP_TIMEOUT: Final = 600.0
TERMINATE_TIMEOUT: Final = 1200.0


def find_instance(aws: Aws, instance_id: str) -> Any | None:
    with Attempt(
        f"reading EC2 Instance ({instance_id})", ("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed")
    ):
        reservations = aws.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        return next((item for reservation in reservations for item in reservation["Instances"]), None)
    return None


def wait_for_state(aws: Aws, instance_id: str, wanted: str, timeout: float, action: str) -> None:
    last = ""

    def reached() -> bool | None:
        nonlocal last
        instance = find_instance(aws, instance_id)
        last = instance["State"]["Name"] if instance is not None else "terminated"
        if last == wanted:
            return True
        if last in ("terminated", "shutting-down") and wanted != "terminated":
            reason = (instance or {}).get("StateReason", {}).get("Message", "")
            raise failed(f"{action}: unexpected state '{last}', wanted target '{wanted}'. last error: {reason}")
        return None

    aws.wait_until(
        reached,
        timeout,
        lambda: failed(f"{action}: timeout while waiting for state to become '{wanted}' (last state: '{last}')"),
    )


def modify_stopped(aws: Aws, instance_id: str, what: str, **attribute: Any) -> None:
    """Stop, modify one attribute, start. When the modification fails, the instance stays stopped."""
    action = f"updating EC2 Instance ({instance_id}) {what}"
    with doing(f"{action}: stopping EC2 Instance ({instance_id})"):
        aws.ec2.stop_instances(InstanceIds=[instance_id])
    wait_for_state(
        aws, instance_id, "stopped", STOP_TIMEOUT, f"{action}: waiting for EC2 Instance ({instance_id}) stop"
    )
    with doing(f"{action}: modifying EC2 Instance ({instance_id}) attribute"):
        aws.ec2.modify_instance_attribute(InstanceId=instance_id, **attribute)
    with doing(f"{action}: starting EC2 Instance ({instance_id})"):
        aws.insist(lambda ec2: ec2.start_instances(InstanceIds=[instance_id]))
    wait_for_state(
        aws, instance_id, "running", START_TIMEOUT, f"{action}: waiting for EC2 Instance ({instance_id}) start"
    )


def architectures(aws: Aws, instance_type: Any) -> set[str]:
    """CPU architectures of an instance type; empty when EC2 does not know it."""
    found: set[str] = set()
    if isinstance(instance_type, str):
        with Attempt("reading EC2 Instance Type", ("InvalidInstanceType",)):
            for item in aws.ec2.describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"]:  # type: ignore[list-item]
                found.update(item["ProcessorInfo"]["SupportedArchitectures"])
    return found


def change_profile(aws: Aws, instance_id: str, profile: str | None) -> None:
    action = f"updating EC2 Instance ({instance_id})"
    with doing(action):
        filters: list[Any] = [{"Name": "instance-id", "Values": [instance_id]}]
        present = aws.ec2.describe_iam_instance_profile_associations(Filters=filters)["IamInstanceProfileAssociations"]
        if not profile:
            for association in present:
                aws.ec2.disassociate_iam_instance_profile(AssociationId=association["AssociationId"])
        elif present:
            aws.ec2.replace_iam_instance_profile_association(
                AssociationId=present[0]["AssociationId"], IamInstanceProfile={"Name": profile}
            )
        else:
            aws.ec2.associate_iam_instance_profile(InstanceId=instance_id, IamInstanceProfile={"Name": profile})
