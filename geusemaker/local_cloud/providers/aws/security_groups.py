"""EC2 security groups, with the rules that are given within them."""

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


RESOURCES: Final = (SecurityGroup(),)
