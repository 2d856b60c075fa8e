"""What an instance's inputs are in calls of EC2's API."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from geusemaker.local_cloud.providers.aws.api import Aws, doing, failed
from geusemaker.local_cloud.providers.aws.resource import Values


def user_data(inputs: Values) -> bytes | None:
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


def metadata_request(options: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "httpEndpoint": "HttpEndpoint",
        "httpTokens": "HttpTokens",
        "httpPutResponseHopLimit": "HttpPutResponseHopLimit",
        "httpProtocolIpv6": "HttpProtocolIpv6",
        "instanceMetadataTags": "InstanceMetadataTags",
    }
    return {key: options[name] for name, key in names.items() if options.get(name) is not None}


def network_request(inputs: Values) -> dict[str, Any]:
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


def block_devices(aws: Aws, inputs: Values) -> list[Any]:
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


def market_request(options: Mapping[str, Any]) -> dict[str, Any]:
    """``instanceMarketOptions`` as RunInstances has them; empty: the instance is on demand."""
    if not options:
        return {}
    names = {
        "instanceInterruptionBehavior": "InstanceInterruptionBehavior",
        "maxPrice": "MaxPrice",
        "spotInstanceType": "SpotInstanceType",
        "validUntil": "ValidUntil",
    }
    spot = options.get("spotOptions") or {}
    given = {key: spot[name] for name, key in names.items() if spot.get(name)}
    return {"MarketType": options.get("marketType") or "spot", **({"SpotOptions": given} if given else {})}
