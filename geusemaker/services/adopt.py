"""Taking up the data of a deployment whose workspace is lost: ``deploy NAME --adopt-data fs-…``.

What the data knows (n8n's key) is asked of it when it is mounted, before any service starts; what nobody needs to know
(the database's password) is made new. Nothing that holds data is made, replaced or removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from geusemaker.agent.protocol.looks import Adoption
from geusemaker.agent.protocol.stored import Lease
from geusemaker.catalog import SERVICES
from geusemaker.errors import InvalidInputError, PlanRefusedError, RefusedError
from geusemaker.models import resource_types
from geusemaker.models.inspection import DataVolumeState
from geusemaker.models.ownership import DEPLOYMENT_TAG, STACK_TAG, Sought, Tagged, is_own, own_tags
from geusemaker.models.stack import StackConfig, Target
from geusemaker.services.collaborators import Collaborators

_USABLE: Final = ("available", "updating")
_TAKEN_UP: Final = {
    resource_types.FILE_SYSTEM: "data",
    resource_types.BACKUP_POLICY: "data",
    resource_types.MOUNT_TARGET: "data",
    resource_types.DATA_VOLUME: "data",
    resource_types.ADDRESS: "address",
}
"""Type → the program's name for it: the data, and the address, of which there must never be a second one."""


# --- before anything is made -----------------------------------------------------------------------------------------


def find_data(collaborators: Collaborators, region: str, file_system_id: str) -> tuple[Tagged, DataVolumeState | None]:
    """The file system that is to be taken up, and the data volume that belongs to it.

    Raises:
        RefusedError: there is none, it is another's, or somebody still works with it.
        EnvironmentProblemError: AWS cannot be asked.
    """
    name, cloud = collaborators.deployment, collaborators.cloud(region)
    tagged = cloud.find_tagged(name)
    volume = cloud.find_data_volume(name, _stack_of(tagged, file_system_id))
    elsewhere = cloud.find_state(resource_types.FILE_SYSTEM, file_system_id)
    if reason := unadoptable(name, file_system_id, tagged, volume, elsewhere):
        raise RefusedError(reason[0], state="Nothing was changed.", next_step=reason[1])
    return next(one for one in tagged if one.id == file_system_id), volume


def unadoptable(
    name: str, file_system_id: str, tagged: Sequence[Tagged], volume: DataVolumeState | None, state: str | None
) -> tuple[str, str] | None:
    """Why a file system may not be taken up, and what to do about it; None when it may. Pure.

    Args:
        name: the deployment.
        file_system_id: what was asked for.
        tagged: everything in AWS that carries the deployment's name.
        volume: the data volume that belongs to the file system.
        state: how AWS has what was asked for; None: it has none.
    """
    own = next((one for one in tagged if one.id == file_system_id), None)
    there = [one.id for one in tagged if one.type == resource_types.FILE_SYSTEM]
    known = f"Of {name} there is {', '.join(there)}." if there else f"AWS has no file system of a {name} there."
    if state is None:
        return f"There is no file system {file_system_id} in this account and region.", known
    if own is None or own.type != resource_types.FILE_SYSTEM:
        return f"{file_system_id} does not carry the tag {DEPLOYMENT_TAG}={name}: it is not {name}'s data.", known
    if own.state not in _USABLE:
        return f"The file system {file_system_id} is {own.state}.", "Wait until it is available."
    instances = {one.id: one.state for one in tagged if one.type == resource_types.INSTANCE}
    if volume is not None and volume.attached_to:
        instances.setdefault(volume.attached_to, f"has {volume.id}")
    if instances:
        living = ", ".join(f"{found} ({state})" for found, state in sorted(instances.items()))
        return (
            f"The instance {living} of {name} is there, so somebody may still work with this data.",
            "Use the workspace or the backend that it was made with. If that is lost for good, end the instance "
            f"(`aws ec2 terminate-instances --instance-ids {' '.join(sorted(instances))}`), and run the command again "
            "when it is gone.",
        )
    if volume is not None and volume.state != "available":
        return f"The data volume {volume.id} is {volume.state}.", "Wait until it is available."
    return None


def with_data(target: Target, data: Tagged, volume: DataVolumeState | None) -> Target:
    """The target of a deployment that takes up data: its stack's id, and just the volume that there is.

    Raises:
        InvalidInputError: the volume is in another zone than the subnet.
    """
    if volume is not None and volume.availability_zone != target.availability_zone:
        raise InvalidInputError(
            f"The data volume {volume.id} is in {volume.availability_zone}, and {target.subnet_id} is in "
            f"{target.availability_zone}.",
            next_step=f"Give a subnet in {volume.availability_zone} with --subnet.",
        )
    return target.model_copy(
        update={
            "adopting": data.id,
            "stack_id": data.tags.get(STACK_TAG, ""),
            "data_volume_gib": volume.size_gib if volume is not None else 0,
        }
    )


def _stack_of(tagged: Sequence[Tagged], file_system_id: str) -> str:
    return next((one.tags.get(STACK_TAG, "") for one in tagged if one.id == file_system_id), "")


def find_missing(collaborators: Collaborators, target: Target) -> tuple[dict[str, str], dict[str, str]]:
    """What of the data that is taken up Pulumi's state lacks: URN → id, and URN → type.

    Raises:
        PlanRefusedError: AWS has the file system no more.
    """
    cloud, engine = collaborators.cloud(target.region), collaborators.engine
    known = {resource["type"] for resource in engine.resources().values()}
    data = next((one for one in cloud.find_tagged(collaborators.deployment) if one.id == target.adopting), None)
    if data is None:
        raise PlanRefusedError(
            f"The file system {target.adopting}, whose data is to be taken up, is not there any more.",
            state="Nothing was changed.",
            next_step="Deploy under another name.",
        )
    tags = own_tags(collaborators.deployment, data.tags.get(STACK_TAG, ""))
    names = {"fileSystemId": target.adopting, "subnetId": target.subnet_id}
    addresses = [
        one
        for one in cloud.find_tagged(collaborators.deployment)
        if one.type == resource_types.ADDRESS and is_own(one.tags, tags)
    ]
    found: dict[str, str] = {}
    types: dict[str, str] = {}
    for type, name in _TAKEN_UP.items():
        wanted = {
            resource_types.ADDRESS: len(addresses) == 1,
            resource_types.DATA_VOLUME: target.has_data_volume,
        }.get(type, True)
        if type in known or not wanted:
            continue
        identifier = (
            target.adopting
            if type == resource_types.FILE_SYSTEM
            else cloud.find_created(Sought(type=type, tags=tags, names=names))
        )
        if identifier is not None:
            urn = f"urn:pulumi:{collaborators.deployment}::geusemaker::{type}::{name}"
            found[urn], types[urn] = identifier, type
    return found, types


def lines(target: Target, config: StackConfig) -> tuple[str, ...]:
    """What is done beside taking up what there is, for the plan. Pure."""
    told = (service.adopting for service in SERVICES.values() if service.name in config.services)
    return tuple(words.format(data=target.adopting) for words in told if words)


# --- when the data is mounted, and nothing runs ----------------------------------------------------------------------


def require_nobody_serves(collaborators: Collaborators, region: str, found: Adoption, own: str) -> None:
    """Refuse while the instance that the data itself names lives.

    Args:
        found: what the data tells.
        own: the id of the instance that was made for this.

    Raises:
        RefusedError: it lives.
        EnvironmentProblemError: it cannot be asked.
    """
    lease = found.lease or Lease()
    for other in sorted({one for one in (lease.serving, lease.instance_id) if one} - {own}):
        state = collaborators.cloud(region).find_state(resource_types.INSTANCE, other)
        if state is not None:
            raise RefusedError(
                f"The instance {other} ({state}) served this data last, and it lives.",
                state=f"{own} was made, and nothing on the data was changed.",
                next_step=f"End it (`aws ec2 terminate-instances --instance-ids {other}`); when it is gone, run "
                f"`geusemaker deploy {collaborators.deployment}` again.",
            )


def choose_key(name: str, found: Adoption, config: StackConfig, given: str | None, *, anew: bool) -> str | None:
    """n8n's encryption key: that of its own file, else the given one; None: one that is made new will do. Pure.

    Args:
        name: the deployment.
        found: what the data tells.
        config: what is deployed.
        given: the key that the operator gave.
        anew: whether the operator accepts that n8n's credentials will be unreadable.

    Raises:
        RefusedError: nobody knows the key, or two keys are known.
    """
    kept = found.n8n_key
    if kept is not None and given is not None and kept != given:
        raise RefusedError(
            "The key that was given is not the one in n8n's own file on the data.",
            state="The instance was made, and nothing on the data was changed.",
            next_step=f"Run `geusemaker deploy {name}` without a key: the one in the file is taken.",
        )
    if kept is not None or given is not None:
        return kept if kept is not None else given
    if "n8n" in config.services and found.n8n_was_here and not anew:
        raise RefusedError(
            "n8n's encryption key is not on the data: its own file (n8n/config) is missing or cannot be read.",
            state="The instance was made, and nothing on the data was changed.",
            next_step=f"Give the key with `geusemaker deploy {name} --n8n-key-file FILE` (`-` reads it from standard "
            f"input, or asks for it). If it is lost, `geusemaker deploy {name} --new-n8n-key` makes another one: "
            "n8n's credentials will be unreadable.",
        )
    return None
