"""Where a deployment is to be: account, network, disks, and the facts of it that no version changes."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Final, Literal

from geusemaker.errors import GeusemakerError, InvalidInputError, ValidationFailedError
from geusemaker.models.inspection import DataVolumeState
from geusemaker.models.network import Subnet
from geusemaker.models.ownership import Tagged
from geusemaker.models.request import DeployRequest
from geusemaker.models.stack import (
    DATA_VOLUME_LIMIT_GIB,
    DEFAULT_ROOT_VOLUME_GIB,
    LEAST_ROOT_VOLUME_GIB,
    LOCAL_SETTLE_SECONDS,
    SETTLE_SECONDS,
    Target,
)
from geusemaker.models.state import DeploymentState
from geusemaker.services import adopt
from geusemaker.services.addresses import changed_addresses, wished_addresses
from geusemaker.services.collaborators import Cloud, Collaborators
from geusemaker.services.connecting import with_connect
from geusemaker.services.models_place import models_place, require_models_stay
from geusemaker.services.settling import settle_seconds, with_settle_time
from geusemaker.services.tags import with_rights

LOCAL_SSH_PORT = 2222
"""Without root rights there is no port 22."""

_LOOPBACK: Final = "127."
_ADDRESSES_NEEDED: Final = 2
"""In its subnet: the instance's, and the file system's mount target's."""

DATA_VOLUME_GIB: Final = 20
"""What a first deploy makes for Qdrant's data where nothing else is asked for."""


MODELS_VOLUME_GIB: Final = 100
"""What it makes where Ollama's models lie there, too: one of today's models alone takes 5 to 40."""


def place(
    collaborators: Collaborators,
    request: DeployRequest,
    state: DeploymentState,
    known: Target | None,
    instance_type: str,
) -> Target:
    """Where a deployment is to be: where it is already, as far as that stays, or what the request says of a new one.

    Raises:
        InvalidInputError: it says otherwise than what stays, or a value cannot be used.
        ValidationFailedError: there is no such place.
    """
    if known is not None:
        known = _of_known(request, state, known)
        known = changed_addresses(collaborators, request, known)[0]
        return with_connect(known, request, collaborators.deployment)
    return _of_new(collaborators, request, instance_type)


def _of_known(request: DeployRequest, state: DeploymentState, known: Target) -> Target:
    if request.adopt_data not in (None, known.adopting):
        raise InvalidInputError(
            f"{state.name} has data of its own: --adopt-data is for a first deploy.",
            next_step="Leave --adopt-data out, or deploy under another name.",
        )
    if request.target is not None and request.target != known.kind:
        raise InvalidInputError(
            f"{state.name} is on {known.kind}; its target is chosen at the first deploy and stays.",
            next_step="Leave --target out, or deploy under another name.",
        )
    if request.address not in (None, known.address):
        raise InvalidInputError(
            f"{state.name}'s address is {known.address}; that is chosen at the first deploy and stays.",
            next_step="Leave --address out, or deploy under another name.",
        )
    if request.data_volume_gib not in (None, known.data_volume_gib):
        size = f"has {known.data_volume_gib} GiB" if known.has_data_volume else "does not exist"
        raise InvalidInputError(
            f"{state.name}'s data volume {size}; that is chosen at the first deploy.",
            next_step="Leave --data-volume out; `geusemaker update` can enlarge one.",
        )
    require_models_stay(request.models_on, state.name, known)
    if request.root_volume_gib is not None:
        if request.root_volume_gib < known.root_volume_gib:
            raise InvalidInputError(
                f"The disk of {state.name}'s instance has {known.root_volume_gib} GiB, and it only grows.",
                next_step="Give a larger size, or leave --root-volume out.",
            )
        known = known.model_copy(update={"root_volume_gib": _root_size(request.root_volume_gib)})
    return with_rights(with_settle_time(known, request.settle_seconds), request)


def _of_new(collaborators: Collaborators, request: DeployRequest, instance_type: str) -> Target:
    kind = request.target or "local"  # of a new one; see geusemaker.deployment.changes for one that exists
    if kind == "aws" and not request.ssh_cidrs and request.connect != "ssm":
        raise InvalidInputError(
            "No address may reach the instance over SSH, which is how it is set up.",
            next_step="Give yours: --ssh-cidr me, or --ssh-cidr 203.0.113.7/32 (repeat it for more), or --connect ssm.",
        )
    region = request.region or ("us-east-1" if kind == "local" else _environment_region())
    cloud = collaborators.cloud(region)
    addresses = wished_addresses(request.ssh_cidrs or (), cloud.own_address)
    caller = cloud.identity()
    data: tuple[Tagged, DataVolumeState | None] | None = None
    subnet_id = request.subnet_id
    if request.adopt_data is not None:
        data = adopt.find_data(collaborators, region, request.adopt_data)
        # Its mount target stays where it is, and the instance is to be beside it.
        subnet_id = subnet_id or cloud.mount_target_subnet(request.adopt_data)
    private = request.address == "private"
    subnets = cloud.find_subnets(request.vpc_id, subnet_id)
    if not subnets:
        raise ValidationFailedError(
            f"There is no subnet to deploy into in {region}.",
            state="Nothing was changed.",
            next_step="Give one with --subnet (and --region), or create the account's default VPC.",
        )
    subnet = best_subnet(subnets, cloud.zones_offering(instance_type), private=private)
    if kind == "local" and private and not subnet.cidr.startswith(_LOOPBACK):
        raise InvalidInputError(
            f"{subnet.id} of the local cloud has the addresses {subnet.cidr}, to which this machine has no way.",
            next_step="Give a --subnet of a VPC with loopback addresses, as docs/local-cloud.md makes one, or leave "
            "--address out.",
        )
    models_on = models_place(request.models_on)
    usual = DATA_VOLUME_GIB if models_on == "efs" else MODELS_VOLUME_GIB
    volume = usual if request.data_volume_gib is None else request.data_volume_gib
    if not 1 <= volume <= DATA_VOLUME_LIMIT_GIB:
        raise InvalidInputError(f"A data volume has 1 to {DATA_VOLUME_LIMIT_GIB} GiB, not {volume}.")
    target = Target(
        kind=kind,
        region=region,
        account_id=caller.account_id,
        partition=caller.partition,
        availability_zone=subnet.zone,
        vpc_id=subnet.vpc_id,
        subnet_id=subnet.id,
        address=request.address or "public",
        mounts_by=_mounts_by(cloud, subnet.id),
        ssh_port=LOCAL_SSH_PORT if kind == "local" else 22,
        ssh_cidrs=addresses or (("127.0.0.0/8",) if kind == "local" else ()),
        become=collaborators.become,
        data_volume_gib=volume,
        models_on=models_on,
        root_volume_gib=_root_size(request.root_volume_gib),
        root_volume_tagged=True,
        settle_seconds=settle_seconds(
            request.settle_seconds, LOCAL_SETTLE_SECONDS if kind == "local" else SETTLE_SECONDS
        ),
    )
    target = with_connect(with_rights(target, request), request, collaborators.deployment)
    return target if data is None else adopt.with_data(target, *data)


def _mounts_by(cloud: Cloud, subnet_id: str) -> Literal["name", "address"]:
    """How EFS can be mounted there; by its name where that cannot be told: the checks say so then."""
    try:
        facts = cloud.find_network(subnet_id)
    except GeusemakerError:
        return "name"
    return "name" if facts is None or (facts.dns_support and facts.dns_hostnames) else "address"


def best_subnet(subnets: Sequence[Subnet], zones: Collection[str], *, private: bool) -> Subnet:
    """The subnet to deploy into: in a zone that offers the type, with a fitting way out and room. Pure.

    Where none has all of that it is the one that lacks the least; the checks say what, before anything is made.

    Args:
        subnets: what there is to choose from, not empty.
        zones: those that offer the instance type.
        private: whether the instance is to have no public address.
    """

    def gets_out(subnet: Subnet) -> bool:
        if private:
            return subnet.way_out in ("nat", "other") or (
                subnet.way_out == "internet" and subnet.gives_public_addresses
            )
        return subnet.way_out in ("internet", "other", "unknown")

    def lacks(subnet: Subnet) -> tuple[bool, bool, bool, bool, str]:
        room = subnet.free_addresses < _ADDRESSES_NEEDED
        ill_fitting = private and subnet.gives_public_addresses
        return subnet.zone not in zones, not gets_out(subnet), room, ill_fitting, subnet.zone

    return min(subnets, key=lacks)


def _root_size(wanted: int | None) -> int:
    """How large the disk of a new instance is made.

    Raises:
        InvalidInputError: the system and its images do not fit on so little, or EBS has no such volume.
    """
    size = DEFAULT_ROOT_VOLUME_GIB if wanted is None else wanted
    if not LEAST_ROOT_VOLUME_GIB <= size <= DATA_VOLUME_LIMIT_GIB:
        raise InvalidInputError(
            f"The instance's own disk has {LEAST_ROOT_VOLUME_GIB} to {DATA_VOLUME_LIMIT_GIB} GiB, not {size}.",
            next_step="Give another --root-volume, or leave it out.",
        )
    return size


def _environment_region() -> str:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise InvalidInputError("No AWS region is given.", next_step="Give --region, or set AWS_REGION.")
    return region
