"""The security groups' rules that AWS has and Pulumi's state does not: they are taken up as they are. Pure.

AWS makes no rule twice: who creates one that is there gets InvalidPermission.Duplicate. Until a deployment's first
change with rules as resources, all of its own are such; later those that a killed engine had just made, or a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from geusemaker.models import resource_types
from geusemaker.models.network import GroupRule
from geusemaker.models.plan import ResourceOperation
from geusemaker.models.stack import Target
from geusemaker.program.rules import Rule, rules

RULE_TYPES: Final = (resource_types.INGRESS_RULE, resource_types.EGRESS_RULE)


def groups_with_new_rules(operations: Sequence[ResourceOperation]) -> dict[str, str]:
    """Name → id of the security groups that are there, where a plan makes rules; else there is nothing to look for."""
    if not any(one.type in RULE_TYPES and one.op == "create" for one in operations):
        return {}
    return {
        one.name: one.provider_id
        for one in operations
        if one.type == resource_types.SECURITY_GROUP and one.provider_id and one.op in ("same", "update")
    }


def known_rules(
    operations: Iterable[ResourceOperation], target: Target, groups: Mapping[str, str], found: Iterable[GroupRule]
) -> dict[str, str]:
    """Name in the program → id of the rules that a plan would make, and that AWS has."""
    new = {one.name for one in operations if one.type in RULE_TYPES and one.op == "create"}
    there = {_key(one): one.id for one in found}
    wanted = {name: _wanted(rule, groups) for name, rule in rules(target).items() if name in new}
    return {name: there[key] for name, key in wanted.items() if key in there}


_Key = tuple[str, bool, str, int, int, str]


def _key(rule: GroupRule) -> _Key:
    peer = rule.cidr or rule.peer_group
    return rule.group_id, rule.outward, rule.protocol, rule.from_port, rule.to_port, peer


def _wanted(rule: Rule, groups: Mapping[str, str]) -> _Key:
    port = -1 if rule.port is None else rule.port
    peer = rule.cidr or groups.get("instance", "")
    return groups.get(rule.group, ""), rule.outward, "-1" if rule.port is None else "tcp", port, port, peer
