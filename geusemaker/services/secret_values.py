"""The secrets that an operator gives: what they may be, and which values a change sets or takes back. Pure.

A version has the names of its secrets, never their values: a rollback keeps today's. But a value that came with a
change which failed never held, so the way back of that change takes it back as well.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final, Literal

from pydantic import SecretStr

from geusemaker.errors import InvalidInputError
from geusemaker.models.plan import ConfigChange
from geusemaker.models.secrets import GENERATED, SECRET_NAME, USABLE, OwnSecret, Secrets
from geusemaker.models.shown import HIDDEN
from geusemaker.models.stack import StackConfig
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import UnreadableVersion, Version

LEAST_CHARACTERS: Final = 6
"""Shorter ones could not be taken out of logs: they would hide ordinary words (geusemaker.agent.output)."""
MOST_BYTES: Final = 32 * 1024
_NOTHING: Final = "Nothing was changed."


def require_own_name(name: str, deployment: str = "", *, to: Literal["set over", "deleted"] = "set over") -> None:
    """Refuse a name that no secret of an operator's may have.

    Args:
        name: it.
        deployment: whose secret it is, for what can be done in the place of that.
        to: what is to be done with it.

    Raises:
        InvalidInputError: it is no name, or that of a generated secret.
    """
    if name in GENERATED:
        raise InvalidInputError(
            f"{name} was generated, and is never {to}: what it opens knows this one.",
            state=_NOTHING,
            next_step=_INSTEAD[name].format(name=deployment) if deployment else "",
        )
    if not SECRET_NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name!r} is no name of a secret: use letters, digits, hyphens, underscores and dots, at most 100, "
            "beginning with a letter.",
            state=_NOTHING,
        )


_INSTEAD: Final = {
    "ssh_private_key": "`geusemaker secrets rotate ssh {name}` gives it another one.",
    "host_private_key": "It stays as long as the deployment; a deployment of another name has another one.",
    "postgresql_password": "`geusemaker secrets rotate database {name}` gives it another one.",
    "n8n_encryption_key": "It has to stay: n8n's credentials are encrypted with it.",
    "qdrant_key": "A variable of another service may have it: --secret-env SERVICE.KEY=secret:qdrant_key. A key of "
    "your own is --secret-env qdrant.QDRANT__SERVICE__API_KEY.",
    "crawl4ai_token": "A variable of another service may have it: --secret-env SERVICE.KEY=secret:crawl4ai_token.",
}
"""Name of a generated secret → what can be done in the place of setting it."""


def require_value(name: str, value: str) -> None:
    """Refuse what no variable can hold, or what could not be kept out of logs. The value is not repeated.

    Raises:
        InvalidInputError: it is too short, too long, or no text.
    """
    problem = ""
    if len(value) < LEAST_CHARACTERS:
        problem = f"has fewer than {LEAST_CHARACTERS} characters: it could not be kept out of logs"
    elif "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        problem = "is no text: it has a zero byte, or bytes that are not UTF-8"
    elif len(value.encode()) > MOST_BYTES:
        problem = f"has more than {MOST_BYTES // 1024} KiB"
    if problem:
        raise InvalidInputError(f"The value of {name} {problem}.", state=_NOTHING)


def from_environment(names: Iterable[str], known: Collection[str], environ: Mapping[str, str]) -> dict[str, SecretStr]:
    """Values for secrets that the deployment does not have yet, from the environment of whoever runs this.

    A name that is no variable's is looked for with an underscore for each dot and hyphen. One that is not there is left
    out: a deploy or an update refuses what refers to it.

    Args:
        names: those that are referred to.
        known: those that the deployment has; they keep their values.
        environ: the environment.
    """
    found = {}
    for name in dict.fromkeys(names):
        value = environ.get(name) or environ.get(re.sub(r"[.-]", "_", name))
        if name not in known and name not in USABLE and value:
            found[name] = SecretStr(value)
    return found


def differing(secrets: Secrets, values: Mapping[str, SecretStr]) -> dict[str, SecretStr]:
    """Those of the values that are not the ones that hold."""
    return {name: value for name, value in values.items() if secrets.find(name) != value.get_secret_value()}


def with_values(secrets: Secrets, values: Mapping[str, SecretStr], *, operation: str, at: datetime, by: str) -> Secrets:
    """The secrets with these values, and what each was before."""
    given = {}
    for name, value in values.items():
        before = secrets.own.get(name)
        given[name] = OwnSecret(
            value=value.get_secret_value(),
            set_at=at,
            set_by=by,
            operation=operation,
            before=before.model_copy(update={"before": None}) if before is not None else None,
        )
    return secrets.model_copy(update={"own": {**secrets.own, **given}})


def came_with_failed(state: DeploymentState) -> set[str]:
    """The operations since the last healthy version that set secrets and failed."""
    base = state.last_healthy
    return {
        version.provenance.operation_id
        for version in state.versions
        if version.provenance.set_secrets and not version.healthy and base is not None and version.number > base.number
    }


def taken_back(secrets: Secrets, operations: Collection[str]) -> Secrets:
    """The secrets without what came with these operations. One that was new keeps its value: it took nobody's place."""
    back = {
        name: one.before for name, one in secrets.own.items() if one.operation in operations and one.before is not None
    }
    return secrets.model_copy(update={"own": {**secrets.own, **back}})


def held(secrets: Secrets, name: str) -> str | None:
    """The value of an operator's secret; None: there is none."""
    return secrets.own[name].value if name in secrets.own else None


def users(config: StackConfig, secret: str) -> list[str]:
    """The variables, as ``service.VARIABLE``, that have a secret because the operator said so."""
    return [
        f"{name}.{variable}"
        for name, service in config.services.items()
        for variable, its in service.secret_environment.items()
        if its == secret
    ]


def without(secrets: Secrets, name: str) -> Secrets:
    """The secrets without one, and without what it was before."""
    return secrets.model_copy(update={"own": {key: one for key, one in secrets.own.items() if key != name}})


def keepers(state: DeploymentState, name: str) -> dict[int, list[str]]:
    """Version → its variables that have a secret, of the versions that one may go back to without saying more."""
    found = {version.number: users(version.config, name) for version in _kept(state)}
    return {number: variables for number, variables in found.items() if variables}


def unknown_keepers(state: DeploymentState) -> list[UnreadableVersion]:
    """Versions that may be such, of which this geusemaker cannot read what they have."""
    oldest = min((version.number for version in _kept(state)), default=0)
    return [one for one in state.unreadable_versions if one.succeeded and (one.number is None or one.number > oldest)]


def _kept(state: DeploymentState) -> list[Version]:
    return [version for version in state.versions if version.healthy and not version.archived]


def value_changes(before: StackConfig | None, config: StackConfig, names: Collection[str]) -> tuple[ConfigChange, ...]:
    """The variables that stay and get another value, for people."""
    return tuple(
        ConfigChange(path=f"{name}.secret_env.{variable}", old=HIDDEN, new=f"{HIDDEN}, changed")
        for name, service in config.services.items()
        for variable, secret in service.secret_environment.items()
        if secret in names
        and before is not None
        and name in before.services
        and before.services[name].secret_environment.get(variable) == secret
    )
