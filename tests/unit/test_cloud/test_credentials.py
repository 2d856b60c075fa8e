"""The session that AWS is asked with: whose credentials it has, as the stack's AWS provider would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from geusemaker.cloud.aws import AwsCloud
from geusemaker.errors import EnvironmentProblemError

TRUST = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with two profiles and no variables, and AWS with two roles."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "credentials"
    keys = "aws_access_key_id = AKIA{0}\naws_secret_access_key = s{0}\n"
    file.write_text(f"[default]\n{keys.format(1)}\n[work]\n{keys.format(2)}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with mock_aws(config={"core": {"mock_credentials": False}}):
        iam = boto3.client("iam", aws_access_key_id="a", aws_secret_access_key="b")
        for role in ("first", "second"):
            iam.create_role(RoleName=role, AssumeRolePolicyDocument=TRUST)
        yield tmp_path


def key_of(settings: dict[str, Any]) -> str:
    """The access key that questions are signed with."""
    return str(AwsCloud("us-east-1", {}, lambda: settings)._session.get_credentials().access_key)


def arn(role: str) -> str:
    return f"arn:aws:iam::123456789012:role/{role}"


def test_without_settings_the_sdk_decides(files: Path) -> None:
    assert key_of({}) == "AKIA1"


def test_a_profile(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "default")
    assert key_of({"profile": "work"}) == "AKIA2"


def test_a_profile_that_there_is_not(files: Path) -> None:
    with pytest.raises(EnvironmentProblemError, match="no AWS profile of this name") as error:
        AwsCloud("us-east-1", {}, lambda: {"profile": "gone"}).identity()
    assert "aws:profile" in error.value.next_step


def test_keys_and_files(files: Path) -> None:
    assert key_of({"accessKey": "AKIA9", "secretKey": "s"}) == "AKIA9"
    other = files / "other"
    other.write_text("[work]\naws_access_key_id = AKIA7\naws_secret_access_key = s\n")
    assert key_of({"sharedCredentialsFiles": [str(other)], "profile": "work"}) == "AKIA7"
    assert key_of({"sharedCredentialsFiles": json.dumps([str(other)]), "profile": "work"}) == "AKIA7"


def test_roles_are_assumed_one_after_the_other(files: Path) -> None:
    roles = [
        {"roleArn": arn("first"), "externalId": "xy", "tags": {"team": "a"}},
        {"roleArn": arn("second"), "sessionName": "pipeline", "policyArns": [arn("none")]},
    ]
    caller = AwsCloud("us-east-1", {}, lambda: {"profile": "work", "assumeRoles": roles}).identity()
    assert caller.arn == "arn:aws:sts::123456789012:assumed-role/second/pipeline"


def test_a_web_identity(files: Path) -> None:
    token = files / "token"
    token.write_text("eyJhbGciOi")
    web = {"roleArn": arn("first"), "webIdentityTokenFile": str(token)}
    caller = AwsCloud("us-east-1", {}, lambda: {"assumeRoleWithWebIdentity": web}).identity()
    assert caller.arn == "arn:aws:sts::123456789012:assumed-role/first/geusemaker"


def test_a_role_without_credentials_of_its_own_to_assume_it_with(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (files / "credentials").write_text("")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(EnvironmentProblemError, match="no AWS credentials on this machine"):
        AwsCloud("us-east-1", {}, lambda: {"assumeRoles": [{"roleArn": arn("first")}]}).identity()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"assumeRoles": "no json"}, "aws:assumeRoles cannot be used: it is no JSON"),
        ({"assumeRoles": {"roleArn": "x"}}, "it is no list"),
        ({"assumeRoles": [{"sessionName": "x"}]}, "it has no roleArn"),
        ({"assumeRoleWithWebIdentity": {"roleArn": "x"}}, "neither webIdentityToken nor webIdentityTokenFile"),
        (
            {"assumeRoleWithWebIdentity": {"roleArn": "arn:aws:iam::1:role/first", "webIdentityTokenFile": "/none"}},
            "/none cannot be read",
        ),
        ({"sharedConfigFiles": ["a", "b"]}, "only one file can be read here"),
    ],
)
def test_what_cannot_be_used_is_said(files: Path, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(EnvironmentProblemError, match=why) as error:
        AwsCloud("us-east-1", {}, lambda: settings).identity()
    assert "pulumi config rm aws:" in error.value.next_step


def test_the_local_clouds_own_key_wins(files: Path) -> None:
    local = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "s"}
    assert AwsCloud("us-east-1", local, lambda: {"profile": "work"})._session.get_credentials().access_key == "local"
