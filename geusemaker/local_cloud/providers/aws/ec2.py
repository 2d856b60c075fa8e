"""EC2 instances."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from geusemaker.local_cloud.providers.aws.api import Attempt, Aws, doing, failed, tag_list
from geusemaker.local_cloud.providers.aws.instance_calls import (
    START_TIMEOUT,
    TERMINATE_TIMEOUT,
    architectures,
    change_profile,
    find_instance,
    modify_stopped,
    wait_for_state,
)
from geusemaker.local_cloud.providers.aws.instance_reading import read_instance
from geusemaker.local_cloud.providers.aws.instance_requests import (
    block_devices,
    market_request,
    metadata_request,
    network_request,
    user_data,
)
from geusemaker.local_cloud.providers.aws.key_pairs import KeyPair
from geusemaker.local_cloud.providers.aws.resource import REGION, TAGS, Resource, Values
from geusemaker.local_cloud.providers.aws.root_volume import ROOT_FIELDS, change_root, tag_root
from geusemaker.local_cloud.providers.aws.tagging import update_tags
from geusemaker.local_cloud.providers.schema import Property, Schema

_METADATA_FIELDS: Final = {
    name: Property(computed=True)
    for name in ("httpEndpoint", "httpTokens", "httpPutResponseHopLimit", "httpProtocolIpv6", "instanceMetadataTags")
}
_SPOT_FIELDS: Final = {
    name: Property(replaces=True, computed=True)
    for name in ("instanceInterruptionBehavior", "maxPrice", "spotInstanceType", "validUntil")
}
_MARKET_FIELDS: Final = {
    "marketType": Property(replaces=True, computed=True),
    "spotOptions": Property(replaces=True, computed=True, fields=_SPOT_FIELDS),
}


class Instance(Resource):
    schema: ClassVar = Schema(
        token="aws:ec2/instance:Instance",
        label="EC2 Instance",
        properties={
            "ami": Property(replaces=True, computed=True),
            "associatePublicIpAddress": Property(replaces=True, computed=True),
            "availabilityZone": Property(replaces=True, computed=True),
            "creditSpecification": Property(computed=True, fields={"cpuCredits": Property(computed=True)}),
            "disableApiStop": Property(computed=True),
            "disableApiTermination": Property(computed=True),
            "ebsBlockDevices": Property(replaces=True, computed=True, unordered=True, fields={}),
            "ebsOptimized": Property(replaces=True, computed=True),
            "forceDestroy": Property(default=False),
            "getPasswordData": Property(default=False),
            "hibernation": Property(replaces=True),
            "iamInstanceProfile": Property(computed=True),
            "instanceInitiatedShutdownBehavior": Property(computed=True),
            "instanceMarketOptions": Property(replaces=True, computed=True, fields=_MARKET_FIELDS),
            "instanceType": Property(computed=True),
            "keyName": Property(replaces=True, computed=True),
            "metadataOptions": Property(computed=True, fields=_METADATA_FIELDS),
            "monitoring": Property(computed=True),
            "privateIp": Property(replaces=True, computed=True),
            "rootBlockDevice": Property(computed=True, fields=ROOT_FIELDS),
            "securityGroups": Property(replaces=True, computed=True, unordered=True),
            "sourceDestCheck": Property(default=True),
            "subnetId": Property(replaces=True, computed=True),
            "tenancy": Property(replaces=True, computed=True),
            "userData": Property(computed=True),
            "userDataBase64": Property(computed=True),
            "userDataReplaceOnChange": Property(default=False),
            "volumeTags": Property(),
            "vpcSecurityGroupIds": Property(computed=True, unordered=True),
            "region": REGION,
            **TAGS,
        },
        outputs=(
            "arn",
            "instanceLifecycle",
            "instanceState",
            "passwordData",
            "primaryNetworkInterfaceId",
            "privateDns",
            "publicDns",
            "publicIp",
            "spotInstanceRequestId",
        ),
        needs_one_of=(("ami",), ("instanceType",)),
    )

    def also_replaces(self, aws: Aws, olds: Values, news: Values, changed: set[str]) -> set[str]:
        replaces = set()
        if news.get("userDataReplaceOnChange"):
            replaces |= changed & {"userData", "userDataBase64"}
        if "instanceType" in changed:
            before = architectures(aws, olds.get("instanceType"))
            after = architectures(aws, news.get("instanceType"))
            # A type that EC2 does not know is no reason to replace; the update fails on it.
            if before and after and not before & after:
                replaces.add("instanceType")
        return replaces

    def unknown_after(self, changed: set[str]) -> set[str]:
        # Stopping and starting gives another address.
        return {"publicIp", "publicDns"} if changed & {"instanceType", "userData", "userDataBase64"} else set()

    def create(self, aws: Aws, inputs: Values) -> str:
        request: dict[str, Any] = {
            "ImageId": inputs["ami"],
            "InstanceType": inputs["instanceType"],
            "MinCount": 1,
            "MaxCount": 1,
            "MetadataOptions": metadata_request(inputs.get("metadataOptions") or {}),
            "UserData": user_data(inputs),
            "KeyName": inputs.get("keyName"),
            "EbsOptimized": inputs.get("ebsOptimized"),
            "InstanceInitiatedShutdownBehavior": inputs.get("instanceInitiatedShutdownBehavior"),
            "DisableApiTermination": inputs.get("disableApiTermination"),
            "BlockDeviceMappings": block_devices(aws, inputs),
            "InstanceMarketOptions": market_request(inputs.get("instanceMarketOptions") or {}),
            "Placement": {
                key: inputs[name]
                for key, name in (("AvailabilityZone", "availabilityZone"), ("Tenancy", "tenancy"))
                if inputs.get(name)
            },
            **network_request(inputs),
        }
        if inputs.get("iamInstanceProfile"):
            request["IamInstanceProfile"] = {"Name": inputs["iamInstanceProfile"]}
        if inputs.get("monitoring"):
            request["Monitoring"] = {"Enabled": True}
        if inputs.get("tagsAll"):
            request["TagSpecifications"] = [{"ResourceType": "instance", "Tags": tag_list(inputs["tagsAll"])}]
        if inputs.get("volumeTags"):
            request.setdefault("TagSpecifications", []).append(
                {"ResourceType": "volume", "Tags": tag_list(inputs["volumeTags"])}
            )
        given = {key: value for key, value in request.items() if value not in (None, {}, [])}
        with doing("creating EC2 Instance"):
            return aws.insist(lambda ec2: ec2.run_instances(**given))["Instances"][0]["InstanceId"]

    def settle(self, aws: Aws, resource_id: str, inputs: Values) -> None:
        wait_for_state(aws, resource_id, "running", START_TIMEOUT, f"waiting for EC2 Instance ({resource_id}) create")
        if tags := (inputs.get("rootBlockDevice") or {}).get("tags"):
            tag_root(aws, resource_id, tags)
        if inputs.get("sourceDestCheck") is False:
            with doing(f"updating EC2 Instance ({resource_id})"):
                aws.ec2.modify_instance_attribute(InstanceId=resource_id, SourceDestCheck={"Value": False})

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        instance = find_instance(aws, resource_id)
        if instance is None or instance["State"]["Name"] == "terminated":
            return None
        with doing(f"reading EC2 Instance ({resource_id})"):
            return read_instance(aws, instance, state)

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        with doing(f"updating EC2 Instance ({resource_id})"):
            update_tags(aws, resource_id, olds, news, changed)
        if "iamInstanceProfile" in changed:
            change_profile(aws, resource_id, news.get("iamInstanceProfile"))
        if "sourceDestCheck" in changed:
            with doing(f"updating EC2 Instance ({resource_id})"):
                aws.ec2.modify_instance_attribute(
                    InstanceId=resource_id, SourceDestCheck={"Value": bool(news.get("sourceDestCheck", True))}
                )
        if "vpcSecurityGroupIds" in changed:
            if not news.get("vpcSecurityGroupIds"):
                raise failed("VPC-based instances require at least one security group to be attached.")
            with doing(f"updating EC2 Instance ({resource_id}): modifying network interface"):
                aws.ec2.modify_network_interface_attribute(
                    NetworkInterfaceId=olds["primaryNetworkInterfaceId"], Groups=list(news["vpcSecurityGroupIds"])
                )
        if "instanceType" in changed:
            modify_stopped(aws, resource_id, "type", InstanceType={"Value": news["instanceType"]})
        if changed & {"userData", "userDataBase64"}:
            modify_stopped(aws, resource_id, "user data", UserData={"Value": user_data(news) or b""})
        for name, key in (("disableApiStop", "DisableApiStop"), ("disableApiTermination", "DisableApiTermination")):
            if name in changed:
                attribute: dict[str, Any] = {key: {"Value": bool(news.get(name))}}
                with doing(f"updating EC2 Instance ({resource_id})"):
                    aws.ec2.modify_instance_attribute(InstanceId=resource_id, **attribute)
        if "instanceInitiatedShutdownBehavior" in changed:
            with doing(f"updating EC2 Instance ({resource_id}): modifying InstanceInitiatedShutdownBehavior"):
                aws.ec2.modify_instance_attribute(
                    InstanceId=resource_id,
                    InstanceInitiatedShutdownBehavior={"Value": news["instanceInitiatedShutdownBehavior"]},
                )
        if "monitoring" in changed:
            with doing("updating Instance monitoring"):
                if news.get("monitoring"):
                    aws.ec2.monitor_instances(InstanceIds=[resource_id])
                else:
                    aws.ec2.unmonitor_instances(InstanceIds=[resource_id])
        if "metadataOptions" in changed:
            with doing(f"updating EC2 Instance ({resource_id}) metadata options"):
                aws.ec2.modify_instance_metadata_options(
                    InstanceId=resource_id, **metadata_request(news.get("metadataOptions") or {})
                )
        if "rootBlockDevice" in changed:
            change_root(aws, resource_id, olds.get("rootBlockDevice") or {}, news.get("rootBlockDevice") or {})

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        instance = find_instance(aws, resource_id)
        if instance is None:
            return
        if request := instance.get("SpotInstanceRequestId"):
            # Else a persistent request would have another instance made.
            with doing(f"deleting EC2 Instance ({resource_id}): canceling EC2 Spot Instance Request ({request})"):
                aws.ec2.cancel_spot_instance_requests(SpotInstanceRequestIds=[request])
        with Attempt(
            f"deleting EC2 Instance ({resource_id}): terminating EC2 Instance ({resource_id})",
            ("InvalidInstanceID.NotFound",),
        ):
            aws.ec2.terminate_instances(InstanceIds=[resource_id])
        wait_for_state(
            aws, resource_id, "terminated", TERMINATE_TIMEOUT, f"waiting for EC2 Instance ({resource_id}) delete"
        )


RESOURCES: Final = (KeyPair(), Instance())
