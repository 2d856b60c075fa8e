"""Functions of the AWS provider: look-ups."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from geusemaker.local_cloud.providers.aws.api import Attempt, Aws, doing, tag_map
from geusemaker.local_cloud.providers.server import ProviderError

Args = Mapping[str, Any]


def _filters(args: Args, **fields: str) -> list[Any]:
    """API filters of ``filters``, ``tags`` and single arguments (argument name → filter name)."""
    filters = [{"Name": item["name"], "Values": list(item["values"])} for item in args.get("filters", ())]
    filters += [{"Name": f"tag:{key}", "Values": [value]} for key, value in (args.get("tags") or {}).items()]
    for name, filter_name in fields.items():
        value = args.get(name)
        if value not in (None, ""):
            filters.append({"Name": filter_name, "Values": [str(value).lower() if value is True else str(value)]})
    return filters


def _fail(function: str, what: str) -> ProviderError:
    return ProviderError(f"invoking {function}: 1 error occurred:\n\t* {what}\n\n")


def _only(function: str, label: str, found: list[Any]) -> Any:
    if not found:
        raise _fail(function, f"reading {label}: no matching {label} found")
    if len(found) > 1:
        raise _fail(
            function,
            f"reading {label}: multiple {label}s matched; "
            f"use additional constraints to reduce matches to a single {label}",
        )
    return found[0]


def get_subnet(aws: Aws, args: Args) -> dict[str, Any]:
    """Exactly one subnet."""
    request: dict[str, Any] = {}
    if args.get("id"):
        request["SubnetIds"] = [args["id"]]
    filters = _filters(
        args,
        vpcId="vpc-id",
        availabilityZone="availability-zone",
        availabilityZoneId="availability-zone-id",
        cidrBlock="cidr-block",
        defaultForAz="default-for-az",
        state="state",
    )
    if filters:
        request["Filters"] = filters
    found: list[Any] = []
    with Attempt("invoking aws:ec2/getSubnet:getSubnet: reading EC2 Subnet", ("InvalidSubnetID.NotFound",)):
        found = aws.ec2.describe_subnets(**request)["Subnets"]
    subnet = _only("aws:ec2/getSubnet:getSubnet", "EC2 Subnet", found)
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


def get_subnets(aws: Aws, args: Args) -> dict[str, Any]:
    """Any number of subnets, none included."""
    filters = _filters(args)
    with doing("invoking aws:ec2/getSubnets:getSubnets: reading EC2 Subnets"):
        request: dict[str, Any] = {"Filters": filters} if filters else {}
        found = aws.ec2.describe_subnets(**request)["Subnets"]
    return {
        "id": aws.region,
        "ids": [subnet["SubnetId"] for subnet in found],
        "filters": list(args.get("filters", ())),
        "tags": dict(args.get("tags") or {}),
        "region": aws.region,
    }


def get_vpc(aws: Aws, args: Args) -> dict[str, Any]:
    """Exactly one VPC."""
    request: dict[str, Any] = {}
    if args.get("id"):
        request["VpcIds"] = [args["id"]]
    filters = _filters(args, cidrBlock="cidr", dhcpOptionsId="dhcp-options-id", default="isDefault", state="state")
    if filters:
        request["Filters"] = filters
    found: list[Any] = []
    with Attempt("invoking aws:ec2/getVpc:getVpc: reading EC2 VPC", ("InvalidVpcID.NotFound",)):
        found = aws.ec2.describe_vpcs(**request)["Vpcs"]
    vpc = _only("aws:ec2/getVpc:getVpc", "EC2 VPC", found)
    return {
        "id": vpc["VpcId"],
        "arn": f"arn:aws:ec2:{aws.region}:{vpc.get('OwnerId') or aws.account_id}:vpc/{vpc['VpcId']}",
        "cidrBlock": vpc["CidrBlock"],
        "cidrBlockAssociations": [
            {
                "associationId": item.get("AssociationId"),
                "cidrBlock": item.get("CidrBlock"),
                "state": (item.get("CidrBlockState") or {}).get("State"),
            }
            for item in vpc.get("CidrBlockAssociationSet", ())
        ],
        "default": bool(vpc.get("IsDefault")),
        "dhcpOptionsId": vpc.get("DhcpOptionsId") or "",
        "enableDnsHostnames": True,
        "enableDnsSupport": True,
        "enableNetworkAddressUsageMetrics": False,
        "instanceTenancy": vpc.get("InstanceTenancy") or "default",
        "ipv6AssociationId": "",
        "ipv6CidrBlock": "",
        "mainRouteTableId": "",
        "ownerId": vpc.get("OwnerId") or aws.account_id,
        "region": aws.region,
        "state": vpc.get("State", "available"),
        "tags": tag_map(vpc.get("Tags")),
    }


def get_ami(aws: Aws, args: Args) -> dict[str, Any]:
    """Exactly one image, or with ``mostRecent`` the newest of several."""
    function = "aws:ec2/getAmi:getAmi"
    request: dict[str, Any] = {}
    filters = _filters(args)
    if filters:
        request["Filters"] = filters
    if args.get("owners"):
        request["Owners"] = list(args["owners"])
    if args.get("executableUsers"):
        request["ExecutableUsers"] = list(args["executableUsers"])
    found: list[Any] = []
    with Attempt(f"invoking {function}: reading EC2 AMIs", ("InvalidAMIID.NotFound",)):
        found = aws.ec2.describe_images(**request)["Images"]
    if args.get("nameRegex"):
        found = [image for image in found if re.search(args["nameRegex"], image.get("Name", ""))]
    if not found:
        raise _fail(function, "Your query returned no results. Please change your search criteria and try again.")
    if len(found) > 1 and not args.get("mostRecent"):
        raise _fail(
            function,
            "Your query returned more than one result. Please try a more specific search criteria, or set "
            "`most_recent` attribute to true.",
        )
    image = max(found, key=lambda item: item.get("CreationDate", ""))
    return {
        **{key: value for key, value in args.items() if key != "region"},
        "id": image["ImageId"],
        "imageId": image["ImageId"],
        "architecture": image.get("Architecture"),
        "arn": f"arn:aws:ec2:{aws.region}::image/{image['ImageId']}",
        "blockDeviceMappings": [],
        "bootMode": image.get("BootMode") or "",
        "creationDate": image.get("CreationDate") or "",
        "deprecationTime": image.get("DeprecationTime") or "",
        "description": image.get("Description") or "",
        "enaSupport": bool(image.get("EnaSupport")),
        "hypervisor": image.get("Hypervisor") or "xen",
        "imageLocation": image.get("ImageLocation") or "",
        "imageOwnerAlias": image.get("ImageOwnerAlias") or "",
        "imageType": image.get("ImageType") or "machine",
        "imdsSupport": image.get("ImdsSupport") or "",
        "kernelId": image.get("KernelId") or "",
        "lastLaunchedTime": "",
        "name": image.get("Name") or "",
        "ownerId": image.get("OwnerId") or "",
        "platform": image.get("Platform") or "",
        "platformDetails": image.get("PlatformDetails") or "",
        "productCodes": [],
        "public": bool(image.get("Public")),
        "ramdiskId": "",
        "region": aws.region,
        "rootDeviceName": image.get("RootDeviceName") or "",
        "rootDeviceType": image.get("RootDeviceType") or "",
        "rootSnapshotId": "",
        "sriovNetSupport": image.get("SriovNetSupport") or "",
        "state": image.get("State") or "available",
        "stateReason": {"code": "UNSET", "message": "UNSET"},
        "tags": tag_map(image.get("Tags")),
        "tpmSupport": "",
        "uefiData": "",
        "usageOperation": image.get("UsageOperation") or "",
        "virtualizationType": image.get("VirtualizationType") or "hvm",
    }


def get_parameter(aws: Aws, args: Args) -> dict[str, Any]:
    """One SSM parameter; a missing one is an error."""
    function = "aws:ssm/getParameter:getParameter"
    with doing(f"invoking {function}: reading SSM Parameter ({args['name']})"):
        found: Any = aws.ssm.get_parameter(Name=args["name"], WithDecryption=args.get("withDecryption", True))[
            "Parameter"
        ]
    secure = found["Type"] == "SecureString"
    return {
        "id": args["name"],
        "arn": found["ARN"],
        "insecureValue": "" if secure else found["Value"],
        "name": found["Name"],
        "region": aws.region,
        "type": found["Type"],
        "value": found["Value"],
        "version": found["Version"],
        "withDecryption": args.get("withDecryption", True),
    }


def get_instance_type(aws: Aws, args: Args) -> dict[str, Any]:
    """What EC2 says of an instance type; an unknown one is an error."""
    function = "aws:ec2/getInstanceType:getInstanceType"
    name = args["instanceType"]
    with doing(f"invoking {function}: reading EC2 Instance Type ({name})"):
        found: Any = aws.ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"]
    item = _only(function, "EC2 Instance Type", found)
    return {
        "id": name,
        "instanceType": name,
        "region": aws.region,
        "memorySize": item["MemoryInfo"]["SizeInMiB"],
        "defaultVcpus": item["VCpuInfo"]["DefaultVCpus"],
        "supportedArchitectures": item["ProcessorInfo"]["SupportedArchitectures"],
        "currentGeneration": bool(item.get("CurrentGeneration")),
        "burstablePerformanceSupported": bool(item.get("BurstablePerformanceSupported")),
    }


def get_caller_identity(aws: Aws, args: Args) -> dict[str, Any]:
    """Account and user of the credentials."""
    with doing("invoking aws:index/getCallerIdentity:getCallerIdentity: reading STS Caller Identity"):
        found = aws.sts.get_caller_identity()
    return {"id": found["Account"], "accountId": found["Account"], "arn": found["Arn"], "userId": found["UserId"]}


def get_region(aws: Aws, args: Args) -> dict[str, Any]:
    """The region in use, or the one asked for."""
    name = args.get("name") or aws.region
    return {
        "id": name,
        "name": name,
        "region": name,
        "description": "US East (N. Virginia)" if name == "us-east-1" else name,
        "endpoint": f"ec2.{name}.amazonaws.com",
    }


def get_partition(aws: Aws, args: Args) -> dict[str, Any]:
    """The partition: the local cloud knows one."""
    return {"id": "aws", "partition": "aws", "dnsSuffix": "amazonaws.com", "reverseDnsPrefix": "com.amazonaws"}


def get_availability_zones(aws: Aws, args: Args) -> dict[str, Any]:
    """The zones of the region."""
    filters = _filters(args, state="state")
    with doing("invoking aws:index/getAvailabilityZones:getAvailabilityZones: reading EC2 Availability Zones"):
        request: dict[str, Any] = {"Filters": filters} if filters else {}
        found = aws.ec2.describe_availability_zones(**request)["AvailabilityZones"]
    return {
        "id": aws.region,
        "groupNames": [aws.region],
        "names": sorted(zone["ZoneName"] for zone in found),
        "zoneIds": [zone["ZoneId"] for zone in sorted(found, key=lambda zone: zone["ZoneName"])],
        "region": aws.region,
    }


INVOKES: Final[Mapping[str, Callable[[Aws, Args], dict[str, Any]]]] = {
    "aws:ec2/getAmi:getAmi": get_ami,
    "aws:ec2/getInstanceType:getInstanceType": get_instance_type,
    "aws:ec2/getSubnet:getSubnet": get_subnet,
    "aws:ec2/getSubnets:getSubnets": get_subnets,
    "aws:ec2/getVpc:getVpc": get_vpc,
    "aws:index/getAvailabilityZones:getAvailabilityZones": get_availability_zones,
    "aws:index/getCallerIdentity:getCallerIdentity": get_caller_identity,
    "aws:index/getPartition:getPartition": get_partition,
    "aws:index/getRegion:getRegion": get_region,
    "aws:ssm/getParameter:getParameter": get_parameter,
}
