"""What the AWS stand-in says and leaves when AWS refuses, or when somebody else was at it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from geusemaker.local_cloud.providers.aws import security_groups
from tests.local_cloud.provider_caller import Known, ProviderCaller

INSTANCE = "aws:ec2/instance:Instance"
GROUP = "aws:ec2/securityGroup:SecurityGroup"
FILE_SYSTEM = "aws:efs/fileSystem:FileSystem"
MOUNT_TARGET = "aws:efs/mountTarget:MountTarget"
ROLE = "aws:iam/role:Role"
PROFILE = "aws:iam/instanceProfile:InstanceProfile"
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
KEY_PAIR = "aws:ec2/keyPair:KeyPair"
SUBNET = "aws:ec2/getSubnet:getSubnet"
SSM_CORE = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)
EVERYTHING = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0ajZNs4UvHQiMTyuqj7zVjbJWzP1pxF2rjj1Wd9v9Q test"


def refusal(action: Callable[[], Any]) -> str:
    """The text of the error that an action ends with."""
    with pytest.raises(grpc.RpcError) as failure:
        action()
    return failure.value.details() or ""


def test_a_subnet_is_found_by_its_id(aws: ProviderCaller, subnet: Any) -> None:
    found = aws.invoke(SUBNET, id=subnet["SubnetId"])
    assert (found["id"], found["vpcId"], found["availabilityZone"]) == (
        subnet["SubnetId"],
        subnet["VpcId"],
        subnet["AvailabilityZone"],
    )


def test_a_subnet_that_is_not_there(aws: ProviderCaller) -> None:
    text = refusal(lambda: aws.invoke(SUBNET, id="subnet-0"))
    assert "reading EC2 Subnet: no matching EC2 Subnet found" in text


def test_what_a_look_up_cannot_do_is_said(aws: ProviderCaller) -> None:
    assert "by its id alone, not by vpcId" in refusal(lambda: aws.invoke(SUBNET, vpcId="vpc-0"))
    assert "by its id alone, not by nothing" in refusal(lambda: aws.invoke(SUBNET))
    assert "aws:ec2/getVpc:getVpc" in refusal(lambda: aws.invoke("aws:ec2/getVpc:getVpc", default=True))


def test_an_address_needs_something_to_be_associated_with(aws: ProviderCaller) -> None:
    with pytest.raises(AssertionError, match="One of instanceId, networkInterfaceId must be specified"):
        aws.check("aws:ec2/eipAssociation:EipAssociation", {"allocationId": "eipalloc-1"})


def test_an_attached_policy_comes_and_goes_also_by_hand(aws: ProviderCaller, client: Callable[[str], Any]) -> None:
    role = aws.create(ROLE, {"assumeRolePolicy": TRUST})
    attachment = aws.create(ATTACHMENT, {"role": role.id, "policyArn": SSM_CORE})
    assert attachment.id == f"{role.id}/{SSM_CORE}"
    assert "DeleteConflict" in refusal(lambda: aws.delete(role)), "AWS keeps a role that has policies"

    client("iam").detach_role_policy(RoleName=role.id, PolicyArn=SSM_CORE)
    assert aws.read(attachment) is None
    aws.delete(attachment)

    aws.delete(role)
    assert aws.read(role) is None
    assert aws.read(attachment) is None, "its role is gone too"
    aws.delete(role)


def test_a_role_takes_its_policies_with_it_when_told_so(aws: ProviderCaller, client: Callable[[str], Any]) -> None:
    role = aws.create(ROLE, {"assumeRolePolicy": TRUST, "forceDetachPolicies": True})
    client("iam").attach_role_policy(RoleName=role.id, PolicyArn=SSM_CORE)
    client("iam").put_role_policy(RoleName=role.id, PolicyName="by-hand", PolicyDocument=EVERYTHING)
    aws.delete(role)
    assert aws.read(role) is None


def test_a_permissions_boundary_is_put_and_taken_away(aws: ProviderCaller, client: Callable[[str], Any]) -> None:
    policy = client("iam").create_policy(PolicyName="boundary", PolicyDocument=EVERYTHING)["Policy"]["Arn"]

    def boundary(known: Known) -> Any:
        return client("iam").get_role(RoleName=known.id)["Role"].get("PermissionsBoundary")

    role = aws.create(ROLE, {"assumeRolePolicy": TRUST})
    role = aws.update(role, {"assumeRolePolicy": TRUST, "permissionsBoundary": policy})
    assert boundary(role)["PermissionsBoundaryArn"] == policy
    role = aws.update(role, {"assumeRolePolicy": TRUST})
    assert not boundary(role)
    aws.delete(role)


def test_a_profile_whose_role_is_not_there_exists_all_the_same(aws: ProviderCaller) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        aws.create(PROFILE, {"name": "half", "role": "nobody"})
    assert "adding IAM Role (nobody) to IAM Instance Profile (half)" in (failure.value.details() or "")
    raised: Any = failure.value
    details = dict(raised.trailing_metadata())["grpc-status-details-bin"]
    assert b"half" in details, "the engine is told its id, and updates it next time"
    half = aws.import_(PROFILE, "half")
    assert half is not None and not half.inputs.get("role")
    role = aws.create(ROLE, {"assumeRolePolicy": TRUST})
    whole = aws.update(half, {"name": "half", "role": role.id, "tags": {"a": "b"}})
    assert (whole.outputs["role"], whole.outputs["tags"]) == (role.id, {"a": "b"})
    assert aws.update(whole, {"name": "half", "role": role.id}).outputs["tags"] == {}
    aws.delete(whole)
    aws.delete(role)


def test_a_group_in_use_is_deleted_once_it_is_free_and_its_error_told_when_it_never_is(
    aws: ProviderCaller, subnet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moto.ec2.exceptions import DependencyViolationError
    from moto.ec2.models import EC2Backend

    group = aws.create(GROUP, {"vpcId": subnet["VpcId"], "name": "in-use"})
    delete, asked = EC2Backend.delete_security_group, []

    def refuse(self: Any, *arguments: Any, **more: Any) -> None:
        asked.append(more)
        if len(asked) <= 2:
            raise DependencyViolationError(f"resource {group.id} has a dependent object")
        delete(self, *arguments, **more)

    monkeypatch.setattr(EC2Backend, "delete_security_group", refuse)
    with monkeypatch.context() as patch:
        patch.setattr(security_groups, "_DELETE_TIMEOUT", 0.0)
        text = refusal(lambda: aws.delete(group))
    assert f"deleting Security Group ({group.id})" in text and "DependencyViolation" in text
    assert aws.read(group) is not None
    aws.delete(group)
    assert len(asked) == 3
    assert aws.read(group) is None


def test_a_group_that_somebody_deleted_is_gone_and_cannot_be_changed(
    aws: ProviderCaller, client: Callable[[str], Any], subnet: Any
) -> None:
    inputs = {"vpcId": subnet["VpcId"], "name": "gone"}
    group = aws.create(GROUP, inputs)
    client("ec2").delete_security_group(GroupId=group.id)
    assert aws.read(group) is None
    rule = {"protocol": "tcp", "fromPort": 22, "toPort": 22, "cidrBlocks": ["10.0.0.0/8"]}
    text = refusal(lambda: aws.update(group, {**inputs, "ingress": [rule]}))
    assert f"reading Security Group ({group.id}): couldn't find resource" in text
    aws.delete(group)


def test_rules_of_all_kinds_are_read_back(aws: ProviderCaller, client: Callable[[str], Any], subnet: Any) -> None:
    prefixes = client("ec2").create_managed_prefix_list(
        PrefixListName="offices", AddressFamily="IPv4", MaxEntries=1, Entries=[{"Cidr": "203.0.113.0/24"}]
    )["PrefixList"]["PrefixListId"]
    wanted = {
        "vpcId": subnet["VpcId"],
        "ingress": [
            {"protocol": "tcp", "fromPort": 1, "toPort": 1, "ipv6CidrBlocks": ["2001:db8::/32"]},
            {"protocol": "tcp", "fromPort": 2, "toPort": 2, "prefixListIds": [prefixes]},
            {"protocol": "tcp", "fromPort": 3, "toPort": 3, "self": True, "description": "each other"},
        ],
    }
    group = aws.create(GROUP, wanted)
    read = aws.read(group)
    assert read is not None
    assert not aws.diff(read, wanted).diffs
    aws.delete(group)


def test_what_somebody_released_or_deleted_is_gone(aws: ProviderCaller, client: Callable[[str], Any], ami: str) -> None:
    ec2 = client("ec2")
    instance = aws.create(INSTANCE, {"ami": ami, "instanceType": "t3.micro"})
    address = aws.create("aws:ec2/eip:Eip", {"domain": "vpc"})
    association = aws.create(
        "aws:ec2/eipAssociation:EipAssociation", {"allocationId": address.id, "instanceId": instance.id}
    )
    pair = aws.create(KEY_PAIR, {"publicKey": PUBLIC_KEY, "tags": {"a": "b"}})
    ec2.disassociate_address(AssociationId=association.id)
    ec2.release_address(AllocationId=address.id)
    ec2.delete_key_pair(KeyName=pair.id)
    ec2.terminate_instances(InstanceIds=[instance.id])
    for known in (association, address, pair, instance):
        assert aws.read(known) is None
        aws.delete(known)


def test_key_pairs(aws: ProviderCaller) -> None:
    pair = aws.create(KEY_PAIR, {"publicKey": PUBLIC_KEY, "tags": {"a": "1"}})
    tagged = aws.update(pair, {"publicKey": PUBLIC_KEY, "tags": {"b": "2"}})
    assert tagged.outputs["tags"] == {"b": "2"}
    text = refusal(lambda: aws.create(KEY_PAIR, {"keyName": pair.id, "publicKey": PUBLIC_KEY}))
    assert f"importing EC2 Key Pair ({pair.id})" in text and "InvalidKeyPair.Duplicate" in text
    aws.delete(tagged)
    assert aws.read(tagged) is None


def test_an_image_that_is_not_there(aws: ProviderCaller) -> None:
    wanted = {"ami": "ami-0", "instanceType": "t3.micro"}
    text = refusal(lambda: aws.create(INSTANCE, {**wanted, "rootBlockDevice": {"volumeSize": 30}}))
    assert "creating EC2 Instance" in text and "ami-0" in text


def test_an_instance_in_a_vpc_needs_a_group(aws: ProviderCaller, subnet: Any, ami: str) -> None:
    shared = {"ami": ami, "instanceType": "t3.micro", "subnetId": subnet["SubnetId"]}
    group = aws.create(GROUP, {"vpcId": subnet["VpcId"], "name": "only"})
    instance = aws.create(INSTANCE, {**shared, "vpcSecurityGroupIds": [group.id]})
    text = refusal(lambda: aws.update(instance, {**shared, "vpcSecurityGroupIds": []}))
    assert "VPC-based instances require at least one security group to be attached." in text
    aws.delete(instance)
    aws.delete(group)


def test_settings_of_an_instance_are_changed_in_place(
    aws: ProviderCaller, client: Callable[[str], Any], ami: str
) -> None:
    shared = {"ami": ami, "instanceType": "t3.micro"}
    instance = aws.create(INSTANCE, {**shared, "monitoring": True, "volumeTags": {"a": "b"}})

    def attribute(name: str) -> Any:
        return client("ec2").describe_instance_attribute(InstanceId=instance.id, Attribute=name)

    changed = aws.update(instance, {**shared, "disableApiTermination": True})
    assert attribute("disableApiTermination")["DisableApiTermination"]["Value"] is True
    assert "OperationNotPermitted" in refusal(lambda: aws.delete(changed))
    free = aws.update(changed, {**shared, "disableApiTermination": False})
    aws.delete(free)
    assert aws.read(free) is None


def test_volumes_grow_and_wait_for_nothing_that_is_gone(aws: ProviderCaller, client: Callable[[str], Any]) -> None:
    wanted = {"availabilityZone": "us-east-1a", "size": 10, "type": "gp3", "tags": {"a": "1"}}
    volume = aws.create("aws:ebs/volume:Volume", wanted)
    grown = aws.update(volume, {**wanted, "size": 20, "tags": {"b": "2"}})
    assert (grown.outputs["size"], grown.outputs["tags"]) == (20, {"b": "2"})
    attachment = {"deviceName": "/dev/sdf", "instanceId": "i-0", "volumeId": volume.id}
    text = refusal(lambda: aws.create("aws:ec2/volumeAttachment:VolumeAttachment", attachment))
    assert f"attaching EBS Volume ({volume.id}) to EC2 Instance (i-0)" in text
    client("ec2").delete_volume(VolumeId=volume.id)
    assert aws.read(volume) is None
    aws.delete(volume)


def test_an_attachment_can_be_left_when_it_is_destroyed(
    aws: ProviderCaller, client: Callable[[str], Any], ami: str
) -> None:
    instance = aws.create(INSTANCE, {"ami": ami, "instanceType": "t3.micro"})
    zone = instance.outputs["availabilityZone"]
    volume = aws.create("aws:ebs/volume:Volume", {"availabilityZone": zone, "size": 1})
    inputs = {"deviceName": "/dev/sdf", "instanceId": instance.id, "volumeId": volume.id}
    attachment = aws.create("aws:ec2/volumeAttachment:VolumeAttachment", inputs)
    kept = aws.update(attachment, {**inputs, "skipDestroy": True})
    aws.delete(kept)
    assert aws.read(kept) is not None
    aws.delete(attachment)
    assert aws.read(attachment) is None
    aws.delete(volume)
    aws.delete(instance)


def test_a_second_mount_target_in_a_zone_is_refused(aws: ProviderCaller, subnet: Any) -> None:
    system = aws.create(FILE_SYSTEM, {"encrypted": True, "lifecyclePolicies": [{"transitionToIa": "AFTER_30_DAYS"}]})
    target = aws.create(MOUNT_TARGET, {"fileSystemId": system.id, "subnetId": subnet["SubnetId"]})
    text = refusal(lambda: aws.create(MOUNT_TARGET, {"fileSystemId": system.id, "subnetId": subnet["SubnetId"]}))
    assert "creating EFS mount target" in text and "MountTargetConflict" in text
    tagged = aws.update(system, {"encrypted": True, "tags": {"a": "1"}})
    assert aws.update(tagged, {"encrypted": True}).outputs["tags"] == {}
    aws.delete(target)
    aws.delete(system)
    for known in (target, system):
        assert aws.read(known) is None
        aws.delete(known)
