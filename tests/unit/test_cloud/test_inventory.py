"""What AWS has of a deployment, by id, name and tag: only what carries the stack's own id is its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from geusemaker.cloud.aws import AwsCloud
from geusemaker.cloud.inventory import KNOWN_BY_ID
from geusemaker.models import resource_types as types
from geusemaker.models.ownership import Sought, is_own, new_stack_id, own_tags
from tests.unit.test_cloud.test_aws import client, cloud

__all__ = ["cloud"]

OWN = own_tags("prod", "a1")
ANOTHERS = own_tags("prod", "b2")
OF_BEFORE = own_tags("prod", "")


def tag_list(tags: dict[str, str]) -> list[Any]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def make(resource_type: str, tags: dict[str, str], name: str) -> str:
    """Make one, as a killed engine had asked for it; its id as Pulumi has it."""
    ec2, listed = client("ec2"), tag_list(tags)

    def tagged(kind: str) -> list[dict[str, Any]]:
        return [{"ResourceType": kind, "Tags": listed}]

    if resource_type == types.SECURITY_GROUP:
        made = ec2.create_security_group(GroupName=name, Description="d", TagSpecifications=tagged("security-group"))
        return str(made["GroupId"])
    if resource_type == types.KEY_PAIR:
        return str(ec2.create_key_pair(KeyName=name, TagSpecifications=tagged("key-pair"))["KeyName"])
    if resource_type == types.ADDRESS:
        return str(ec2.allocate_address(Domain="vpc", TagSpecifications=tagged("elastic-ip"))["AllocationId"])
    if resource_type == types.DATA_VOLUME:
        volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=5, TagSpecifications=tagged("volume"))
        return str(volume["VolumeId"])
    if resource_type == types.INSTANCE:
        ami = ec2.describe_images()["Images"][0]["ImageId"]
        run = ec2.run_instances(
            ImageId=ami, InstanceType="t3.large", MinCount=1, MaxCount=1, TagSpecifications=tagged("instance")
        )
        return str(run["Instances"][0]["InstanceId"])
    if resource_type == types.FILE_SYSTEM:
        return str(client("efs").create_file_system(CreationToken=name, Tags=listed)["FileSystemId"])
    iam = boto3.client("iam")
    if resource_type == types.ROLE:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({}), Tags=listed)
    else:
        iam.create_instance_profile(InstanceProfileName=name, Tags=listed)
    return name


def remove(resource_type: str, resource_id: str) -> None:
    ec2, iam = client("ec2"), boto3.client("iam")
    removals: dict[str, Callable[[], Any]] = {
        types.SECURITY_GROUP: lambda: ec2.delete_security_group(GroupId=resource_id),
        types.KEY_PAIR: lambda: ec2.delete_key_pair(KeyName=resource_id),
        types.ADDRESS: lambda: ec2.release_address(AllocationId=resource_id),
        types.DATA_VOLUME: lambda: ec2.delete_volume(VolumeId=resource_id),
        types.INSTANCE: lambda: ec2.terminate_instances(InstanceIds=[resource_id]),
        types.FILE_SYSTEM: lambda: client("efs").delete_file_system(FileSystemId=resource_id),
        types.ROLE: lambda: iam.delete_role(RoleName=resource_id),
        types.PROFILE: lambda: iam.delete_instance_profile(InstanceProfileName=resource_id),
    }
    removals[resource_type]()


NAMED = {
    types.SECURITY_GROUP: "name",
    types.KEY_PAIR: "keyName",
    types.ROLE: "name",
    types.PROFILE: "name",
    types.FILE_SYSTEM: "creationToken",
}
MADE = [*NAMED, types.ADDRESS, types.DATA_VOLUME, types.INSTANCE]


def sought(resource_type: str, tags: dict[str, str], name: str) -> Sought:
    names = {NAMED[resource_type]: name} if resource_type in NAMED else {}
    return Sought(type=resource_type, tags=tags, names=names)


@pytest.mark.parametrize("resource_type", MADE)
def test_only_what_carries_the_stacks_own_id_is_taken_up(cloud: AwsCloud, resource_type: str) -> None:
    theirs = make(resource_type, ANOTHERS, "storage-0000001")
    assert cloud.find_created(sought(resource_type, OWN, "storage-0000001")) is None, "it is another stack's"
    assert cloud.find_created(sought(resource_type, OF_BEFORE, "storage-0000001")) is None
    own = make(resource_type, OWN, "storage-0000002")
    assert cloud.find_created(sought(resource_type, OWN, "storage-0000002")) == own
    assert cloud.find_created(sought(resource_type, ANOTHERS, "storage-0000001")) == theirs
    former = make(resource_type, OF_BEFORE, "storage-0000003")
    assert cloud.find_created(sought(resource_type, OF_BEFORE, "storage-0000003")) == former


@pytest.mark.parametrize("resource_type", NAMED)
def test_what_has_a_name_is_found_by_that_name_alone(cloud: AwsCloud, resource_type: str) -> None:
    make(resource_type, OWN, "storage-0000001")
    assert cloud.find_created(sought(resource_type, OWN, "storage-0000002")) is None, "there was no such intent"


@pytest.mark.parametrize("resource_type", MADE)
def test_what_is_gone_is_told_by_its_id(cloud: AwsCloud, resource_type: str) -> None:
    assert resource_type in KNOWN_BY_ID
    made = make(resource_type, OWN, "storage-0000001")
    assert cloud.find_state(resource_type, made)
    remove(resource_type, made)
    assert cloud.find_state(resource_type, made) is None


def test_a_mount_target_is_that_of_the_file_system_in_the_subnet(cloud: AwsCloud) -> None:
    efs = client("efs")
    file_system = make(types.FILE_SYSTEM, OWN, "data-0000001")
    subnet = cloud.find_subnet(None, None)
    assert subnet is not None
    names = {"fileSystemId": file_system, "subnetId": subnet["SubnetId"]}
    wanted = Sought(type=types.MOUNT_TARGET, tags=OWN, names=names)
    assert cloud.find_created(wanted) is None
    made = efs.create_mount_target(FileSystemId=file_system, SubnetId=subnet["SubnetId"])["MountTargetId"]
    assert cloud.find_created(wanted) == made
    assert cloud.find_created(wanted.model_copy(update={"names": {**names, "subnetId": "subnet-2"}})) is None
    lost = Sought(type=types.MOUNT_TARGET, tags=OWN)
    assert cloud.find_created(lost) == made, "one that the state has lost is found by its file system's tags"
    assert cloud.find_created(Sought(type=types.MOUNT_TARGET, tags=ANOTHERS)) is None
    assert cloud.find_state(types.MOUNT_TARGET, made) == "available"
    efs.delete_mount_target(MountTargetId=made)
    assert cloud.find_state(types.MOUNT_TARGET, made) is None


def test_a_backup_policy_goes_by_its_file_system(cloud: AwsCloud) -> None:
    file_system = make(types.FILE_SYSTEM, OWN, "data-0000001")
    assert cloud.find_created(Sought(type=types.BACKUP_POLICY, tags=OWN)) == file_system
    assert cloud.find_created(Sought(type=types.BACKUP_POLICY, tags=ANOTHERS)) is None


def test_ties_are_made_once_more_and_not_looked_for(cloud: AwsCloud) -> None:
    for tie in (types.ATTACHMENT, "aws:ec2/eipAssociation:EipAssociation", "aws:iam/rolePolicyAttachment:R"):
        assert cloud.find_created(Sought(type=tie, tags=OWN)) is None


def test_everything_under_the_name_is_listed_whosever_it_is(cloud: AwsCloud) -> None:
    listed = [kind for kind in MADE if kind not in (types.ROLE, types.PROFILE)]
    made = {make(kind, tags, f"{number}") for kind in listed for number, tags in enumerate((OWN, ANOTHERS, OF_BEFORE))}
    make(types.ADDRESS, own_tags("other", "a1"), "")
    found = cloud.find_tagged("prod")
    assert {one.id for one in found} == made
    assert sum(is_own(one.tags, OWN) for one in found) == len(listed)
    gone = next(one for one in found if one.type == types.INSTANCE)
    assert str(gone) == f"Instance {gone.id} (running)"
    remove(types.INSTANCE, gone.id)
    assert gone.id not in {one.id for one in cloud.find_tagged("prod")}


def test_of_data_of_one_name_the_stacks_own_is_found_and_then_that_of_before(cloud: AwsCloud) -> None:
    for kind, find in ((types.FILE_SYSTEM, cloud.find_file_system), (types.DATA_VOLUME, cloud.find_data_volume)):
        theirs = make(kind, ANOTHERS, "t")
        assert find("prod", "a1") is None, "another workspace's kept data is none of ours"
        assert getattr(find("prod"), "id", None) == theirs, "asked by name alone"
        former = make(kind, OF_BEFORE, "f")
        assert getattr(find("prod", "a1"), "id", None) == former
        own = make(kind, OWN, "o")
        assert getattr(find("prod", "a1"), "id", None) == own


def test_ids_are_new_each_time() -> None:
    assert len({new_stack_id() for _ in range(100)}) == 100


def test_a_pending_creation_says_its_own_tags_and_names() -> None:
    inputs = {"name": "storage-1", "tags": {**OWN, "Name": "x"}, "ingress": [{"a": 1}], "userData": "secret"}
    found = Sought.of_pending({"type": types.SECURITY_GROUP, "inputs": inputs}, "prod")
    assert found.names == {"name": "storage-1"} and is_own(OWN, found.tags) and not is_own(OF_BEFORE, found.tags)
    assert is_own(OF_BEFORE, Sought.of_pending({"type": types.ADDRESS}, "prod").tags)
