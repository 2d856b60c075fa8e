"""IAM's part of the local cloud: each action that a policy lacks is refused, and told by its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from geusemaker.cloud.aws import AwsCloud
from geusemaker.cloud.policy import Scope, actions_of, aws_policy
from geusemaker.errors import EnvironmentProblemError
from geusemaker.local_cloud.client import LocalCloud
from geusemaker.local_cloud.paths import CloudPaths

POLICY = aws_policy(Scope())
ACTIONS = actions_of(POLICY)
CLIENTS = {"elasticfilesystem": "efs", "servicequotas": "service-quotas"}
NEEDED_BY: dict[str, tuple[str, str, dict[str, Any]]] = {
    "iam:PassRole": ("iam", "AddRoleToInstanceProfile", {}),
}
"""Actions that are no call of their own: what needs them."""
BESIDE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ec2:CreateNetworkInterface": ("efs", "CreateMountTarget", {}),
    "ec2:DeleteNetworkInterface": ("efs", "DeleteMountTarget", {}),
    "ec2:ModifyNetworkInterfaceAttribute": ("efs", "ModifyMountTargetSecurityGroups", {}),
    "iam:TagRole": ("iam", "CreateRole", {"Tags": [{"Key": "a", "Value": "b"}]}),
    "iam:TagInstanceProfile": ("iam", "CreateInstanceProfile", {"Tags": [{"Key": "a", "Value": "b"}]}),
    "elasticfilesystem:TagResource": ("efs", "CreateFileSystem", {"Tags": [{"Key": "a", "Value": "b"}]}),
    "ec2:CreateTags": (
        "ec2",
        "AllocateAddress",
        {"TagSpecifications": [{"ResourceType": "elastic-ip", "Tags": [{"Key": "a", "Value": "b"}]}]},
    ),
}
"""Actions that other calls need as well, which AWS tells by the same name."""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    found = LocalCloud(tmp_path_factory.mktemp("rights"))
    found.start()
    yield found
    found.stop()


def deny(cloud: LocalCloud, action: str) -> None:
    """Give the cloud the whole policy but for one action."""
    left = [one for one in ACTIONS if one != action]
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": left, "Resource": "*"}]}
    policy(cloud).write_text(json.dumps(document))


def policy(cloud: LocalCloud) -> Path:
    return CloudPaths(cloud.folder).policy


def call(cloud: LocalCloud, service: str, operation: str, given: dict[str, Any]) -> None:
    """Ask AWS as geusemaker does, with whatever a call has to have."""

    def question(client: Any) -> None:
        model = client.meta.service_model.operation_model(operation)
        client._make_api_call(operation, {**least(model.input_shape), **given})

    asked(cloud)._ask(service, question)


@cache
def asked(cloud: LocalCloud) -> AwsCloud:
    """AWS, as geusemaker asks it."""
    return AwsCloud("us-east-1", cloud.environment())


def least(shape: Any) -> dict[str, Any]:
    """A value for each member that is required."""
    members = shape.members if shape is not None else {}
    return {name: _value(members[name]) for name in (shape.required_members if shape is not None else ())}


def _value(shape: Any) -> Any:
    if shape.type_name == "structure":
        return least(shape)
    if shape.type_name == "list":
        return [_value(shape.member)]
    if shape.type_name == "string":
        return shape.enum[0] if shape.enum else "x" * max(int(shape.metadata.get("min", 1)), 1)
    return {"boolean": True, "blob": b"x"}.get(shape.type_name, 1)


@pytest.mark.parametrize("action", ACTIONS)
def test_each_permission_that_is_missing_is_told(cloud: LocalCloud, action: str) -> None:
    deny(cloud, action)
    service, _, operation = action.partition(":")
    calls = [NEEDED_BY[action]] if action in NEEDED_BY else [(CLIENTS.get(service, service), operation, {})]
    for client, name, given in [*calls, *([BESIDE[action]] if action in BESIDE else [])]:
        with pytest.raises(EnvironmentProblemError) as refused:
            call(cloud, client, name, given)
        error = refused.value
        assert error.message == f"The credentials may not do this: {action} (AccessDenied)."
        assert error.state == "Nothing was changed." and "doctor --aws-policy" in error.next_step


def test_what_no_policy_can_forbid(cloud: LocalCloud) -> None:
    policy(cloud).write_text(json.dumps({"Version": "2012-10-17", "Statement": []}))
    assert asked(cloud).identity().account_id


def test_who_only_looks_is_refused_a_change(cloud: LocalCloud) -> None:
    policy(cloud).write_text(json.dumps(aws_policy(Scope(), read_only=True)))
    aws = asked(cloud)
    assert aws.find_instance("prod") is None and aws.find_file_system("prod") is None
    assert aws.find_subnet(None, None) is not None
    with pytest.raises(EnvironmentProblemError, match="ec2:StopInstances"):
        aws.stop_instance("i-1")
