"""The operator's own settings of the providers, set by plain ``pulumi config set``: every operation keeps them.

https://www.pulumi.com/registry/packages/aws/installation-configuration/ lists those of the AWS provider.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from geusemaker.errors import InvalidInputError
from geusemaker.models.ownership import name_prefix
from geusemaker.models.stack import Target

_NAMING: Final = "pulumi:autonaming"
_PROVIDERS: Final = ("aws", "command")
_IDENTITY: Final = (
    "profile",
    "accessKey",
    "secretKey",
    "token",
    "sharedConfigFiles",
    "sharedCredentialsFiles",
    "assumeRoles",
    "assumeRoleWithWebIdentity",
)
"""Those that decide whose credentials the AWS provider works with."""


def kept(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a stack's config has for the providers, as it stands there, secret values encrypted."""
    return {key: value for key, value in config.items() if key.partition(":")[0] in _PROVIDERS}


def encrypted(config: Mapping[str, Any]) -> list[str]:
    """The keys of providers' settings that hold a secret value."""
    return sorted(key for key, value in kept(config).items() if _is_secret(value))


def for_target(config: Mapping[str, Any], deployment: str, target: Target) -> dict[str, Any]:
    """What a stack's config is to have for the providers: the operator's own, and what the target says.

    Names of what is made in AWS begin with geusemaker-NAME; what is there keeps its name, which the provider holds to.
    https://www.pulumi.com/docs/iac/concepts/resources/names/#autonaming-configuration
    """
    pattern = f"{name_prefix(deployment)}-${{name}}-${{hex(7)}}"
    return {
        **kept(config),
        _NAMING: config.get(_NAMING) or {"providers": {"aws": {"pattern": pattern}}},
        "aws:region": target.region,
        # The second wall: geusemaker asks whose the credentials are before the provider does.
        **({"aws:allowedAccountIds": [target.account_id]} if target.account_id else {}),
    }


def identity_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say whose credentials count, by their name without ``aws:``; secret ones may be among them.

    Raises:
        InvalidInputError: one is set under a name that the provider does not know.
    """
    if "aws:assumeRole" in config:
        raise InvalidInputError(
            "aws:assumeRole is no setting of this AWS provider: since its version 7 it is aws:assumeRoles, a list.",
            next_step="Run `pulumi config set --path 'aws:assumeRoles[0].roleArn' ARN` and "
            "`pulumi config rm aws:assumeRole`.",
        )
    return {name: value for name in _IDENTITY if (value := config.get(f"aws:{name}")) is not None}


def read_decrypted(text: str) -> dict[str, Any]:
    """A stack's config as ``pulumi config --show-secrets --json`` prints it: key → value."""
    return {key: entry.get("objectValue", entry.get("value")) for key, entry in json.loads(text).items()}


def _is_secret(value: Any) -> bool:
    if isinstance(value, Mapping):
        return set(value) == {"secure"} or any(_is_secret(one) for one in value.values())
    return isinstance(value, list) and any(_is_secret(one) for one in value)
