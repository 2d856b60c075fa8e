"""An instance's properties, from what EC2 says of it."""

from __future__ import annotations

import base64
from typing import Any

from geusemaker.local_cloud.providers.aws.api import Aws, read_tags
from geusemaker.local_cloud.providers.aws.resource import Values
from geusemaker.local_cloud.providers.aws.root_volume import read_root


def read_instance(aws: Aws, instance: Any, state: Values) -> dict[str, Any]:
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
        **read_root(aws, instance),
        **_read_market(aws, instance),
        **read_tags(instance.get("Tags")),
    }


def _read_user_data(encoded: str, state: Values) -> dict[str, Any]:
    if not encoded:
        return {}
    if state.get("userDataBase64"):
        return {"userDataBase64": encoded}
    return {"userData": base64.b64decode(encoded).decode(errors="replace")}


def _read_market(aws: Aws, instance: Any) -> dict[str, Any]:
    request_id = instance.get("SpotInstanceRequestId")
    if not request_id:
        return {"instanceLifecycle": "", "spotInstanceRequestId": ""}
    found = aws.ec2.describe_spot_instance_requests(SpotInstanceRequestIds=[request_id])["SpotInstanceRequests"]
    options = {
        "instanceInterruptionBehavior": found[0].get("InstanceInterruptionBehavior"),
        "spotInstanceType": found[0].get("Type"),
    }
    return {
        "instanceLifecycle": "spot",
        "spotInstanceRequestId": request_id,
        "instanceMarketOptions": {"marketType": "spot", "spotOptions": options},
    }
