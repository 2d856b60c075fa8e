"""What AWS refuses and moto lets pass. Pure decisions over a call and a view of the account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import Any, Protocol

from geusemaker.local_cloud.amis import smaller_disk

__all__ = ["Account", "AwsCall", "AwsRefusalError", "InstanceView", "VolumeView", "check", "find_fault"]


@dataclass(frozen=True)
class AwsCall:
    """One call: service (``ec2``), action (``RunInstances``), region, and the parameters as sent, flat."""

    service: str
    action: str
    region: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether the call may change the account's state."""
        return not self.action.startswith(("Describe", "Get", "List", "Head", "Lookup", "Filter", "Simulate"))

    def values(self, prefix: str) -> list[str]:
        """The members of a list parameter: ``InstanceId.1``, ``InstanceId.2`` …"""
        names = (f"{prefix}.{number}" for number in count(1))
        return [self.parameters[name] for name in takewhile(self.parameters.__contains__, names)]


class AwsRefusalError(Exception):
    """The AWS API's answer to a call it does not accept: error code, message, HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True)
class InstanceView:
    """What the checks need to know of an instance."""

    state: str
    instance_type: str
    architecture: str
    zone: str
    spot_state: str = ""
    """Its spot request's; empty: it is none."""
    spot_persists: bool = False


@dataclass(frozen=True)
class VolumeView:
    """What the checks need to know of an EBS volume; ``attached_to`` is an instance's id, or empty."""

    zone: str
    attached_to: str
    size_gib: int


class Account(Protocol):
    """What the checks read; one region of one account."""

    def find_instance(self, instance_id: str) -> InstanceView | None: ...
    def find_volume(self, volume_id: str) -> VolumeView | None: ...
    def find_image_architecture(self, ami_id: str) -> str | None: ...
    def find_type_architectures(self, instance_type: str) -> list[str] | None: ...
    def zones_offering(self, instance_type: str) -> list[str]: ...
    def find_subnet_zone(self, subnet_id: str) -> str | None: ...
    def has_key_pair(self, name: str) -> bool: ...
    def has_instance_profile(self, name: str) -> bool: ...
    def find_association(self, allocation_id: str) -> str | None: ...
    def is_group_used(self, group_id: str) -> bool: ...


def check(call: AwsCall, account: Account) -> None:
    """Refuse what AWS refuses.

    Codes and wordings are those that AWS's API was seen to answer, see
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html

    Raises:
        AwsRefusalError: AWS would not accept the call.
    """
    if call.service != "ec2":
        return
    if call.action == "RunInstances":
        _check_run(call, account)
    elif call.action == "ModifyInstanceAttribute":
        _check_modify(call, account)
    elif call.action == "StartInstances":
        _check_start(call, account)
    elif call.action in ("StopInstances", "RebootInstances"):
        _check_stop(call, account)
    elif call.action == "AttachVolume":
        _check_attach(call, account)
    elif call.action == "ModifyVolume":
        _check_modify_volume(call, account)
    elif call.action == "DeleteSecurityGroup":
        group_id = call.parameters.get("GroupId", "")
        if account.is_group_used(group_id):
            raise AwsRefusalError("DependencyViolation", f"resource {group_id} has a dependent object")
    elif call.action == "ReleaseAddress":
        allocation = call.parameters.get("AllocationId", "")
        association = account.find_association(allocation)
        if association:
            raise AwsRefusalError("InvalidIPAddress.InUse", f"The address with allocation id {allocation} is in use.")


def _check_run(call: AwsCall, account: Account) -> None:
    if any(name.startswith("LaunchTemplate.") for name in call.parameters):
        return
    ami_id = call.parameters.get("ImageId", "")
    if not ami_id:
        raise AwsRefusalError("MissingParameter", "The request must contain the parameter ImageId")
    if not ami_id.startswith("ami-"):
        raise AwsRefusalError("InvalidAMIID.Malformed", f'Invalid id: "{ami_id}" (expecting "ami-...")')
    architecture = account.find_image_architecture(ami_id)
    if architecture is None:
        raise AwsRefusalError("InvalidAMIID.NotFound", f"The image id '[{ami_id}]' does not exist")
    if smaller := smaller_disk(ami_id, call.parameters.get("BlockDeviceMapping.1.Ebs.VolumeSize")):
        raise AwsRefusalError("InvalidBlockDeviceMapping", smaller)
    instance_type = call.parameters.get("InstanceType", "m1.small")
    supported = account.find_type_architectures(instance_type)
    if supported is None:
        raise AwsRefusalError("InvalidParameterValue", f"Invalid value '{instance_type}' for InstanceType.")
    if architecture not in supported:
        raise AwsRefusalError("InvalidParameterValue", _architecture_text(supported[0], architecture))
    key_name = call.parameters.get("KeyName")
    if key_name and not account.has_key_pair(key_name):
        raise AwsRefusalError("InvalidKeyPair.NotFound", f"The key pair '{key_name}' does not exist")
    profile = call.parameters.get("IamInstanceProfile.Name")
    if profile and not account.has_instance_profile(profile):
        raise AwsRefusalError(
            "InvalidParameterValue",
            f"Value ({profile}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
        )
    subnet = call.parameters.get("SubnetId") or call.parameters.get("NetworkInterface.1.SubnetId", "")
    zone = account.find_subnet_zone(subnet) or call.parameters.get("Placement.AvailabilityZone")
    if zone:
        _check_offered(instance_type, zone, account)


def _check_modify(call: AwsCall, account: Account) -> None:
    instance_id = call.parameters.get("InstanceId", "")
    instance = account.find_instance(instance_id)
    if instance is None:
        return  # moto answers InvalidInstanceID.NotFound as AWS does
    new_type = call.parameters.get("InstanceType.Value")
    if new_type is None and call.parameters.get("Attribute") == "instanceType":
        new_type = call.parameters.get("Value")
    needs_stop = new_type is not None or any(
        name in call.parameters for name in ("UserData.Value", "Kernel.Value", "Ramdisk.Value", "EbsOptimized.Value")
    )
    if not needs_stop:
        return
    if new_type is not None:
        supported = account.find_type_architectures(new_type)
        if supported is None:
            raise AwsRefusalError("InvalidParameterValue", f"Invalid value '{new_type}' for InstanceType.")
    if instance.state != "stopped":
        raise AwsRefusalError("IncorrectInstanceState", f"The instance '{instance_id}' is not in the 'stopped' state.")
    if new_type is not None and supported is not None and instance.architecture not in supported:
        raise AwsRefusalError(
            "InvalidInstanceAttributeValue",
            f"Modifying the instance type from {instance.instance_type} to {new_type} is not allowed.",
        )


def _check_start(call: AwsCall, account: Account) -> None:
    for instance_id in call.values("InstanceId"):
        instance = account.find_instance(instance_id)
        if instance is None:
            continue
        if instance.state in ("terminated", "shutting-down", "stopping"):
            raise AwsRefusalError(
                "IncorrectInstanceState",
                f"The instance '{instance_id}' is not in a state from which it can be started.",
            )
        if instance.state == "stopped":
            _check_offered(instance.instance_type, instance.zone, account)


def _check_stop(call: AwsCall, account: Account) -> None:
    verb = "stopped" if call.action == "StopInstances" else "rebooted"
    for instance_id in call.values("InstanceId"):
        instance = account.find_instance(instance_id)
        bad = ("terminated", "shutting-down") if verb == "stopped" else ("terminated", "shutting-down", "stopped")
        if instance is not None and instance.state in bad:
            raise AwsRefusalError(
                "IncorrectInstanceState",
                f"This instance '{instance_id}' is not in a state from which it can be {verb}.",
            )


def _check_attach(call: AwsCall, account: Account) -> None:
    volume_id, instance_id = call.parameters.get("VolumeId", ""), call.parameters.get("InstanceId", "")
    volume, instance = account.find_volume(volume_id), account.find_instance(instance_id)
    if volume is None or instance is None:
        return  # moto answers NotFound as AWS does
    if volume.attached_to:
        raise AwsRefusalError("VolumeInUse", f"{volume_id} is already attached to an instance")
    if instance.state not in ("running", "stopped"):
        raise AwsRefusalError(
            "IncorrectState", f"Instance '{instance_id}' is not 'running' or 'stopped': it is '{instance.state}'."
        )
    if volume.zone != instance.zone:
        raise AwsRefusalError(
            "InvalidVolume.ZoneMismatch",
            f"The volume '{volume_id}' is not in the same availability zone as instance '{instance_id}'",
        )


def _check_modify_volume(call: AwsCall, account: Account) -> None:
    volume, wanted = account.find_volume(call.parameters.get("VolumeId", "")), call.parameters.get("Size")
    if volume is not None and wanted is not None and int(wanted) < volume.size_gib:
        raise AwsRefusalError("InvalidParameterValue", "New size cannot be smaller than existing size")


def _check_offered(instance_type: str, zone: str, account: Account) -> None:
    zones = account.zones_offering(instance_type)
    if not zones:
        raise AwsRefusalError(
            "Unsupported",
            "The requested configuration is currently not supported. Please check the documentation for supported "
            "configurations.",
        )
    if zone not in zones:
        raise AwsRefusalError(
            "Unsupported",
            f"Your requested instance type ({instance_type}) is not supported in your requested Availability Zone "
            f"({zone}). Please retry your request by not specifying an Availability Zone or choosing "
            f"{', '.join(zones)}.",
        )


def _architecture_text(of_type: str, of_image: str) -> str:
    return (
        f"The architecture '{of_type}' of the specified instance type does not match the architecture '{of_image}' "
        "of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again. "
        "You can use 'describe-instance-types' or 'describe-images' to discover the architecture of the instance "
        "type or AMI."
    )


def find_fault(faults: Mapping[str, Any], call: AwsCall, account: Account) -> Mapping[str, Any] | None:
    """The failure that a test asked for in ``faults.json``, if it is meant for this call.

    The file maps an action to one fault or a list of them:
    ``{"StartInstances": {"code": "InsufficientInstanceCapacity", "instance_type": "m7i.large"}}``. Keys of a fault:
    ``code``; ``message``, ``status`` (a sensible default each); ``instance_type`` and ``instance_id``, to which it is
    limited; ``times``, how often it happens (else every time); ``delay_seconds``, waited before the call, which then
    succeeds if there is no ``code``.
    """
    entries = faults.get(call.action, [])
    for fault in entries if isinstance(entries, list) else [entries]:
        if fault.get("times", 1) <= 0:
            continue
        if "instance_id" in fault and fault["instance_id"] not in _instance_ids(call):
            continue
        if "instance_type" in fault and fault["instance_type"] not in _instance_types(call, account):
            continue
        found: Mapping[str, Any] = fault
        return found
    return None


def refusal_of(fault: Mapping[str, Any], call: AwsCall, account: Account) -> AwsRefusalError:
    """The error a fault stands for, with AWS's wording where it is known."""
    code = str(fault["code"])
    capacity = code == "InsufficientInstanceCapacity"
    message = str(fault.get("message") or "")
    if not message and capacity:
        types = _instance_types(call, account)
        message = (
            f"We currently do not have sufficient {types[0] if types else 'instance'} capacity in the Availability "
            "Zone you requested. Our system will be working on provisioning additional capacity."
        )
    return AwsRefusalError(code, message or "The request failed.", int(fault.get("status", 500 if capacity else 400)))


def _instance_ids(call: AwsCall) -> list[str]:
    single = call.parameters.get("InstanceId")
    return [single] if single else call.values("InstanceId")


def _instance_types(call: AwsCall, account: Account) -> list[str]:
    if call.action == "RunInstances":
        return [call.parameters.get("InstanceType", "m1.small")]
    if call.parameters.get("InstanceType.Value"):
        return [call.parameters["InstanceType.Value"]]
    found = (account.find_instance(instance_id) for instance_id in _instance_ids(call))
    return [instance.instance_type for instance in found if instance is not None]
