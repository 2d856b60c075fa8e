"""Rules of security groups as resources of their own, one peer each, beside whatever rules others made in the group."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from geusemaker.local_cloud.providers.aws.api import Attempt, Aws, doing, failed, read_tags, tag_list
from geusemaker.local_cloud.providers.aws.resource import REGION, TAGS, Resource, Values
from geusemaker.local_cloud.providers.aws.tagging import update_tags
from geusemaker.local_cloud.providers.schema import Property, Schema

_GONE: Final = (
    "InvalidSecurityGroupRuleId.NotFound",
    "InvalidGroup.NotFound",
    "InvalidGroupId.Malformed",
    "InvalidPermission.NotFound",
)
_PEERS: Final = {
    "cidrIpv4": ("IpRanges", "CidrIp", "CidrIpv4"),
    "cidrIpv6": ("Ipv6Ranges", "CidrIpv6", "CidrIpv6"),
    "prefixListId": ("PrefixListIds", "PrefixListId", "PrefixListId"),
    "referencedSecurityGroupId": ("UserIdGroupPairs", "GroupId", "ReferencedGroupId"),
}
"""Input → its list in a permission, its key there, and its key where a rule is changed."""
_NUMBERS: Final = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6", "all": "-1"}
"""Protocols by their number, as the provider takes them for the same."""


def _protocol(value: Any) -> str:
    text = str(value).lower()
    return _NUMBERS.get(text, text)


class _Rule(Resource):
    """internal/service/ec2/vpc_security_group_ingress_rule.go of terraform-provider-aws, and that of egress."""

    direction: ClassVar[str]

    def create(self, aws: Aws, inputs: Values) -> str:
        group = inputs["securityGroupId"]
        request: dict[str, Any] = {"GroupId": group, "IpPermissions": [_permission(inputs)]}
        if inputs.get("tagsAll"):
            request["TagSpecifications"] = [
                {"ResourceType": "security-group-rule", "Tags": tag_list(inputs["tagsAll"])}
            ]
        with doing("creating VPC Security Group Rule"):
            authorize = (
                aws.ec2.authorize_security_group_ingress
                if self.direction == "ingress"
                else aws.ec2.authorize_security_group_egress
            )
            rules = authorize(**request)["SecurityGroupRules"]
        return str(rules[0]["SecurityGroupRuleId"])

    def read(self, aws: Aws, resource_id: str, state: Values) -> dict[str, Any] | None:
        rule: Any = None
        with Attempt(f"reading VPC Security Group Rule ({resource_id})", _GONE):
            found = aws.ec2.describe_security_group_rules(SecurityGroupRuleIds=[resource_id])["SecurityGroupRules"]
            rule = next((one for one in found if one["IsEgress"] is (self.direction == "egress")), None)
        if rule is None:
            return None
        every = rule["IpProtocol"] == "-1"  # its ports mean nothing, and AWS tells them as -1
        return {
            "arn": f"arn:aws:ec2:{aws.region}:{aws.account_id}:security-group-rule/{resource_id}",
            "securityGroupRuleId": resource_id,
            "securityGroupId": rule["GroupId"],
            "ipProtocol": rule["IpProtocol"],
            "fromPort": None if every else rule.get("FromPort"),
            "toPort": None if every else rule.get("ToPort"),
            "cidrIpv4": rule.get("CidrIpv4"),
            "cidrIpv6": rule.get("CidrIpv6"),
            "prefixListId": rule.get("PrefixListId"),
            "referencedSecurityGroupId": (rule.get("ReferencedGroupInfo") or {}).get("GroupId"),
            "description": rule.get("Description") or None,
            **read_tags(rule.get("Tags")),
        }

    def update(self, aws: Aws, resource_id: str, olds: Values, news: Values, changed: set[str]) -> None:
        with doing(f"updating VPC Security Group Rule ({resource_id})"):
            if changed - {"tags", "tagsAll"}:
                rule: Any = {"SecurityGroupRuleId": resource_id, "SecurityGroupRule": _changed_rule(news)}
                aws.ec2.modify_security_group_rules(GroupId=news["securityGroupId"], SecurityGroupRules=[rule])
            update_tags(aws, resource_id, olds, news, changed)

    def delete(self, aws: Aws, resource_id: str, state: Values) -> None:
        with Attempt(f"deleting VPC Security Group Rule ({resource_id})", _GONE):
            revoke = (
                aws.ec2.revoke_security_group_ingress
                if self.direction == "ingress"
                else aws.ec2.revoke_security_group_egress
            )
            revoke(GroupId=state["securityGroupId"], SecurityGroupRuleIds=[resource_id])


def _schema(token: str, label: str) -> Schema:
    return Schema(
        token=token,
        label=label,
        properties={
            "securityGroupId": Property(required=True, replaces=True),
            "ipProtocol": Property(required=True),  # another way to write the same is a change to the provider
            "fromPort": Property(),
            "toPort": Property(),
            **{peer: Property() for peer in _PEERS},
            "description": Property(),
            "region": REGION,
            **TAGS,
        },
        outputs=("arn", "securityGroupRuleId"),
        exactly_one_of=(tuple(_PEERS),),
    )


class IngressRule(_Rule):
    schema: ClassVar = _schema("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "VPC Security Group Rule")
    direction = "ingress"


class EgressRule(_Rule):
    schema: ClassVar = _schema("aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule", "VPC Security Group Rule")
    direction = "egress"


def _peer(inputs: Values) -> str:
    """The name of the one input that says who the peer is."""
    given = [name for name in _PEERS if inputs.get(name)]
    if len(given) != 1:
        raise failed(f"{len(given)} peers are given; one of {', '.join(_PEERS)} is needed")
    return given[0]


def _permission(inputs: Values) -> Any:
    """A rule in the form in which one is made."""
    name = _peer(inputs)
    kind, key, _ = _PEERS[name]
    described = {"Description": inputs["description"]} if inputs.get("description") else {}
    return {**_ports(inputs), kind: [{key: inputs[name], **described}]}


def _changed_rule(inputs: Values) -> dict[str, Any]:
    """A rule in the form in which one is changed: whole."""
    name = _peer(inputs)
    described = {"Description": inputs["description"]} if inputs.get("description") else {}
    return {**_ports(inputs), _PEERS[name][2]: inputs[name], **described}


def _ports(inputs: Values) -> dict[str, Any]:
    protocol = _protocol(inputs["ipProtocol"])
    ports = {"FromPort": inputs.get("fromPort"), "ToPort": inputs.get("toPort")}
    return {"IpProtocol": protocol, **{key: int(port) for key, port in ports.items() if port is not None}}


RESOURCES: Final = (IngressRule(), EgressRule())
