"""AWS's usual refusals in an operator's words: a table of its error codes, for our questions and the engine's runs.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html and the common errors of the other
APIs; those of botocore itself (no credentials, no network) by the name of its exception. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Refusal:
    """What AWS said, and what to do."""

    code: str
    sentence: str
    next_step: str


_QUOTA: Final = "Have it raised in AWS's Service Quotas"
_LOGIN: Final = "Log in again (`aws sso login`) or set new keys; `aws sts get-caller-identity` tells whether they work"
_POLICY: Final = (
    "Have it added to the policy of these credentials (`geusemaker doctor --aws-policy` prints all of it) and run the "
    "command again"
)
_AGAIN: Final = "Wait a minute and run the command again"

_TABLE: Final[dict[str, tuple[str, str]]] = {
    "InsufficientInstanceCapacity": (
        "AWS has no capacity for this instance type in this zone right now; that is no quota of yours",
        "Try again later, or choose another --instance-type",
    ),
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/interruption-behavior.html: "Only Amazon EC2 can restart an
    # interrupted stopped Spot Instance."
    "IncorrectSpotRequestState": (
        "EC2 has no spot capacity for the instance that it took back, and starts it by itself as soon as it has",
        "Wait for that",
    ),
    "VcpuLimitExceeded": (
        "Your account's quota of vCPUs for this family of instance types is used up in this region",
        f"{_QUOTA} (it often begins at 0 for types with a GPU), or choose another --instance-type",
    ),
    "InstanceLimitExceeded": ("Your account's quota of running instances is used up in this region", _QUOTA),
    "MaxSpotInstanceCountExceeded": ("Your account's quota of spot instances is used up in this region", _QUOTA),
    "VolumeLimitExceeded": ("Your account's quota of EBS storage is used up in this region", _QUOTA),
    "AddressLimitExceeded": (
        "Your account's quota of Elastic IP addresses (5 at first) is used up in this region",
        f"Release one that nobody uses, or: {_QUOTA[0].lower()}{_QUOTA[1:]}",
    ),
    "VpcLimitExceeded": ("Your account's quota of VPCs is used up in this region", _QUOTA),
    "FileSystemLimitExceeded": ("Your account's quota of EFS file systems is used up in this region", _QUOTA),
    "InsufficientFreeAddressesInSubnet": (
        "The subnet has no free address",
        "Free some, or deploy into another --subnet",
    ),
    "Unsupported": (
        "AWS does not offer this in that zone: this instance type, or this type with this AMI",
        "Choose another --instance-type",
    ),
    "InvalidAMIID.NotFound": (
        "The AMI does not exist in this region any more",
        "Take today's with --ami newest --allow-replace",
    ),
    "InvalidAMIID.Unavailable": (
        "The AMI is not available any more",
        "Take today's with --ami newest --allow-replace",
    ),
    "VolumeModificationRateExceeded": (
        "EBS changes a volume once in six hours, and this one was changed already",
        "Wait six hours after the last change of its size and run the command again",
    ),
    "IncorrectVolumeState": ("The volume is still being changed", _AGAIN),
    "IncorrectInstanceState": ("The instance is still stopping or starting", _AGAIN),
    "IncorrectState": ("It is still being changed", _AGAIN),
    "DependencyViolation": (
        "Something else uses it still",
        "Look in AWS what that is, remove it there, and run the command again",
    ),
    "ExpiredToken": ("Your AWS credentials have run out", _LOGIN),
    "RequestExpired": (
        "Your AWS credentials have run out, or this machine's clock is wrong",
        f"Compare the clock; else: {_LOGIN[0].lower()}{_LOGIN[1:]}",
    ),
    "InvalidClientTokenId": ("AWS does not know the access key, or the region is not enabled for it", _LOGIN),
    "AuthFailure": ("AWS does not accept the credentials here, or the region is not enabled for them", _LOGIN),
    "SignatureDoesNotMatch": ("The secret key is not that of the access key, or this machine's clock is wrong", _LOGIN),
    "OptInRequired": (
        "Your account is not subscribed to this service, or the region is off for it",
        "Enable it in the AWS console, and run the command again",
    ),
    "PendingVerification": ("AWS still verifies your new account", "Wait for AWS's mail and run the command again"),
    "AccessDenied": ("The credentials may not do this", _POLICY),
    "RequestLimitExceeded": ("AWS gets too many calls from this account just now", _AGAIN),
    "NoCredentialsError": (
        "There are no AWS credentials on this machine",
        "Set AWS_PROFILE or keys; `aws sts get-caller-identity` tells whether they work",
    ),
    "ProfileNotFound": (
        "This machine has no AWS profile of this name",
        "`aws configure list-profiles` shows those there are; AWS_PROFILE or the setting aws:profile names one",
    ),
    "SSOTokenLoadError": ("Your AWS login has run out", _LOGIN),
    "EndpointConnectionError": ("AWS cannot be reached from this machine", "Check the network and the region"),
}

_SAME: Final = {
    "ExpiredTokenException": "ExpiredToken",
    "UnrecognizedClientException": "InvalidClientTokenId",
    "UnauthorizedOperation": "AccessDenied",
    "AccessDeniedException": "AccessDenied",
    "AuthorizationError": "AccessDenied",
    "Throttling": "RequestLimitExceeded",
    "ThrottlingException": "RequestLimitExceeded",
    "EC2ThrottledException": "RequestLimitExceeded",
    "UnauthorizedSSOTokenError": "SSOTokenLoadError",
    "TokenRetrievalError": "SSOTokenLoadError",
    "PartialCredentialsError": "NoCredentialsError",
    "ConnectTimeoutError": "EndpointConnectionError",
}
"""Codes that are others' under another name."""

_CODE: Final = re.compile(r"(?<![\w.])(?P<code>[A-Z][A-Za-z0-9]*(?:\.[A-Z][A-Za-z]+)?)(?=[:)])")
"""Where a code stands in the providers' and in boto3's texts: ``api error CODE: …``, ``An error occurred (CODE) …``."""
_ACTIONS: Final = tuple(
    map(
        re.compile,
        (
            r"\bperform:? (?P<action>[a-z0-9-]+:[A-Za-z]+)",
            # EC2 tells a policy's action in a coded message only, where the account is not its own.
            r"\boperation error (?P<service>[A-Z0-9]+): (?P<operation>[A-Z]\w+)",
            r"\b(?:call(?:ing)?(?: the)?|operation) (?P<operation>[A-Z]\w+)",
        ),
    )
)
"""Where an action stands, the most telling place first."""
_PREFIXES: Final = {"EFS": "elasticfilesystem"}
"""The SDK's name of a service → its policies', where that is another word."""


def refusal_of(code: str) -> Refusal | None:
    """The refusal that an error code stands for; None where it is none of the usual ones."""
    code = _SAME.get(code, code)
    found = _TABLE.get(code)
    return Refusal(code, *found) if found is not None else None


def find_refusal(lines: Iterable[str]) -> Refusal | None:
    """The refusal that the engine's error lines tell of: the first code of the table that stands in one of them."""
    for line in lines:
        for match in _CODE.finditer(line):
            if (found := refusal_of(match["code"])) is not None:
                return found
    return None


def told(refusal: Refusal, lines: Iterable[str]) -> str:
    """One sentence: what AWS refused and why, with its code, by which it can be looked up."""
    action = denied_action(list(lines)) if refusal.code == "AccessDenied" else ""
    return f"{refusal.sentence}{action and ': '}{action} ({refusal.code})."


def denied_action(lines: list[str]) -> str:
    """What may not be done, as a policy names it; empty: nothing says."""
    for pattern in _ACTIONS:
        for line in lines:
            if match := pattern.search(line):
                found = match.groupdict()
                service = found.get("service")
                prefix = f"{_PREFIXES.get(service, service.lower())}:" if service else ""
                return found.get("action") or f"{prefix}{found['operation']}"
    return ""
