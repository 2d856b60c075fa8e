"""The four commands on the instance: the agent is installed, the data mounted, the services started, then judged."""

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
from geusemaker.models.partition import dns_suffix, partition_of
from geusemaker.models.stack import Secrets, StackConfig, Target
from geusemaker.models.version import Provenance
from geusemaker.program import compose
from geusemaker.program.network import Network
from geusemaker.program.watch import watch_document

# https://docs.aws.amazon.com/efs/latest/ug/mounting-fs-nfs-mount-settings.html
NFS_OPTIONS: Final = "nfsvers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,_netdev"


def run_on_instance(
    config: StackConfig,
    target: Target,
    provenance: Provenance,
    secrets: pulumi.Output[Secrets],
    connection: command.remote.ConnectionArgs,
    instance: aws.ec2.Instance,
    association: aws.ec2.EipAssociation | None,
    file_system: aws.efs.FileSystem,
    mount_target: aws.efs.MountTarget,
    attachment: aws.ec2.VolumeAttachment | None,
    network: Network,
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

    suffix = dns_suffix(partition_of(target.region, target.partition))
    # A replaced instance keeps the address, so the commands carry its id: else nothing would run on the new one.
    agent = remote(
        "agent",
        install_command(target.become),
        instance.id.apply(lambda instance_id: f"{packed_agent()}\n# installed on {instance_id}\n"),
        instance,
        *([association] if association is not None else []),
        *network.instance_rules,
    )
    mount = remote(
        "mount",
        agent_command(target.become, "mount"),
        document(
            agent=agent_version(),  # another agent may set up the instance in another way
            deployment=name,
            instance_id=instance.id,
            file_system_id=file_system.id,
            source=mount_target.ip_address.apply(lambda address: f"{address}:/")
            if target.mounts_by == "address"
            else file_system.id.apply(lambda fs_id: f"{fs_id}.efs.{target.region}.{suffix}:/"),
            options=NFS_OPTIONS,
            **volume,
            **({} if attachment is None else {"data_volume_gib": target.data_volume_gib}),
            **({"spot": True} if config.purchase == "spot" else {}),
            **({} if not target.root_volume_gib else {"root_volume_gib": target.root_volume_gib}),
        ),
        agent,
        mount_target,
        *network.storage_rules,
        *([attachment] if attachment is not None else []),
    )
    if after_mount is not None:
        secrets = pulumi.Output.all(secrets, mount.stdout).apply(lambda both: _told_by_data(after_mount, both[0]))
    # The operation id makes these two run on every operation. Without it, going back after a failed update would
    # compute "no change", because a command that failed keeps its old inputs in the state.
    apply = remote(
        "apply",
        agent_command(target.become, "apply"),
        _with_watch(
            secrets.apply(lambda value: watch_document(value, target.site)),
            operation=provenance.operation_id,
            expects=provenance.previous_operation_id or None,
            takeover=provenance.previous_operation_id if provenance.takes_over else None,
            kind=provenance.kind,
            deployment=name,
            instance_id=instance.id,
            other_instances=list(provenance.other_instances),
            file_system_id=file_system.id,
            compose=compose.render(
                config,
                data_volume=attachment is not None,
                site=target.site,
                models_on_volume=target.models_on == "volume",
            ),
            environment=secrets.apply(lambda value: compose.secret_environment(config, value)),
            directories=compose.data_directories(
                config, data_volume=attachment is not None, models_on_volume=target.models_on == "volume"
            ),
            **volume,
            **({"adopt": True} if target.adopting else {}),
            **({"returns": True} if provenance.with_data else {}),
            **({"settled": provenance.active_operation_id} if provenance.active_operation_id else {}),
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


async def _told_by_data(ask: Callable[[Secrets], Secrets], secrets: Secrets) -> Secrets:
    """The secrets as the mounted data has them; it is asked in a thread of its own."""
    return await asyncio.to_thread(ask, secrets)


def _with_watch(watch: pulumi.Output[dict[str, Any] | None], **values: Any) -> pulumi.Output[str]:
    """A document with who is to be told. Where nobody is, it has no such key: it stays as it was."""

    def text(both: list[Any]) -> str:
        values, watch = both
        return json.dumps({**values, **({} if watch is None else {"watch": watch})}, sort_keys=True)

    return pulumi.Output.all(pulumi.Output.from_input(values), watch).apply(text)
