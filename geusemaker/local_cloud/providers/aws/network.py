"""EC2 networking: security groups, Elastic IPs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from geusemaker.local_cloud.providers.aws.api import Attempt, Aws, doing, failed, read_tags, tag_list
from geusemaker.local_cloud.providers.aws.resource import REGION, TAGS, Resource, Values
from geusemaker.local_cloud.providers.aws.tagging import update_tags
from geusemaker.local_cloud.providers.schema import AutoName, Property, Schema

_DELETE_TIMEOUT: Final = 600.0

_RULE_FIELDS: Final = {
    "protocol": Property(required=True, normalize=lambda value: str(value).lower()),
    "fromPort": Property(required=True),
    "toPort": Property(required=True),
    "cidrBlocks": Property(unordered=True),
    "ipv6CidrBlocks": Property(unordered=True),
    "prefixListIds": Property(unordered=True),
    "securityGroups": Property(unordered=True),
    "self": Property(),
    "description": Property(),
}


class SecurityGroup(Resource):
    schema: ClassVar = Schema(
        token="aws:ec2/securityGroup:SecurityGroup",
        label="EC2 Security Group",
        properties={
            "name": Property(replaces=True),
            "namePrefix": Property(replaces=True),
            "description": Property(replaces=True, default="Managed by Pulumi"),
            "vpcId": Property(replaces=True, computed=True),
            "ingress": Property(computed=True, unordered=True, fields=_RULE_FIELDS),
            "egress": Property(computed=True, unordered=True, fields=_RULE_FIELDS),
            "revokeRulesOnDelete": Property(default=False),
            "region": REGION,
            **TAGS,
        },
        outputs=("arn", "ownerId"),
        auto_name=AutoName(),
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        request: dict[str, Any] = {
            "GroupName": inputs["name"],
            "Description": inputs.get("description", "Managed by Pulumi"),
        }
        if inputs.get("vpcId"):
            request["VpcId"] = inputs["vpcId"]
        if inputs.get("tagsAll"):
            request["TagSpecifications"] = [{"ResourceType": "security-group", "Tags": tag_list(inputs["tagsAll"])}]
        with doing(f"creating Security Group ({inputs['name']})"):
            return aws.ec2.create_security_group(**request)["GroupId"]

    def settle(self, aws: Aws, resource_id: str, inputs: Values) -> None:
        # AWS gives every group a rule that lets everything out; the provider takes it away again.
        with doing(f"updating Security Group ({resource_id})"):
            self._change(aws, resource_id, "egress", [], add=inputs.get("egress", ()))
            self._change(aws, resource_id, "ingress", [], add=inputs.get("ingress", ()), remove_all=False)

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        group = _find_group(aws, resource_id)
        if group is None:
            return None
        return {
            "name": group["GroupName"],
            "description": group["Description"],
            "vpcId": group.get("VpcId"),
            "ownerId": group.get("OwnerId"),
            "arn": f"arn:aws:ec2:{aws.region}:{group.get('OwnerId')}:security-group/{resource_id}",
            "ingress": _rules(resource_id, group.get("IpPermissions", ())),
            "egress": _rules(resource_id, group.get("IpPermissionsEgress", ())),
            **read_tags(group.get("Tags")),
        }

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        with doing(f"updating Security Group ({resource_id})"):
            for direction in ("ingress", "egress"):
                if direction in changed:
                    self._change(aws, resource_id, direction, olds.get(direction, ()), news.get(direction, ()))
            update_tags(aws, resource_id, olds, news, changed)

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        from botocore.exceptions import ClientError

        def attempt() -> bool | None:
            try:
                aws.ec2.delete_security_group(GroupId=resource_id)
            except ClientError as error:
                if error.response["Error"]["Code"] != "DependencyViolation":
                    raise
                blocked.append(error)
                return None
            return True

        blocked: list[ClientError] = []
        with Attempt(f"deleting Security Group ({resource_id})", ("InvalidGroup.NotFound", "InvalidGroupId.Malformed")):
            aws.wait_until(attempt, _DELETE_TIMEOUT, lambda: blocked[-1])

    def _change(
        self,
        aws: Aws,
        group_id: str,
        direction: str,
        old: Iterable[Values],
        add: Iterable[Values],
        remove_all: bool = True,
    ) -> None:
        group = _find_group(aws, group_id)
        if group is None:
            raise failed(f"reading Security Group ({group_id}): couldn't find resource")
        key = "IpPermissions" if direction == "ingress" else "IpPermissionsEgress"
        wanted = {repr(rule): rule for rule in _split(_permissions(group_id, add))}
        present = {repr(rule): rule for rule in _split(_clean(group.get(key, ())))} if remove_all else {}
        revoke = [rule for name, rule in present.items() if name not in wanted]
        authorize = [rule for name, rule in wanted.items() if name not in present]
        if revoke:
            call = (
                aws.ec2.revoke_security_group_ingress
                if direction == "ingress"
                else aws.ec2.revoke_security_group_egress
            )
            call(GroupId=group_id, IpPermissions=revoke)
        if authorize:
            grant = (
                aws.ec2.authorize_security_group_ingress
                if direction == "ingress"
                else aws.ec2.authorize_security_group_egress
            )
            grant(GroupId=group_id, IpPermissions=authorize)


def _find_group(aws: Aws, group_id: str) -> Any | None:
    with Attempt(f"reading Security Group ({group_id})", ("InvalidGroup.NotFound", "InvalidGroupId.Malformed")):
        groups = aws.ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
        return groups[0] if groups else None
    return None


_SOURCES: Final = (
    ("IpRanges", "CidrIp"),
    ("Ipv6Ranges", "CidrIpv6"),
    ("PrefixListIds", "PrefixListId"),
    ("UserIdGroupPairs", "GroupId"),
)


def _permissions(group_id: str, rules: Iterable[Values]) -> list[dict[str, Any]]:
    """Rules of the program in the form of the API."""
    permissions = []
    for rule in rules:
        groups = [*rule.get("securityGroups", ()), *([group_id] if rule.get("self") else [])]
        members = {
            "IpRanges": rule.get("cidrBlocks", ()),
            "Ipv6Ranges": rule.get("ipv6CidrBlocks", ()),
            "PrefixListIds": rule.get("prefixListIds", ()),
            "UserIdGroupPairs": groups,
        }
        protocol = str(rule["protocol"]).lower()
        permission: dict[str, Any] = {"IpProtocol": "-1" if protocol == "all" else protocol}
        if permission["IpProtocol"] != "-1":
            permission |= {"FromPort": rule["fromPort"], "ToPort": rule["toPort"]}
        described = {"Description": rule["description"]} if rule.get("description") else {}
        for kind, key in _SOURCES:
            if members[kind]:
                permission[kind] = [{key: source, **described} for source in members[kind]]
        permissions.append(permission)
    return permissions


def _clean(permissions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Permissions as read, with only what identifies them."""
    cleaned = []
    for permission in permissions:
        kept: dict[str, Any] = {"IpProtocol": permission["IpProtocol"]}
        if kept["IpProtocol"] != "-1":
            kept |= {"FromPort": permission.get("FromPort", 0), "ToPort": permission.get("ToPort", 0)}
        for kind, key in _SOURCES:
            sources = [
                {key: source[key], **({"Description": source["Description"]} if source.get("Description") else {})}
                for source in permission.get(kind, ())
                if source.get(key)
            ]
            if sources:
                kept[kind] = sources
        cleaned.append(kept)
    return cleaned


def _split(permissions: Iterable[Mapping[str, Any]]) -> list[Any]:
    """One permission for each source, so that sets of them can be compared."""
    return [
        {**{k: permission[k] for k in ("IpProtocol", "FromPort", "ToPort") if k in permission}, kind: [source]}
        for permission in permissions
        for kind, _ in _SOURCES
        for source in permission.get(kind, ())
    ]


def _rules(group_id: str, permissions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Permissions as read in the form of the program: sources with one description are one rule."""
    rules: list[dict[str, Any]] = []
    for permission in _clean(permissions):
        by_description: dict[str, dict[str, Any]] = {}
        for kind, key in _SOURCES:
            for source in permission.get(kind, ()):
                rule = by_description.setdefault(
                    source.get("Description", ""),
                    {
                        "protocol": permission["IpProtocol"],
                        "fromPort": permission.get("FromPort", 0),
                        "toPort": permission.get("ToPort", 0),
                        "cidrBlocks": [],
                        "ipv6CidrBlocks": [],
                        "prefixListIds": [],
                        "securityGroups": [],
                        "self": False,
                        "description": source.get("Description", ""),
                    },
                )
                if kind == "UserIdGroupPairs" and source[key] == group_id:
                    rule["self"] = True
                else:
                    rule[_MEMBER[kind]].append(source[key])
        rules.extend(by_description.values())
    return rules


_MEMBER: Final = {
    "IpRanges": "cidrBlocks",
    "Ipv6Ranges": "ipv6CidrBlocks",
    "PrefixListIds": "prefixListIds",
    "UserIdGroupPairs": "securityGroups",
}


class Eip(Resource):
    schema: ClassVar = Schema(
        token="aws:ec2/eip:Eip",
        label="EC2 EIP",
        properties={
            "domain": Property(replaces=True, computed=True),
            "instance": Property(computed=True),
            "networkInterface": Property(computed=True),
            "associateWithPrivateIp": Property(),
            "address": Property(replaces=True),
            "publicIpv4Pool": Property(replaces=True, computed=True),
            "customerOwnedIpv4Pool": Property(replaces=True),
            "networkBorderGroup": Property(replaces=True, computed=True),
            "region": REGION,
            **TAGS,
        },
        outputs=("allocationId", "arn", "associationId", "privateDns", "privateIp", "publicDns", "publicIp"),
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        request: dict[str, Any] = {"Domain": inputs.get("domain", "vpc")}
        if inputs.get("address"):
            request["Address"] = inputs["address"]
        if inputs.get("tagsAll"):
            request["TagSpecifications"] = [{"ResourceType": "elastic-ip", "Tags": tag_list(inputs["tagsAll"])}]
        with doing("creating EC2 EIP"):
            return aws.ec2.allocate_address(**request)["AllocationId"]

    def settle(self, aws: Aws, resource_id: str, inputs: Values) -> None:
        if inputs.get("instance") or inputs.get("networkInterface"):
            self._associate(aws, resource_id, inputs)

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        address: Any = None
        with Attempt(f"reading EC2 EIP ({resource_id})", ("InvalidAllocationID.NotFound",)):
            found = aws.ec2.describe_addresses(AllocationIds=[resource_id])["Addresses"]
            address = found[0] if found else None
        if address is None:
            return None
        public = address["PublicIp"]
        private = address.get("PrivateIpAddress")
        return {
            "allocationId": resource_id,
            "arn": f"arn:aws:ec2:{aws.region}:{aws.account_id}:elastic-ip/{resource_id}",
            "associationId": address.get("AssociationId") or "",
            "domain": address.get("Domain", "vpc"),
            "instance": address.get("InstanceId") or "",
            "networkInterface": address.get("NetworkInterfaceId") or "",
            "networkBorderGroup": address.get("NetworkBorderGroup") or aws.region,
            "publicIpv4Pool": address.get("PublicIpv4Pool") or "amazon",
            "publicIp": public,
            "publicDns": f"ec2-{public.replace('.', '-')}.{_dns_suffix(aws.region, 'compute')}.amazonaws.com",
            "privateIp": private or "",
            "privateDns": f"ip-{private.replace('.', '-')}.{_dns_suffix(aws.region, 'ec2')}" if private else "",
            **read_tags(address.get("Tags")),
        }

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        with doing(f"updating EC2 EIP ({resource_id})"):
            if changed & {"instance", "networkInterface", "associateWithPrivateIp"}:
                if olds.get("associationId"):
                    aws.ec2.disassociate_address(AssociationId=olds["associationId"])
                if news.get("instance") or news.get("networkInterface"):
                    self._associate(aws, resource_id, news)
            update_tags(aws, resource_id, olds, news, changed)

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        current = self.read(aws, resource_id, state)
        if current is None:
            return
        with Attempt(f"deleting EC2 EIP ({resource_id})", ("InvalidAllocationID.NotFound",)):
            if state.get("instance") and current["associationId"]:
                aws.ec2.disassociate_address(AssociationId=current["associationId"])
            aws.ec2.release_address(AllocationId=resource_id)

    def unknown_after(self, changed: set[str]) -> set[str]:
        moved = changed & {"instance", "networkInterface", "associateWithPrivateIp"}
        return {"associationId", "privateIp", "privateDns"} if moved else set()

    def _associate(self, aws: Aws, allocation_id: str, inputs: Values) -> None:
        request: dict[str, Any] = {"AllocationId": allocation_id, "AllowReassociation": True}
        request |= _association_target(inputs, "instance", "networkInterface", "associateWithPrivateIp")
        with doing(f"associating EC2 EIP ({allocation_id})"):
            aws.ec2.associate_address(**request)


class EipAssociation(Resource):
    schema: ClassVar = Schema(
        token="aws:ec2/eipAssociation:EipAssociation",
        label="EC2 EIP Association",
        properties={
            "allocationId": Property(replaces=True, computed=True),
            "allowReassociation": Property(replaces=True),
            "instanceId": Property(replaces=True, computed=True),
            "networkInterfaceId": Property(replaces=True, computed=True),
            "privateIpAddress": Property(replaces=True, computed=True),
            "publicIp": Property(replaces=True, computed=True),
            "region": REGION,
        },
        needs_one_of=(("instanceId", "networkInterfaceId"),),
    )

    def create(self, aws: Aws, inputs: Values) -> str:
        # In a VPC an address moves without being asked to: AWS does not take "false" for an answer.
        request: dict[str, Any] = {"AllowReassociation": True}
        if inputs.get("allocationId"):
            request["AllocationId"] = inputs["allocationId"]
        elif inputs.get("publicIp"):
            request["PublicIp"] = inputs["publicIp"]
        request |= _association_target(inputs, "instanceId", "networkInterfaceId", "privateIpAddress")
        with doing("creating EC2 EIP Association"):
            return aws.ec2.associate_address(**request)["AssociationId"]

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        found: Any = None
        with Attempt(f"reading EC2 EIP Association ({resource_id})", ("InvalidAssociationID.NotFound",)):
            filters: list[Any] = [{"Name": "association-id", "Values": [resource_id]}]
            addresses = aws.ec2.describe_addresses(Filters=filters)["Addresses"]
            found = addresses[0] if addresses else None
        if found is None:
            return None
        return {
            "allocationId": found["AllocationId"],
            "instanceId": found.get("InstanceId") or "",
            "networkInterfaceId": found.get("NetworkInterfaceId") or "",
            "privateIpAddress": found.get("PrivateIpAddress") or "",
            "publicIp": found["PublicIp"],
        }

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        raise failed(f"updating EC2 EIP Association ({resource_id}): not supported")

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        with Attempt(f"deleting EC2 EIP Association ({resource_id})", ("InvalidAssociationID.NotFound",)):
            aws.ec2.disassociate_address(AssociationId=resource_id)


def _association_target(inputs: Values, instance: str, interface: str, private_ip: str) -> dict[str, Any]:
    target: dict[str, Any] = {}
    if inputs.get(interface):
        target["NetworkInterfaceId"] = inputs[interface]
    elif inputs.get(instance):
        target["InstanceId"] = inputs[instance]
    if inputs.get(private_ip):
        target["PrivateIpAddress"] = inputs[private_ip]
    return target


def _dns_suffix(region: str, kind: str) -> str:
    if kind == "ec2":
        return "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
    return "compute-1" if region == "us-east-1" else f"{region}.compute"


RESOURCES: Final = (
    SecurityGroup(),
    Eip(),
    EipAssociation(),
)
