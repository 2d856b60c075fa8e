"""The resources that hold data: each is protected, and retained when the stack goes."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from geusemaker.models.stack import Target


def storage(
    target: Target, group: aws.ec2.SecurityGroup, tags: dict[str, str]
) -> tuple[aws.efs.FileSystem, aws.efs.MountTarget]:
    keep = pulumi.ResourceOptions(protect=target.protect, retain_on_delete=target.protect)
    file_system = aws.efs.FileSystem("data", encrypted=True, throughput_mode="elastic", tags=tags, opts=keep)
    aws.efs.BackupPolicy(
        "data",
        file_system_id=file_system.id,
        backup_policy=aws.efs.BackupPolicyBackupPolicyArgs(status="ENABLED"),
        opts=keep,
    )
    mount_target = aws.efs.MountTarget(
        "data", file_system_id=file_system.id, subnet_id=target.subnet_id, security_groups=[group.id], opts=keep
    )
    return file_system, mount_target


def data_volume(target: Target, instance: aws.ec2.Instance, tags: dict[str, str]) -> aws.ec2.VolumeAttachment | None:
    """The block storage that Qdrant needs, attached to the instance; None for a deployment that has none."""
    if not target.has_data_volume:
        return None
    volume = aws.ebs.Volume(
        "data",
        availability_zone=target.availability_zone,
        size=target.data_volume_gib,
        type="gp3",
        encrypted=True,
        tags=tags,
        opts=pulumi.ResourceOptions(protect=target.protect, retain_on_delete=target.protect),
    )
    return aws.ec2.VolumeAttachment(
        "data",
        device_name="/dev/sdf",
        volume_id=volume.id,
        instance_id=instance.id,
        # EC2 detaches no volume that is mounted; stopped, the instance has written all of it.
        stop_instance_before_detaching=True,
        # Not protected: it goes with an instance that is destroyed or replaced. The guard holds it otherwise.
        opts=pulumi.ResourceOptions(delete_before_replace=True),
    )
