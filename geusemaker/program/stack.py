"""The resources of one deployment. Reads the stack's config, so plain ``pulumi preview`` runs the same program."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import pulumi
import pulumi_aws as aws
import pulumi_command as command

from geusemaker.host.bundle import agent_version, packed_agent
from geusemaker.host.commands import agent_command, install_command
from geusemaker.models.ownership import own_tags
from geusemaker.models.stack import Secrets, StackConfig, Target, root_volume_gib
from geusemaker.models.version import Provenance
from geusemaker.program import compose
from geusemaker.program.keys import public_half

# The providers' packages load their parts at first use, which takes half a second: here with this module, so that it
# can be done early, and in one thread (Python 3.11's lazy loader shows another one a module that is half there).
_ = aws.ec2.Instance, aws.ebs.Volume, aws.efs.FileSystem, aws.iam.Role, command.remote.Command

# https://docs.aws.amazon.com/efs/latest/ug/mounting-fs-nfs-mount-settings.html
NFS_OPTIONS: Final = "nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,_netdev"
PACKAGES: Final = ["docker.io", "docker-cli", "docker-compose", "nfs-common"]
"""Debian 13's own packages: ``docker.io`` is the daemon alone there, and ``docker-compose`` the Compose v2 plugin."""


def define_stack(
    on_secrets: Callable[[Secrets], None] | None = None,
    before_instance: Callable[[], None] | None = None,
    after_mount: Callable[[Secrets], Secrets] | None = None,
) -> None:
    """Declare every resource of the deployment whose config the engine has loaded.

    ``on_secrets`` is handed the deployment's secrets, which the engine has decrypted for the program.
    ``before_instance`` is what the engine has to wait for before it touches the instance; if it raises, the run fails.
    ``after_mount`` is given the secrets once the data is mounted, and says which ones the services start with: data
    that is taken up may know better.
    """
    settings = pulumi.Config("geusemaker")
    config = StackConfig.model_validate(settings.require_object("deployment"))
    target = Target.model_validate(settings.require_object("target"))
    provenance = Provenance.model_validate(settings.require_object("version"))
    secrets = settings.require_secret("secrets").apply(lambda text: _read_secrets(text, on_secrets))
    rotation = settings.get("rotation") or ""
    name = pulumi.get_stack()
    tags = {"Name": f"geusemaker-{name}", **own_tags(name, target.stack_id)}

    subnet = aws.ec2.get_subnet(id=target.subnet_id)
    instance_group, storage_group = _security_groups(name, subnet.vpc_id, target, tags)
    file_system, mount_target = _storage(target, storage_group, tags)
    instance_type = pulumi.Output.from_input(
        _after(before_instance, config.instance_type) if before_instance is not None else config.instance_type
    )
    instance = _instance(name, config, instance_type, target, secrets, rotation, instance_group, tags)
    address = aws.ec2.Eip("address", domain="vpc", tags=tags)
    association = aws.ec2.EipAssociation("address", instance_id=instance.id, allocation_id=address.allocation_id)
    attachment = _data_volume(target, instance, tags)

    # The Elastic IP, never the instance's own address: a stop and start makes that one unknown.
    connection = command.remote.ConnectionArgs(
        host=address.public_ip,
        port=target.ssh_port,
        user=target.ssh_user,
        private_key=secrets.apply(lambda value: value.ssh_private_key),
        host_key=target.host_public_key,
        dial_error_limit=60,
        per_dial_timeout=5,
    )
    _host(
        config,
        target,
        provenance,
        secrets,
        connection,
        instance,
        association,
        file_system,
        mount_target,
        attachment,
        after_mount,
    )
    pulumi.export("address", address.public_ip)
    pulumi.export("instance_id", instance.id)
    pulumi.export("file_system_id", file_system.id)
    if rotation:
        pulumi.export("rotation", rotation)  # which secrets the state has
    if attachment is not None:
        pulumi.export("data_volume_id", attachment.volume_id)


async def _after(action: Callable[[], None], value: str) -> str:
    """``value``, once ``action`` is done in a thread of its own: other resources are registered meanwhile."""
    await asyncio.to_thread(action)
    return value


async def _told_by_data(ask: Callable[[Secrets], Secrets], secrets: Secrets) -> Secrets:
    """The secrets as the mounted data has them; it is asked in a thread of its own."""
    return await asyncio.to_thread(ask, secrets)


def _read_secrets(text: str, on_secrets: Callable[[Secrets], None] | None) -> Secrets:
    secrets = Secrets.model_validate_json(text)
    if on_secrets is not None:
        on_secrets(secrets)
    return secrets


def _security_groups(
    name: str, vpc_id: str, target: Target, tags: dict[str, str]
) -> tuple[aws.ec2.SecurityGroup, aws.ec2.SecurityGroup]:
    everywhere = [aws.ec2.SecurityGroupEgressArgs(protocol="-1", from_port=0, to_port=0, cidr_blocks=["0.0.0.0/0"])]
    instance_group = aws.ec2.SecurityGroup(
        "instance",
        vpc_id=vpc_id,
        description=f"geusemaker {name}: SSH from the given addresses",
        ingress=[
            aws.ec2.SecurityGroupIngressArgs(
                protocol="tcp", from_port=target.ssh_port, to_port=target.ssh_port, cidr_blocks=list(target.ssh_cidrs)
            )
        ]
        if target.ssh_cidrs
        else [],
        egress=everywhere,
        tags=tags,
    )
    storage_group = aws.ec2.SecurityGroup(
        "storage",
        vpc_id=vpc_id,
        description=f"geusemaker {name}: NFS from the instance",
        ingress=[
            aws.ec2.SecurityGroupIngressArgs(
                protocol="tcp", from_port=2049, to_port=2049, security_groups=[instance_group.id]
            )
        ],
        tags=tags,
    )
    return instance_group, storage_group


def _storage(
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


def _data_volume(target: Target, instance: aws.ec2.Instance, tags: dict[str, str]) -> aws.ec2.VolumeAttachment | None:
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


def _instance(
    name: str,
    config: StackConfig,
    instance_type: pulumi.Output[str],
    target: Target,
    secrets: pulumi.Output[Secrets],
    rotation: str,
    group: aws.ec2.SecurityGroup,
    tags: dict[str, str],
) -> aws.ec2.Instance:
    role = aws.iam.Role(
        "instance",
        assume_role_policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "ec2.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    }
                ],
            }
        ),
        tags=tags,
    )
    # The one permission the machine has: Session Manager, the way in when SSH is lost.
    aws.iam.RolePolicyAttachment(
        "instance", role=role.name, policy_arn="arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
    )
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
        user_data=secrets.apply(lambda value: user_data(value, target, rotated=bool(rotation))),
        metadata_options=aws.ec2.InstanceMetadataOptionsArgs(
            http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
        ),
        root_block_device=aws.ec2.InstanceRootBlockDeviceArgs(
            volume_type="gp3", volume_size=root_volume_gib(target, config), encrypted=True
        ),
        tags=tags,
        # Two instances must never serve one data set: should it ever be replaced, the old one goes first.
        opts=pulumi.ResourceOptions(
            delete_before_replace=True,
            # The login of an instance that is there is changed on it; only a new one takes it from here (the engine
            # makes what it replaces of the inputs as they are, ignored or not: step_generator.go).
            ignore_changes=["user_data"] if rotation else None,
        ),
    )


def user_data(secrets: Secrets, target: Target, *, rotated: bool = False) -> str:
    """The cloud-config of the instance: host keys only, so that it never changes over the instance's life.

    ``rotated``: the login is not the key pair's any more. Changing that would replace the key pair, and the instance
    with it; so it stays, and a new instance is told not to take its key, but the one that holds.
    https://cloudinit.readthedocs.io/en/latest/reference/modules.html#ssh
    """
    login = ""
    if rotated:
        login = f"allow_public_ssh_keys: false\nssh_authorized_keys:\n  - {public_half(secrets.ssh_private_key)}\n"
    private_key = "\n".join("    " + line for line in secrets.host_private_key.strip().splitlines())
    return (
        "#cloud-config\n"
        "ssh_deletekeys: true\n"
        "ssh_keys:\n"
        f"  ed25519_private: |\n{private_key}\n"
        f"  ed25519_public: {target.host_public_key}\n{login}"
    )


def _host(
    config: StackConfig,
    target: Target,
    provenance: Provenance,
    secrets: pulumi.Output[Secrets],
    connection: command.remote.ConnectionArgs,
    instance: aws.ec2.Instance,
    association: aws.ec2.EipAssociation,
    file_system: aws.efs.FileSystem,
    mount_target: aws.efs.MountTarget,
    attachment: aws.ec2.VolumeAttachment | None,
    after_mount: Callable[[Secrets], Secrets] | None,
) -> None:
    """The four commands that run on the instance, one after the other."""
    name = pulumi.get_stack()

    def remote(
        resource: str, create: str, stdin: pulumi.Input[str], *depends_on: pulumi.Resource
    ) -> command.remote.Command:
        return command.remote.Command(
            resource,
            connection=connection,
            create=create,
            stdin=stdin,
            logging=command.remote.Logging.STDOUT,
            add_previous_output_in_env=False,
            opts=pulumi.ResourceOptions(depends_on=list(depends_on)),
        )

    def document(**values: Any) -> pulumi.Output[str]:
        return pulumi.Output.json_dumps(values, sort_keys=True)

    # Left out, and not null, where there is none: what such a deployment's commands are given stays the same.
    volume = {} if attachment is None else {"data_volume_id": attachment.volume_id}

    # A replaced instance keeps the address, so the commands carry its id: else nothing would run on the new one.
    agent = remote(
        "agent",
        install_command(target.become),
        instance.id.apply(lambda instance_id: f"{packed_agent()}\n# installed on {instance_id}\n"),
        instance,
        association,
    )
    mount = remote(
        "mount",
        agent_command(target.become, "mount"),
        document(
            agent=agent_version(),  # another agent may set up the instance in another way
            deployment=name,
            instance_id=instance.id,
            file_system_id=file_system.id,
            source=file_system.id.apply(lambda fs_id: f"{fs_id}.efs.{target.region}.amazonaws.com:/"),
            options=NFS_OPTIONS,
            packages=PACKAGES,
            **volume,
            **({} if attachment is None else {"data_volume_gib": target.data_volume_gib}),
            **({} if not target.root_volume_gib else {"root_volume_gib": target.root_volume_gib}),
        ),
        agent,
        mount_target,
        *([attachment] if attachment is not None else []),
    )
    if after_mount is not None:
        secrets = pulumi.Output.all(secrets, mount.stdout).apply(lambda both: _told_by_data(after_mount, both[0]))
    # The operation id makes these two run on every operation. Without it, going back after a failed update would
    # compute "no change", because a command that failed keeps its old inputs in the state.
    apply = remote(
        "apply",
        agent_command(target.become, "apply"),
        document(
            operation=provenance.operation_id,
            expects=provenance.previous_operation_id or None,
            takeover=provenance.previous_operation_id if provenance.takes_over else None,
            kind=provenance.kind,
            deployment=name,
            instance_id=instance.id,
            other_instances=list(provenance.other_instances),
            file_system_id=file_system.id,
            compose=compose.render(config, data_volume=attachment is not None),
            environment=secrets.apply(lambda value: compose.secret_environment(config, value)),
            directories=compose.data_directories(config, data_volume=attachment is not None),
            **volume,
            **({"adopt": True} if target.adopting else {}),
        ),
        mount,
    )
    remote(
        "gate",
        agent_command(target.become, "gate"),
        document(
            operation=provenance.operation_id,
            file_system_id=file_system.id,
            services=compose.probes(config),
            consecutive_successes=config.health.consecutive_successes,
            deadline_seconds=config.health.deadline_seconds,
            settle_seconds=target.settle_seconds,
        ),
        apply,
    )
