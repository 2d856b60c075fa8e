"""The AWS stand-in under the real engine, with moto behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest
from pulumi.automation import CommandError

from geusemaker.local_cloud.providers import ProviderServer
from geusemaker.local_cloud.providers.aws.api import failed
from geusemaker.local_cloud.providers.aws.ec2 import Instance
from geusemaker.models.doctor import EngineInfo
from tests.local_cloud.engine_stack import EngineStack, Run

pytestmark = pytest.mark.slow  # many runs of the engine; `make test` has the end-to-end stories

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0ajZNs4UvHQiMTyuqj7zVjbJWzP1pxF2rjj1Wd9v9Q test"


@pytest.fixture
def stack(tmp_path: Path, pulumi_command: EngineInfo, server: ProviderServer) -> Iterator[EngineStack]:
    running = EngineStack(tmp_path, pulumi_command, {"aws": server.port})
    yield running
    running.close()


@pytest.fixture(scope="module")
def subnet_id(ec2: Any) -> str:
    subnets = ec2.describe_subnets()["Subnets"]
    return str(min(item["SubnetId"] for item in subnets if item["AvailabilityZone"] == "us-east-1a"))


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
        aws.efs.BackupPolicy(
            "backup",
            file_system_id=data.id,
            backup_policy=aws.efs.BackupPolicyBackupPolicyArgs(status="ENABLED"),
        )
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


def machine(ami: str, **inputs: Any) -> Callable[[], None]:
    """A program with one instance called ``machine``."""

    def program() -> None:
        server = aws.ec2.Instance("machine", ami=ami, **{"instance_type": "t3.micro", **inputs})
        pulumi.export("id", server.id)
        pulumi.export("public_ip", server.public_ip)

    return program


def test_an_update_that_fails_half_way_is_done_again_by_the_next_run(
    stack: EngineStack, ec2: Any, ami: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance_id = stack.up(machine(ami)).result.outputs["id"].value

    def fail(*_: Any) -> None:
        raise failed("updating EC2 Instance type: api error InvalidInstanceAttributeValue: no such type")

    with monkeypatch.context() as patch:
        patch.setattr(Instance, "update", fail)
        with pytest.raises(CommandError, match=r"(?s)updating urn:pulumi:.*InvalidInstanceAttributeValue"):
            stack.up(machine(ami, instance_type="t9.huge"))
    saved = stack.resource("machine")
    assert saved["id"] == instance_id
    assert saved["outputs"]["instanceType"] == "t9.huge"
    assert len(saved["initErrors"]) == 1

    assert stack.up(machine(ami, instance_type="t3.small")).operations() == {"machine": "update"}
    found = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    assert found["InstanceType"] == "t3.small"
    assert "initErrors" not in stack.resource("machine")
    stack.destroy()


def test_a_create_that_fails_after_the_instance_exists_keeps_it(
    stack: EngineStack, ec2: Any, ami: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise failed("waiting for EC2 Instance create: timeout while waiting for state to become 'running'")

    with monkeypatch.context() as patch:
        patch.setattr(Instance, "settle", fail)
        with pytest.raises(CommandError, match="timeout while waiting for state"):
            stack.up(machine(ami))
    instance_id = stack.resource("machine")["id"]
    assert stack.up(machine(ami)).result.outputs["id"].value == instance_id
    stack.destroy()
    found = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
    assert found["State"]["Name"] == "terminated"


def test_other_architectures_and_other_images_replace(stack: EngineStack, ami: str) -> None:
    stack.up(machine(ami))
    replaced = stack.preview(machine(ami, instance_type="t4g.micro"))
    assert replaced.operations()["machine"] in ("replace", "create-replacement")
    assert replaced.detailed_diff("machine") == {"instanceType": "update-replace"}
    assert stack.preview(machine(ami, instance_type="t9.huge")).operations() == {"machine": "update"}
    stack.destroy()


def test_what_was_deleted_elsewhere_is_gone_after_a_refresh(stack: EngineStack, ec2: Any, ami: str) -> None:
    instance_id = stack.up(machine(ami)).result.outputs["id"].value
    ec2.terminate_instances(InstanceIds=[instance_id])
    assert stack.refresh().operations()["machine"] in ("refresh", "delete")
    assert [item["type"] for item in stack.state() if item["type"].startswith("aws:")] == []
    assert stack.up(machine(ami)).operations() == {"machine": "create"}
    stack.destroy()


def test_a_subnet_is_looked_up_by_its_id(stack: EngineStack, ec2: Any, subnet_id: str) -> None:
    def program() -> None:
        subnet = aws.ec2.get_subnet(id=subnet_id)
        pulumi.export("found", [subnet.vpc_id, subnet.availability_zone, subnet.cidr_block])

    [wanted] = ec2.describe_subnets(SubnetIds=[subnet_id])["Subnets"]
    found = stack.up(program).result.outputs["found"].value
    assert found == [wanted["VpcId"], wanted["AvailabilityZone"], wanted["CidrBlock"]]

    with pytest.raises(CommandError, match="reading EC2 Subnet: no matching EC2 Subnet found"):
        stack.preview(lambda: (aws.ec2.get_subnet(id="subnet-0"), None)[1])
    with pytest.raises(CommandError, match="finds a subnet by its id alone, not by vpcId"):
        stack.preview(lambda: (aws.ec2.get_subnet(vpc_id="vpc-0"), None)[1])
    with pytest.raises(CommandError, match=r"does not know the function aws:ec2/getVpc:getVpc"):
        stack.preview(lambda: (aws.ec2.get_vpc(default=True), None)[1])


def test_a_name_given_by_hand_is_deleted_before_it_is_replaced(stack: EngineStack) -> None:
    def program(description: str) -> Callable[[], None]:
        return lambda: (aws.ec2.SecurityGroup("group", name="by-hand", description=description), None)[1]

    def order(run: Run) -> list[str]:
        steps = [event.resource_pre_event.metadata for event in run.events if event.resource_pre_event]
        return [step.op.value for step in steps if step.urn.endswith("::group")]

    stack.up(program("one"))
    steps = order(stack.up(program("two")))
    assert steps.index("delete-replaced") < steps.index("create-replacement")
    stack.destroy()
