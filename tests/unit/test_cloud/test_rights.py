"""What the credentials may not do, asked of AWS before anything is changed."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from geusemaker.checks.planned import check_rights
from geusemaker.cloud.rights import doubtful, dry_runs, refused
from geusemaker.models import resource_types as types
from geusemaker.models.identity import MissingRights
from geusemaker.models.plan import ResourceOperation
from tests.unit import samples

ROLE = "arn:aws:iam::123456789012:role/pipelines/deployer"
CALLER = "arn:aws:sts::123456789012:assumed-role/deployer/run-7"
TARGET = samples.target().model_copy(
    update={
        "vpc_id": "vpc-1",
        "account_id": "123456789012",
        "region": "eu-west-1",
        "partition": "aws",
    }
)


def operation(op: str, type: str, *changed: str, id: str = "") -> ResourceOperation:
    return ResourceOperation(op=op, type=type, name="it", urn=type, changed=changed, provider_id=id)


def calls(*operations: ResourceOperation) -> dict[str, dict[str, Any]]:
    return dict(dry_runs("prod", samples.config(), TARGET, operations))


def test_a_first_deploy_asks_for_what_it_makes() -> None:
    found = calls(
        *(operation("create", one) for one in (types.SECURITY_GROUP, types.ADDRESS, types.DATA_VOLUME, types.KEY_PAIR)),
        operation("create", types.INSTANCE),
    )
    assert set(found) == {"create_security_group", "allocate_address", "create_volume", "import_key_pair"}
    for given in found.values():
        [specification] = given["TagSpecifications"]
        assert {"Key": "geusemaker:deployment", "Value": "prod"} in specification["Tags"], "as policies want it"
    assert found["import_key_pair"]["KeyName"].startswith("geusemaker-prod-")


def test_a_resize_asks_for_what_stops_and_starts() -> None:
    found = calls(operation("update", types.INSTANCE, "instanceType", id="i-1"))
    assert set(found) == {"stop_instances", "modify_instance_attribute", "start_instances"}
    assert found["modify_instance_attribute"]["InstanceId"] == "i-1"


def test_a_change_of_images_asks_nothing() -> None:
    unchanged = (operation("same", types.INSTANCE, id="i-1"), operation("update", types.INSTANCE, "tags", id="i-1"))
    assert calls(*unchanged, operation("update", types.REMOTE_COMMAND, "stdin")) == {}
    assert set(calls(operation("update", types.DATA_VOLUME, "size", id="vol-1"))) == {"modify_volume"}


class Aws:
    """A client that answers as told: method → error code, or the document."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, method: str) -> Any:
        def call(**given: Any) -> Any:
            self.asked.append((method, given))
            answer = self.answers.get(method, "DryRunOperation")
            if isinstance(answer, str):
                code, _, message = answer.partition(": ")
                raise ClientError({"Error": {"Code": code, "Message": message}}, method)
            return answer(**given) if callable(answer) else answer

        return call

    def ask(self, service: str, question: Any) -> Any:
        return question(self)


def test_what_ec2_refuses_is_named_and_nothing_else_is() -> None:
    aws = Aws(
        stop_instances="UnauthorizedOperation: You are not authorized to perform this operation. User: a is not "
        "authorized to perform: ec2:StopInstances on resource: b",
        start_instances="UnauthorizedOperation: You are not authorized to perform this operation. Encoded: AAAA",
        modify_instance_attribute="IncorrectInstanceState: The instance is not stopped",
    )
    wanted = dry_runs("prod", samples.config(), TARGET, [operation("update", types.INSTANCE, "instanceType", id="i-1")])
    assert refused(aws.ask, wanted) == ("ec2:StartInstances", "ec2:StopInstances")
    assert all(given["DryRun"] is True for _, given in aws.asked)
    assert refused(aws.ask, []) == ()


def simulation(*denied: str) -> Any:
    def answer(**given: Any) -> dict[str, Any]:
        return {
            "EvaluationResults": [
                {"EvalActionName": one, "EvalDecision": "implicitDeny" if one in denied else "allowed"}
                for one in given["ActionNames"]
            ]
        }

    return answer


def test_the_simulation_is_asked_about_the_role_with_what_a_request_would_have() -> None:
    denied = simulation("iam:PassRole", "ec2:RunInstances")
    aws = Aws(get_role={"Role": {"Arn": ROLE}}, simulate_principal_policy=denied)
    assert doubtful(aws.ask, CALLER, "prod", TARGET) == ("ec2:RunInstances", "iam:PassRole")
    asked = [given for method, given in aws.asked if method == "simulate_principal_policy"]
    assert {given["PolicySourceArn"] for given in asked} == {ROLE}
    making = next(given for given in asked if "ec2:AllocateAddress" in given["ActionNames"])
    assert making["ContextEntries"] == [
        {
            "ContextKeyName": "aws:RequestTag/geusemaker:deployment",
            "ContextKeyValues": ["prod"],
            "ContextKeyType": "string",
        }
    ]
    assert making["ResourceArns"] == ["arn:aws:ec2:eu-west-1:123456789012:example"]


@pytest.mark.parametrize("caller", ["arn:aws:iam::123456789012:root", "arn:aws:sts::123456789012:federated-user/x"])
def test_who_has_no_policies_of_its_own_is_not_asked_about(caller: str) -> None:
    aws = Aws()
    assert doubtful(aws.ask, caller, "prod", TARGET) == () and not aws.asked


def test_a_simulation_that_may_not_be_asked_says_nothing() -> None:
    aws = Aws(get_role="AccessDenied: no", simulate_principal_policy="AccessDenied: no")
    assert doubtful(aws.ask, CALLER, "prod", TARGET) == ()
    [source, *_] = {given["PolicySourceArn"] for method, given in aws.asked if method == "simulate_principal_policy"}
    assert source == "arn:aws:iam::123456789012:role/deployer", "its path is not known"


def test_what_is_refused_stops_a_change_before_it_and_a_doubt_does_not() -> None:
    [failed] = check_rights(MissingRights(refused=("ec2:StopInstances",)))
    assert (failed.status, failed.name) == ("fail", "rights")
    assert failed.detail.startswith("the credentials may not do ec2:StopInstances; ")
    [doubt] = check_rights(MissingRights(doubtful=("iam:PassRole",)))
    assert doubt.status == "warn" and "iam:PassRole" in doubt.detail
    assert check_rights(MissingRights()) == []
