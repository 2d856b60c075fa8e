"""Questions to AWS that the checks and ``inspect`` ask."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

from geusemaker.errors import EnvironmentProblemError
from geusemaker.models import resource_types
from geusemaker.models.identity import Caller
from geusemaker.models.result import DataVolumeState, FileSystemState, InstanceState
from geusemaker.models.stack import InstanceFacts

DEBIAN_OWNER: Final = "136693071363"
"""The account that publishes Debian's images, https://wiki.debian.org/Cloud/AmazonEC2Image."""

_LIVE_STATES: Final = ["pending", "running", "stopping", "stopped"]


class AwsCloud:
    """AWS as one deployment sees it.

    Args:
        region: the deployment's region.
        environment: variables of the target (endpoint and credentials of the local cloud); the process's own win
            nothing over them.
    """

    def __init__(self, region: str, environment: dict[str, str]) -> None:
        self.region = region
        self._environment = environment
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}
        self._identity_lock = threading.Lock()
        self._identity: Caller | None = None

    def prepare(self) -> None:
        """Load what the first questions need, the descriptions of AWS's APIs, which takes a while; nothing is asked.

        Raises:
            EnvironmentProblemError: the settings for AWS cannot be used.
        """
        for service in ("ec2", "efs", "sts"):
            self._ask(service, lambda client: None)

    # --- the account and its network -----------------------------------------------------------------------------

    def identity(self) -> Caller:
        """Whom the credentials belong to; asked once, as the session's credentials stay."""
        with self._identity_lock:
            if self._identity is None:
                found = self._ask("sts", lambda sts: sts.get_caller_identity())
                self._identity = Caller(account_id=found["Account"], partition=found["Arn"].split(":")[1])
            return self._identity

    def find_subnet(self, vpc_id: str | None, subnet_id: str | None) -> dict[str, Any] | None:
        """The subnet to deploy into: the given one, else the first default (or only) subnet of the VPC."""
        filters = []
        if subnet_id:
            filters.append({"Name": "subnet-id", "Values": [subnet_id]})
        if vpc_id:
            filters.append({"Name": "vpc-id", "Values": [vpc_id]})
        if not filters:
            filters.append({"Name": "default-for-az", "Values": ["true"]})
        subnets = self._ask("ec2", lambda ec2: ec2.describe_subnets(Filters=filters))["Subnets"]
        return min(subnets, key=lambda subnet: str(subnet["AvailabilityZone"]), default=None)

    # --- instance types and images -------------------------------------------------------------------------------

    def find_instance_type(self, instance_type: str) -> InstanceFacts | None:
        """What AWS says of an instance type; None when it does not know it."""
        types = self._ask(
            "ec2",
            lambda ec2: ec2.describe_instance_types(Filters=[{"Name": "instance-type", "Values": [instance_type]}]),
        )["InstanceTypes"]
        if not types:
            return None
        found = types[0]
        architectures = found["ProcessorInfo"]["SupportedArchitectures"]
        return InstanceFacts(
            memory_mib=found["MemoryInfo"]["SizeInMiB"],
            gpus=sum(gpu["Count"] for gpu in found.get("GpuInfo", {}).get("Gpus", ())),
            architecture="arm64" if "arm64" in architectures else "amd64",
        )

    def is_offered(self, instance_type: str, availability_zone: str) -> bool:
        """Whether the zone offers the instance type."""
        offerings = self._ask(
            "ec2",
            lambda ec2: ec2.describe_instance_type_offerings(
                LocationType="availability-zone",
                Filters=[
                    {"Name": "instance-type", "Values": [instance_type]},
                    {"Name": "location", "Values": [availability_zone]},
                ],
            ),
        )["InstanceTypeOfferings"]
        return bool(offerings)

    def find_debian_image(self, architecture: str) -> str | None:
        """The newest Debian 13 AMI of that architecture."""
        images = self._ask(
            "ec2",
            lambda ec2: ec2.describe_images(
                Owners=[DEBIAN_OWNER], Filters=[{"Name": "name", "Values": [f"debian-13-{architecture}-*"]}]
            ),
        )["Images"]
        newest = max(images, key=lambda image: str(image["CreationDate"]), default=None)
        return str(newest["ImageId"]) if newest else None

    def find_image_architecture(self, ami: str) -> str | None:
        """The architecture of an AMI (amd64, arm64), a deprecated one too; None when there is no such AMI."""
        wanted = [{"Name": "image-id", "Values": [ami]}]
        images = self._ask("ec2", lambda ec2: ec2.describe_images(Filters=wanted, IncludeDeprecated=True))["Images"]
        if not images:
            return None
        # One that is neither (i386, x86_64_mac …) keeps its own name, and fits no instance type.
        architecture = str(images[0]["Architecture"])
        return {"x86_64": "amd64"}.get(architecture, architecture)

    def is_debian_image(self, ami: str) -> bool:
        """Whether an AMI is one of Debian's own, or none that could be looked at."""
        wanted = [{"Name": "image-id", "Values": [ami]}]
        images = self._ask("ec2", lambda ec2: ec2.describe_images(Filters=wanted, IncludeDeprecated=True))["Images"]
        return not images or images[0].get("OwnerId") == DEBIAN_OWNER

    # --- what the deployment has ---------------------------------------------------------------------------------

    def find_instance(self, deployment: str) -> InstanceState | None:
        """The deployment's instance as AWS describes it now, with its Elastic IP."""
        tag = {"Name": "tag:geusemaker:deployment", "Values": [deployment]}
        reservations = self._ask(
            "ec2",
            lambda ec2: ec2.describe_instances(Filters=[tag, {"Name": "instance-state-name", "Values": _LIVE_STATES}]),
        )["Reservations"]
        instances = [instance for reservation in reservations for instance in reservation["Instances"]]
        if not instances:
            return None
        instance = max(instances, key=lambda found: found["LaunchTime"])
        addresses = self._ask("ec2", lambda ec2: ec2.describe_addresses(Filters=[tag]))["Addresses"]
        return InstanceState(
            id=instance["InstanceId"],
            type=instance["InstanceType"],
            state=instance["State"]["Name"],
            # One that is not associated (yet) leads nowhere.
            address=next((one["PublicIp"] for one in addresses if one.get("InstanceId") == instance["InstanceId"]), ""),
            others=tuple(sorted(found["InstanceId"] for found in instances if found is not instance)),
        )

    def find_file_system(self, deployment: str) -> FileSystemState | None:
        """The deployment's file system; ``mounted`` is not AWS's to know and stays False."""
        for file_system in self._ask("efs", _all_file_systems):
            tags = {tag["Key"]: tag["Value"] for tag in file_system.get("Tags", ())}
            if tags.get("geusemaker:deployment") == deployment:
                return FileSystemState(
                    id=file_system["FileSystemId"], mounted=False, state=file_system["LifeCycleState"]
                )
        return None

    def mount_target_state(self, file_system_id: str) -> str:
        """The state of the file system's mount target (available, creating …), ``missing`` when it has none."""
        targets = self._ask("efs", lambda efs: efs.describe_mount_targets(FileSystemId=file_system_id))["MountTargets"]
        return str(targets[0]["LifeCycleState"]) if targets else "missing"

    def is_backed_up(self, file_system_id: str) -> bool:
        """Whether AWS Backup copies the file system every day."""
        status = self._ask("efs", lambda efs: _backup_status(efs, file_system_id))
        return status in ("ENABLED", "ENABLING")

    def find_data_volume(self, deployment: str) -> DataVolumeState | None:
        """The deployment's data volume; ``mounted`` is not AWS's to know and stays False."""
        tag = {"Name": "tag:geusemaker:deployment", "Values": [deployment]}
        volumes = self._ask("ec2", lambda ec2: ec2.describe_volumes(Filters=[tag]))["Volumes"]
        if not volumes:
            return None
        volume = min(volumes, key=lambda found: found["CreateTime"])
        return DataVolumeState(
            id=volume["VolumeId"],
            size_gib=volume["Size"],
            state=volume["State"],
            availability_zone=volume["AvailabilityZone"],
            attached_to=next((one["InstanceId"] for one in volume.get("Attachments", ())), ""),
        )

    def find_state(self, resource_type: str, resource_id: str) -> str | None:
        """How AWS has a resource, by its id: a word for its state; None when there is none any more.

        Raises:
            KeyError: of this type nothing can be asked.
        """
        service, question = _BY_ID[resource_type]
        state: str | None = self._ask(service, lambda client: _state_or_none(client, question, resource_id))
        return state

    def find_root_volume_gib(self, deployment: str) -> int | None:
        """The size of the instance's own disk; None without an instance. One that grows has its new size at once."""
        tag = {"Name": "tag:geusemaker:deployment", "Values": [deployment]}
        live = {"Name": "instance-state-name", "Values": _LIVE_STATES}
        reservations = self._ask("ec2", lambda ec2: ec2.describe_instances(Filters=[tag, live]))["Reservations"]
        instances = [instance for reservation in reservations for instance in reservation["Instances"]]
        if not instances:
            return None
        instance = max(instances, key=lambda found: found["LaunchTime"])
        disks = {disk["DeviceName"]: disk["Ebs"]["VolumeId"] for disk in instance["BlockDeviceMappings"]}
        volume_id = disks.get(instance["RootDeviceName"])
        if volume_id is None:
            return None
        return int(self._ask("ec2", lambda ec2: ec2.describe_volumes(VolumeIds=[volume_id]))["Volumes"][0]["Size"])

    def observe(self, deployment: str) -> dict[str, str]:
        """What AWS has of the deployment, in words by which two looks can be compared: thing → how it is.

        States that pass by themselves (an instance that boots, a file system that is updated) are left out.
        """
        tag = {"Name": "tag:geusemaker:deployment", "Values": [deployment]}
        live = {"Name": "instance-state-name", "Values": _LIVE_STATES}
        reservations = self._ask("ec2", lambda ec2: ec2.describe_instances(Filters=[tag, live]))["Reservations"]
        seen = {
            f"instance {one['InstanceId']}": f"{one['InstanceType']} of {one['ImageId']} in "
            + ", ".join(sorted(group["GroupId"] for group in one["SecurityGroups"]))
            for reservation in reservations
            for one in reservation["Instances"]
        }
        for group in self._ask("ec2", lambda ec2: ec2.describe_security_groups(Filters=[tag]))["SecurityGroups"]:
            rules = [f"in {rule}" for rule in _rules(group["IpPermissions"])]
            rules += [f"out {rule}" for rule in _rules(group["IpPermissionsEgress"])]
            seen[f"security group {group['GroupId']}"] = "; ".join(rules) or "no rules"
        file_system = self.find_file_system(deployment)
        if file_system is not None:
            seen[f"file system {file_system.id}"] = f"mount target {self._mount_target_id(file_system.id) or 'missing'}"
        volume = self.find_data_volume(deployment)
        if volume is not None:
            seen[f"data volume {volume.id}"] = f"attached to {volume.attached_to or 'nothing'}"
        return seen

    def find_created(self, resource_type: str, deployment: str) -> str | None:
        """The id of what a killed engine had already asked AWS for, found by the deployment's tag.

        Looked for are those types that cost money or hold data, and of which a deployment has just one.
        """
        if resource_type == resource_types.INSTANCE:
            instance = self.find_instance(deployment)
            return instance.id if instance is not None else None
        if resource_type in (resource_types.FILE_SYSTEM, resource_types.BACKUP_POLICY):
            # A backup policy has no id of its own.
            file_system = self.find_file_system(deployment)
            return file_system.id if file_system is not None else None
        if resource_type == resource_types.MOUNT_TARGET:
            file_system = self.find_file_system(deployment)
            return self._mount_target_id(file_system.id) if file_system is not None else None
        if resource_type == resource_types.DATA_VOLUME:
            volume = self.find_data_volume(deployment)
            return volume.id if volume is not None else None
        if resource_type == resource_types.ADDRESS:
            tag = {"Name": "tag:geusemaker:deployment", "Values": [deployment]}
            addresses = self._ask("ec2", lambda ec2: ec2.describe_addresses(Filters=[tag]))["Addresses"]
            return str(addresses[0]["AllocationId"]) if addresses else None
        return None

    def _mount_target_id(self, file_system_id: str) -> str | None:
        targets = self._ask("efs", lambda efs: efs.describe_mount_targets(FileSystemId=file_system_id))["MountTargets"]
        return str(targets[0]["MountTargetId"]) if targets else None

    # --- what is done here ---------------------------------------------------------------------------------------

    def stop_instance(self, instance_id: str) -> None:
        """Stop an instance and wait until it is. EC2 cuts one off that does not stop by itself."""
        self._ask("ec2", lambda ec2: ec2.stop_instances(InstanceIds=[instance_id]))
        self._ask("ec2", lambda ec2: ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance_id]))

    def start_instance(self, instance_id: str) -> None:
        """Start an instance that a killed operation left stopped, and wait until it runs.

        Pulumi does not do this: to it, a stopped instance of the right type is no difference.
        """
        self._ask("ec2", lambda ec2: ec2.start_instances(InstanceIds=[instance_id]))
        self._ask("ec2", lambda ec2: ec2.get_waiter("instance_running").wait(InstanceIds=[instance_id]))

    def wait_until_settled(self, instance: InstanceState) -> None:
        """Wait until an instance that is stopping has stopped, or one that is starting runs; at most ten minutes."""
        waiter = "instance_stopped" if instance.state == "stopping" else "instance_running"
        self._ask("ec2", lambda ec2: ec2.get_waiter(waiter).wait(InstanceIds=[instance.id]))

    # --- plumbing ------------------------------------------------------------------------------------------------

    def _ask(self, service: str, question: Callable[[Any], Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return question(self._client(service))
        except ClientError as error:
            detail = error.response.get("Error", {})
            raise EnvironmentProblemError(
                f"AWS refused a question ({error.operation_name}): {detail.get('Message') or detail.get('Code')}.",
                state="Nothing was changed.",
                next_step="Check the credentials and their permissions; `geusemaker doctor` tells more.",
            ) from error
        except BotoCoreError as error:
            raise EnvironmentProblemError(
                f"AWS cannot be asked: {error}.",
                state="Nothing was changed.",
                next_step="Check network and credentials (`aws sts get-caller-identity`).",
            ) from error

    def _client(self, service: str) -> Any:
        from botocore.config import Config

        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._session.client(
                    service,
                    region_name=self.region,
                    endpoint_url=self._environment.get("AWS_ENDPOINT_URL"),
                    config=Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "max_attempts": 3}),
                )
            return self._clients[service]

    @cached_property
    def _session(self) -> Any:
        import boto3

        return boto3.session.Session(
            aws_access_key_id=self._environment.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=self._environment.get("AWS_SECRET_ACCESS_KEY"),
            region_name=self.region,
        )


def _instance_state(ec2: Any, instance_id: str) -> str | None:
    reservations = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    states = [str(one["State"]["Name"]) for reservation in reservations for one in reservation["Instances"]]
    return next((state for state in states if state != "terminated"), None)


def _group_state(ec2: Any, group_id: str) -> str | None:
    return "there" if ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"] else None


def _address_state(ec2: Any, allocation_id: str) -> str | None:
    addresses = ec2.describe_addresses(AllocationIds=[allocation_id])["Addresses"]
    return ("associated" if addresses[0].get("AssociationId") else "allocated") if addresses else None


def _volume_state(ec2: Any, volume_id: str) -> str | None:
    volumes = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
    return str(volumes[0]["State"]) if volumes else None


def _file_system_state(efs: Any, file_system_id: str) -> str | None:
    found = efs.describe_file_systems(FileSystemId=file_system_id)["FileSystems"]
    return str(found[0]["LifeCycleState"]) if found else None


_BY_ID: Final[dict[str, tuple[str, Callable[[Any, str], str | None]]]] = {
    resource_types.INSTANCE: ("ec2", _instance_state),
    resource_types.SECURITY_GROUP: ("ec2", _group_state),
    resource_types.ADDRESS: ("ec2", _address_state),
    resource_types.DATA_VOLUME: ("ec2", _volume_state),
    resource_types.FILE_SYSTEM: ("efs", _file_system_state),
}
"""Type → the service that knows it, and the question for one by its id."""

_GONE: Final = re.compile(r"NotFound|NoSuchEntity|Malformed")
"""In the error codes by which AWS says that there is no such thing; an id that another account made up, too."""


def _state_or_none(client: Any, question: Callable[[Any, str], str | None], resource_id: str) -> str | None:
    from botocore.exceptions import ClientError

    try:
        return question(client, resource_id)
    except ClientError as error:
        if _GONE.search(str(error.response.get("Error", {}).get("Code"))):
            return None
        raise


def _rules(permissions: list[dict[str, Any]]) -> list[str]:
    """A security group's rules as text, in a fixed order: ``tcp 22-22 from 10.0.0.0/8``."""
    rules = []
    for permission in permissions:
        ports = f"{permission['FromPort']}-{permission['ToPort']}" if "FromPort" in permission else "any"
        peers = [found["CidrIp"] for found in permission.get("IpRanges", ())]
        peers += [found["CidrIpv6"] for found in permission.get("Ipv6Ranges", ())]
        peers += [found["PrefixListId"] for found in permission.get("PrefixListIds", ())]
        peers += [found["GroupId"] for found in permission.get("UserIdGroupPairs", ())]
        rules += [f"{permission['IpProtocol']} {ports} {peer}" for peer in peers]
    return sorted(rules)


def _backup_status(efs: Any, file_system_id: str) -> str:
    try:
        return str(efs.describe_backup_policy(FileSystemId=file_system_id)["BackupPolicy"]["Status"])
    except efs.exceptions.PolicyNotFound:
        return "DISABLED"


def _all_file_systems(efs: Any) -> list[dict[str, Any]]:
    pages = efs.get_paginator("describe_file_systems").paginate()
    return [file_system for page in pages for file_system in page["FileSystems"]]
