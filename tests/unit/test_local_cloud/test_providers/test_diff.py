"""Replace, update or nothing: the decisions of the AWS provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.local_cloud.providers.aws.provider import RESOURCES
from geusemaker.local_cloud.providers.diff import changes, join_path, plain_changes
from geusemaker.local_cloud.providers.wire import UNKNOWN

# What replaces, from Terraform's AWS provider; everything else of the type is changed in place.
REPLACES = {
    "aws:ec2/instance:Instance": {
        "ami",
        "associatePublicIpAddress",
        "availabilityZone",
        "ebsBlockDevices",
        "ebsOptimized",
        "hibernation",
        "keyName",
        "privateIp",
        "securityGroups",
        "subnetId",
        "tenancy",
    },
    "aws:ec2/securityGroup:SecurityGroup": {"name", "namePrefix", "description", "vpcId"},
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": {"securityGroupId"},
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": {"securityGroupId"},
    "aws:ec2/keyPair:KeyPair": {"keyName", "keyNamePrefix", "publicKey"},
    "aws:ec2/eip:Eip": {"domain", "address", "publicIpv4Pool", "customerOwnedIpv4Pool", "networkBorderGroup"},
    "aws:ec2/eipAssociation:EipAssociation": {
        "allocationId",
        "allowReassociation",
        "instanceId",
        "networkInterfaceId",
        "privateIpAddress",
        "publicIp",
    },
    "aws:efs/fileSystem:FileSystem": {
        "creationToken",
        "encrypted",
        "kmsKeyId",
        "performanceMode",
        "availabilityZoneName",
    },
    "aws:efs/mountTarget:MountTarget": {"fileSystemId", "subnetId", "ipAddress", "ipAddressType", "ipv6Address"},
    "aws:efs/backupPolicy:BackupPolicy": {"fileSystemId"},
    "aws:iam/role:Role": {"name", "namePrefix", "path"},
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": {"role", "policyArn"},
    "aws:iam/instanceProfile:InstanceProfile": {"name", "namePrefix", "path"},
    "aws:ebs/volume:Volume": {
        "availabilityZone",
        "encrypted",
        "kmsKeyId",
        "multiAttachEnabled",
        "outpostArn",
        "snapshotId",
    },
    "aws:ec2/volumeAttachment:VolumeAttachment": {"deviceName", "instanceId", "volumeId"},
}
GLOBAL = ("aws:iam/",)


def found(
    token: str, old: Mapping[str, Any], new: Mapping[str, Any], state: Mapping[str, Any] | None = None
) -> dict[str, tuple[str, bool]]:
    """Path → (kind, replaces)."""
    schema = RESOURCES[token].schema
    return {
        change.path: (change.kind, change.replaces)
        for change in changes(schema, old, old if state is None else state, new)
    }


def test_the_table_names_every_type() -> None:
    assert set(REPLACES) == set(RESOURCES)


@pytest.mark.parametrize("token", sorted(REPLACES))
def test_what_replaces(token: str) -> None:
    properties = RESOURCES[token].schema.properties
    replacing = set()
    for name, rule in properties.items():
        if rule.fields:
            continue
        kind = found(token, {name: ["a"] if rule.unordered else "a"}, {name: ["b"] if rule.unordered else "b"})
        assert len(kind) == 1, name
        if next(iter(kind.values()))[1]:
            replacing.add(name)
    region = set() if token.startswith(GLOBAL) else {"region"}
    assert replacing == REPLACES[token] | region


@pytest.mark.parametrize("token", sorted(REPLACES))
def test_a_changed_region_replaces(token: str) -> None:
    if not token.startswith(GLOBAL):
        assert found(token, {"region": "us-east-1"}, {"region": "us-west-2"}) == {"region": ("update", True)}


INSTANCE = "aws:ec2/instance:Instance"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param({"keyName": "a"}, {}, {}, id="an optional computed input taken out is no change"),
        pytest.param({"rootBlockDevice": {"volumeSize": 8}}, {}, {}, id="so is a computed block"),
        pytest.param({"volumeTags": {"a": "b"}}, {}, {"volumeTags": ("delete", False)}, id="another input is one"),
        pytest.param({"ebsOptimized": False}, {}, {}, id="a zero value means not given"),
        pytest.param({}, {"sourceDestCheck": True}, {}, id="giving the default is no change"),
        pytest.param({}, {"sourceDestCheck": False}, {"sourceDestCheck": ("add", False)}, id="something else is"),
        pytest.param(
            {"rootBlockDevice": {"volumeSize": 8, "encrypted": True}},
            {"rootBlockDevice": {"volumeSize": 9, "encrypted": True}},
            {"rootBlockDevice.volumeSize": ("update", False)},
            id="the root volume grows in place",
        ),
        pytest.param(
            {"rootBlockDevice": {"encrypted": False}},
            {"rootBlockDevice": {"encrypted": True}},
            {"rootBlockDevice.encrypted": ("update", True)},
            id="its encryption replaces",
        ),
        pytest.param(
            {"rootBlockDevice": {"volumeSize": 8, "iops": 3000}},
            {"rootBlockDevice": {"volumeSize": 8}},
            {},
            id="a computed member of a block may be left out",
        ),
        pytest.param(
            {"vpcSecurityGroupIds": ["a", "b"]}, {"vpcSecurityGroupIds": ["b", "a"]}, {}, id="sets have no order"
        ),
        pytest.param(
            {"vpcSecurityGroupIds": ["a", "b"]},
            {"vpcSecurityGroupIds": ["b", "c"]},
            {"vpcSecurityGroupIds[0]": ("delete", False), "vpcSecurityGroupIds[1]": ("add", False)},
            id="members of sets come and go",
        ),
        pytest.param(
            {"tags": {"Name": "a", "x:y": ""}},
            {"tags": {"Name": "b"}},
            {"tags.Name": ("update", False), 'tags["x:y"]': ("delete", False)},
            id="an empty tag is a tag",
        ),
        pytest.param(
            {"subnetId": "a"}, {"subnetId": UNKNOWN}, {"subnetId": ("update", True)}, id="unknown may be another"
        ),
    ],
)
def test_details(old: dict[str, Any], new: dict[str, Any], expected: dict[str, tuple[str, bool]]) -> None:
    assert found(INSTANCE, old, new) == expected


def test_giving_what_aws_chose_already_is_no_change() -> None:
    state = {"availabilityZone": "us-east-1a", "tenancy": "default"}
    assert found(INSTANCE, {}, {"availabilityZone": "us-east-1a"}, state) == {}
    assert found(INSTANCE, {}, {"tenancy": "dedicated"}, state) == {"tenancy": ("update", True)}


def test_ignored_and_internal_properties_are_left_out() -> None:
    schema = RESOURCES[INSTANCE].schema
    old, new = {"ami": "a", "__defaults": []}, {"ami": "b", "__defaults": ["x"]}
    assert changes(schema, old, old, new, ignore=["ami"]) == []


def test_policies_are_compared_by_meaning() -> None:
    token = "aws:iam/role:Role"
    same = {"assumeRolePolicy": '{"Version": "2012-10-17", "Statement": []}'}
    assert found(token, same, {"assumeRolePolicy": '{"Statement":[],"Version":"2012-10-17"}'}) == {}
    assert found(token, same, {"assumeRolePolicy": '{"Statement":[1]}'}) == {"assumeRolePolicy": ("update", False)}


def test_rules_as_read_equal_rules_as_given() -> None:
    given_rule = {"protocol": "tcp", "fromPort": 22, "toPort": 22, "cidrBlocks": ["10.0.0.0/8"]}
    read_rule = {**given_rule, "description": "", "self": False, "ipv6CidrBlocks": [], "securityGroups": []}
    token = "aws:ec2/securityGroup:SecurityGroup"
    assert found(token, {"ingress": [read_rule]}, {"ingress": [given_rule]}) == {}
    other = {**given_rule, "fromPort": 23}
    assert found(token, {"ingress": [read_rule]}, {"ingress": [other]}) == {"ingress[0]": ("update", False)}
    assert found(token, {"ingress": [read_rule]}, {"ingress": []}) == {"ingress[0]": ("delete", False)}
    assert found(token, {"ingress": [read_rule]}, {}) == {}


json_values = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from(sorted(RESOURCES[INSTANCE].schema.properties)), json_values, max_size=4)


@given(objects)
def test_nothing_differs_from_itself(inputs: dict[str, Any]) -> None:
    assert changes(RESOURCES[INSTANCE].schema, inputs, inputs, inputs) == []
    assert plain_changes(inputs, inputs) == []


@given(objects, objects)
def test_every_path_begins_with_its_property_and_is_named_once(old: dict[str, Any], new: dict[str, Any]) -> None:
    for listed in (changes(RESOURCES[INSTANCE].schema, old, old, new), plain_changes(old, new)):
        assert all(change.path.startswith(change.property) for change in listed)
        assert len({change.path for change in listed}) == len(listed)


@given(objects, objects)
def test_commands_differ_exactly_when_their_inputs_do(old: dict[str, Any], new: dict[str, Any]) -> None:
    def typed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: typed(item) for key, item in value.items()}
        return [typed(item) for item in value] if isinstance(value, list) else (type(value).__name__, value)

    assert bool(plain_changes(old, new)) == (typed(old) != typed(new))


def test_triggers_replace_only_as_a_whole() -> None:
    def replaced(old: dict[str, Any], new: dict[str, Any]) -> dict[str, bool]:
        return {change.path: change.replaces for change in plain_changes(old, new, replaces=("triggers",))}

    # Members are left to replaceOnChanges of the SDK.
    assert replaced({"triggers": [1]}, {"triggers": [2]}) == {"triggers[0]": False}
    assert replaced({}, {"triggers": [2]}) == {"triggers": True}


@pytest.mark.parametrize(
    ("path", "key", "expected"),
    [("tags", "Name", "tags.Name"), ("tags", "a:b", 'tags["a:b"]'), ("tags", 'a"b', 'tags["a\\"b"]'), ("", "a", "a")],
)
def test_paths_are_quoted_where_needed(path: str, key: str, expected: str) -> None:
    assert join_path(path, key) == expected
