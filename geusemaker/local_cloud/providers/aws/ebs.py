"""EBS volumes and their attachments."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from geusemaker.local_cloud.providers.aws.api import Attempt, Aws, doing, failed, read_tags, tag_list
from geusemaker.local_cloud.providers.aws.resource import REGION, TAGS, Resource, Values
from geusemaker.local_cloud.providers.aws.tagging import update_tags
from geusemaker.local_cloud.providers.schema import Property, Schema

_TIMEOUT: Final = 300.0
_GONE: Final = ("InvalidVolume.NotFound",)


class Volume(Resource):
    schema: ClassVar = Schema(
        token="aws:ebs/volume:Volume",
        label="EBS Volume",
        properties={
            "availabilityZone": Property(required=True, replaces=True),
            "encrypted": Property(replaces=True, computed=True),
            "finalSnapshot": Property(default=False),
            "iops": Property(computed=True),
            "kmsKeyId": Property(replaces=True, computed=True),
            "multiAttachEnabled": Property(replaces=True),
            "outpostArn": Property(replaces=True),
            "size": Property(computed=True),
            "snapshotId": Property(replaces=True, computed=True),
            "throughput": Property(computed=True),
            "type": Property(computed=True),
            "region": REGION,
            **TAGS,
        },
        outputs=("arn", "createTime"),
        needs_one_of=(("size", "snapshotId"),),
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        request = {
            "AvailabilityZone": inputs["availabilityZone"],
            "Encrypted": inputs.get("encrypted"),
            "Iops": inputs.get("iops"),
            "KmsKeyId": inputs.get("kmsKeyId"),
            "Size": inputs.get("size"),
            "SnapshotId": inputs.get("snapshotId"),
            "Throughput": inputs.get("throughput"),
            "VolumeType": inputs.get("type"),
        }
        given: dict[str, Any] = {key: value for key, value in request.items() if value is not None}
        if inputs.get("tagsAll"):
            given["TagSpecifications"] = [{"ResourceType": "volume", "Tags": tag_list(inputs["tagsAll"])}]
        with doing("creating EBS Volume"):
            return aws.ec2.create_volume(**given)["VolumeId"]

    def settle(self, aws: Aws, resource_id: str, inputs: Values) -> None:
        _wait_for_volume(aws, resource_id, ("available", "in-use"), f"waiting for EBS Volume ({resource_id}) create")

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        volume = _find_volume(aws, resource_id)
        if volume is None:
            return None
        return {
            "arn": f"arn:aws:ec2:{aws.region}:{aws.account_id}:volume/{resource_id}",
            "availabilityZone": volume["AvailabilityZone"],
            "createTime": volume["CreateTime"].strftime("%Y-%m-%dT%H:%M:%SZ"),
            "encrypted": bool(volume.get("Encrypted")),
            "iops": volume.get("Iops") or 0,
            "kmsKeyId": volume.get("KmsKeyId") or "",
            "size": volume["Size"],
            "snapshotId": volume.get("SnapshotId") or "",
            "throughput": volume.get("Throughput") or 0,
            "type": volume.get("VolumeType"),
            **read_tags(volume.get("Tags")),
        }

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        names = {"size": "Size", "type": "VolumeType", "iops": "Iops", "throughput": "Throughput"}
        request: dict[str, Any] = {key: news[name] for name, key in names.items() if name in changed and name in news}
        with doing(f"modifying EBS Volume ({resource_id})"):
            if request:
                aws.ec2.modify_volume(VolumeId=resource_id, **request)
            update_tags(aws, resource_id, olds, news, changed)

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        with Attempt(f"deleting EBS Volume ({resource_id})", _GONE):
            aws.ec2.delete_volume(VolumeId=resource_id)


class VolumeAttachment(Resource):
    schema: ClassVar = Schema(
        token="aws:ec2/volumeAttachment:VolumeAttachment",
        label="EBS Volume Attachment",
        properties={
            "deviceName": Property(required=True, replaces=True),
            "forceDetach": Property(),
            "instanceId": Property(required=True, replaces=True),
            "skipDestroy": Property(),
            "stopInstanceBeforeDetaching": Property(),
            "volumeId": Property(required=True, replaces=True),
            "region": REGION,
        },
        delete_before_replace=True,
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        volume, instance, device = (str(inputs[name]) for name in ("volumeId", "instanceId", "deviceName"))
        if self.read(aws, "", inputs) is not None:
            return f"vai-{hash_of(device, instance, volume)}"  # as the real provider: attached already is done
        with doing(f"attaching EBS Volume ({volume}) to EC2 Instance ({instance})"):
            aws.ec2.attach_volume(Device=device, InstanceId=instance, VolumeId=volume)
        return f"vai-{hash_of(device, instance, volume)}"

    def settle(self, aws: Aws, resource_id: str, inputs: Values) -> None:
        volume = str(inputs["volumeId"])
        _wait_for_volume(aws, volume, ("in-use",), f"waiting for EBS Volume ({volume}) attachment")

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        volume = _find_volume(aws, str(state.get("volumeId", "")))
        for attachment in (volume or {}).get("Attachments", ()):
            if attachment["InstanceId"] == state.get("instanceId"):
                return {
                    "deviceName": attachment["Device"],
                    "instanceId": attachment["InstanceId"],
                    "volumeId": state["volumeId"],
                }
        return None

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        """Settings that only matter when it is deleted."""

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        if state.get("skipDestroy"):
            return
        volume, instance = str(state["volumeId"]), str(state["instanceId"])
        if state.get("stopInstanceBeforeDetaching"):
            _stop(aws, instance)
        with Attempt(f"deleting EBS Volume ({volume}) Attachment", (*_GONE, "InvalidAttachment.NotFound")):
            aws.ec2.detach_volume(
                Device=state["deviceName"],
                InstanceId=instance,
                VolumeId=volume,
                Force=bool(state.get("forceDetach")),
            )


def _stop(aws: Aws, instance: str) -> None:
    """Stop the instance, so that nothing has the volume mounted; one that is gone has not."""
    action = f"stopping EC2 Instance ({instance})"
    with Attempt(action, ("InvalidInstanceID.NotFound", "IncorrectInstanceState")):
        aws.ec2.stop_instances(InstanceIds=[instance])

    def stopped() -> bool | None:
        with Attempt(action, ("InvalidInstanceID.NotFound",)):
            found = aws.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
            return True if found["State"]["Name"] in ("stopped", "terminated") else None
        return True

    aws.wait_until(stopped, _TIMEOUT, lambda: failed(f"{action}: timeout while waiting for state 'stopped'"))


def hash_of(*parts: str) -> int:
    """A number that only depends on the parts, for ids that AWS does not give."""
    import zlib

    return zlib.crc32("-".join(parts).encode())


def _find_volume(aws: Aws, volume_id: str) -> Any | None:
    with Attempt(f"reading EBS Volume ({volume_id})", (*_GONE, "InvalidParameterValue")):
        volumes = aws.ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
        return volumes[0] if volumes else None
    return None


def _wait_for_volume(aws: Aws, volume_id: str, wanted: tuple[str, ...], action: str) -> None:
    def reached() -> bool | None:
        volume = _find_volume(aws, volume_id)
        if volume is None:
            raise failed(f"{action}: couldn't find resource")
        return True if volume["State"] in wanted else None

    aws.wait_until(reached, _TIMEOUT, lambda: failed(f"{action}: timeout while waiting for state {wanted[0]!r}"))


RESOURCES: Final = (Volume(), VolumeAttachment())
