"""EC2 instances and key pairs."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from geusemaker.local_cloud.providers.aws.api import (
    Attempt,
    Aws,
    doing,
    failed,
    read_tags,
    tag_list,
    tag_map,
)
from geusemaker.local_cloud.providers.aws.resource import REGION, TAGS, Resource, Values
from geusemaker.local_cloud.providers.aws.tagging import update_tags
from geusemaker.local_cloud.providers.schema import AutoName, Property, Schema

_START_TIMEOUT: Final = 600.0
_STOP_TIMEOUT: Final = 600.0
_TERMINATE_TIMEOUT: Final = 1200.0

_ROOT_FIELDS: Final = {
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
_METADATA_FIELDS: Final = {
    name: Property(computed=True)
    for name in ("httpEndpoint", "httpTokens", "httpPutResponseHopLimit", "httpProtocolIpv6", "instanceMetadataTags")
}


class KeyPair(Resource):
    schema: ClassVar = Schema(
        token="aws:ec2/keyPair:KeyPair",
        label="EC2 Key Pair",
        properties={
            "keyName": Property(replaces=True),
            "keyNamePrefix": Property(replaces=True),
            "publicKey": Property(required=True, replaces=True, normalize=lambda value: str(value).strip()),
            "region": REGION,
            **TAGS,
        },
        outputs=("arn", "fingerprint", "keyPairId", "keyType"),
        auto_name=AutoName("keyName", "keyNamePrefix"),
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        request: dict[str, Any] = {
            "KeyName": inputs["keyName"],
            "PublicKeyMaterial": str(inputs["publicKey"]).strip().encode(),
        }
        if inputs.get("tagsAll"):
            request["TagSpecifications"] = [{"ResourceType": "key-pair", "Tags": tag_list(inputs["tagsAll"])}]
        with doing(f"importing EC2 Key Pair ({inputs['keyName']})"):
            return aws.ec2.import_key_pair(**request)["KeyName"]

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        pair: Any = None
        with Attempt(f"reading EC2 Key Pair ({resource_id})", ("InvalidKeyPair.NotFound",)):
            found = aws.ec2.describe_key_pairs(KeyNames=[resource_id])["KeyPairs"]
            pair = found[0] if found else None
        if pair is None:
            return None
        return {
            "keyName": resource_id,
            "arn": f"arn:aws:ec2:{aws.region}:{aws.account_id}:key-pair/{resource_id}",
            "fingerprint": pair.get("KeyFingerprint"),
            "keyPairId": pair.get("KeyPairId"),
            "keyType": pair.get("KeyType") or _key_type(str(state.get("publicKey", ""))),
            **read_tags(pair.get("Tags")),
        }

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        with doing(f"updating EC2 Key Pair ({resource_id})"):
            update_tags(aws, str(olds.get("keyPairId")), olds, news, changed)

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        with Attempt(f"deleting EC2 Key Pair ({resource_id})", ("InvalidKeyPair.NotFound",)):
            aws.ec2.delete_key_pair(KeyName=resource_id)


def _key_type(public_key: str) -> str:
    return "ed25519" if public_key.startswith("ssh-ed25519") else "rsa"


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
            "instanceType": Property(computed=True),
            "keyName": Property(replaces=True, computed=True),
            "metadataOptions": Property(computed=True, fields=_METADATA_FIELDS),
            "monitoring": Property(computed=True),
            "privateIp": Property(replaces=True, computed=True),
            "rootBlockDevice": Property(computed=True, fields=_ROOT_FIELDS),
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
            "instanceState",
            "passwordData",
            "primaryNetworkInterfaceId",
            "privateDns",
            "publicDns",
            "publicIp",
        ),
        needs_one_of=(("ami",), ("instanceType",)),
    )

    def also_replaces(self, aws: Aws, olds: Values, news: Values, changed: set[str]) -> set[str]:
        replaces = set()
        if news.get("userDataReplaceOnChange"):
            replaces |= changed & {"userData", "userDataBase64"}
        if "instanceType" in changed:
            before = _architectures(aws, olds.get("instanceType"))
            after = _architectures(aws, news.get("instanceType"))
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
            "MetadataOptions": _metadata_request(inputs.get("metadataOptions") or {}),
            "UserData": _user_data(inputs),
            "KeyName": inputs.get("keyName"),
            "EbsOptimized": inputs.get("ebsOptimized"),
            "InstanceInitiatedShutdownBehavior": inputs.get("instanceInitiatedShutdownBehavior"),
            "DisableApiTermination": inputs.get("disableApiTermination"),
            "BlockDeviceMappings": _block_devices(aws, inputs),
            "Placement": {
                key: inputs[name]
                for key, name in (("AvailabilityZone", "availabilityZone"), ("Tenancy", "tenancy"))
                if inputs.get(name)
            },
            **_network_request(inputs),
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
            return aws.ec2.run_instances(**given)["Instances"][0]["InstanceId"]

    def settle(self, aws: Aws, resource_id: str, inputs: Values) -> None:
        _wait_for_state(aws, resource_id, "running", _START_TIMEOUT, f"waiting for EC2 Instance ({resource_id}) create")
        if inputs.get("sourceDestCheck") is False:
            with doing(f"updating EC2 Instance ({resource_id})"):
                aws.ec2.modify_instance_attribute(InstanceId=resource_id, SourceDestCheck={"Value": False})

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        instance = _find_instance(aws, resource_id)
        if instance is None or instance["State"]["Name"] == "terminated":
            return None
        with doing(f"reading EC2 Instance ({resource_id})"):
            return _read_instance(aws, instance, state)

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        with doing(f"updating EC2 Instance ({resource_id})"):
            update_tags(aws, resource_id, olds, news, changed)
        if "iamInstanceProfile" in changed:
            _change_profile(aws, resource_id, news.get("iamInstanceProfile"))
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
            _modify_stopped(aws, resource_id, "type", InstanceType={"Value": news["instanceType"]})
        if changed & {"userData", "userDataBase64"}:
            _modify_stopped(aws, resource_id, "user data", UserData={"Value": _user_data(news) or b""})
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
                    InstanceId=resource_id, **_metadata_request(news.get("metadataOptions") or {})
                )
        if "rootBlockDevice" in changed:
            _change_root(aws, resource_id, olds.get("rootBlockDevice") or {}, news.get("rootBlockDevice") or {})

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        instance = _find_instance(aws, resource_id)
        if instance is None:
            return
        with Attempt(
            f"deleting EC2 Instance ({resource_id}): terminating EC2 Instance ({resource_id})",
            ("InvalidInstanceID.NotFound",),
        ):
            aws.ec2.terminate_instances(InstanceIds=[resource_id])
        _wait_for_state(
            aws, resource_id, "terminated", _TERMINATE_TIMEOUT, f"waiting for EC2 Instance ({resource_id}) delete"
        )


def _find_instance(aws: Aws, instance_id: str) -> Any | None:
    with Attempt(
        f"reading EC2 Instance ({instance_id})", ("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed")
    ):
        reservations = aws.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        return next((item for reservation in reservations for item in reservation["Instances"]), None)
    return None


def _wait_for_state(aws: Aws, instance_id: str, wanted: str, timeout: float, action: str) -> None:
    last = ""

    def reached() -> bool | None:
        nonlocal last
        instance = _find_instance(aws, instance_id)
        last = instance["State"]["Name"] if instance is not None else "terminated"
        if last == wanted:
            return True
        if last in ("terminated", "shutting-down") and wanted != "terminated":
            reason = (instance or {}).get("StateReason", {}).get("Message", "")
            raise failed(f"{action}: unexpected state '{last}', wanted target '{wanted}'. last error: {reason}")
        return None

    aws.wait_until(
        reached,
        timeout,
        lambda: failed(f"{action}: timeout while waiting for state to become '{wanted}' (last state: '{last}')"),
    )


def _modify_stopped(aws: Aws, instance_id: str, what: str, **attribute: Any) -> None:
    """Stop, modify one attribute, start. When the modification fails, the instance stays stopped."""
    action = f"updating EC2 Instance ({instance_id}) {what}"
    with doing(f"{action}: stopping EC2 Instance ({instance_id})"):
        aws.ec2.stop_instances(InstanceIds=[instance_id])
    _wait_for_state(
        aws, instance_id, "stopped", _STOP_TIMEOUT, f"{action}: waiting for EC2 Instance ({instance_id}) stop"
    )
    with doing(f"{action}: modifying EC2 Instance ({instance_id}) attribute"):
        aws.ec2.modify_instance_attribute(InstanceId=instance_id, **attribute)
    with doing(f"{action}: starting EC2 Instance ({instance_id})"):
        aws.ec2.start_instances(InstanceIds=[instance_id])
    _wait_for_state(
        aws, instance_id, "running", _START_TIMEOUT, f"{action}: waiting for EC2 Instance ({instance_id}) start"
    )


def _architectures(aws: Aws, instance_type: Any) -> set[str]:
    """CPU architectures of an instance type; empty when EC2 does not know it."""
    found: set[str] = set()
    if isinstance(instance_type, str):
        with Attempt("reading EC2 Instance Type", ("InvalidInstanceType",)):
            for item in aws.ec2.describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"]:  # type: ignore[list-item]
                found.update(item["ProcessorInfo"]["SupportedArchitectures"])
    return found


def _user_data(inputs: Values) -> bytes | None:
    """User data as bytes; the SDK encodes them. What is base64 already is decoded first, as the AWS provider does."""
    if inputs.get("userDataBase64"):
        return base64.b64decode(inputs["userDataBase64"])
    text = inputs.get("userData")
    if not text:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return str(text).encode()


def _metadata_request(options: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "httpEndpoint": "HttpEndpoint",
        "httpTokens": "HttpTokens",
        "httpPutResponseHopLimit": "HttpPutResponseHopLimit",
        "httpProtocolIpv6": "HttpProtocolIpv6",
        "instanceMetadataTags": "InstanceMetadataTags",
    }
    return {key: options[name] for name, key in names.items() if options.get(name) is not None}


def _network_request(inputs: Values) -> dict[str, Any]:
    groups = list(inputs.get("vpcSecurityGroupIds", ()))
    if inputs.get("associatePublicIpAddress") is None:
        request = {
            "SubnetId": inputs.get("subnetId"),
            "SecurityGroupIds": groups,
            "SecurityGroups": list(inputs.get("securityGroups", ())),
            "PrivateIpAddress": inputs.get("privateIp"),
        }
    else:
        interface = {
            "DeviceIndex": 0,
            "AssociatePublicIpAddress": inputs["associatePublicIpAddress"],
            "SubnetId": inputs.get("subnetId"),
            "Groups": groups,
            "PrivateIpAddress": inputs.get("privateIp"),
        }
        request = {"NetworkInterfaces": [{key: value for key, value in interface.items() if value not in (None, [])}]}
    return {key: value for key, value in request.items() if value not in (None, [])}


def _block_devices(aws: Aws, inputs: Values) -> list[Any]:
    mappings = []
    root = inputs.get("rootBlockDevice")
    if root:
        with doing("creating EC2 Instance: collecting instance settings"):
            images = aws.ec2.describe_images(ImageIds=[inputs["ami"]])["Images"]
        if not images:
            raise failed(
                f"creating EC2 Instance: collecting instance settings: no images found for AMI {inputs['ami']}"
            )
        mappings.append({"DeviceName": images[0].get("RootDeviceName", "/dev/xvda"), "Ebs": _ebs(root)})
    for device in inputs.get("ebsBlockDevices", ()):
        mappings.append({"DeviceName": device["deviceName"], "Ebs": _ebs(device)})
    return mappings


def _ebs(device: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "volumeSize": "VolumeSize",
        "volumeType": "VolumeType",
        "iops": "Iops",
        "throughput": "Throughput",
        "encrypted": "Encrypted",
        "kmsKeyId": "KmsKeyId",
        "snapshotId": "SnapshotId",
    }
    ebs = {key: device[name] for name, key in names.items() if device.get(name) not in (None, "")}
    return {"DeleteOnTermination": device.get("deleteOnTermination", True), **ebs}


def _read_instance(aws: Aws, instance: Any, state: Values) -> dict[str, Any]:
    interfaces = instance.get("NetworkInterfaces", ())
    primary: Any = next((item for item in interfaces if item.get("Attachment", {}).get("DeviceIndex", 0) == 0), {})
    groups = instance.get("SecurityGroups", ())
    public = instance.get("PublicIpAddress") or ""
    profile = (instance.get("IamInstanceProfile") or {}).get("Arn", "")
    metadata = instance.get("MetadataOptions") or {}
    user_data = aws.ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
    encoded = user_data.get("UserData", {}).get("Value") or ""
    return {
        "ami": instance["ImageId"],
        "arn": f"arn:aws:ec2:{aws.region}:{aws.account_id}:instance/{instance['InstanceId']}",
        "associatePublicIpAddress": bool(public),
        "availabilityZone": instance.get("Placement", {}).get("AvailabilityZone"),
        "ebsOptimized": bool(instance.get("EbsOptimized")),
        "iamInstanceProfile": profile.rsplit("/", 1)[-1],
        "instanceState": instance["State"]["Name"],
        "instanceType": instance["InstanceType"],
        "keyName": instance.get("KeyName") or "",
        "monitoring": (instance.get("Monitoring") or {}).get("State") in ("enabled", "pending"),
        "primaryNetworkInterfaceId": primary.get("NetworkInterfaceId") or "",
        "privateDns": instance.get("PrivateDnsName") or "",
        "privateIp": instance.get("PrivateIpAddress") or "",
        "publicDns": instance.get("PublicDnsName") or "",
        "publicIp": public,
        "securityGroups": [group["GroupName"] for group in groups],
        "sourceDestCheck": bool(instance.get("SourceDestCheck", True)),
        "subnetId": instance.get("SubnetId") or "",
        "tenancy": instance.get("Placement", {}).get("Tenancy") or "default",
        "vpcSecurityGroupIds": [group["GroupId"] for group in groups],
        "metadataOptions": {
            "httpEndpoint": metadata.get("HttpEndpoint", "enabled"),
            "httpProtocolIpv6": metadata.get("HttpProtocolIpv6", "disabled"),
            "httpPutResponseHopLimit": metadata.get("HttpPutResponseHopLimit", 1),
            "httpTokens": metadata.get("HttpTokens", "optional"),
            "instanceMetadataTags": metadata.get("InstanceMetadataTags", "disabled"),
        },
        **_read_user_data(encoded, state),
        **_read_root(aws, instance),
        **read_tags(instance.get("Tags")),
    }


def _read_user_data(encoded: str, state: Values) -> dict[str, Any]:
    if not encoded:
        return {}
    if state.get("userDataBase64"):
        return {"userDataBase64": encoded}
    return {"userData": base64.b64decode(encoded).decode(errors="replace")}


def _root_volume_id(instance: Any) -> str | None:
    root = instance.get("RootDeviceName")
    for mapping in instance.get("BlockDeviceMappings", ()):
        if mapping.get("DeviceName") == root or len(instance["BlockDeviceMappings"]) == 1:
            volume_id = mapping.get("Ebs", {}).get("VolumeId")
            return str(volume_id) if volume_id else None
    return None


def _read_root(aws: Aws, instance: Any) -> dict[str, Any]:
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


def _change_profile(aws: Aws, instance_id: str, profile: str | None) -> None:
    action = f"updating EC2 Instance ({instance_id})"
    with doing(action):
        filters: list[Any] = [{"Name": "instance-id", "Values": [instance_id]}]
        present = aws.ec2.describe_iam_instance_profile_associations(Filters=filters)["IamInstanceProfileAssociations"]
        if not profile:
            for association in present:
                aws.ec2.disassociate_iam_instance_profile(AssociationId=association["AssociationId"])
        elif present:
            aws.ec2.replace_iam_instance_profile_association(
                AssociationId=present[0]["AssociationId"], IamInstanceProfile={"Name": profile}
            )
        else:
            aws.ec2.associate_iam_instance_profile(InstanceId=instance_id, IamInstanceProfile={"Name": profile})


def _change_root(aws: Aws, instance_id: str, olds: Mapping[str, Any], news: Mapping[str, Any]) -> None:
    names = {"volumeSize": "Size", "volumeType": "VolumeType", "iops": "Iops", "throughput": "Throughput"}
    request = {key: news[name] for name, key in names.items() if news.get(name) and news[name] != olds.get(name)}
    volume_id = olds.get("volumeId")
    if request and volume_id:
        with doing(f"updating EC2 Instance ({instance_id}) volume ({volume_id})"):
            aws.ec2.modify_volume(VolumeId=volume_id, **request)


RESOURCES: Final = (KeyPair(), Instance())
