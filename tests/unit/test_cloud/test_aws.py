"""Questions to AWS, answered by moto in this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from geusemaker.cloud.aws import AwsCloud
from geusemaker.errors import EnvironmentProblemError
from geusemaker.models.identity import Caller
from geusemaker.models.result import DataVolumeState

TAGS = [{"Key": "geusemaker:deployment", "Value": "prod"}]


@pytest.fixture
def cloud() -> Iterator[AwsCloud]:
    """An account with a default VPC and nothing in it."""
    with mock_aws():
        yield AwsCloud("us-east-1", {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})


def client(service: Any) -> Any:
    """AWS itself, to put things there."""
    return boto3.client(service, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")


def test_the_account(cloud: AwsCloud) -> None:
    assert cloud.identity() == Caller(account_id="123456789012", partition="aws")


def test_subnets(cloud: AwsCloud) -> None:
    default = cloud.find_subnet(None, None)
    assert default is not None and default["AvailabilityZone"] == "us-east-1a"
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    assert cloud.find_subnet(vpc, None) is None
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24", AvailabilityZone="us-east-1b")["Subnet"]["SubnetId"]
    for found in (cloud.find_subnet(vpc, None), cloud.find_subnet(None, subnet), cloud.find_subnet(vpc, subnet)):
        assert found is not None and found["SubnetId"] == subnet
    assert cloud.find_subnet(None, "subnet-none") is None


def test_instance_types(cloud: AwsCloud) -> None:
    large, arm, gpu = (cloud.find_instance_type(name) for name in ("t3.large", "t4g.large", "g5.xlarge"))
    assert large is not None and (large.memory_mib, large.gpus, large.architecture) == (8192, 0, "amd64")
    assert arm is not None and arm.architecture == "arm64"
    assert gpu is not None and gpu.gpus == 1
    assert cloud.find_instance_type("t9.huge") is None
    assert cloud.is_offered("t3.large", "us-east-1a") and not cloud.is_offered("t9.huge", "us-east-1a")


def test_two_looks_can_be_compared(cloud: AwsCloud) -> None:
    assert cloud.observe("prod") == {}
    ec2 = client("ec2")
    group = ec2.create_security_group(
        GroupName="g", Description="d", TagSpecifications=[{"ResourceType": "security-group", "Tags": TAGS}]
    )["GroupId"]
    ami = ec2.describe_images(Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"][0]["ImageId"]
    [instance] = ec2.run_instances(
        ImageId=ami,
        InstanceType="t3.large",
        MinCount=1,
        MaxCount=1,
        SecurityGroupIds=[group],
        TagSpecifications=[{"ResourceType": "instance", "Tags": TAGS}],
    )["Instances"]
    before = cloud.observe("prod")
    assert before == {
        f"instance {instance['InstanceId']}": f"t3.large of {ami} in {group}",
        f"security group {group}": "out -1 any 0.0.0.0/0",
    }
    ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]},
            {"IpProtocol": "tcp", "FromPort": 2049, "ToPort": 2049, "UserIdGroupPairs": [{"GroupId": group}]},
        ],
    )
    file_system = client("efs").create_file_system(CreationToken="t", Tags=TAGS)["FileSystemId"]
    after = cloud.observe("prod")
    assert after[f"security group {group}"] == (
        f"in tcp 2049-2049 {group}; in tcp 22-22 10.0.0.0/8; out -1 any 0.0.0.0/0"
    )
    assert after[f"file system {file_system}"] == "mount target missing"
    assert cloud.observe("other") == {}


def test_images(cloud: AwsCloud) -> None:
    assert cloud.find_debian_image("riscv64") is None
    ami = client("ec2").describe_images(Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"][0][
        "ImageId"
    ]
    assert cloud.find_image_architecture(ami) == "amd64"
    assert cloud.find_image_architecture("ami-00000000") is None


def test_the_deployments_instance(cloud: AwsCloud) -> None:
    assert cloud.find_instance("prod") is None
    ec2 = client("ec2")
    ami = ec2.describe_images()["Images"][0]["ImageId"]

    def run() -> str:
        tags = [{"ResourceType": "instance", "Tags": TAGS}]
        reservation = ec2.run_instances(
            ImageId=ami, InstanceType="t3.large", MinCount=1, MaxCount=1, TagSpecifications=tags
        )
        return str(reservation["Instances"][0]["InstanceId"])

    ec2.terminate_instances(InstanceIds=[run()])
    assert cloud.find_instance("prod") is None, "a terminated one is none"
    instance = run()
    found = cloud.find_instance("prod")
    assert found is not None and (found.id, found.type, found.state, found.address) == (
        instance,
        "t3.large",
        "running",
        "",
    )
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": TAGS}])
    found = cloud.find_instance("prod")
    assert found is not None and found.address == "", "it is not associated yet"
    ec2.associate_address(InstanceId=found.id, AllocationId=address["AllocationId"])
    found = cloud.find_instance("prod")
    assert found is not None and found.address == address["PublicIp"]
    assert cloud.find_instance("other") is None

    ec2.stop_instances(InstanceIds=[instance])
    cloud.wait_until_settled(found.model_copy(update={"state": "stopping"}))
    cloud.start_instance(instance)
    cloud.wait_until_settled(found.model_copy(update={"state": "pending"}))
    found = cloud.find_instance("prod")
    assert found is not None and found.state == "running"
    assert found.others == ()
    second = run()
    found = cloud.find_instance("prod")
    assert found is not None and {found.id, *found.others} == {instance, second}


def test_the_deployments_file_system_among_many(cloud: AwsCloud) -> None:
    efs = client("efs")
    for number in range(3):
        efs.create_file_system(CreationToken=f"other-{number}")
    assert cloud.find_file_system("prod") is None
    created = efs.create_file_system(CreationToken="prod", Tags=TAGS)["FileSystemId"]
    found = cloud.find_file_system("prod")
    assert found is not None and (found.id, found.state, found.mounted) == (created, "available", False)
    assert cloud.mount_target_state(created) == "missing"
    subnet = cloud.find_subnet(None, None)
    assert subnet is not None
    efs.create_mount_target(FileSystemId=created, SubnetId=subnet["SubnetId"])
    assert cloud.mount_target_state(created) == "available"
    assert not cloud.is_backed_up(created)
    assert cloud.is_backed_up(efs.create_file_system(CreationToken="kept", Backup=True)["FileSystemId"])


def test_the_deployments_data_volume_among_others(cloud: AwsCloud) -> None:
    ec2 = client("ec2")
    ec2.create_volume(AvailabilityZone="us-east-1a", Size=5)
    assert cloud.find_data_volume("prod") is None
    tagged = [{"ResourceType": "volume", "Tags": TAGS}]
    created = ec2.create_volume(AvailabilityZone="us-east-1b", Size=20, TagSpecifications=tagged)["VolumeId"]
    found = cloud.find_data_volume("prod")
    assert found == DataVolumeState(
        id=created, size_gib=20, state="available", availability_zone="us-east-1b", attached_to=""
    )
    assert cloud.observe("prod") == {f"data volume {created}": "attached to nothing"}


def test_what_aws_refuses(cloud: AwsCloud) -> None:
    with pytest.raises(EnvironmentProblemError, match="AWS refused a question \\(DescribeMountTargets\\)"):
        cloud.mount_target_state("fs-none")


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(EnvironmentProblemError, match="There are no AWS credentials on this machine"):
        AwsCloud("us-east-1", {}).identity()


def test_settings_that_cannot_be_used_are_told_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    AwsCloud("us-east-1", {}).prepare()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(EnvironmentProblemError, match=r"AWS cannot be asked: .*\(nobody\) could not be found"):
        AwsCloud("us-east-1", {}).prepare()
