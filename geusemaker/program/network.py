"""Who may reach the instance, and who its storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from geusemaker.models.stack import Target
from geusemaker.program.rules import Rule, rules


@dataclass(frozen=True)
class Network:
    """The deployment's security groups, with what goes in and out."""

    instance: aws.ec2.SecurityGroup
    storage: aws.ec2.SecurityGroup
    instance_rules: list[pulumi.Resource]
    """Without these nobody gets to the instance, and it gets nowhere."""
    storage_rules: list[pulumi.Resource]
    """Without these the instance cannot mount its data."""


def make_network(
    name: str, vpc_id: str, target: Target, known_rules: Mapping[str, str], tags: dict[str, str]
) -> Network:
    """The groups, and each rule as a resource of its own: what others add to a group is theirs, and stays.

    The groups say nothing of their rules: a deployment of before had them in the groups, and taking such a list out of
    the program changes nothing in AWS (``ingress`` and ``egress`` are optional and computed; asked of the real provider
    by tests/local_cloud/test_parity.py). The rules of then are taken up by their ids instead.

    Args:
        known_rules: name → id of those that AWS has and Pulumi's state does not. AWS makes no rule twice
            (InvalidPermission.Duplicate), so they become resources as they are.
    """
    instance = aws.ec2.SecurityGroup(
        "instance", vpc_id=vpc_id, description=f"geusemaker {name}: SSH from the given addresses", tags=tags
    )
    storage = aws.ec2.SecurityGroup(
        "storage", vpc_id=vpc_id, description=f"geusemaker {name}: NFS from the instance", tags=tags
    )
    groups = {"instance": instance, "storage": storage}
    made: dict[str, list[pulumi.Resource]] = {"instance": [], "storage": []}
    for resource, rule in rules(target).items():
        made[rule.group].append(_make(name, resource, rule, groups, known_rules.get(resource)))
    return Network(instance, storage, made["instance"], made["storage"])


def _make(
    name: str, resource: str, rule: Rule, groups: Mapping[str, aws.ec2.SecurityGroup], known: str | None
) -> pulumi.Resource:
    kind = aws.vpc.SecurityGroupEgressRule if rule.outward else aws.vpc.SecurityGroupIngressRule
    made: pulumi.Resource = kind(
        resource,
        security_group_id=groups[rule.group].id,
        description=f"geusemaker {name}: {rule.purpose}",
        ip_protocol="-1" if rule.port is None else "tcp",
        from_port=rule.port,
        to_port=rule.port,
        cidr_ipv4=rule.cidr or None,
        referenced_security_group_id=None if rule.cidr else groups["instance"].id,
        # One that is taken up keeps the words that it has, or none.
        opts=pulumi.ResourceOptions(import_=known, ignore_changes=["description"]),
    )
    return made
