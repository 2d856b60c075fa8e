"""The resources of one deployment. Reads the stack's config, so plain ``pulumi preview`` runs the same program."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pulumi
import pulumi_aws as aws
import pulumi_command as command

from geusemaker.models.ownership import ADDRESS_TAG, own_tags
from geusemaker.models.stack import Secrets, StackConfig, Target
from geusemaker.models.version import Provenance
from geusemaker.program.commands import run_on_instance
from geusemaker.program.instance import make_instance
from geusemaker.program.network import make_network
from geusemaker.program.storage import data_volume, storage

# The providers' packages load their parts at first use, which takes half a second: here with this module, so that it
# can be done early, and in one thread (Python 3.11's lazy loader shows another one a module that is half there).
_ = (
    *(aws.ec2.Instance, aws.vpc.SecurityGroupIngressRule, aws.ebs.Volume, aws.efs.FileSystem, aws.iam.Role),
    command.remote.Command,
)


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
    tags = {**target.tags, "Name": f"geusemaker-{name}", **own_tags(name, target.stack_id)}

    subnet = aws.ec2.get_subnet(id=target.subnet_id)
    network = make_network(name, subnet.vpc_id, target, provenance.known_rules, tags)
    file_system, mount_target = storage(target, network.storage, tags)
    instance_tags = {**tags, **({ADDRESS_TAG: "private"} if target.address == "private" else {})}
    instance_type = pulumi.Output.from_input(
        _after(before_instance, config.instance_type) if before_instance is not None else config.instance_type
    )
    instance = make_instance(name, config, instance_type, target, secrets, rotation, network.instance, instance_tags)
    # The Elastic IP, never a public address of the instance's own: a stop and start makes that one unknown. Its private
    # one stays with it.
    address, association = instance.private_ip, None
    if target.address != "private":
        elastic = aws.ec2.Eip("address", domain="vpc", tags=tags)
        association = aws.ec2.EipAssociation("address", instance_id=instance.id, allocation_id=elastic.allocation_id)
        address = elastic.public_ip
    attachment = data_volume(target, instance, tags)

    connection = command.remote.ConnectionArgs(
        # What leads from there to the instance, whoever runs this has set up (geusemaker/host/forwarding.py).
        host="127.0.0.1" if target.through_aws else address,
        port=target.forward_port if target.through_aws else target.ssh_port,
        user=target.ssh_user,
        private_key=secrets.apply(lambda value: value.ssh_private_key),
        host_key=target.host_public_key,
        dial_error_limit=60,
        per_dial_timeout=5,
    )
    run_on_instance(
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
        network,
        after_mount,
    )
    pulumi.export("address", address)
    pulumi.export("instance_id", instance.id)
    pulumi.export("file_system_id", file_system.id)
    if rotation:
        pulumi.export("rotation", rotation)  # which secrets the state has
    if any(service.secret_environment for service in config.services.values()):
        own = secrets.apply(lambda value: json.dumps({name: one.plain() for name, one in value.own.items()}))
        pulumi.export("own_secrets", own)  # secret, as all that is made of them; engine/secret_store.py reads it
    if attachment is not None:
        pulumi.export("data_volume_id", attachment.volume_id)


async def _after(action: Callable[[], None], value: str) -> str:
    """``value``, once ``action`` is done in a thread of its own: other resources are registered meanwhile."""
    await asyncio.to_thread(action)
    return value


def _read_secrets(text: str, on_secrets: Callable[[Secrets], None] | None) -> Secrets:
    secrets = Secrets.model_validate_json(text)
    if on_secrets is not None:
        on_secrets(secrets)
    return secrets
