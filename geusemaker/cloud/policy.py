"""What geusemaker needs to be allowed in AWS: the IAM policy of its operators and pipelines. Pure.

Narrow by the tag that all of a deployment's resources carry, and in IAM by their names: what cannot be limited by
either is looking, and what EC2 asks about things that a deployment only uses (images, subnets). Which action can be
limited by what is from AWS's service authorization reference
(https://docs.aws.amazon.com/service-authorization/latest/reference/);
``tests/unit/test_cloud/test_policy.py`` holds each statement to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from geusemaker.models.ownership import DEPLOYMENT_TAG, DISK_TAG, name_prefix
from geusemaker.models.partition import SSM_POLICY, service_principal

PORTS: Final = "AWS-StartPortForwardingSession"
"""AWS's document for sessions that forward a port."""

_LOOK: Final = (
    "ec2:DescribeAccountAttributes",
    "ec2:DescribeAddresses",
    "ec2:DescribeAddressesAttribute",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeIamInstanceProfileAssociations",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceAttribute",
    "ec2:DescribeInstanceCreditSpecifications",
    "ec2:DescribeInstanceStatus",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeInternetGateways",
    "ec2:DescribeKeyPairs",
    "ec2:DescribeNetworkAcls",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroupRules",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSpotInstanceRequests",
    "ec2:DescribeSpotPriceHistory",
    "ec2:DescribeSubnets",
    "ec2:DescribeTags",
    "ec2:DescribeVolumes",
    "ec2:DescribeVolumesModifications",
    "ec2:DescribeVpcAttribute",
    "ec2:DescribeVpcs",
    "elasticfilesystem:DescribeBackupPolicy",
    "elasticfilesystem:DescribeFileSystems",
    "elasticfilesystem:DescribeLifecycleConfiguration",
    "elasticfilesystem:DescribeMountTargetSecurityGroups",
    "elasticfilesystem:DescribeMountTargets",
    "iam:SimulatePrincipalPolicy",
    "pricing:GetProducts",
    "servicequotas:GetAWSDefaultServiceQuota",
    "servicequotas:GetServiceQuota",
)
"""Questions. The one by which permissions are told beforehand is among them."""

_LOOK_IAM: Final = (
    "iam:GetInstanceProfile",
    "iam:GetRole",
    "iam:ListAttachedRolePolicies",
    "iam:ListInstanceProfilesForRole",
    "iam:ListRolePolicies",
)
_MAKE: Final = (
    "ec2:AllocateAddress",
    "ec2:CreateSecurityGroup",
    "ec2:CreateVolume",
    "ec2:ImportKeyPair",
    "ec2:RunInstances",
)
_USE: Final = (
    "ec2:AssociateAddress",
    "ec2:AuthorizeSecurityGroupEgress",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CancelSpotInstanceRequests",
    "ec2:CreateNetworkInterface",
    "ec2:CreateSecurityGroup",
    "ec2:DeleteNetworkInterface",
    "ec2:DisassociateAddress",
    "ec2:ModifyNetworkInterfaceAttribute",
    "ec2:ModifySecurityGroupRules",
    "ec2:RunInstances",
)
"""On what such a call touches beside a deployment's own: the network, the image, the root volume, the rules of its
groups (which are never changed without the group). Network interfaces, the mount target's and the instance's, carry no
tag, and neither does the request of a spot instance: the provider tags what RunInstances makes, but not that
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/concepts-spot-instances-request-tags.html)."""
_CHANGE: Final = (
    "ec2:AssociateAddress",
    "ec2:AssociateIamInstanceProfile",
    "ec2:AttachVolume",
    "ec2:AuthorizeSecurityGroupEgress",
    "ec2:AuthorizeSecurityGroupIngress",
    "ec2:CreateNetworkInterface",
    "ec2:CreateTags",
    "ec2:DeleteKeyPair",
    "ec2:DeleteSecurityGroup",
    "ec2:DeleteTags",
    "ec2:DeleteVolume",
    "ec2:DetachVolume",
    "ec2:DisassociateAddress",
    "ec2:DisassociateIamInstanceProfile",
    "ec2:ModifyInstanceAttribute",
    "ec2:ModifyInstanceMetadataOptions",
    "ec2:ModifyNetworkInterfaceAttribute",
    "ec2:ModifySecurityGroupRules",
    "ec2:ModifyVolume",
    "ec2:RebootInstances",
    "ec2:ReleaseAddress",
    "ec2:ReplaceIamInstanceProfileAssociation",
    "ec2:RevokeSecurityGroupEgress",
    "ec2:RevokeSecurityGroupIngress",
    "ec2:RunInstances",
    "ec2:StartInstances",
    "ec2:StopInstances",
    "ec2:TerminateInstances",
)
_STORAGE: Final = (
    "elasticfilesystem:CreateMountTarget",
    "elasticfilesystem:DeleteFileSystem",
    "elasticfilesystem:DeleteMountTarget",
    "elasticfilesystem:ModifyMountTargetSecurityGroups",
    "elasticfilesystem:PutBackupPolicy",
    "elasticfilesystem:TagResource",
    "elasticfilesystem:UntagResource",
    "elasticfilesystem:UpdateFileSystem",
)
_IDENTITY: Final = (
    "iam:AddRoleToInstanceProfile",
    "iam:CreateInstanceProfile",
    "iam:DeleteInstanceProfile",
    "iam:DeleteRole",
    "iam:RemoveRoleFromInstanceProfile",
    "iam:TagInstanceProfile",
    "iam:TagRole",
    "iam:UntagInstanceProfile",
    "iam:UntagRole",
    "iam:UpdateAssumeRolePolicy",
    "iam:UpdateRole",
)
_BOUNDED: Final = ("iam:CreateRole", "iam:PutRolePermissionsBoundary")
_SERVICE_ROLES: Final = ("backup", "elasticfilesystem", "spot")
"""Services that make a role of their own when an account first uses them: EFS, its backups, spot instances.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_aws-services-that-work-with-iam.html
"""


@dataclass(frozen=True)
class Scope:
    """What a policy is for; ``*``: all of that kind."""

    deployment: str = "*"
    partition: str = "aws"
    region: str = "*"
    account: str = "*"
    boundary: str = ""
    """The permissions boundary that each role has to have; empty: none."""
    roles: tuple[str, ...] = ()
    """Roles and profiles of the deployment whose names begin otherwise: from before names began with geusemaker-."""

    def arns(self, service: str, *kinds: str, public: bool = False) -> list[str]:
        """Resources of these kinds; ``public``: those that AWS names no account in."""
        account = "" if public else self.account
        return [f"arn:{self.partition}:{service}:{self.region}:{account}:{kind}" for kind in kinds]

    def iam(self, *kinds: str) -> list[str]:
        """Roles and instance profiles of the deployment, by their names."""
        prefix = "geusemaker-*" if self.deployment == "*" else f"{name_prefix(self.deployment)}-*"
        names = (prefix, *self.roles)
        return [f"arn:{self.partition}:iam::{self.account}:{kind}/{name}" for kind in kinds for name in names]

    def tagged(self, key: str, tag: str = DEPLOYMENT_TAG, by: str = "aws") -> dict[str, Any]:
        """The condition that something carries the deployment's name, or the request gives it that."""
        operator = "StringLike" if self.deployment == "*" else "StringEquals"
        return {operator: {f"{by}:{key}/{tag}": self.deployment}}


def aws_policy(scope: Scope, *, read_only: bool = False) -> dict[str, Any]:
    """The policy's document; ``read_only``: of who looks and changes nothing, as ``status`` and ``inspect``."""
    found = [
        _allow("Look", _short(_LOOK), ["*"]),
        _allow("LookAtImages", ["ssm:GetParameter"], scope.arns("ssm", "parameter/aws/service/*", public=True)),
    ]
    if read_only:
        found.append(_allow("LookAtIdentity", _LOOK_IAM, scope.iam("role", "instance-profile")))
    else:
        found += _changes(scope)
    return {"Version": "2012-10-17", "Statement": found}


def _short(actions: Iterable[str]) -> set[str]:
    """All ways to look of a service, in a word: none can be limited, and a policy holds 6,144 characters.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    return {f"{each.partition(':')[0]}:Describe*" if ":Describe" in each else each for each in actions}


def actions_of(document: Mapping[str, Any]) -> list[str]:
    """All actions of a policy, in order; of those in a word the ones that are asked."""
    found = {action for statement in document["Statement"] for action in statement["Action"]}
    return sorted({*(action for action in found if not action.endswith("*")), *_LOOK})


def session_policy(scope: Scope) -> dict[str, Any]:
    """What is needed beside that where the instance is reached through Session Manager, by who only looks as well.

    A document of its own: with it, the other one would be too long. Ports are forwarded to the deployment's instance,
    and nothing else; each ends its own sessions, which are named for the user, or for the session of a role:
    https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-restrict-access-examples.html
    """
    own = scope.arns("ssm", "session/${aws:username}-*", "session/${aws:userid}-*")
    # From 1.2.688.0 on the plugin signs for the data channel: github.com/aws/session-manager-plugin/issues/101.
    found = [
        _allow("Connect", ["ssm:StartSession"], scope.arns("ec2", "instance/*"), scope.tagged("resourceTag", by="ssm")),
        _allow("ConnectByPort", ["ssm:StartSession"], scope.arns("ssm", f"document/{PORTS}", public=True)),
        _allow("OwnSessions", ["ssm:ResumeSession", "ssm:TerminateSession", "ssmmessages:OpenDataChannel"], own),
        _allow("LookAtAgents", ["ssm:DescribeInstanceInformation"], ["*"]),
    ]
    return {"Version": "2012-10-17", "Statement": found}


def _changes(scope: Scope) -> list[dict[str, Any]]:
    own, asked = scope.tagged("ResourceTag"), scope.tagged("RequestTag")
    made = scope.arns("ec2", "*")  # the tag says which; an ARN for each type would make the policy too long
    volumes = scope.arns("ec2", "volume/*")
    file_systems = scope.arns("elasticfilesystem", "file-system/*")
    roles = scope.iam("role")
    ec2 = service_principal("ec2", scope.partition)
    bounded = {"ArnEquals": {"iam:PermissionsBoundary": scope.boundary}} if scope.boundary else {}
    unbound = [] if scope.boundary else ["iam:DeleteRolePermissionsBoundary"]
    used = ("network-interface/*", "subnet/*", "vpc/*", "volume/*", "security-group-rule/*", "spot-instances-request/*")
    return [
        _allow("Make", _MAKE, made, asked),
        _allow("Use", _USE, [*scope.arns("ec2", *used), *scope.arns("ec2", "image/*", public=True)]),
        _allow("Change", _CHANGE, made, own),
        # There is such a key just while a call makes something, and which calls those are, is said above: naming them
        # again would make the policy too long (…/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html).
        _allow("TagWhatIsMade", ["ec2:CreateTags"], made, {"StringLike": {"ec2:CreateAction": "*"}}),
        # The provider tags an instance's disk after it made it: one that is nobody's yet, by the tag that it gets.
        _allow(
            "TagTheDisk",
            ["ec2:CreateTags"],
            volumes,
            {**scope.tagged("RequestTag", DISK_TAG), "Null": {f"aws:ResourceTag/{DEPLOYMENT_TAG}": "true"}},
        ),
        _allow(
            "ChangeTheDisk",
            ["ec2:CreateTags", "ec2:DeleteTags", "ec2:ModifyVolume"],
            volumes,
            scope.tagged("ResourceTag", DISK_TAG),
        ),
        _allow("MakeStorage", ["elasticfilesystem:CreateFileSystem"], ["*"], asked),
        _allow(
            "TagStorage",
            ["elasticfilesystem:TagResource"],
            file_systems,
            {"StringEquals": {"elasticfilesystem:CreateAction": "CreateFileSystem"}},
        ),
        _allow("ChangeStorage", _STORAGE, file_systems, own),
        _allow("Identity", [*_LOOK_IAM, *_IDENTITY, *unbound], scope.iam("role", "instance-profile")),
        _allow("Role", _BOUNDED, roles, bounded),
        _allow(
            "RolePolicy",
            ["iam:AttachRolePolicy", "iam:DetachRolePolicy"],
            roles,
            {"ArnEquals": {"iam:PolicyARN": f"arn:{scope.partition}:{SSM_POLICY}"}},
        ),
        _allow("GiveRole", ["iam:PassRole"], roles, {"StringEquals": {"iam:PassedToService": ec2}}),
        _allow(
            "RolesOfServices",
            ["iam:CreateServiceLinkedRole"],
            [f"arn:{scope.partition}:iam::{scope.account}:role/aws-service-role/*"],
            {"StringEquals": {"iam:AWSServiceName": [f"{service}.amazonaws.com" for service in _SERVICE_ROLES]}},
        ),
    ]


def _allow(
    sid: str, actions: Iterable[str], resources: list[str], condition: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    statement = {"Sid": sid, "Effect": "Allow", "Action": sorted(actions), "Resource": resources}
    return {**statement, "Condition": dict(condition)} if condition else statement
