"""Every change in place that the table names: carried out, read back, and no difference afterwards."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from geusemaker.local_cloud.providers import ProviderServer
from geusemaker.local_cloud.providers.wire import UNKNOWN
from tests.local_cloud.provider_caller import ProviderCaller

INSTANCE = "aws:ec2/instance:Instance"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
ROLE = "aws:iam/role:Role"
PROFILE = "aws:iam/instanceProfile:InstanceProfile"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
SSH = {"protocol": "tcp", "fromPort": 22, "toPort": 22, "cidrBlocks": ["10.0.0.0/8"]}
HTTP = {"protocol": "tcp", "fromPort": 80, "toPort": 80, "cidrBlocks": ["0.0.0.0/0"], "description": "web"}


def assert_changes(aws: ProviderCaller, token: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Create, change in place, read, go back, delete; nothing differs after each step."""
    known = aws.create(token, before)
    assert not aws.diff(known, before).diffs
    for wanted in (after, before):
        difference = aws.diff(known, wanted)
        assert difference.diffs
        assert not difference.replaces
        known = aws.update(known, wanted)
        assert not aws.diff(known, wanted).diffs
        read = aws.read(known)
        assert read is not None
        assert not aws.diff(read, wanted).diffs, read
        # Read back without knowing what was wanted, the values are the same.
        found = aws.import_(token, known.id)
        if found is not None and token not in UNREADABLE:
            for name, value in wanted.items():
                if value not in ("", [], {}) and name not in HIDDEN:
                    assert name in found.inputs, name
    aws.delete(known)
    assert aws.read(known) is None


UNREADABLE = {"aws:ec2/volumeAttachment:VolumeAttachment"}
HIDDEN = {"publicKey", "revokeRulesOnDelete", "forceDetachPolicies", "lifecyclePolicies", "sourceDestCheck"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"ingress": [SSH]}, {"ingress": [SSH, HTTP]}, id="a rule more"),
        pytest.param(
            {"ingress": [SSH]}, {"ingress": [{**SSH, "cidrBlocks": ["10.0.0.0/8", "10.1.0.0/16"]}]}, id="a CIDR"
        ),
        pytest.param(
            {"egress": [{"protocol": "-1", "fromPort": 0, "toPort": 0, "cidrBlocks": ["0.0.0.0/0"]}]},
            {"egress": [HTTP]},
            id="egress",
        ),
        pytest.param({"ingress": [{**SSH, "self": True}]}, {"ingress": [{**SSH, "description": "x"}]}, id="self"),
        pytest.param({"tags": {"a": "1", "b": "2"}}, {"tags": {"a": "3", "c": "4"}}, id="tags"),
    ],
)
def test_security_groups(aws: ProviderCaller, subnet: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    assert_changes(aws, GROUP, {"vpcId": subnet["VpcId"], **before}, {"vpcId": subnet["VpcId"], **after})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({"instanceType": "t3.micro"}, {"instanceType": "t3.large"}, id="type"),
        pytest.param({"userData": "#cloud-config\n"}, {"userData": "#cloud-config\nhostname: ü\n"}, id="user data"),
        pytest.param({"tags": {"a": "1"}}, {"tags": {"b": "2"}}, id="tags"),
        pytest.param(
            {"metadataOptions": {"httpTokens": "required"}}, {"metadataOptions": {"httpTokens": "optional"}}, id="IMDS"
        ),
        pytest.param(
            {"rootBlockDevice": {"volumeType": "gp3", "volumeSize": 30, "encrypted": True}},
            {"rootBlockDevice": {"volumeType": "gp3", "volumeSize": 31, "encrypted": True}},
            id="root volume",
        ),
        pytest.param({"sourceDestCheck": True}, {"sourceDestCheck": False}, id="source/destination check"),
    ],
)
def test_instances(aws: ProviderCaller, ec2: Any, ami: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    shared = {"ami": ami, "instanceType": "t3.micro"}
    assert_changes(aws, INSTANCE, {**shared, **before}, {**shared, **after})


def test_an_instance_changes_groups_and_profile(aws: ProviderCaller, subnet: Any, ami: str) -> None:
    groups = [aws.create(GROUP, {"vpcId": subnet["VpcId"], "name": f"group-{number}"}) for number in (1, 2)]
    role = aws.create(ROLE, {"assumeRolePolicy": json.dumps(POLICY)})
    profiles = [aws.create(PROFILE, {"name": f"profile-{number}", "role": role.id}) for number in (1, 2)]
    shared = {"ami": ami, "instanceType": "t3.micro", "subnetId": subnet["SubnetId"]}
    assert_changes(
        aws,
        INSTANCE,
        {**shared, "vpcSecurityGroupIds": [groups[0].id], "iamInstanceProfile": profiles[0].id},
        {**shared, "vpcSecurityGroupIds": [groups[0].id, groups[1].id], "iamInstanceProfile": profiles[1].id},
    )
    for known in (*groups, *profiles, role):
        aws.delete(known)
        assert aws.read(known) is None


def test_what_replaces_an_instance_for_reasons_of_its_own(aws: ProviderCaller, ami: str) -> None:
    shared = {"ami": ami, "instanceType": "t3.micro", "userData": "a"}
    known = aws.create(INSTANCE, shared)

    def replaces(**changed: Any) -> list[str]:
        return list(aws.diff(known, {**shared, **changed}).replaces)

    assert replaces(userData="b") == []
    assert replaces(userData="b", userDataReplaceOnChange=True) == ["userData"]
    assert replaces(instanceType="t4g.micro") == ["instanceType"]
    assert replaces(instanceType="t3.large") == []
    # The real provider finds out only when it modifies the stopped instance.
    assert replaces(instanceType="t9.huge") == []
    aws.delete(known)


def test_a_resize_keeps_everything_but_the_address(aws: ProviderCaller, ami: str) -> None:
    known = aws.create(INSTANCE, {"ami": ami, "instanceType": "t3.micro"})
    preview = aws.update(known, {"ami": ami, "instanceType": "t3.large"}, preview=True)
    assert (preview.outputs["publicIp"], preview.outputs["publicDns"]) == (UNKNOWN, UNKNOWN)
    same = set(known.outputs) - {"publicIp", "publicDns", "instanceType"}
    assert {name: preview.outputs[name] for name in same} == {name: known.outputs[name] for name in same}
    tagged = aws.update(known, {"ami": ami, "instanceType": "t3.micro", "tags": {"a": "b"}}, preview=True)
    assert tagged.outputs["publicIp"] == known.outputs["publicIp"]
    read = aws.read(known)
    assert read is not None and read.outputs["instanceType"] == "t3.micro"
    resized = aws.update(known, {"ami": ami, "instanceType": "t3.large"})
    assert resized.outputs["instanceState"] == "running"
    assert resized.outputs["rootBlockDevice"]["volumeId"] == known.outputs["rootBlockDevice"]["volumeId"]
    aws.delete(resized)


def test_a_failed_modification_leaves_the_instance_stopped(
    aws: ProviderCaller, ec2: Any, ami: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.ec2.exceptions import InvalidInstanceTypeError
    from moto.ec2.models import EC2Backend

    def refuse(_: Any, instance_id: str, key: str, value: Any) -> None:
        raise InvalidInstanceTypeError(value)

    known = aws.create(INSTANCE, {"ami": ami, "instanceType": "t3.micro"})
    with monkeypatch.context() as patch, pytest.raises(grpc.RpcError) as failure:
        patch.setattr(EC2Backend, "modify_instance_attribute", refuse)
        aws.update(known, {"ami": ami, "instanceType": "t9.huge"})
    details = failure.value.details() or ""
    assert f"updating EC2 Instance ({known.id}) type: modifying EC2 Instance ({known.id}) attribute: " in details
    assert "api error" in details
    state = ec2.describe_instances(InstanceIds=[known.id])["Reservations"][0]["Instances"][0]["State"]["Name"]
    assert state == "stopped"
    aws.delete(known)


@pytest.mark.parametrize(
    ("token", "before", "after"),
    [
        pytest.param(ROLE, {"description": "a"}, {"description": "b"}, id="description"),
        pytest.param(ROLE, {"tags": {"a": "1"}}, {"tags": {"b": "1"}}, id="tags"),
        pytest.param(ROLE, {"maxSessionDuration": 7200}, {"maxSessionDuration": 3700}, id="duration"),
    ],
)
def test_roles(aws: ProviderCaller, token: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    shared = {"assumeRolePolicy": json.dumps(POLICY)}
    assert_changes(aws, token, {**shared, **before}, {**shared, **after})


def test_a_policy_that_does_not_parse_is_refused_in_words_of_aws(aws: ProviderCaller) -> None:
    role = aws.create(ROLE, {"assumeRolePolicy": json.dumps(POLICY)})
    with pytest.raises(grpc.RpcError) as failure:
        aws.update(role, {"assumeRolePolicy": "{"})
    details = failure.value.details() or ""
    assert "operation error IAM: UpdateAssumeRolePolicy, https response error StatusCode: 400" in details
    assert "api error MalformedPolicyDocument" in details
    aws.delete(role)


def test_profiles_change_roles(aws: ProviderCaller) -> None:
    roles = [aws.create(ROLE, {"name": name, "assumeRolePolicy": json.dumps(POLICY)}) for name in ("one", "two")]
    assert_changes(aws, PROFILE, {"role": "one"}, {"role": "two"})
    for role in roles:
        aws.delete(role)


def test_storage(aws: ProviderCaller, subnet: Any) -> None:
    file_system = aws.create("aws:efs/fileSystem:FileSystem", {"encrypted": True, "throughputMode": "elastic"})
    assert file_system.outputs["dnsName"] == f"{file_system.id}.efs.us-east-1.amazonaws.com"
    group = aws.create(GROUP, {"vpcId": subnet["VpcId"], "name": "nfs"})
    other = aws.create(GROUP, {"vpcId": subnet["VpcId"], "name": "nfs-2"})
    shared = {"fileSystemId": file_system.id, "subnetId": subnet["SubnetId"]}
    provisioned = {"encrypted": True, "throughputMode": "provisioned", "provisionedThroughputInMibps": 5}
    file_system = aws.update(file_system, provisioned)
    assert (file_system.outputs["throughputMode"], file_system.outputs["provisionedThroughputInMibps"]) == (
        "provisioned",
        5,
    )
    assert_changes(
        aws,
        "aws:efs/mountTarget:MountTarget",
        {**shared, "securityGroups": [group.id]},
        {**shared, "securityGroups": [other.id]},
    )
    backup = {"fileSystemId": file_system.id}
    policy = aws.create("aws:efs/backupPolicy:BackupPolicy", {**backup, "backupPolicy": {"status": "ENABLED"}})
    off = aws.update(policy, {**backup, "backupPolicy": {"status": "DISABLED"}})
    assert off.outputs["backupPolicy"] == {"status": "DISABLED"}
    mount = aws.create("aws:efs/mountTarget:MountTarget", shared)
    with pytest.raises(grpc.RpcError) as failure:
        aws.delete(file_system)
    assert "FileSystemInUse" in (failure.value.details() or "")
    for known in (mount, policy, group, other, file_system):
        aws.delete(known)
    assert aws.read(file_system) is None


def test_addresses_and_volumes_follow_an_instance(aws: ProviderCaller, ami: str) -> None:
    instance = aws.create(INSTANCE, {"ami": ami, "instanceType": "t3.micro"})
    address = aws.create("aws:ec2/eip:Eip", {"domain": "vpc", "instance": instance.id})
    assert address.outputs["instance"] == instance.id
    free = aws.update(address, {"domain": "vpc", "instance": ""})
    assert free.outputs["associationId"] == ""
    association = aws.create(
        "aws:ec2/eipAssociation:EipAssociation", {"allocationId": address.id, "instanceId": instance.id}
    )
    assert association.outputs["publicIp"] == address.outputs["publicIp"]
    zone = instance.outputs["availabilityZone"]
    volume = aws.create("aws:ebs/volume:Volume", {"availabilityZone": zone, "size": 1, "type": "gp3"})
    attachment = aws.create(
        "aws:ec2/volumeAttachment:VolumeAttachment",
        {"deviceName": "/dev/sdf", "instanceId": instance.id, "volumeId": volume.id},
    )
    assert aws.read(attachment) is not None
    for known in (attachment, association, address, volume, instance):
        aws.delete(known)
        assert aws.read(known) is None


def test_engines_at_the_same_time_keep_their_own_regions(server: ProviderServer) -> None:
    east, west = ProviderCaller(server.port), ProviderCaller(server.port, {"region": "us-west-2"})
    address = "aws:ec2/eip:Eip"
    assert east.check(address, {})["region"] == "us-east-1"
    assert west.check(address, {})["region"] == "us-west-2"
    assert east.check(address, {})["region"] == "us-east-1"
    known = west.create(address, {"domain": "vpc"})
    assert ":us-west-2:" in known.outputs["arn"]
    assert west.read(known) is not None
    west.delete(known)
    east.close()
    west.close()


@pytest.mark.parametrize("allowed", ['["123456789012"]', ["1" * 12, "123456789012"], []])
def test_an_allowed_account_is_served(server: ProviderServer, allowed: Any) -> None:
    caller = ProviderCaller(server.port, {"allowedAccountIds": allowed})
    assert caller.check("aws:ec2/eip:Eip", {})["region"] == "us-east-1"
    caller.close()


@pytest.mark.parametrize("allowed", ['["999988887777"]', ["999988887777"]])
def test_an_account_that_is_not_allowed_is_refused(server: ProviderServer, allowed: Any) -> None:
    with pytest.raises(grpc.RpcError, match="AWS account ID not allowed: 123456789012"):
        ProviderCaller(server.port, {"allowedAccountIds": allowed})


def test_types_and_functions_it_does_not_know_are_named(aws: ProviderCaller) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        aws.check("aws:s3/bucket:Bucket", {})
    assert "aws:s3/bucket:Bucket" in (failure.value.details() or "")
