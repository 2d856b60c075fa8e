"""moto's account, as the strictness checks read it, and what the instances are told of it."""

from __future__ import annotations

import base64
import json
from typing import Any

from geusemaker.local_cloud import files
from geusemaker.local_cloud.account import own_account
from geusemaker.local_cloud.machines import Wanted, gpu_names, loopback_only
from geusemaker.local_cloud.paths import CloudPaths
from geusemaker.local_cloud.spot import find_spot
from geusemaker.local_cloud.strictness import AwsRefusalError, InstanceView, VolumeView

__all__ = ["MotoAccount", "mend_addresses", "read_instances", "write_file_systems", "write_volume_sizes"]


class MotoAccount:
    """moto's account, as the strictness checks read it; one region."""

    def __init__(self, region: str) -> None:
        from moto.ec2.models import ec2_backends

        self._account = own_account()
        if region not in ec2_backends[self._account]:
            raise AwsRefusalError("AuthFailure", "Credential should be scoped to a valid region.", 403)
        self.ec2: Any = ec2_backends[self._account][region]

    def find_instance(self, instance_id: str) -> InstanceView | None:
        found = next((each for each in self.ec2.all_instances() if each.id == instance_id), None)
        if found is None:
            return None
        spot = find_spot(self.ec2, instance_id)
        return InstanceView(
            found.state,
            found.instance_type,
            found.architecture,
            found.availability_zone,
            spot.state if spot is not None else "",
            spot is not None and spot.persistent,
        )

    def find_volume(self, volume_id: str) -> VolumeView | None:
        volume = self.ec2.volumes.get(volume_id)
        if volume is None:
            return None
        return VolumeView(volume.zone.name, volume.attachment.instance.id if volume.attachment else "", volume.size)

    def find_image_architecture(self, ami_id: str) -> str | None:
        image = self.ec2.amis.get(ami_id)
        return image.architecture if image else None

    def find_type_architectures(self, instance_type: str) -> list[str] | None:
        from moto.ec2.models.instance_types import INSTANCE_TYPES

        found = INSTANCE_TYPES.get(instance_type)
        return list(found["ProcessorInfo"]["SupportedArchitectures"]) if found else None

    def zones_offering(self, instance_type: str) -> list[str]:
        offerings = self.ec2.describe_instance_type_offerings(
            location_type="availability-zone", filters={"instance-type": [instance_type]}
        )
        return sorted(offering["Location"] for offering in offerings)

    def find_subnet_zone(self, subnet_id: str) -> str | None:
        for subnets in self.ec2.subnets.values():
            if subnet_id in subnets:
                zone: str = subnets[subnet_id].availability_zone
                return zone
        return None

    def has_key_pair(self, name: str) -> bool:
        return name in self.ec2.key_pairs

    def has_instance_profile(self, name: str) -> bool:
        from moto.iam.models import iam_backends

        profiles = iam_backends[self._account]["aws"].get_instance_profiles()
        return any(profile.name == name for profile in profiles)

    def find_association(self, allocation_id: str) -> str | None:
        found = (one.association_id for one in self.ec2.addresses if one.allocation_id == allocation_id)
        return next(found, None)

    def is_group_used(self, group_id: str) -> bool:
        """By an instance or mount target, or by a rule of another group."""
        from moto.efs.models import efs_backends

        users = {group.id for each in self.ec2.all_instances() if each.state != "terminated" for group in _groups(each)}
        region: Any = efs_backends[self._account][self.ec2.region_name]
        for target in region.mount_targets_by_id.values():
            users.update(target.security_groups or ())
        for groups in self.ec2.groups.values():
            for group in groups.values():
                if group.id != group_id:
                    for rule in [*group.ingress_rules, *group.egress_rules]:
                        users.add(rule.source_group.get("GroupId"))
        return group_id in users


def _groups(instance: Any) -> list[Any]:
    return [*instance.security_groups, *(group for nic in instance.nics.values() for group in nic.group_set)]


def read_instances() -> dict[str, Wanted]:
    """What EC2 says of every instance, in every region. Must not run while a call changes it."""
    from moto.ec2.models import ec2_backends
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    wanted: dict[str, Wanted] = {}
    for _, region, backend in ec2_backends.iter_backends():
        ec2: Any = backend
        addresses = {each.instance.id: each.public_ip for each in ec2.addresses if each.instance}
        for instance in ec2.all_instances():
            key = ec2.key_pairs.get(instance.key_name)
            wanted[instance.id] = Wanted(
                instance_id=instance.id,
                running=instance.state == "running",
                exists=instance.state != "terminated",
                state=instance.state,
                address=addresses.get(instance.id) or loopback_only(instance.private_ip),
                region=region,
                zone=instance.availability_zone,
                image_id=instance.image_id,
                user_data=_decoded(instance.user_data),
                authorized_key=key.public_key if key else "",
                vcpus=INSTANCE_TYPES[instance.instance_type]["VCpuInfo"]["DefaultVCpus"],
                memory_mib=INSTANCE_TYPES[instance.instance_type]["MemoryInfo"]["SizeInMiB"],
                gpus=gpu_names(INSTANCE_TYPES[instance.instance_type]),
                root_volume=next(
                    (
                        volume.id
                        for volume in ec2.volumes.values()
                        if volume.attachment
                        and volume.attachment.instance.id == instance.id
                        and volume.attachment.device == instance.root_device_name
                    ),
                    "",
                ),
                volumes=tuple(
                    sorted(
                        volume.id
                        for volume in ec2.volumes.values()
                        if volume.attachment
                        and volume.attachment.instance.id == instance.id
                        and volume.attachment.device != instance.root_device_name
                    )
                ),
            )
    return wanted


def _decoded(user_data: Any) -> str:
    return base64.b64decode(str(user_data)).decode(errors="replace") if user_data else ""


def mend_addresses() -> None:
    """What AWS does with an Elastic IP when its instance changes state, and moto does not.

    It is disassociated when the instance is terminated, and stays the instance's public address over a stop and start.
    """
    from moto.ec2.models import ec2_backends

    for _, _, backend in ec2_backends.iter_backends():
        ec2: Any = backend
        for address in ec2.addresses:
            if address.instance is not None and address.instance.state == "terminated":
                ec2.disassociate_address(address=address.public_ip)
            elif address.eni is not None:
                address.eni.public_ip = address.public_ip


def write_volume_sizes(paths: CloudPaths) -> None:
    """What the block devices of the instances' volumes tell of their size."""
    from moto.ec2.models import ec2_backends

    for _, _, backend in ec2_backends.iter_backends():
        ec2: Any = backend
        for volume in ec2.volumes.values():
            if volume.attachment:
                folder = paths.volumes / volume.id
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "size").write_text(str(volume.size))


def _resolves(account_id: str, region: str, vpc_id: str) -> bool:
    """Whether names of EFS lead anywhere in a VPC: it takes both of its DNS attributes."""
    from moto.ec2.models import ec2_backends

    vpc: Any = ec2_backends[account_id][region].vpcs.get(vpc_id)
    return vpc is None or all(str(on).lower() == "true" for on in (vpc.enable_dns_support, vpc.enable_dns_hostnames))


def write_file_systems(paths: CloudPaths) -> None:
    """A folder for each file system, and what the instances' DNS knows of mount targets.

    The folder of one that was deleted through the API goes; nothing else ever removes data.
    """
    from moto.efs.models import efs_backends

    known: dict[str, Any] = {}
    for _, _, backend in efs_backends.iter_backends():
        efs: Any = backend
        for name, file_system in efs.file_systems_by_id.items():
            known[name] = {
                "mount_targets": [
                    {
                        "id": target.mount_target_id,
                        "ip_address": target.ip_address,
                        "availability_zone": target.availability_zone_name,
                        "state": target.life_cycle_state,
                        "has_name": _resolves(efs.account_id, efs.region_name, target.vpc_id),
                    }
                    for target in file_system.iter_mount_targets()
                ]
            }
    for name in known:
        (paths.file_systems / name).mkdir(parents=True, exist_ok=True)
    files.write(paths.mount_targets, json.dumps(known, indent=1, sort_keys=True))
