"""The instance, what it may do in AWS, and what it knows when it first boots."""

from __future__ import annotations

import json
from typing import Final

import pulumi
import pulumi_aws as aws

from geusemaker.host.bundle import session_agent
from geusemaker.models.machine_image import DEBIAN_LOGIN
from geusemaker.models.ownership import disk_tags
from geusemaker.models.partition import SSM_POLICY, dns_suffix, partition_of, service_principal
from geusemaker.models.stack import Secrets, StackConfig, Target, root_volume_gib
from geusemaker.program.keys import public_half


def make_instance(
    name: str,
    config: StackConfig,
    instance_type: pulumi.Output[str],
    target: Target,
    secrets: pulumi.Output[Secrets],
    rotation: str,
    group: aws.ec2.SecurityGroup,
    tags: dict[str, str],
) -> aws.ec2.Instance:
    partition = partition_of(target.region, target.partition)
    role = aws.iam.Role(
        "instance",
        assume_role_policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": service_principal("ec2", partition)},
                        "Action": "sts:AssumeRole",
                    }
                ],
            }
        ),
        permissions_boundary=target.permissions_boundary or None,
        tags=tags,
    )
    # The one permission the machine has: Session Manager, a way in that needs no port.
    aws.iam.RolePolicyAttachment("instance", role=role.name, policy_arn=f"arn:{partition}:{SSM_POLICY}")
    profile = aws.iam.InstanceProfile("instance", role=role.name, tags=tags)
    key_pair = aws.ec2.KeyPair("login", public_key=target.ssh_public_key, tags=tags)
    return aws.ec2.Instance(
        "instance",
        ami=config.ami,
        instance_type=instance_type,
        subnet_id=target.subnet_id,
        vpc_security_group_ids=[group.id],
        iam_instance_profile=profile.name,
        key_name=key_pair.key_name,
        user_data=secrets.apply(lambda value: user_data(value, target, config.image_login, rotated=bool(rotation))),
        metadata_options=aws.ec2.InstanceMetadataOptionsArgs(
            http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
        ),
        root_block_device=aws.ec2.InstanceRootBlockDeviceArgs(
            volume_type="gp3",
            volume_size=root_volume_gib(target, config),
            encrypted=True,
            # Not by volume_tags, which is of every volume that is attached: it would fight with the data volume's own.
            tags=disk_tags(name, target.tags) if target.root_volume_tagged else None,
        ),
        instance_market_options=_SPOT if config.purchase == "spot" else None,
        tags=tags,
        # Two instances must never serve one data set: should it ever be replaced, the old one goes first.
        opts=pulumi.ResourceOptions(
            delete_before_replace=True,
            # The login of an instance that is there is changed on it; only a new one takes it from here (the engine
            # makes what it replaces of the inputs as they are, ignored or not: step_generator.go).
            # Likewise AWS's agent, which is installed over SSH on one that is there.
            ignore_changes=["user_data"] if rotation or target.forward_port else None,
            # To the provider, market options that are left out are no change: it takes what AWS has
            # (instance_market_options is optional and computed in terraform-provider-aws, internal/service/ec2/
            # ec2_instance.go; seen with 5.100, tests/local_cloud/test_parity.py). So the engine is told; a state of
            # before has no such trigger, and then it does nothing (shouldTriggerReplace in step_generator.go).
            replacement_trigger=config.purchase,
            # "you can modify some of its instance attributes, but not the instance type":
            # docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruption-behavior.html
            replace_on_changes=["instanceType"] if config.purchase == "spot" else None,
        ),
    )


_SPOT: Final = aws.ec2.InstanceInstanceMarketOptionsArgs(
    market_type="spot",
    # Only so it can be stopped and started, by EC2 as well when it has capacity again, and keeps disks and addresses
    # meanwhile: docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruption-behavior.html. Such a request outlives its
    # instance, and EC2 makes another: the provider cancels it before it terminates the instance
    # (resourceInstanceDelete in ec2_instance.go).
    spot_options=aws.ec2.InstanceInstanceMarketOptionsSpotOptionsArgs(
        spot_instance_type="persistent", instance_interruption_behavior="stop"
    ),
)


def user_data(secrets: Secrets, target: Target, image_login: str = "", *, rotated: bool = False) -> str:
    """The cloud-config of the instance: host keys only, so that it never changes over the instance's life.

    Where nothing but Session Manager leads there, the agent of that as well, of this release: what an instance was made
    with is not compared then.

    ``image_login``: the login that the image has by itself, admin where it says nothing. Where the deployment has
    another one, cloud-init makes that in its place, with the rights that the image's would have:
    https://cloudinit.readthedocs.io/en/latest/reference/yaml_examples/user_groups.html (``user``). So AMIs of different
    systems may follow each other, in both directions, and the way in stays the same.

    ``rotated``: the login is not the key pair's any more. Changing that would replace the key pair, and the instance
    with it; so it stays, and a new instance is told not to take its key, but the one that holds.
    https://cloudinit.readthedocs.io/en/latest/reference/modules.html#ssh
    """
    login = "" if (image_login or DEBIAN_LOGIN) == target.ssh_user else f"user:\n  name: {target.ssh_user}\n"
    if rotated:
        login += f"allow_public_ssh_keys: false\nssh_authorized_keys:\n  - {public_half(secrets.ssh_private_key)}\n"
    if target.through_aws:
        # There is no way in before the agent runs, so cloud-init installs it.
        suffix = dns_suffix(partition_of(target.region, target.partition))
        command = ["python3", "-c", session_agent(), target.region, suffix]
        login += f"runcmd:\n  - {json.dumps(command)}\n"
    private_key = "\n".join("    " + line for line in secrets.host_private_key.strip().splitlines())
    return (
        "#cloud-config\n"
        "ssh_deletekeys: true\n"
        "ssh_keys:\n"
        f"  ed25519_private: |\n{private_key}\n"
        f"  ed25519_public: {target.host_public_key}\n{login}"
    )
