"""Questions to AWS, answered by moto in this process."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from geusemaker.cloud.aws import AwsCloud
from geusemaker.cloud.network import _family
from geusemaker.errors import EnvironmentProblemError
from geusemaker.models.identity import Caller
from geusemaker.models.inspection import DataVolumeState

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
    arn = "arn:aws:sts::123456789012:user/moto"
    assert cloud.identity() == Caller(account_id="123456789012", partition="aws", arn=arn)


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
    assert gpu is not None and (gpu.gpus, gpu.gpu_memory_mib) == (1, 22888)
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
    image = cloud.find_machine_image(ami)
    assert image is not None and (image.id, image.architecture) == (ami, "amd64") and image.name and image.owner
    assert image.least_gib > 0
    assert cloud.find_machine_image("ami-00000000") is None


def test_the_image_that_drives_gpus(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cloud.find_gpu_image("arm64") is None, "neither moto nor the local cloud has such a parameter"
    asked: list[str] = []

    def get_parameter(self: Any, name: str) -> Any:
        asked.append(name)
        return SimpleNamespace(response_object=lambda *_: {"Name": name, "Value": "ami-gpu", "Type": "String"})

    monkeypatch.setattr("moto.ssm.models.SimpleSystemManagerBackend.get_parameter", get_parameter)
    assert cloud.find_gpu_image("arm64") == "ami-gpu"
    assert asked == ["/aws/service/deeplearning/ami/arm64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"]


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

    assert cloud.find_gone_instance("prod") is None
    gone = run()
    ec2.terminate_instances(InstanceIds=[gone])
    assert cloud.find_instance("prod") is None, "a terminated one is none"
    last = cloud.find_gone_instance("prod")
    assert last is not None
    assert (last.id, last.state, last.reason) == (gone, "terminated", "Client.UserInitiatedShutdown")
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
    stopped = cloud.find_instance("prod")
    assert stopped is not None and stopped.reason == "Client.UserInitiatedShutdown"
    cloud.start_instance(instance)
    cloud.wait_until_settled(found.model_copy(update={"state": "pending"}))
    found = cloud.find_instance("prod")
    assert found is not None and (found.state, found.reason) == ("running", "")
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
    with pytest.raises(EnvironmentProblemError, match="no AWS profile of this name"):
        AwsCloud("us-east-1", {}).prepare()


def test_the_rules_of_groups_whoever_made_them(cloud: AwsCloud) -> None:
    ec2 = client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    one, other = (
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"] for name in ("one", "other")
    )
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}
    nfs = {"IpProtocol": "tcp", "FromPort": 2049, "ToPort": 2049, "UserIdGroupPairs": [{"GroupId": one}]}
    ec2.authorize_security_group_ingress(GroupId=one, IpPermissions=[ssh])
    ec2.authorize_security_group_ingress(GroupId=other, IpPermissions=[nfs])
    found = cloud.find_rules([one, other])
    told = {
        (rule.group_id, rule.outward, rule.protocol, rule.from_port, rule.cidr or rule.peer_group) for rule in found
    }
    assert told == {
        (one, False, "tcp", 22, "203.0.113.7/32"),
        (one, True, "-1", -1, "0.0.0.0/0"),
        (other, False, "tcp", 2049, one),
        (other, True, "-1", -1, "0.0.0.0/0"),
    }
    assert all(rule.id.startswith("sgr-") for rule in found) and cloud.find_rules([other]) != found


def test_the_local_clouds_address_of_this_machine_is_loopback() -> None:
    assert AwsCloud("us-east-1", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}).own_address() == "127.0.0.1"


def test_the_network_around_a_subnet(cloud: AwsCloud) -> None:
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    ids = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.9.{number}.0/24", AvailabilityZone=f"us-east-1{zone}")["Subnet"]
        for number, zone in ((1, "b"), (2, "a"))
    ]
    inner, outer = (one["SubnetId"] for one in ids)
    assert [(one.zone, one.way_out) for one in cloud.find_subnets(vpc, None)] == [
        ("us-east-1a", "none"),
        ("us-east-1b", "none"),
    ]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    main = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"][0]["RouteTableId"]
    ec2.create_route(RouteTableId=main, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=inner)
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=outer, AllocationId=address)["NatGateway"]["NatGatewayId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=nat)
    found = {one.id: one for one in cloud.find_subnets(vpc, None)}
    assert (found[outer].way_out, found[outer].by) == ("internet", gateway)
    assert (found[inner].way_out, found[inner].by, found[inner].cidr) == ("nat", nat, "10.9.1.0/24")
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    facts = cloud.find_network(inner)
    assert facts is not None and (facts.subnet, facts.resolves_efs) == (found[inner], True)
    assert {(one.number, one.outward, one.allows) for one in facts.acl} == {
        (100, True, True),
        (100, False, True),
        (32767, True, False),
        (32767, False, False),
    }
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": False})
    facts = cloud.find_network(outer)
    assert facts is not None and (facts.dns_support, facts.dns_hostnames) == (True, False)
    assert cloud.find_network("subnet-none") is None
    assert "us-east-1a" in cloud.zones_offering("t3.large") and not cloud.zones_offering("t9.huge")


def test_quotas_are_told_or_unknown(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    quotas = {"L-0263D0A3": 5, "L-1216C47A": 8, "L-34B43A08": 5}
    monkeypatch.setattr(AwsCloud, "_find_quota", lambda self, code: quotas.get(code))
    ec2 = client("ec2")
    for tags in (TAGS, []):
        specification = [{"ResourceType": kind, "Tags": tags} for kind in ("instance", "elastic-ip")]
        ec2.run_instances(
            ImageId="ami-12c6146b",
            MinCount=1,
            MaxCount=1,
            InstanceType="m5.xlarge",
            TagSpecifications=specification[:1] if tags else [],
        )
        ec2.allocate_address(Domain="vpc", TagSpecifications=specification[1:] if tags else [])
    assert cloud.find_address_quota("prod") == (5, 1), "its own does not count"
    assert cloud.find_vcpu_quota("t3.large", "prod") == ("Standard (A, C, D, H, I, M, R, T, Z)", 8, 4, 2)
    assert cloud.find_vcpu_quota("g5.xlarge", "prod") is None
    spot = cloud.find_vcpu_quota("t3.large", "prod", spot=True)
    assert spot == ("Standard (A, C, D, H, I, M, R, T, Z), spot instances", 5, 0, 2), "on demand does not count"
    assert cloud.find_vcpu_quota("g5.xlarge", "prod", spot=True) is None
    assert cloud.find_vcpu_quota("hpc7a.12xlarge", "prod", spot=True) is None, "of that one the quota is not known"


def test_the_newest_spot_price_is_the_present_one(cloud: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [
        {"SpotPrice": "0.030000", "Timestamp": datetime(2026, 11, 29, tzinfo=UTC)},
        {"SpotPrice": "0.025100", "Timestamp": datetime(2026, 11, 30, tzinfo=UTC)},
    ]
    asked: list[dict[str, Any]] = []

    class Ec2:
        def describe_spot_price_history(self, **given: Any) -> dict[str, Any]:
            asked.append(given)
            return {"SpotPriceHistory": told}

    monkeypatch.setattr(AwsCloud, "_ask", lambda self, service, question: question(Ec2()))
    assert cloud.find_spot_price("t3.large", "us-east-1a") == 0.0251
    assert asked[0]["ProductDescriptions"] == ["Linux/UNIX"] and asked[0]["AvailabilityZone"] == "us-east-1a"
    told.clear()
    assert cloud.find_spot_price("t3.large", "us-east-1a") is None


@pytest.mark.parametrize(
    ("type", "quota"),
    [
        *(("is4gen.large", "L-1216C47A"), ("i3.large", "L-1216C47A"), ("inf2.xlarge", "L-1945791B")),
        *(("g6.xlarge", "L-DB2E81BA"), ("gr6.4xlarge", "L-DB2E81BA"), ("p5.48xlarge", "L-417A185B")),
        *(("u-6tb1.metal", "L-43DA4232"), ("u7i-12tb.224xlarge", "L-43DA4232"), ("x2idn.16xlarge", "L-7295265B")),
        *(("hpc7a.12xlarge", "L-F7808C92"), ("mac1.metal", None)),
    ],
)
def test_the_quota_that_a_type_counts_for(type: str, quota: str | None) -> None:
    found = _family(type)
    assert (found[0] if found is not None else None) == quota


def test_an_instance_that_is_reached_at_its_own_address(cloud: AwsCloud) -> None:
    tags = [*TAGS, {"Key": "geusemaker:address", "Value": "private"}]
    made = client("ec2").run_instances(
        ImageId="ami-12c6146b",
        MinCount=1,
        MaxCount=1,
        InstanceType="t3.large",
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )["Instances"][0]
    found = cloud.find_instance("prod")
    assert found is not None and found.address == made["PrivateIpAddress"]
