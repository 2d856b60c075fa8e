"""The session that AWS is asked with: the same identity as that of the stack's AWS provider, by the same settings.

https://www.pulumi.com/registry/packages/aws/installation-configuration/ says what each is; roles are assumed one after
the other, each with the credentials of the one before. What is set nowhere, the AWS SDK finds by itself in both: its
variables, ``~/.aws``, a login by SSO, a web identity, the machine's own role.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from geusemaker.errors import EnvironmentProblemError

_ROLE: Final = {
    "sessionName": "RoleSessionName",
    "externalId": "ExternalId",
    "policy": "Policy",
    "sourceIdentity": "SourceIdentity",
    "transitiveTagKeys": "TransitiveTagKeys",
}
"""The provider's name of a role's setting → that of STS (API_AssumeRole.html)."""
_FILES: Final = {"sharedConfigFiles": "config_file", "sharedCredentialsFiles": "credentials_file"}


def open_session(region: str, keys: Mapping[str, str], settings: Mapping[str, Any]) -> Any:
    """A boto3 session.

    Args:
        region: where questions go.
        keys: the local cloud's environment; empty: the settings and the SDK decide.
        settings: the AWS provider's, by their names without ``aws:``.

    Raises:
        EnvironmentProblemError: a setting cannot be used.
        botocore.exceptions.BotoCoreError: there is no such profile.
    """
    import boto3
    import botocore.session

    if keys:
        return boto3.session.Session(
            aws_access_key_id=keys.get("AWS_ACCESS_KEY_ID"),
            aws_secret_access_key=keys.get("AWS_SECRET_ACCESS_KEY"),
            region_name=region,
        )
    base: Any = botocore.session.Session(profile=settings.get("profile"))
    base.set_config_variable("region", region)  # where roles are assumed
    for name, variable in _FILES.items():
        if files := _read(settings, name, list):
            if len(files) > 1:
                raise _unusable(name, "only one file can be read here")
            base.set_config_variable(variable, str(Path(files[0]).expanduser()))
    if settings.get("accessKey"):
        base.set_credentials(settings["accessKey"], settings.get("secretKey"), settings.get("token"))
    web = _read(settings, "assumeRoleWithWebIdentity", dict)
    if web:
        base = _with_web_identity(base, web)
    for role in _read(settings, "assumeRoles", list):
        base = _with_role(base, role)
    return boto3.session.Session(botocore_session=base, region_name=region)


def _with_role(base: Any, role: Any) -> Any:
    from botocore.credentials import AssumeRoleCredentialFetcher
    from botocore.exceptions import NoCredentialsError

    arn, extra = _request(role, "assumeRoles")
    if role.get("tags"):
        extra["Tags"] = [{"Key": key, "Value": value} for key, value in role["tags"].items()]
    credentials = base.get_credentials()
    if credentials is None:
        raise NoCredentialsError
    return _refreshed(base, AssumeRoleCredentialFetcher(base.create_client, credentials, arn, extra_args=extra))


def _with_web_identity(base: Any, role: Mapping[str, Any]) -> Any:
    from botocore.credentials import AssumeRoleWithWebIdentityCredentialFetcher

    arn, extra = _request(role, "assumeRoleWithWebIdentity")
    token, file = role.get("webIdentityToken"), role.get("webIdentityTokenFile")
    if not token and not file:
        raise _unusable("assumeRoleWithWebIdentity", "it has neither webIdentityToken nor webIdentityTokenFile")

    def load() -> str:
        if token:
            return str(token)
        try:
            return Path(str(file)).expanduser().read_text(encoding="utf-8")
        except OSError as error:
            raise _unusable("assumeRoleWithWebIdentity", f"{file} cannot be read ({error.strerror})") from error

    return _refreshed(base, AssumeRoleWithWebIdentityCredentialFetcher(base.create_client, load, arn, extra_args=extra))


def _request(role: Any, name: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(role, Mapping) or not role.get("roleArn"):
        raise _unusable(name, "it has no roleArn")
    extra = {theirs: role[ours] for ours, theirs in _ROLE.items() if role.get(ours)}
    extra.setdefault("RoleSessionName", "geusemaker")
    if role.get("policyArns"):
        extra["PolicyArns"] = [{"arn": arn} for arn in role["policyArns"]]
    return str(role["roleArn"]), extra


def _refreshed(base: Any, fetcher: Any) -> Any:
    """A session with credentials that are fetched when they are first needed, and again before they run out."""
    import botocore.session
    from botocore.credentials import DeferredRefreshableCredentials

    session: Any = botocore.session.Session()
    session.set_config_variable("region", base.get_config_variable("region"))
    session._credentials = DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method="assume-role")
    return session


def _read(settings: Mapping[str, Any], name: str, kind: type) -> Any:
    """A setting with structure; set without ``--path`` it is JSON."""
    value = settings.get(name)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise _unusable(name, "it is no JSON") from None
    if value is not None and not isinstance(value, kind):
        raise _unusable(name, f"it is no {'list' if kind is list else 'map'}")
    return value or kind()


def _unusable(name: str, why: str) -> EnvironmentProblemError:
    return EnvironmentProblemError(
        f"The stack's setting aws:{name} cannot be used: {why}.",
        state="Nothing was changed.",
        next_step=f"Set it again, or remove it with `pulumi config rm aws:{name}`.",
    )
