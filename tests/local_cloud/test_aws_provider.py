"""The AWS stand-in under the real engine, with moto behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pulumi
import pulumi_aws as aws
import pytest

from geusemaker.local_cloud.providers import ProviderServer, serve_aws
from geusemaker.models.result import EngineInfo
from tests.local_cloud.engine_stack import EngineStack

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0ajZNs4UvHQiMTyuqj7zVjbJWzP1pxF2rjj1Wd9v9Q test"


@pytest.fixture(scope="module")
def provider(moto_endpoint: str) -> Iterator[ProviderServer]:
    server = serve_aws(moto_endpoint)
    yield server
    server.close()


@pytest.fixture
def stack(tmp_path: Path, pulumi_command: EngineInfo, provider: ProviderServer) -> EngineStack:
    return EngineStack(tmp_path, pulumi_command, {"aws": provider.port})


@pytest.fixture(scope="module")
def ec2(moto_endpoint: str) -> Any:
    return client(moto_endpoint, "ec2")


def client(endpoint: str, service: str) -> Any:
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


@pytest.fixture(scope="module")
def subnet_id(ec2: Any) -> str:
    subnets = ec2.describe_subnets()["Subnets"]
    return str(min(item["SubnetId"] for item in subnets if item["AvailabilityZone"] == "us-east-1a"))


@pytest.fixture(scope="module")
def ami(ec2: Any) -> str:
    images = ec2.describe_images(Filters=[{"Name": "architecture", "Values": ["x86_64"]}])["Images"]
    return str(min(image["ImageId"] for image in images if image.get("RootDeviceName")))


def deployment(subnet_id: str, ami: str, instance_type: str = "t3.medium", **instance: Any) -> Callable[[], None]:
    """A program like geusemaker's own."""

    def program() -> None:
        tags = {"Name": "test", "geusemaker:deployment": "test"}
        subnet = aws.ec2.get_subnet(id=subnet_id)
        group = aws.ec2.SecurityGroup(
            "group",
            vpc_id=subnet.vpc_id,
            description="SSH",
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(protocol="tcp", from_port=22, to_port=22, cidr_blocks=["10.0.0.0/8"])
            ],
            egress=[aws.ec2.SecurityGroupEgressArgs(protocol="-1", from_port=0, to_port=0, cidr_blocks=["0.0.0.0/0"])],
            tags=tags,
        )
        storage = aws.ec2.SecurityGroup(
            "storage",
            vpc_id=subnet.vpc_id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(
                    protocol="tcp", from_port=2049, to_port=2049, security_groups=[group.id]
                )
            ],
        )
        data = aws.efs.FileSystem("data", encrypted=True, throughput_mode="elastic", tags=tags)
        aws.efs.MountTarget("mount", file_system_id=data.id, subnet_id=subnet_id, security_groups=[storage.id])
        role = aws.iam.Role(
            "role",
            assume_role_policy=json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [
                        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
                    ],
                }
            ),
            tags=tags,
        )
        aws.iam.RolePolicy(
            "inline",
            role=role.name,
            policy=json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}],
                }
            ),
        )
        profile = aws.iam.InstanceProfile("profile", role=role.name, tags=tags)
        key = aws.ec2.KeyPair("key", public_key=PUBLIC_KEY, tags=tags)
        machine = aws.ec2.Instance(
            "machine",
            **{
                "ami": ami,
                "instance_type": instance_type,
                "subnet_id": subnet_id,
                "vpc_security_group_ids": [group.id],
                "iam_instance_profile": profile.name,
                "key_name": key.key_name,
                "user_data": pulumi.Output.secret("#cloud-config\nhostname: test\n"),
                "metadata_options": aws.ec2.InstanceMetadataOptionsArgs(
                    http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
                ),
                "root_block_device": aws.ec2.InstanceRootBlockDeviceArgs(
                    volume_type="gp3", volume_size=30, encrypted=True
                ),
                "tags": tags,
                **instance,
            },
        )
        address = aws.ec2.Eip("address", domain="vpc", tags=tags)
        aws.ec2.EipAssociation("association", instance_id=machine.id, allocation_id=address.allocation_id)
        pulumi.export("address", address.public_ip)
        pulumi.export("instance_id", machine.id)
        pulumi.export("public_ip", machine.public_ip)

    return program


def test_a_deployment_is_created_resized_refreshed_and_destroyed(
    stack: EngineStack, ec2: Any, subnet_id: str, ami: str
) -> None:
    created = stack.up(deployment(subnet_id, ami))
    assert set(created.operations().values()) == {"create"}
    instance_id = created.result.outputs["instance_id"].value
    address = created.result.outputs["address"].value
    assert stack.up(deployment(subnet_id, ami)).operations() == {}

    stack.refresh()
    assert stack.up(deployment(subnet_id, ami)).operations() == {}

    previewed = stack.preview(deployment(subnet_id, ami, "t3.large"))
    assert previewed.operations() == {"machine": "update"}
    resized = stack.up(deployment(subnet_id, ami, "t3.large"))
    assert resized.operations() == {"machine": "update"}
    assert resized.detailed_diff("machine") == {"instanceType": "update"}
    instance = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    assert instance["InstanceType"] == "t3.large"
    assert instance["State"]["Name"] == "running"
    assert resized.result.outputs["address"].value == address

    stack.destroy()
    assert stack.state() == []
    found = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    assert found["State"]["Name"] == "terminated"
