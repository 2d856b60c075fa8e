"""Who may call what: IAM's part of an AWS API, where a test gave the local cloud a policy (``policy.json``).

The policy is judged by moto's own reading of one. It knows actions; conditions, and the resources of a call, it does
not. What else a call needs is from the service authorization reference, by the same source as
``tests/unit/test_cloud/service_authorization.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from geusemaker.local_cloud.strictness import AwsCall, AwsRefusalError

__all__ = ["answer_dry_run", "needed", "require"]

_ALSO: Final = {
    "ec2:AssociateIamInstanceProfile": ("iam:PassRole",),
    "ec2:ReplaceIamInstanceProfileAssociation": ("iam:PassRole",),
    "iam:AddRoleToInstanceProfile": ("iam:PassRole",),
    "elasticfilesystem:CreateMountTarget": (
        "ec2:DescribeSubnets",
        "ec2:DescribeNetworkInterfaces",
        "ec2:CreateNetworkInterface",
    ),
    "elasticfilesystem:DeleteMountTarget": ("ec2:DeleteNetworkInterface",),
    "elasticfilesystem:ModifyMountTargetSecurityGroups": ("ec2:ModifyNetworkInterfaceAttribute",),
}
_TAGS: Final = {"iam:CreateRole": "iam:TagRole", "iam:CreateInstanceProfile": "iam:TagInstanceProfile"}
_FREE: Final = ("sts:GetCallerIdentity",)
"""No policy can forbid it: docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html"""


def needed(call: AwsCall, body: bytes) -> list[str]:
    """The actions that a call needs, its own first."""
    own = f"{call.service}:{call.action}"
    found = [own, *_ALSO.get(own, ())]
    given = call.parameters
    if call.service == "ec2" and any(name.startswith("TagSpecification") for name in given):
        found.append("ec2:CreateTags")
    if own == "ec2:RunInstances" and any(name.startswith("IamInstanceProfile") for name in given):
        found.append("iam:PassRole")
    if own in _TAGS and "Tags.member.1.Key" in given:
        found.append(_TAGS[own])
    if own == "elasticfilesystem:CreateFileSystem" and b'"Tags"' in body:
        found.append("elasticfilesystem:TagResource")
    return found


def require(call: AwsCall, body: bytes, policy: Path) -> None:
    """Refuse what the policy does not allow, in the words of the service; without a policy all is allowed.

    Raises:
        AwsRefusalError: UnauthorizedOperation (EC2), AccessDenied (IAM, STS, S3), AccessDeniedException (the others).
    """
    try:
        text = policy.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for action in needed(call, body):
        if action not in _FREE and not _allows(text, action):
            raise _refusal(call, action)


def answer_dry_run(call: AwsCall) -> None:
    """What EC2 answers to a call that is not to be carried out, once it is known to be allowed.

    docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html

    Raises:
        AwsRefusalError: DryRunOperation
    """
    if call.service == "ec2" and call.parameters.get("DryRun") == "true":
        raise AwsRefusalError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


def _allows(text: str, action: str) -> bool:
    from moto.iam.access_control import IAMPolicy, PermissionResult

    document = json.loads(text)
    for statement in document["Statement"]:
        statement.pop("Condition", None)
        statement["Resource"] = "*"
    judge = IAMPolicy({"policy_document": json.dumps(document)})
    return bool(judge.is_action_permitted(action) == PermissionResult.PERMITTED)


def _refusal(call: AwsCall, action: str) -> AwsRefusalError:
    """docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"""
    said = (
        f"User: arn:aws:iam::000000000000:user/operator is not authorized to perform: {action} on resource: * because "
        f"no identity-based policy allows the {action} action"
    )
    if call.service == "ec2":
        said = f"You are not authorized to perform this operation. {said}. Encoded authorization failure message: AAAA"
        return AwsRefusalError("UnauthorizedOperation", said, 403)
    if call.service in ("iam", "sts", "s3"):
        return AwsRefusalError("AccessDenied", said, 403)
    return AwsRefusalError("AccessDeniedException", said, 403 if call.service == "elasticfilesystem" else 400)
