"""EFS: file systems, mount targets, backup policies."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from geusemaker.local_cloud.providers.aws.api import Attempt, Aws, doing, failed, read_tags, tag_list
from geusemaker.local_cloud.providers.aws.resource import REGION, TAGS, Resource, Values
from geusemaker.local_cloud.providers.aws.tagging import tag_changes
from geusemaker.local_cloud.providers.schema import AutoName, Property, Schema

_TIMEOUT: Final = 600.0


class FileSystem(Resource):
    schema: ClassVar = Schema(
        token="aws:efs/fileSystem:FileSystem",
        label="EFS file system",
        properties={
            "availabilityZoneName": Property(replaces=True, computed=True),
            "creationToken": Property(replaces=True, computed=True),
            "encrypted": Property(replaces=True, computed=True),
            "kmsKeyId": Property(replaces=True, computed=True),
            "lifecyclePolicies": Property(
                fields={
                    "transitionToArchive": Property(),
                    "transitionToIa": Property(),
                    "transitionToPrimaryStorageClass": Property(),
                }
            ),
            "performanceMode": Property(replaces=True, computed=True),
            "protection": Property(computed=True, fields={"replicationOverwrite": Property(computed=True)}),
            "provisionedThroughputInMibps": Property(),
            "throughputMode": Property(default="bursting"),
            "region": REGION,
            **TAGS,
        },
        outputs=(
            "arn",
            "availabilityZoneId",
            "dnsName",
            "name",
            "numberOfMountTargets",
            "ownerId",
            "sizeInBytes",
        ),
        auto_name=AutoName("creationToken", "", 64),
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        request = {
            "CreationToken": inputs["creationToken"],
            "AvailabilityZoneName": inputs.get("availabilityZoneName"),
            "Encrypted": inputs.get("encrypted"),
            "KmsKeyId": inputs.get("kmsKeyId"),
            "PerformanceMode": inputs.get("performanceMode"),
            "ThroughputMode": inputs.get("throughputMode", "bursting"),
            "ProvisionedThroughputInMibps": inputs.get("provisionedThroughputInMibps"),
            "Tags": tag_list(inputs.get("tagsAll")),
        }
        given: dict[str, Any] = {key: value for key, value in request.items() if value is not None}
        with doing("creating EFS file system"):
            return aws.efs.create_file_system(**given)["FileSystemId"]

    def settle(self, aws: Aws, resource_id: str, inputs: Values) -> None:
        _wait_available(aws, resource_id, f"waiting for EFS file system ({resource_id}) create")
        if inputs.get("lifecyclePolicies"):
            self._put_lifecycle(aws, resource_id, inputs)

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        found = _find_file_system(aws, resource_id)
        if found is None:
            return None
        size = found.get("SizeInBytes", {})
        return {
            "arn": found.get("FileSystemArn")
            or f"arn:aws:elasticfilesystem:{aws.region}:{found['OwnerId']}:file-system/{resource_id}",
            "availabilityZoneId": found.get("AvailabilityZoneId") or "",
            "availabilityZoneName": found.get("AvailabilityZoneName") or "",
            "creationToken": found["CreationToken"],
            "dnsName": f"{resource_id}.efs.{aws.region}.amazonaws.com",
            "encrypted": bool(found.get("Encrypted")),
            "kmsKeyId": found.get("KmsKeyId") or "",
            "name": found.get("Name") or "",
            "numberOfMountTargets": found.get("NumberOfMountTargets", 0),
            "ownerId": found["OwnerId"],
            "performanceMode": found.get("PerformanceMode", "generalPurpose"),
            "provisionedThroughputInMibps": found.get("ProvisionedThroughputInMibps") or 0,
            "throughputMode": found.get("ThroughputMode", "bursting"),
            "sizeInBytes": [
                {
                    "value": size.get("Value", 0),
                    "valueInIa": size.get("ValueInIA", 0),
                    "valueInStandard": size.get("ValueInStandard", 0),
                }
            ],
            **read_tags(found.get("Tags")),
        }

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        if changed & {"throughputMode", "provisionedThroughputInMibps"}:
            request: dict[str, Any] = {"ThroughputMode": news.get("throughputMode", "bursting")}
            if request["ThroughputMode"] == "provisioned":
                request["ProvisionedThroughputInMibps"] = news.get("provisionedThroughputInMibps")
            with doing(f"updating EFS file system ({resource_id})"):
                aws.efs.update_file_system(FileSystemId=resource_id, **request)
            _wait_available(aws, resource_id, f"waiting for EFS file system ({resource_id}) update")
        if "lifecyclePolicies" in changed:
            self._put_lifecycle(aws, resource_id, news)
        with doing(f"updating EFS file system ({resource_id}) tags"):
            _update_tags(aws, resource_id, olds, news, changed)

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        with Attempt(f"deleting EFS file system ({resource_id})", ("FileSystemNotFound",)):
            aws.efs.delete_file_system(FileSystemId=resource_id)
        aws.wait_until(
            lambda: True if _find_file_system(aws, resource_id) is None else None,
            _TIMEOUT,
            lambda: failed(f"waiting for EFS file system ({resource_id}) delete: timeout"),
        )

    def _put_lifecycle(self, aws: Aws, resource_id: str, inputs: Values) -> None:
        names = {
            "transitionToArchive": "TransitionToArchive",
            "transitionToIa": "TransitionToIA",
            "transitionToPrimaryStorageClass": "TransitionToPrimaryStorageClass",
        }
        policies: list[Any] = [
            {names[name]: value for name, value in policy.items()} for policy in inputs.get("lifecyclePolicies", ())
        ]
        with doing(f"putting EFS file system ({resource_id}) lifecycle configuration"):
            aws.efs.put_lifecycle_configuration(FileSystemId=resource_id, LifecyclePolicies=policies)


def _find_file_system(aws: Aws, file_system_id: str) -> Any | None:
    with Attempt(f"reading EFS file system ({file_system_id})", ("FileSystemNotFound",)):
        systems = aws.efs.describe_file_systems(FileSystemId=file_system_id)["FileSystems"]
        return systems[0] if systems else None
    return None


def _wait_available(aws: Aws, file_system_id: str, action: str) -> None:
    def available() -> bool | None:
        found = _find_file_system(aws, file_system_id)
        if found is None:
            raise failed(f"{action}: couldn't find resource")
        if found["LifeCycleState"] == "error":
            raise failed(f"{action}: unexpected state 'error', wanted target 'available'")
        return True if found["LifeCycleState"] == "available" else None

    aws.wait_until(
        available, _TIMEOUT, lambda: failed(f"{action}: timeout while waiting for state to become 'available'")
    )


def _update_tags(aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
    if not changed & {"tags", "tagsAll"}:
        return
    gone, wanted = tag_changes(olds, news)
    if gone:
        aws.efs.untag_resource(ResourceId=resource_id, TagKeys=gone)
    if wanted:
        aws.efs.tag_resource(ResourceId=resource_id, Tags=tag_list(wanted))


class MountTarget(Resource):
    schema: ClassVar = Schema(
        token="aws:efs/mountTarget:MountTarget",
        label="EFS mount target",
        properties={
            "fileSystemId": Property(required=True, replaces=True),
            "subnetId": Property(required=True, replaces=True),
            "ipAddress": Property(replaces=True, computed=True),
            "ipAddressType": Property(replaces=True, computed=True),
            "ipv6Address": Property(replaces=True, computed=True),
            "securityGroups": Property(computed=True, unordered=True),
            "region": REGION,
        },
        outputs=(
            "availabilityZoneId",
            "availabilityZoneName",
            "dnsName",
            "fileSystemArn",
            "mountTargetDnsName",
            "networkInterfaceId",
            "ownerId",
        ),
        # EFS allows one mount target in each availability zone.
        delete_before_replace=True,
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        request: dict[str, Any] = {"FileSystemId": inputs["fileSystemId"], "SubnetId": inputs["subnetId"]}
        if inputs.get("ipAddress"):
            request["IpAddress"] = inputs["ipAddress"]
        if inputs.get("securityGroups"):
            request["SecurityGroups"] = list(inputs["securityGroups"])
        with doing("creating EFS mount target"):
            return aws.efs.create_mount_target(**request)["MountTargetId"]

    def settle(self, aws: Aws, resource_id: str, inputs: Values) -> None:
        action = f"waiting for EFS mount target ({resource_id}) create"

        def available() -> bool | None:
            found = _find_mount_target(aws, resource_id)
            if found is None:
                raise failed(f"{action}: couldn't find resource")
            return True if found["LifeCycleState"] == "available" else None

        aws.wait_until(available, _TIMEOUT, lambda: failed(f"{action}: timeout while waiting for state 'available'"))

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        found = _find_mount_target(aws, resource_id)
        if found is None:
            return None
        with doing(f"reading EFS mount target ({resource_id}) security groups"):
            groups = aws.efs.describe_mount_target_security_groups(MountTargetId=resource_id).get("SecurityGroups", [])
        file_system_id = found["FileSystemId"]
        zone = found.get("AvailabilityZoneName") or ""
        host = f"{file_system_id}.efs.{aws.region}.amazonaws.com"
        return {
            "availabilityZoneId": found.get("AvailabilityZoneId") or "",
            "availabilityZoneName": zone,
            "dnsName": host,
            "mountTargetDnsName": f"{zone}.{host}",
            "fileSystemArn": (
                f"arn:aws:elasticfilesystem:{aws.region}:{found.get('OwnerId')}:file-system/{file_system_id}"
            ),
            "fileSystemId": file_system_id,
            "ipAddress": found.get("IpAddress"),
            "ipAddressType": "IPV4_ONLY",
            "networkInterfaceId": found.get("NetworkInterfaceId"),
            "ownerId": found.get("OwnerId"),
            "securityGroups": list(groups),
            "subnetId": found["SubnetId"],
        }

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        if "securityGroups" in changed:
            with doing(f"updating EFS mount target ({resource_id}) security groups"):
                aws.efs.modify_mount_target_security_groups(
                    MountTargetId=resource_id, SecurityGroups=list(news.get("securityGroups", ()))
                )

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        with Attempt(f"deleting EFS mount target ({resource_id})", ("MountTargetNotFound",)):
            aws.efs.delete_mount_target(MountTargetId=resource_id)
        aws.wait_until(
            lambda: True if _find_mount_target(aws, resource_id) is None else None,
            _TIMEOUT,
            lambda: failed(f"waiting for EFS mount target ({resource_id}) delete: timeout"),
        )


def _find_mount_target(aws: Aws, mount_target_id: str) -> Any | None:
    with Attempt(f"reading EFS mount target ({mount_target_id})", ("MountTargetNotFound",)):
        targets = aws.efs.describe_mount_targets(MountTargetId=mount_target_id)["MountTargets"]
        return targets[0] if targets else None
    return None


class BackupPolicy(Resource):
    schema: ClassVar = Schema(
        token="aws:efs/backupPolicy:BackupPolicy",
        label="EFS Backup Policy",
        properties={
            "fileSystemId": Property(required=True, replaces=True),
            "backupPolicy": Property(required=True, fields={"status": Property(required=True)}),
            "region": REGION,
        },
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        file_system_id = str(inputs["fileSystemId"])
        self._put(aws, file_system_id, inputs["backupPolicy"]["status"])
        return file_system_id

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        with Attempt(f"reading EFS Backup Policy ({resource_id})", ("FileSystemNotFound", "PolicyNotFound")):
            policy = aws.efs.describe_backup_policy(FileSystemId=resource_id)["BackupPolicy"]
            return {"fileSystemId": resource_id, "backupPolicy": {"status": policy["Status"]}}
        return None

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        self._put(aws, resource_id, news["backupPolicy"]["status"])

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        with Attempt(f"deleting EFS Backup Policy ({resource_id})", ("FileSystemNotFound",)):
            aws.efs.put_backup_policy(FileSystemId=resource_id, BackupPolicy={"Status": "DISABLED"})

    def _put(self, aws: Aws, file_system_id: str, status: Any) -> None:
        with doing(f"putting EFS Backup Policy ({file_system_id})"):
            aws.efs.put_backup_policy(FileSystemId=file_system_id, BackupPolicy={"Status": status})


RESOURCES: Final = (FileSystem(), MountTarget(), BackupPolicy())
