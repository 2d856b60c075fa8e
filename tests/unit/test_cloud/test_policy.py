"""The policy of operators and pipelines, held to AWS's service authorization reference and to what is called."""

from __future__ import annotations

import ast
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

import geusemaker
from geusemaker.cloud.policy import Scope, actions_of, aws_policy, session_policy
from geusemaker.cloud.refusals import find_refusal, told

REFERENCE = json.loads((Path(__file__).parent / "service_authorization.json").read_text(encoding="utf-8"))["actions"]
"""Action → resource type (``*``: none) → whether it is required, and which conditions AWS knows there."""
ONE = Scope("prod", region="eu-central-1", account="123456789012")
FULL = {**aws_policy(ONE), "Statement": [*aws_policy(ONE)["Statement"], *session_policy(ONE)["Statement"]]}
"""Both."""
ACTIONS = actions_of(FULL)
STATEMENTS = {statement["Sid"]: statement for statement in FULL["Statement"]}

AWS_LOOKS = ("Describe", "Get", "List", "Simulate")


def listed(statement: dict[str, Any]) -> list[str]:
    """Its actions, those in a word one by one."""
    return [one for action in statement["Action"] for one in ACTIONS if fnmatchcase(one, action)]


def kinds(statement: dict[str, Any]) -> set[str]:
    """The types of its resources, as the reference names them."""
    found = set()
    for arn in statement["Resource"]:
        service, name = ("", "*") if arn == "*" else (arn.split(":")[2], arn.split(":", 5)[5])
        found.add(name.partition("/")[0] if service else "*")
    return found


@pytest.mark.parametrize("sid", STATEMENTS)
def test_each_statement_says_what_aws_can_judge(sid: str) -> None:
    """An action with a resource or a condition that AWS does not know there would never be allowed."""
    statement = STATEMENTS[sid]
    keys = {
        re.sub(r"(aws:(?:Request|Resource)Tag|ssm:resourceTag)/.*", r"\1/${TagKey}", key)
        for operator in statement.get("Condition", {}).values()
        for key in operator
    }
    for action in listed(statement):
        known = REFERENCE[action]
        apart = known.get("*", {"conditions": []})["conditions"]
        # Where a tag says which, all that the action has to have is meant.
        required = {kind for kind, one in known.items() if one["required"]} or {*known} - {"*"} or {"*"}
        used = kinds(statement) & set(known) if kinds(statement) != {"*"} else required
        assert used, f"{action} is about none of {kinds(statement)}"
        for kind in used:
            conditions = {*known.get(kind, {"conditions": []})["conditions"], *apart}
            assert keys <= conditions, f"{action} on {kind} knows {conditions}"


@pytest.mark.parametrize("action", ACTIONS)
def test_what_an_action_requires_is_allowed_with_it(action: str) -> None:
    allowed = {kind for statement in FULL["Statement"] if action in listed(statement) for kind in kinds(statement)}
    required = {kind for kind, known in REFERENCE[action].items() if known["required"]}
    assert required <= allowed or "*" in allowed
    also = {one for known in REFERENCE[action].values() for one in known.get("also", ())}
    # An AMI is given by its id here, so EC2 reads no parameter.
    assert also - {"ssm:GetParameters"} <= set(ACTIONS)


def test_what_changes_is_narrow() -> None:
    """Without a tag, a name or a service it is for, only what such a call uses beside a deployment's own."""
    wide = {
        action
        for statement in FULL["Statement"]
        for action in listed(statement)
        if "Condition" not in statement and not any("geusemaker-prod-" in arn for arn in statement["Resource"])
        if not action.partition(":")[2].startswith(AWS_LOOKS)
    }
    sessions = {"ssm:ResumeSession", "ssm:StartSession", "ssm:TerminateSession", "ssmmessages:OpenDataChannel"}
    assert wide == {*STATEMENTS["Use"]["Action"], *sessions}
    assert kinds(STATEMENTS["Use"]) == {
        "network-interface", "subnet", "vpc", "volume", "security-group-rule", "image", "spot-instances-request",
    }  # fmt: skip
    assert all("123456789012" in arn or "::image/" in arn for arn in STATEMENTS["Use"]["Resource"])
    assert {action for one in FULL["Statement"] for action in one["Action"] if "*" in action} == {
        "ec2:Describe*",
        "elasticfilesystem:Describe*",
    }


def test_who_only_looks_changes_nothing() -> None:
    assert all(
        action.partition(":")[2].startswith(AWS_LOOKS) for action in actions_of(aws_policy(Scope(), read_only=True))
    )


def test_session_manager_is_only_for_who_connects_by_it() -> None:
    assert "Session" not in json.dumps(aws_policy(ONE))
    assert STATEMENTS["Connect"]["Condition"] == {"StringEquals": {"ssm:resourceTag/geusemaker:deployment": "prod"}}
    assert STATEMENTS["ConnectByPort"]["Resource"] == [
        "arn:aws:ssm:eu-central-1::document/AWS-StartPortForwardingSession"
    ]


def test_one_fits_where_policies_are_kept() -> None:
    """6,144 characters without white space: docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""
    longest = Scope(
        *("a" * 40, "aws-us-gov", "us-gov-west-1", "1" * 12),
        boundary=f"arn:aws-us-gov:iam::{'1' * 12}:policy/{'b' * 20}",
    )
    for document in (aws_policy(longest), session_policy(longest)):
        assert len(re.sub(r"\s", "", json.dumps(document))) <= 6144


def test_for_all_deployments_and_for_one() -> None:
    every = {statement["Sid"]: statement for statement in aws_policy(Scope())["Statement"]}
    assert every["Change"]["Condition"] == {"StringLike": {"aws:ResourceTag/geusemaker:deployment": "*"}}
    assert every["Role"]["Resource"] == ["arn:aws:iam::*:role/geusemaker-*"]
    assert STATEMENTS["Change"]["Condition"] == {"StringEquals": {"aws:ResourceTag/geusemaker:deployment": "prod"}}
    assert STATEMENTS["Role"]["Resource"] == ["arn:aws:iam::123456789012:role/geusemaker-prod-*"]


def test_a_deployment_of_before_is_allowed_its_own_names() -> None:
    roles = {one["Sid"]: one for one in aws_policy(Scope("prod", roles=("instance-1a2b3c4",)))["Statement"]}["Identity"]
    assert "arn:aws:iam::*:role/instance-1a2b3c4" in roles["Resource"]


def test_a_boundary_is_asked_for_and_cannot_be_taken_away() -> None:
    boundary = "arn:aws:iam::123456789012:policy/edge"
    document = aws_policy(Scope("prod", boundary=boundary))
    role = {one["Sid"]: one for one in document["Statement"]}["Role"]
    assert role["Condition"] == {"ArnEquals": {"iam:PermissionsBoundary": boundary}}
    assert "iam:DeleteRolePermissionsBoundary" in ACTIONS
    assert "iam:DeleteRolePermissionsBoundary" not in actions_of(document)


@pytest.mark.parametrize(
    ("partition", "principal"), [("aws-cn", "ec2.amazonaws.com.cn"), ("aws-us-gov", "ec2.amazonaws.com")]
)
def test_other_partitions(partition: str, principal: str) -> None:
    document = aws_policy(Scope("prod", partition))
    found = {one["Sid"]: one for one in document["Statement"]}
    assert all(
        arn == "*" or arn.startswith(f"arn:{partition}:") for one in document["Statement"] for arn in one["Resource"]
    )
    assert found["GiveRole"]["Condition"] == {"StringEquals": {"iam:PassedToService": principal}}
    assert found["RolePolicy"]["Condition"]["ArnEquals"]["iam:PolicyARN"].startswith(
        f"arn:{partition}:iam::aws:policy/"
    )


def calls_of_ours() -> set[str]:
    """What is asked of AWS by ``geusemaker/cloud``, by the names of boto3's methods: ``ec2.describe_instances``."""
    found = set()
    for file in (Path(geusemaker.__file__).parent / "cloud").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
            ):
                service = node.func.value.id
                if service in ("ec2", "efs", "iam", "ssm", "pricing", "quotas", "service_quotas"):
                    found.add(f"{service}.{node.func.attr}")
    return found


def test_whatever_is_called_is_in_it() -> None:
    """Our own questions; what the provider calls is tried by the stories, which run under this policy."""
    services = {"efs": "elasticfilesystem", "quotas": "servicequotas", "service_quotas": "servicequotas"}
    asked = {
        f"{services.get(service, service)}:{''.join(part.title() for part in method.split('_'))}".lower()
        for service, _, method in (call.partition(".") for call in calls_of_ours())
        if method not in ("get_paginator", "get_waiter")
    }
    assert len(asked) > 10 and asked <= {action.lower() for action in ACTIONS}


def wordings(action: str) -> list[str]:
    """How a denied action is told: by the provider's SDK, by boto3, and by EC2 without the action."""
    service, _, operation = action.partition(":")
    name = {"elasticfilesystem": "EFS"}.get(service, service.upper())
    code = {"ec2": "UnauthorizedOperation", "iam": "AccessDenied"}.get(service, "AccessDeniedException")
    denied = f"User: arn:aws:iam::1:user/a is not authorized to perform: {action} on resource: * because no policy"
    answer = f"https response error StatusCode: 403, RequestID: 1, api error {code}"
    return [
        f"operation error {name}: Anything, {answer}: {denied}",
        f"An error occurred ({code}) when calling the Anything operation: {denied}",
        f"creating it: operation error {name}: {operation}, {answer}: You are not authorized to perform this operation."
        " Encoded authorization failure message: AAAA",
    ]


@pytest.mark.parametrize("action", ACTIONS)
def test_each_permission_that_is_missing_is_named(action: str) -> None:
    for line in wordings(action):
        found = find_refusal([line])
        assert found is not None and told(found, [line]) == f"The credentials may not do this: {action} (AccessDenied)."
        assert "`geusemaker doctor --aws-policy`" in found.next_step
