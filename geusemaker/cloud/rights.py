"""Whether the credentials may do what a plan begins with: asked of AWS before anything is changed.

EC2 answers for a call that is made as a dry run (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html).
IAM tells what its policies would say (API_SimulatePrincipalPolicy), as far as whoever asks may ask that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from geusemaker.cloud.policy import Scope, aws_policy
from geusemaker.cloud.refusals import denied_action, refusal_of
from geusemaker.models import resource_types as types
from geusemaker.models.ownership import name_prefix, own_tags
from geusemaker.models.partition import partition_of
from geusemaker.models.plan import ResourceOperation
from geusemaker.models.stack import StackConfig, Target

Ask = Callable[[str, Callable[[Any], Any]], Any]
"""(service, question) → the answer of that service's client."""

_STOPS: Final = {"instanceType", "userData"}
_MADE: Final = ("create", "create-replacement", "replace")
_LOOKS: Final = ("Look", "LookAtImages")


def dry_runs(
    deployment: str, config: StackConfig, target: Target, operations: Sequence[ResourceOperation]
) -> list[tuple[str, dict[str, Any]]]:
    """(boto3's method, its arguments) of the calls that EC2 can judge now, by what a plan would do. Pure.

    Not that an instance is run: it is run in groups that are not there yet.
    """
    found: dict[str, dict[str, Any]] = {}
    name = f"{name_prefix(deployment)}-dry-run"
    tags = [{"Key": key, "Value": value} for key, value in own_tags(deployment, target.stack_id).items()]

    def tagged(kind: str) -> dict[str, Any]:
        return {"TagSpecifications": [{"ResourceType": kind, "Tags": tags}]}

    for one in operations:
        made, updated = one.op in _MADE, one.op == "update"
        if made and one.type == types.SECURITY_GROUP and target.vpc_id:
            found["create_security_group"] = {"GroupName": name, "Description": name, "VpcId": target.vpc_id}
            found["create_security_group"] |= tagged("security-group")
        elif made and one.type == types.ADDRESS:
            found["allocate_address"] = {"Domain": "vpc", **tagged("elastic-ip")}
        elif made and one.type == types.DATA_VOLUME:
            found["create_volume"] = {"AvailabilityZone": target.availability_zone, "Size": target.data_volume_gib}
            found["create_volume"] |= tagged("volume")
        elif made and one.type == types.KEY_PAIR:
            found["import_key_pair"] = {"KeyName": name, "PublicKeyMaterial": target.ssh_public_key.encode()}
            found["import_key_pair"] |= tagged("key-pair")
        elif updated and one.type == types.DATA_VOLUME and "size" in one.changed and one.provider_id:
            found["modify_volume"] = {"VolumeId": one.provider_id, "Size": target.data_volume_gib}
        elif updated and one.type == types.INSTANCE and _STOPS & set(one.changed) and one.provider_id:
            found["stop_instances"] = found["start_instances"] = {"InstanceIds": [one.provider_id]}
            wanted = {"Value": config.instance_type}
            found["modify_instance_attribute"] = {"InstanceId": one.provider_id, "InstanceType": wanted}
    return list(found.items())


def refused(ask: Ask, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[str, ...]:
    """The actions that EC2 would refuse for want of a permission, as a policy names them; asked side by side.

    Raises:
        EnvironmentProblemError: AWS cannot be asked.
    """
    if not calls:
        return ()
    with ThreadPoolExecutor(len(calls)) as pool:
        answers = list(pool.map(lambda call: ask("ec2", lambda ec2: _dry_run(ec2, *call)), calls))
    return tuple(sorted({answer for answer in answers if answer}))


def _dry_run(ec2: Any, method: str, arguments: Mapping[str, Any]) -> str:
    """The action that is refused; empty where it is not: what else may be wrong with the call is not looked at here."""
    from botocore.exceptions import ClientError

    try:
        getattr(ec2, method)(**arguments, DryRun=True)
    except ClientError as error:
        detail = error.response.get("Error", {})
        refusal = refusal_of(str(detail.get("Code")))
        if refusal is not None and refusal.code == "AccessDenied":
            own = f"ec2:{''.join(part.title() for part in method.split('_'))}"
            return denied_action([str(detail.get("Message"))]) or own
    return ""


def doubtful(ask: Ask, caller: str, deployment: str, target: Target) -> tuple[str, ...]:
    """Actions that IAM's simulation says the caller's policies do not allow; empty where it cannot be asked.

    It does not know all that a policy may look at (from which address one comes, say), so it decides nothing.

    Args:
        ask: how AWS is asked.
        caller: the caller's ARN, as STS tells it.
        deployment: its name.
        target: where it is.
    """
    source = _source(ask, caller)
    if source is None:
        return ()
    scope = Scope(
        deployment,
        partition_of(target.region, target.partition),
        target.region,
        target.account_id or "*",
        boundary=target.permissions_boundary,
    )
    found: set[str] = set()
    for statement in aws_policy(scope)["Statement"]:
        if statement["Sid"] not in _LOOKS:
            found.update(ask("iam", partial(_simulate, source=source, statement=statement)))
    return tuple(sorted(found))


def _source(ask: Ask, caller: str) -> str | None:
    """The ARN of the user or role whose policies count; None for the account itself and for federated users."""
    head, _, name = caller.partition(":assumed-role/")
    if name:
        role = name.partition("/")[0]
        return ask("iam", lambda iam: _role_arn(iam, role)) or f"{head.replace(':sts:', ':iam:')}:role/{role}"
    return caller if ":user/" in caller else None


def _role_arn(iam: Any, role: str) -> str:
    """With its path, which STS does not tell; empty where it may not be looked at."""
    from botocore.exceptions import ClientError

    try:
        return str(iam.get_role(RoleName=role)["Role"]["Arn"])
    except ClientError:
        return ""


def _simulate(iam: Any, source: str, statement: Mapping[str, Any]) -> list[str]:
    from botocore.exceptions import ClientError

    try:
        answer = iam.simulate_principal_policy(
            PolicySourceArn=source,
            ActionNames=list(statement["Action"]),
            ResourceArns=[arn.replace("*", "example") if arn != "*" else arn for arn in statement["Resource"][:1]],
            ContextEntries=[
                {"ContextKeyName": key, "ContextKeyValues": [_first(value)], "ContextKeyType": "string"}
                for operator, keys in statement.get("Condition", {}).items()
                if operator != "Null"
                for key, value in keys.items()
            ],
        )
    except ClientError:
        return []  # it may not be asked; what is missing is told by the refusal, when it comes to that
    return [one["EvalActionName"] for one in answer["EvaluationResults"] if one["EvalDecision"] != "allowed"]


def _first(value: Any) -> str:
    return str(value[0] if isinstance(value, list) else value)
