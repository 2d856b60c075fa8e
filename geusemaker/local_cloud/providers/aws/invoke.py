"""Functions of the AWS provider: the one look-up of the program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from geusemaker.local_cloud.providers.aws.api import Attempt, Aws, tag_map
from geusemaker.local_cloud.providers.server import ProviderError

Args = Mapping[str, Any]


def get_subnet(aws: Aws, args: Args) -> dict[str, Any]:
    """The subnet of an id; it has to exist."""
    function = "aws:ec2/getSubnet:getSubnet"
    others = sorted(args.keys() - {"id", "region"})
    if others or not args.get("id"):
        given = ", ".join(others) or "nothing"
        raise ProviderError(f"invoking {function}: the local cloud finds a subnet by its id alone, not by {given}")
    found: list[Any] = []
    with Attempt(f"invoking {function}: reading EC2 Subnet", ("InvalidSubnetID.NotFound",)):
        found = aws.ec2.describe_subnets(SubnetIds=[args["id"]])["Subnets"]
    if not found:
        raise ProviderError(
            f"invoking {function}: 1 error occurred:\n\t* reading EC2 Subnet: no matching EC2 Subnet found\n\n"
        )
    subnet = found[0]
    return {
        "id": subnet["SubnetId"],
        "arn": subnet.get("SubnetArn")
        or f"arn:aws:ec2:{aws.region}:{subnet.get('OwnerId')}:subnet/{subnet['SubnetId']}",
        "assignIpv6AddressOnCreation": bool(subnet.get("AssignIpv6AddressOnCreation")),
        "availabilityZone": subnet["AvailabilityZone"],
        "availabilityZoneId": subnet.get("AvailabilityZoneId") or "",
        "availableIpAddressCount": subnet.get("AvailableIpAddressCount", 0),
        "cidrBlock": subnet["CidrBlock"],
        "customerOwnedIpv4Pool": "",
        "defaultForAz": bool(subnet.get("DefaultForAz")),
        "enableDns64": False,
        "enableLniAtDeviceIndex": 0,
        "enableResourceNameDnsARecordOnLaunch": False,
        "enableResourceNameDnsAaaaRecordOnLaunch": False,
        "ipv6CidrBlock": "",
        "ipv6CidrBlockAssociationId": "",
        "ipv6Native": False,
        "mapCustomerOwnedIpOnLaunch": False,
        "mapPublicIpOnLaunch": bool(subnet.get("MapPublicIpOnLaunch")),
        "outpostArn": "",
        "ownerId": subnet.get("OwnerId") or "",
        "privateDnsHostnameTypeOnLaunch": "ip-name",
        "region": aws.region,
        "state": subnet.get("State", "available"),
        "tags": tag_map(subnet.get("Tags")),
        "vpcId": subnet["VpcId"],
    }


INVOKES: Final[Mapping[str, Callable[[Aws, Args], dict[str, Any]]]] = {
    "aws:ec2/getSubnet:getSubnet": get_subnet,
}
