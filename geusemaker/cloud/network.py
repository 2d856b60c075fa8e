"""What AWS tells of networks and of what an account may have there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from geusemaker.cloud.session import AwsSession
from geusemaker.errors import GeusemakerError
from geusemaker.models.network import AclEntry, NetworkFacts, Subnet, WayOut
from geusemaker.models.ownership import DEPLOYMENT_TAG

_DEFAULT: Final = "0.0.0.0/0"
_FAMILIES: Final = (
    ("g gr vt", "L-DB2E81BA", "G and VT"),
    ("p", "L-417A185B", "P"),
    ("inf", "L-1945791B", "Inf"),
    ("trn", "L-2C3B7624", "Trn"),
    ("f", "L-74FC7D96", "F"),
    ("x", "L-7295265B", "X"),
    ("dl", "L-6E869C2A", "DL"),
    ("u", "L-43DA4232", "High Memory"),
    ("hpc", "L-F7808C92", "HPC"),
    ("a c d h i im is m r t z", "L-1216C47A", "Standard (A, C, D, H, I, M, R, T, Z)"),
)
"""What a type's name begins with, the code of the quota of vCPUs that its on-demand instances share, that one's name.
https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html"""
_SPOT_QUOTAS: Final = {
    "G and VT": "L-3819A6DF",
    "P": "L-7212CCBC",
    "Inf": "L-B5D1601B",
    "F": "L-88CF9481",
    "X": "L-E3A00192",
    "DL": "L-85EED4F7",
    "Standard (A, C, D, H, I, M, R, T, Z)": "L-34B43A08",
}
"""The codes of the quotas that spot instances of a family have to themselves. The others' are not known.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-limits.html"""
_ADDRESSES: Final = "L-0263D0A3"
"""EC2-VPC Elastic IPs."""


class AwsNetwork(AwsSession):
    """Questions about the network, and about quotas."""

    def find_subnets(self, vpc_id: str | None, subnet_id: str | None) -> list[Subnet]:
        """The subnets that a deployment could go into: the given one, those of the VPC, or the default ones."""
        filters = [
            {"Name": name, "Values": [value]}
            for name, value in (("subnet-id", subnet_id), ("vpc-id", vpc_id))
            if value is not None
        ]
        filters = filters or [{"Name": "default-for-az", "Values": ["true"]}]
        found = self._ask("ec2", lambda ec2: ec2.describe_subnets(Filters=filters))["Subnets"]
        if not found:
            return []
        vpcs = [{"Name": "vpc-id", "Values": sorted({str(one["VpcId"]) for one in found})}]
        try:
            tables = self._ask("ec2", lambda ec2: ec2.describe_route_tables(Filters=vpcs))["RouteTables"]
        except GeusemakerError:
            tables = None  # an unknown refuses nothing, and the check says so
        return [
            _subnet(one, tables) for one in sorted(found, key=lambda one: (one["AvailabilityZone"], one["SubnetId"]))
        ]

    def find_network(self, subnet_id: str) -> NetworkFacts | None:
        """The network around a subnet; None where there is none of that id."""
        subnet = next(iter(self.find_subnets(None, subnet_id)), None)
        if subnet is None:
            return None

        def attribute(name: str, key: str) -> bool:
            asked = {"VpcId": subnet.vpc_id, "Attribute": name}
            return bool(self._ask("ec2", lambda ec2: ec2.describe_vpc_attribute(**asked))[key]["Value"])

        by_subnet = [{"Name": "association.subnet-id", "Values": [subnet_id]}]
        acls = self._ask("ec2", lambda ec2: ec2.describe_network_acls(Filters=by_subnet))["NetworkAcls"]
        return NetworkFacts(
            subnet=subnet,
            dns_support=attribute("enableDnsSupport", "EnableDnsSupport"),
            dns_hostnames=attribute("enableDnsHostnames", "EnableDnsHostnames"),
            acl=tuple(_entry(one) for acl in acls for one in acl["Entries"] if one.get("CidrBlock")),
        )

    def find_address_quota(self, deployment: str) -> tuple[int, int] | None:
        """(Elastic IPs that the account may have in the region, those that others have); None where nobody tells."""
        quota = self._find_quota(_ADDRESSES)
        if quota is None:
            return None
        found = self._ask("ec2", lambda ec2: ec2.describe_addresses())["Addresses"]
        return quota, sum(not _is_of(one, deployment) for one in found)

    def find_vcpu_quota(
        self, instance_type: str, deployment: str, *, spot: bool = False
    ) -> tuple[str, int, int, int] | None:
        """(the type's family, vCPUs that it may have, those that others have, those that one takes); None: not told.

        What runs on demand counts, or, of a spot instance, what is one;
        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html, …/using-spot-limits.html
        """
        known = _family(instance_type)
        code = known and (_SPOT_QUOTAS.get(known[1]) if spot else known[0])
        quota = self._find_quota(code) if code else None
        if known is None or quota is None:
            return None
        running = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]

        def ask(ec2: Any) -> list[dict[str, Any]]:
            pages = ec2.get_paginator("describe_instances").paginate(Filters=running)
            return [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]

        others = [one for one in self._ask("ec2", ask) if not _is_of(one, deployment)]
        wanted = "spot" if spot else None
        types = [str(one["InstanceType"]) for one in others if one.get("InstanceLifecycle") == wanted]
        of_family = [one for one in types if _family(one) == known]
        sizes = self._vcpus({instance_type, *of_family})
        if instance_type not in sizes:
            return None
        name = f"{known[1]}, spot instances" if spot else known[1]
        return name, quota, sum(sizes.get(one, 0) for one in of_family), sizes[instance_type]

    def _find_quota(self, code: str) -> int | None:
        """What the account may have; where that was never changed AWS knows its default alone. None: nobody tells."""
        asked = {"ServiceCode": "ec2", "QuotaCode": code}
        questions: tuple[Callable[[Any], Any], ...] = (
            lambda quotas: quotas.get_service_quota(**asked),
            lambda quotas: quotas.get_aws_default_service_quota(**asked),
        )
        for question in questions:
            try:
                answer = self._ask("service-quotas", question)
            except GeusemakerError:
                continue  # not permitted, or not told here: an unknown refuses nothing, and the check says so
            return int(answer["Quota"]["Value"])
        return None

    def _vcpus(self, types: Iterable[str]) -> Mapping[str, int]:
        wanted = [{"Name": "instance-type", "Values": sorted(types)}]
        found = self._ask("ec2", lambda ec2: ec2.describe_instance_types(Filters=wanted))["InstanceTypes"]
        return {str(one["InstanceType"]): int(one["VCpuInfo"]["DefaultVCpus"]) for one in found}


def _is_of(thing: Mapping[str, Any], deployment: str) -> bool:
    return any(tag["Key"] == DEPLOYMENT_TAG and tag["Value"] == deployment for tag in thing.get("Tags") or ())


def _family(instance_type: str) -> tuple[str, str] | None:
    """(the code of the quota that a type counts for, what it is called); None for one that has none of these."""
    letters = re.match("[a-z]*", instance_type)
    begins = letters.group() if letters is not None else ""
    return next(((code, name) for families, code, name in _FAMILIES if begins in families.split()), None)


def _subnet(found: Mapping[str, Any], tables: Iterable[Mapping[str, Any]] | None) -> Subnet:
    way_out: WayOut = "unknown"
    by = ""
    if tables is not None:
        way_out, by = _way_out(found, [table for table in tables if table["VpcId"] == found["VpcId"]])
    return Subnet(
        id=found["SubnetId"],
        vpc_id=found["VpcId"],
        zone=found["AvailabilityZone"],
        way_out=way_out,
        by=by,
        cidr=found["CidrBlock"],
        free_addresses=found["AvailableIpAddressCount"],
        gives_public_addresses=bool(found.get("MapPublicIpOnLaunch")),
    )


def _way_out(subnet: Mapping[str, Any], tables: Iterable[Mapping[str, Any]]) -> tuple[WayOut, str]:
    """Where the default route leads: of the subnet's own table, else of the VPC's main one."""

    def belongs(table: Mapping[str, Any], key: str, value: Any) -> bool:
        return any(one.get(key) == value for one in table.get("Associations", ()))

    tables = list(tables)
    own = [table for table in tables if belongs(table, "SubnetId", subnet["SubnetId"])]
    for table in own or [table for table in tables if belongs(table, "Main", True)]:
        for route in table["Routes"]:
            if route.get("DestinationCidrBlock") != _DEFAULT or route.get("State") == "blackhole":
                continue
            gateway = str(route.get("GatewayId") or "")
            if gateway.startswith("igw-"):
                return "internet", gateway
            if route.get("NatGatewayId"):
                return "nat", str(route["NatGatewayId"])
            others = ("TransitGatewayId", "NetworkInterfaceId", "InstanceId", "VpcPeeringConnectionId")
            return "other", gateway or next((str(route[key]) for key in others if route.get(key)), "a route")
    return "none", ""


def _entry(found: Mapping[str, Any]) -> AclEntry:
    ports = found.get("PortRange") or {}
    return AclEntry(
        number=found["RuleNumber"],
        outward=bool(found["Egress"]),
        allows=found["RuleAction"] == "allow",
        protocol=str(found["Protocol"]),
        cidr=found["CidrBlock"],
        from_port=ports.get("From", 0),
        to_port=ports.get("To", 65535),
    )
