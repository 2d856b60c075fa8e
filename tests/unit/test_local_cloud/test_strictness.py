from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.local_cloud.strictness import (
    AwsCall,
    AwsRefusalError,
    InstanceView,
    VolumeView,
    check,
    find_fault,
    refusal_of,
)

IMAGE = "ami-0123456789abcdef0"


@dataclass
class FakeAccount:
    instances: dict[str, InstanceView] = field(default_factory=dict)
    zones: tuple[str, ...] = ("us-east-1a", "us-east-1b")

    def find_instance(self, instance_id: str) -> InstanceView | None:
        return self.instances.get(instance_id)

    def find_volume(self, volume_id: str) -> VolumeView | None:
        return {
            "vol-free": VolumeView("us-east-1a", "", 20),
            "vol-used": VolumeView("us-east-1a", "i-2", 20),
            "vol-b": VolumeView("us-east-1b", "", 20),
        }.get(volume_id)

    def find_image_architecture(self, ami_id: str) -> str | None:
        return {IMAGE: "x86_64", "ami-arm": "arm64"}.get(ami_id)

    def find_type_architectures(self, instance_type: str) -> list[str] | None:
        return {"t3.micro": ["x86_64"], "t4g.micro": ["arm64"], "t2.micro": ["i386", "x86_64"]}.get(instance_type)

    def zones_offering(self, instance_type: str) -> list[str]:
        return list(self.zones)

    def find_subnet_zone(self, subnet_id: str) -> str | None:
        return {"subnet-a": "us-east-1a", "subnet-e": "us-east-1e"}.get(subnet_id)

    def has_key_pair(self, name: str) -> bool:
        return name == "known"

    def has_instance_profile(self, name: str) -> bool:
        return name == "known"

    def find_association(self, allocation_id: str) -> str | None:
        return {"eipalloc-used": "eipassoc-1"}.get(allocation_id)

    def is_group_used(self, group_id: str) -> bool:
        return group_id == "sg-used"


def _call(action: str, **parameters: str) -> AwsCall:
    named = {name.replace("__", "."): value for name, value in parameters.items()}
    return AwsCall("ec2", action, "us-east-1", named)


def _code(call: AwsCall, account: FakeAccount | None = None) -> str | None:
    try:
        check(call, account or FakeAccount())
    except AwsRefusalError as refusal:
        return refusal.code
    return None


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, None),
        ({"InstanceType": "t2.micro"}, None),
        ({"InstanceType": "t3.nope"}, "InvalidParameterValue"),
        ({"InstanceType": "t4g.micro"}, "InvalidParameterValue"),
        ({"InstanceType": "t4g.micro", "ImageId": "ami-arm"}, None),
        ({"ImageId": ""}, "MissingParameter"),
        ({"ImageId": "ami-none"}, "InvalidAMIID.NotFound"),
        ({"ImageId": "debian"}, "InvalidAMIID.Malformed"),
        ({"KeyName": "known"}, None),
        ({"KeyName": "none"}, "InvalidKeyPair.NotFound"),
        ({"IamInstanceProfile__Name": "known"}, None),
        ({"IamInstanceProfile__Name": "none"}, "InvalidParameterValue"),
        ({"SubnetId": "subnet-a"}, None),
        ({"SubnetId": "subnet-e"}, "Unsupported"),
        ({"NetworkInterface__1__SubnetId": "subnet-e"}, "Unsupported"),
        ({"Placement__AvailabilityZone": "us-east-1f"}, "Unsupported"),
    ],
)
def test_launching(parameters: dict[str, str], code: str | None) -> None:
    assert _code(_call("RunInstances", **{"ImageId": IMAGE, "InstanceType": "t3.micro", **parameters})) == code


@pytest.mark.parametrize("state", ["pending", "running", "stopping", "shutting-down", "terminated"])
@pytest.mark.parametrize("attribute", ["InstanceType__Value", "UserData__Value"])
def test_what_needs_a_stopped_instance_is_refused_on_any_other(state: str, attribute: str) -> None:
    account = FakeAccount({"i-1": InstanceView(state, "t3.micro", "x86_64", "us-east-1a")})
    call = _call("ModifyInstanceAttribute", InstanceId="i-1", **{attribute: "t2.micro"})
    assert _code(call, account) == "IncorrectInstanceState"


def test_changing_the_type_of_a_stopped_instance() -> None:
    account = FakeAccount({"i-1": InstanceView("stopped", "t3.micro", "x86_64", "us-east-1a")})

    def change(**parameters: str) -> str | None:
        return _code(_call("ModifyInstanceAttribute", InstanceId="i-1", **parameters), account)

    assert change(InstanceType__Value="t2.micro") is None
    assert change(Attribute="instanceType", Value="t2.micro") is None
    assert change(InstanceType__Value="t3.nope") == "InvalidParameterValue"
    assert change(InstanceType__Value="t4g.micro") == "InvalidInstanceAttributeValue"


def test_other_attributes_change_while_it_runs() -> None:
    account = FakeAccount({"i-1": InstanceView("running", "t3.micro", "x86_64", "us-east-1a")})
    call = _call("ModifyInstanceAttribute", InstanceId="i-1", DisableApiTermination__Value="true")
    assert _code(call, account) is None


@pytest.mark.parametrize(
    ("action", "state", "code"),
    [
        ("StartInstances", "stopped", None),
        ("StartInstances", "running", None),
        ("StartInstances", "terminated", "IncorrectInstanceState"),
        ("StopInstances", "running", None),
        ("StopInstances", "stopped", None),
        ("StopInstances", "terminated", "IncorrectInstanceState"),
        ("RebootInstances", "running", None),
        ("RebootInstances", "stopped", "IncorrectInstanceState"),
        ("TerminateInstances", "terminated", None),
    ],
)
def test_starting_and_stopping(action: str, state: str, code: str | None) -> None:
    account = FakeAccount({"i-1": InstanceView(state, "t3.micro", "x86_64", "us-east-1a")})
    assert _code(_call(action, InstanceId__1="i-1"), account) == code
    # An instance that is not there is moto's to refuse.
    assert _code(_call(action, InstanceId__1="i-2"), account) is None


def test_starting_a_type_that_is_not_offered() -> None:
    account = FakeAccount({"i-1": InstanceView("stopped", "t3.micro", "x86_64", "us-east-1a")}, zones=())
    assert _code(_call("StartInstances", InstanceId__1="i-1"), account) == "Unsupported"


@pytest.mark.parametrize(
    ("volume", "state", "code"),
    [
        ("vol-free", "running", None),
        ("vol-free", "stopped", None),
        ("vol-free", "pending", "IncorrectState"),
        ("vol-free", "terminated", "IncorrectState"),
        ("vol-used", "running", "VolumeInUse"),
        ("vol-b", "running", "InvalidVolume.ZoneMismatch"),
        ("vol-none", "running", None),  # moto's to refuse
    ],
)
def test_attaching_a_volume(volume: str, state: str, code: str | None) -> None:
    account = FakeAccount({"i-1": InstanceView(state, "t3.micro", "x86_64", "us-east-1a")})
    assert _code(_call("AttachVolume", VolumeId=volume, InstanceId="i-1"), account) == code


@pytest.mark.parametrize(
    ("volume", "size", "code"),
    [
        ("vol-used", "19", "InvalidParameterValue"),
        ("vol-used", "20", None),
        ("vol-used", "21", None),
        ("vol-none", "1", None),
    ],
)
def test_a_volume_only_grows(volume: str, size: str, code: str | None) -> None:
    assert _code(_call("ModifyVolume", VolumeId=volume, Size=size)) == code
    assert _code(_call("ModifyVolume", VolumeId=volume, VolumeType="gp3")) is None


def test_what_is_in_use_is_not_given_up() -> None:
    assert _code(_call("ReleaseAddress", AllocationId="eipalloc-used")) == "InvalidIPAddress.InUse"
    assert _code(_call("ReleaseAddress", AllocationId="eipalloc-free")) is None
    assert _code(_call("DeleteSecurityGroup", GroupId="sg-used")) == "DependencyViolation"
    assert _code(_call("DeleteSecurityGroup", GroupId="sg-free")) is None


@given(st.lists(st.text("abc", min_size=1), max_size=12))
def test_list_parameters_come_back_in_their_order(values: list[str]) -> None:
    parameters = {f"InstanceId.{number}": value for number, value in enumerate(values, 1)}
    assert AwsCall("ec2", "StopInstances", "r", parameters).values("InstanceId") == values


@pytest.mark.parametrize(
    ("action", "changes"),
    [("DescribeInstances", False), ("GetRole", False), ("ListTags", False), ("Head", False), ("Put", True),
     ("RunInstances", True), ("CreateFileSystem", True), ("Delete", True)],
)  # fmt: skip
def test_which_calls_change_something(action: str, changes: bool) -> None:
    assert AwsCall("x", action, "r").changes is changes


ACCOUNT = FakeAccount({"i-1": InstanceView("stopped", "m7i.large", "x86_64", "us-east-1a")})


@pytest.mark.parametrize(
    ("faults", "call", "found"),
    [
        ({}, _call("StartInstances", InstanceId__1="i-1"), False),
        ({"StartInstances": {"code": "X"}}, _call("StartInstances", InstanceId__1="i-1"), True),
        ({"StartInstances": {"code": "X"}}, _call("StopInstances", InstanceId__1="i-1"), False),
        ({"StartInstances": {"code": "X", "times": 0}}, _call("StartInstances", InstanceId__1="i-1"), False),
        (
            {"StartInstances": {"code": "X", "instance_type": "m7i.large"}},
            _call("StartInstances", InstanceId__1="i-1"),
            True,
        ),
        (
            {"StartInstances": {"code": "X", "instance_type": "t3.micro"}},
            _call("StartInstances", InstanceId__1="i-1"),
            False,
        ),
        (
            {"RunInstances": {"code": "X", "instance_type": "t3.micro"}},
            _call("RunInstances", InstanceType="t3.micro"),
            True,
        ),
        (
            {"ModifyInstanceAttribute": {"code": "X", "instance_type": "t3.micro"}},
            _call("ModifyInstanceAttribute", InstanceId="i-1", InstanceType__Value="t3.micro"),
            True,
        ),
        ({"StopInstances": {"code": "X", "instance_id": "i-2"}}, _call("StopInstances", InstanceId__1="i-1"), False),
    ],
)
def test_which_fault_is_meant_for_a_call(faults: dict[str, Any], call: AwsCall, found: bool) -> None:
    assert (find_fault(faults, call, ACCOUNT) is not None) is found


def test_the_first_fault_that_fits_and_is_not_used_up_is_taken() -> None:
    faults = {"StartInstances": [{"code": "A", "times": 0}, {"code": "B", "instance_id": "i-2"}, {"code": "C"}]}
    fault = find_fault(faults, _call("StartInstances", InstanceId__1="i-1"), ACCOUNT)
    assert fault is not None
    assert fault["code"] == "C"


def test_a_lack_of_capacity_reads_as_awss() -> None:
    call = _call("StartInstances", InstanceId__1="i-1")
    refusal = refusal_of({"code": "InsufficientInstanceCapacity"}, call, ACCOUNT)
    assert refusal.status == 500  # which SDKs try again
    assert refusal.message.startswith("We currently do not have sufficient m7i.large capacity in the Availability Zone")
