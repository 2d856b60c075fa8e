"""An instance's own disk: what is read of it, and how it is changed and tagged, by calls apart from the instance's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from geusemaker.local_cloud.providers.aws.api import Aws, doing, tag_list, tag_map
from geusemaker.local_cloud.providers.aws.tagging import update_tags
from geusemaker.local_cloud.providers.schema import Property

ROOT_FIELDS: Final = {
    "deleteOnTermination": Property(default=True),
    "encrypted": Property(replaces=True, computed=True),
    "iops": Property(computed=True),
    "kmsKeyId": Property(replaces=True, computed=True),
    "tags": Property(),
    "tagsAll": Property(computed=True),
    "throughput": Property(computed=True),
    "volumeSize": Property(computed=True),
    "volumeType": Property(computed=True),
}


def read_root(aws: Aws, instance: Any) -> dict[str, Any]:
    """``rootBlockDevice`` as AWS has it; nothing where it cannot be told."""
    volume_id = _root_volume_id(instance)
    if volume_id is None:
        return {}
    volume: Any = aws.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"][0]
    mapping = next(item for item in instance["BlockDeviceMappings"] if item.get("Ebs", {}).get("VolumeId") == volume_id)
    return {
        "rootBlockDevice": {
            "deleteOnTermination": bool(mapping["Ebs"].get("DeleteOnTermination", True)),
            "deviceName": mapping["DeviceName"],
            "encrypted": bool(volume.get("Encrypted")),
            "iops": volume.get("Iops") or 0,
            "kmsKeyId": volume.get("KmsKeyId") or "",
            "tags": tag_map(volume.get("Tags")),
            "tagsAll": tag_map(volume.get("Tags")),
            "throughput": volume.get("Throughput") or 0,
            "volumeId": volume_id,
            "volumeSize": volume["Size"],
            "volumeType": volume.get("VolumeType"),
        }
    }


def change_root(aws: Aws, instance_id: str, olds: Mapping[str, Any], news: Mapping[str, Any]) -> None:
    """Bring the root volume to what is wanted; tags of an instance that has none given stay as they are."""
    names = {"volumeSize": "Size", "volumeType": "VolumeType", "iops": "Iops", "throughput": "Throughput"}
    request = {key: news[name] for name, key in names.items() if news.get(name) and news[name] != olds.get(name)}
    volume_id = olds.get("volumeId")
    if request and volume_id:
        with doing(f"updating EC2 Instance ({instance_id}) volume ({volume_id})"):
            aws.ec2.modify_volume(VolumeId=volume_id, **request)
    if volume_id and news.get("tags") is not None and news["tags"] != (olds.get("tags") or {}):
        with doing(f"updating EC2 Instance ({instance_id}) volume ({volume_id}) tags"):
            update_tags(aws, volume_id, {"tagsAll": olds.get("tags") or {}}, {"tagsAll": news["tags"]}, {"tags"})


def tag_root(aws: Aws, instance_id: str, tags: Mapping[str, Any]) -> None:
    """Tag a new instance's disk, once it runs, by a call of its own (resourceInstanceCreate in the AWS provider)."""
    with doing(f"creating EC2 Instance ({instance_id}) root volume tags"):
        reservations: Any = aws.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        volume_id = _root_volume_id(reservations[0]["Instances"][0])
        if volume_id is not None:
            aws.ec2.create_tags(Resources=[volume_id], Tags=tag_list(tags))


def _root_volume_id(instance: Any) -> str | None:
    root = instance.get("RootDeviceName")
    for mapping in instance.get("BlockDeviceMappings", ()):
        if mapping.get("DeviceName") == root or len(instance["BlockDeviceMappings"]) == 1:
            volume_id = mapping.get("Ebs", {}).get("VolumeId")
            return str(volume_id) if volume_id else None
    return None
