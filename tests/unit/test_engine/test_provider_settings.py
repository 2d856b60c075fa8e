"""The operator's own settings of the providers, in a stack's config."""

from __future__ import annotations

import json

import pytest

from geusemaker.engine import provider_settings
from geusemaker.errors import InvalidInputError
from geusemaker.models.ownership import name_prefix
from tests.unit import samples

OWN = {
    "aws:profile": "work",
    "aws:assumeRoles": [{"roleArn": "arn:aws:iam::123456789012:role/deployer", "externalId": {"secure": "v1:x"}}],
    "aws:maxRetries": "3",
    "command:anything": "x",
}


def test_what_is_the_operators_own_stays_and_what_the_target_says_wins() -> None:
    target = samples.target().model_copy(update={"region": "eu-central-1", "account_id": "123456789012"})
    config = {**OWN, "aws:region": "us-east-1", "geusemaker:deployment": "{}", "other:key": "x"}
    assert provider_settings.for_target(config, "prod", target) == {
        **OWN,
        "pulumi:autonaming": {"providers": {"aws": {"pattern": "geusemaker-prod-${name}-${hex(7)}"}}},
        "aws:region": "eu-central-1",
        "aws:allowedAccountIds": ["123456789012"],
    }


def test_names_of_ones_own_stay() -> None:
    own = {"pulumi:autonaming": {"pattern": "acme-${name}"}}
    assert provider_settings.for_target(own, "prod", samples.target())["pulumi:autonaming"] == {
        "pattern": "acme-${name}"
    }


@pytest.mark.parametrize("name", ["a", "prod", "a" * 40, "a" * 35 + "-bcd"])
def test_the_longest_name_of_a_role_fits(name: str) -> None:
    """64 characters: https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html"""
    prefix = name_prefix(name)
    assert len(f"{prefix}-instance-1a2b3c4") <= 64 and f"geusemaker-{name}".startswith(prefix)


def test_which_are_encrypted() -> None:
    assert provider_settings.encrypted(
        {**OWN, "aws:secretKey": {"secure": "v1:y"}, "geusemaker:secrets": {"secure": "z"}}
    ) == [
        "aws:assumeRoles",
        "aws:secretKey",
    ]


def test_whose_credentials_count() -> None:
    assert provider_settings.identity_settings(OWN) == {"profile": "work", "assumeRoles": OWN["aws:assumeRoles"]}
    with pytest.raises(InvalidInputError, match="aws:assumeRoles, a list") as error:
        provider_settings.identity_settings({"aws:assumeRole": {"roleArn": "x"}})
    assert "pulumi config rm aws:assumeRole" in error.value.next_step


def test_what_the_engine_decrypted() -> None:
    printed = {
        "aws:secretKey": {"value": "s", "secret": True},
        "aws:assumeRoles": {"value": "[]", "objectValue": [{"a": 1}]},
    }
    assert provider_settings.read_decrypted(json.dumps(printed)) == {
        "aws:secretKey": "s",
        "aws:assumeRoles": [{"a": 1}],
    }
