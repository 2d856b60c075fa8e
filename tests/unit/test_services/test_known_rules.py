"""The rules that AWS has and Pulumi's state does not: which they are, and that a change takes them up."""

from __future__ import annotations

from collections.abc import Sequence

from geusemaker.models import resource_types
from geusemaker.models.network import GroupRule
from geusemaker.models.plan import ResourceOperation
from geusemaker.models.request import DeployRequest
from geusemaker.models.site import Site
from geusemaker.models.stack import Target
from geusemaker.program.rules import rules
from geusemaker.services.known_rules import groups_with_new_rules, known_rules
from tests.unit.fakes import World

TARGET = Target(
    kind="aws", region="eu-central-1", ssh_cidrs=("127.0.0.0/8",), site=Site(domains={"n8n": "n8n.example.com"})
)
GROUPS = {"instance": "sg-1", "storage": "sg-2"}
THERE = [
    GroupRule(id="sgr-1", group_id="sg-1", outward=False, protocol="tcp", from_port=22, to_port=22, cidr="127.0.0.0/8"),
    GroupRule(id="sgr-2", group_id="sg-1", outward=True, protocol="-1", cidr="0.0.0.0/0"),
    GroupRule(
        id="sgr-3", group_id="sg-2", outward=False, protocol="tcp", from_port=2049, to_port=2049, peer_group="sg-1"
    ),
    GroupRule(
        id="sgr-4", group_id="sg-1", outward=False, protocol="tcp", from_port=443, to_port=443, cidr="10.0.0.0/8"
    ),
]


def step(type: str, name: str, op: str, provider_id: str = "") -> ResourceOperation:
    return ResourceOperation(op=op, type=type, name=name, urn=f"urn::{type}::{name}", provider_id=provider_id)


def plan(op: str, names: Sequence[str]) -> list[ResourceOperation]:
    groups = [step(resource_types.SECURITY_GROUP, name, "same", id) for name, id in GROUPS.items()]
    outward = {name for name, rule in rules(TARGET).items() if rule.outward}
    kinds = {name: resource_types.EGRESS_RULE if name in outward else resource_types.INGRESS_RULE for name in names}
    return [*groups, *(step(kind, name, op) for name, kind in kinds.items())]


def test_rules_of_before_are_known_by_what_they_let_in() -> None:
    operations = plan("create", list(rules(TARGET)))
    assert groups_with_new_rules(operations) == GROUPS
    found = known_rules(operations, TARGET, GROUPS, THERE)
    assert found == {"ssh-127.0.0.0-8": "sgr-1", "out": "sgr-2", "nfs": "sgr-3"}, "the others are made"


def test_what_the_state_has_is_not_looked_for() -> None:
    assert groups_with_new_rules(plan("same", list(rules(TARGET)))) == {}
    assert known_rules(plan("create", ["nfs"]), TARGET, GROUPS, THERE) == {"nfs": "sgr-3"}
    new = [
        step(resource_types.SECURITY_GROUP, "instance", "create"),
        step(resource_types.INGRESS_RULE, "nfs", "create"),
    ]
    assert groups_with_new_rules(new) == {}, "a group that is made has none"


def test_a_change_plans_again_with_the_rules_that_aws_has(world: World) -> None:
    assert world.deploy(DeployRequest()).success
    world.cloud.group_rules = THERE
    plans: list[list[ResourceOperation]] = []

    def with_rules(operations: list[ResourceOperation]) -> list[ResourceOperation]:
        rule = step(resource_types.INGRESS_RULE, "nfs", "import" if plans else "create")
        groups = [step(resource_types.SECURITY_GROUP, name, "same", id) for name, id in GROUPS.items()]
        plans.append([*operations, *groups, rule])
        return plans[-1]

    world.engine.on_preview = with_rules
    assert world.update(settle_seconds=3).success
    assert [planned[-1].op for planned in plans] == ["create", "import", "import"]
    active = world.state().active
    assert active is not None and active.provenance.known_rules == {"nfs": "sgr-3"}
