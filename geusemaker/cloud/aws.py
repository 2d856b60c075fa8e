"""Questions to AWS that the checks and ``inspect`` ask."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

from geusemaker.cloud import inventory
from geusemaker.cloud.refusals import refusal_of, told
from geusemaker.errors import EnvironmentProblemError
from geusemaker.models.identity import Caller
from geusemaker.models.ownership import DEPLOYMENT_TAG, STACK_TAG, Sought, Tagged
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

    def find_file_system(self, deployment: str, stack_id: str = "") -> FileSystemState | None:
        """The deployment's file system; ``mounted`` is not AWS's to know and stays False.

        Another stack's of the same name is none where the stack's own id is given.
        """
        found = _first_own(self._ask("efs", inventory.all_file_systems), deployment, stack_id)
        if found is None:
            return None
        return FileSystemState(id=found["FileSystemId"], mounted=False, state=found["LifeCycleState"])

    def mount_target_state(self, file_system_id: str) -> str:
        """The state of the file system's mount target (available, creating …), ``missing`` when it has none."""
        targets = self._ask("efs", lambda efs: efs.describe_mount_targets(FileSystemId=file_system_id))["MountTargets"]
        return str(targets[0]["LifeCycleState"]) if targets else "missing"

    def mount_target_subnet(self, file_system_id: str) -> str | None:
        """The subnet that the file system's mount target is in; None when it has none."""
        targets = self._ask("efs", lambda efs: efs.describe_mount_targets(FileSystemId=file_system_id))["MountTargets"]
        return str(targets[0]["SubnetId"]) if targets else None

    def is_backed_up(self, file_system_id: str) -> bool:
        """Whether AWS Backup copies the file system every day."""
        status = self._ask("efs", lambda efs: _backup_status(efs, file_system_id))
        return status in ("ENABLED", "ENABLING")

    def find_data_volume(self, deployment: str, stack_id: str = "") -> DataVolumeState | None:
        """The deployment's data volume; ``mounted`` is not AWS's to know and stays False.

        Another stack's of the same name is none where the stack's own id is given.
        """
        tag = {"Name": "tag:geusemaker:deployment", "Values": [deployment]}
        volumes = self._ask("ec2", lambda ec2: ec2.describe_volumes(Filters=[tag]))["Volumes"]
        volume = _first_own(sorted(volumes, key=lambda found: found["CreateTime"]), deployment, stack_id)
        if volume is None:
            return None
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
        return inventory.state_of(self._ask, resource_type, resource_id)

    def find_tagged(self, deployment: str) -> list[Tagged]:
        """Everything that carries the deployment's name, of whichever stack; see geusemaker.cloud.inventory.tagged."""
        return inventory.tagged(self._ask, deployment)

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

    def find_created(self, sought: Sought) -> str | None:
        """The id of what a killed engine had already asked AWS for; see geusemaker.cloud.inventory.find_created."""
        return inventory.find_created(self._ask, sought)

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
            refusal = refusal_of(str(detail.get("Code")))
            said = str(detail.get("Message") or detail.get("Code")).rstrip(".")
            raise EnvironmentProblemError(
                told(refusal, [f"call {error.operation_name}"])
                if refusal is not None
                else f"AWS refused a question ({error.operation_name}): {said}.",
                state="Nothing was changed.",
                next_step=f"{refusal.next_step}."
                if refusal is not None
                else "Check the credentials and their permissions; `geusemaker doctor` tells more.",
            ) from error
        except BotoCoreError as error:
            refusal = refusal_of(type(error).__name__)
            raise EnvironmentProblemError(
                told(refusal, []) if refusal is not None else f"AWS cannot be asked: {error}.",
                state="Nothing was changed.",
                next_step=f"{refusal.next_step}."
                if refusal is not None
                else "Check network and credentials (`aws sts get-caller-identity`).",
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


def _first_own(things: list[dict[str, Any]], deployment: str, stack_id: str) -> dict[str, Any] | None:
    """The first that carries the deployment's name and, where that is given, the stack's own id.

    Those from before there were stack ids carry none; the next change of their deployment gives them theirs.
    """
    tags = [({tag["Key"]: tag["Value"] for tag in one.get("Tags") or ()}, one) for one in things]
    named = [(found, one) for found, one in tags if found.get(DEPLOYMENT_TAG) == deployment]
    ids = (stack_id, None) if stack_id else None
    for wanted in ids or ("",):
        for found, one in named:
            if ids is None or found.get(STACK_TAG) == wanted:
                return one
    return None


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
