"""What AWS has of a deployment, and what is done there without the engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from geusemaker.cloud import inventory, rights
from geusemaker.cloud.network import AwsNetwork
from geusemaker.cloud.offers import AwsOffers
from geusemaker.errors import EnvironmentProblemError
from geusemaker.models.identity import MissingRights
from geusemaker.models.inspection import DataVolumeState, FileSystemState, InstanceState
from geusemaker.models.network import GroupRule
from geusemaker.models.ownership import ADDRESS_TAG, DEPLOYMENT_TAG, STACK_TAG, Sought, Tagged
from geusemaker.models.plan import ResourceOperation
from geusemaker.models.stack import StackConfig, Target

_LIVE_STATES: Final = ["pending", "running", "stopping", "stopped"]


class AwsCloud(AwsOffers, AwsNetwork):
    """AWS as one deployment sees it: all that is asked and done there."""

    def find_instance(self, deployment: str) -> InstanceState | None:
        """The deployment's instance as AWS describes it now, with its Elastic IP."""
        instances = self._live_instances(deployment)
        if not instances:
            return None
        instance = max(instances, key=lambda found: found["LaunchTime"])
        tag = [_of(deployment)]
        addresses = self._ask("ec2", lambda ec2: ec2.describe_addresses(Filters=tag))["Addresses"]
        return InstanceState(
            id=instance["InstanceId"],
            type=instance["InstanceType"],
            state=instance["State"]["Name"],
            image_id=instance["ImageId"],
            reason=_reason(instance),
            # One that is not associated (yet) leads nowhere.
            address=_private_address(instance)
            or next((one["PublicIp"] for one in addresses if one.get("InstanceId") == instance["InstanceId"]), ""),
            others=tuple(sorted(found["InstanceId"] for found in instances if found is not instance)),
        )

    def find_gone_instance(self, deployment: str) -> InstanceState | None:
        """The last of the deployment's instances that is gone; AWS tells of one for about an hour."""
        found = self._instances(deployment, ["shutting-down", "terminated"])
        if not found:
            return None
        instance = max(found, key=lambda one: one["LaunchTime"])
        return InstanceState(
            id=instance["InstanceId"],
            type=instance["InstanceType"],
            state=instance["State"]["Name"],
            address="",
            reason=_reason(instance),
        )

    def find_file_system(self, deployment: str, stack_id: str = "") -> FileSystemState | None:
        """The deployment's file system; ``mounted`` is not AWS's to know and stays False.

        Another stack's of the same name is none where the stack's own id is given.
        """
        found = _first_own(self._ask("efs", inventory.all_file_systems), deployment, stack_id)
        if found is None:
            return None
        return FileSystemState(
            id=found["FileSystemId"],
            mounted=False,
            state=found["LifeCycleState"],
            size_bytes=found.get("SizeInBytes", {}).get("Value"),
        )

    def mount_target_state(self, file_system_id: str) -> str:
        """The state of the file system's mount target (available, creating …), ``missing`` when it has none."""
        return self._of_mount_target(file_system_id, "LifeCycleState") or "missing"

    def mount_target_subnet(self, file_system_id: str) -> str | None:
        """The subnet that the file system's mount target is in; None when it has none."""
        return self._of_mount_target(file_system_id, "SubnetId")

    def is_backed_up(self, file_system_id: str) -> bool:
        """Whether AWS Backup copies the file system every day."""
        status = self._ask("efs", lambda efs: _backup_status(efs, file_system_id))
        return status in ("ENABLED", "ENABLING")

    def find_data_volume(self, deployment: str, stack_id: str = "") -> DataVolumeState | None:
        """The deployment's data volume; ``mounted`` is not AWS's to know and stays False.

        Another stack's of the same name is none where the stack's own id is given.
        """
        tag = [_of(deployment)]
        volumes = self._ask("ec2", lambda ec2: ec2.describe_volumes(Filters=tag))["Volumes"]
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
        instances = self._live_instances(deployment)
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
        seen = {
            f"instance {one['InstanceId']}": f"{one['InstanceType']} of {one['ImageId']} in "
            + ", ".join(sorted(group["GroupId"] for group in one["SecurityGroups"]))
            for one in self._live_instances(deployment)
        }
        tag = [_of(deployment)]
        for group in self._ask("ec2", lambda ec2: ec2.describe_security_groups(Filters=tag))["SecurityGroups"]:
            rules = [f"in {rule}" for rule in _rules(group["IpPermissions"])]
            rules += [f"out {rule}" for rule in _rules(group["IpPermissionsEgress"])]
            seen[f"security group {group['GroupId']}"] = "; ".join(rules) or "no rules"
        file_system = self.find_file_system(deployment)
        if file_system is not None:
            seen[f"file system {file_system.id}"] = (
                f"mount target {self._of_mount_target(file_system.id, 'MountTargetId') or 'missing'}"
            )
        volume = self.find_data_volume(deployment)
        if volume is not None:
            seen[f"data volume {volume.id}"] = f"attached to {volume.attached_to or 'nothing'}"
        return seen

    def missing_rights(
        self, deployment: str, config: StackConfig, target: Target, operations: Sequence[ResourceOperation]
    ) -> MissingRights:
        """What the credentials may not do of what a plan begins with, as far as AWS can be asked beforehand."""
        refused = rights.refused(self._ask, rights.dry_runs(deployment, config, target, operations))
        makes = any(one.op == "create" for one in operations)
        # The local cloud has no simulation, and its caller no policies.
        asked = makes and not refused and "AWS_ENDPOINT_URL" not in self._environment
        doubtful = rights.doubtful(self._ask, self.identity().arn, deployment, target) if asked else ()
        return MissingRights(refused=refused, doubtful=doubtful)

    def find_created(self, sought: Sought) -> str | None:
        """The id of what a killed engine had already asked AWS for; see geusemaker.cloud.inventory.find_created."""
        return inventory.find_created(self._ask, sought)

    def find_rules(self, group_ids: Iterable[str]) -> list[GroupRule]:
        """All rules of these security groups, whoever made them."""
        wanted = [{"Name": "group-id", "Values": list(group_ids)}]

        def ask(ec2: Any) -> list[dict[str, Any]]:
            pages = ec2.get_paginator("describe_security_group_rules").paginate(Filters=wanted)
            return [rule for page in pages for rule in page["SecurityGroupRules"]]

        return [
            GroupRule(
                id=rule["SecurityGroupRuleId"],
                group_id=rule["GroupId"],
                outward=rule["IsEgress"],
                protocol=rule["IpProtocol"],
                from_port=rule.get("FromPort", -1),
                to_port=rule.get("ToPort", -1),
                cidr=rule.get("CidrIpv4") or "",
                peer_group=(rule.get("ReferencedGroupInfo") or {}).get("GroupId") or "",
            )
            for rule in self._ask("ec2", ask)
        ]

    def _of_mount_target(self, file_system_id: str, key: str) -> str | None:
        """What AWS says of the file system's mount target; None when it has none."""
        targets = self._ask("efs", lambda efs: efs.describe_mount_targets(FileSystemId=file_system_id))["MountTargets"]
        return str(targets[0][key]) if targets else None

    def _live_instances(self, deployment: str) -> list[dict[str, Any]]:
        """All that carry its name and are not gone."""
        return self._instances(deployment, _LIVE_STATES)

    def _instances(self, deployment: str, states: list[str]) -> list[dict[str, Any]]:
        filters = [_of(deployment), {"Name": "instance-state-name", "Values": states}]
        found = self._ask("ec2", lambda ec2: ec2.describe_instances(Filters=filters))["Reservations"]
        return [instance for reservation in found for instance in reservation["Instances"]]

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

    def reboot_instance(self, instance_id: str) -> None:
        """Ask for a reboot: the same machine boots anew, with its addresses. EC2 only takes note, and does it then.

        Unlike a stop and a start it asks nobody for capacity. What does not shut down in a few minutes is cut off
        (docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-reboot.html).
        """
        self._ask("ec2", lambda ec2: ec2.reboot_instances(InstanceIds=[instance_id]))

    def why_not_started(self, instance_id: str) -> str:
        """What EC2 says to one more attempt to start a stopped instance; empty: it starts.

        EC2 has no other question for this: a dry run tells of permissions alone.
        """
        try:
            self._ask("ec2", lambda ec2: ec2.start_instances(InstanceIds=[instance_id]))
        except EnvironmentProblemError as error:
            return error.message
        return ""

    def wait_until_settled(self, instance: InstanceState) -> None:
        """Wait until an instance that is stopping has stopped, or one that is starting runs; at most ten minutes."""
        waiter = "instance_stopped" if instance.state == "stopping" else "instance_running"
        self._ask("ec2", lambda ec2: ec2.get_waiter(waiter).wait(InstanceIds=[instance.id]))


def _private_address(instance: dict[str, Any]) -> str:
    """The instance's own address, of one that is reached there; else nothing."""
    private = any(tag["Key"] == ADDRESS_TAG and tag["Value"] == "private" for tag in instance.get("Tags") or ())
    return str(instance.get("PrivateIpAddress") or "") if private else ""


def _reason(instance: dict[str, Any]) -> str:
    """EC2's code for why an instance does not run (API_StateReason); empty where it runs."""
    if instance["State"]["Name"] in ("pending", "running"):
        return ""
    return str((instance.get("StateReason") or {}).get("Code") or "")


def _of(deployment: str) -> dict[str, Any]:
    """The filter for what carries a deployment's name."""
    return {"Name": f"tag:{DEPLOYMENT_TAG}", "Values": [deployment]}


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
