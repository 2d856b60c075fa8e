"""A stack's encrypted secrets: do config and state belong together, and what else holds the secrets. Mostly pure.

Config file and state each name their key: a salt for a passphrase, an encrypted data key for a cloud provider. An
operator who rotates it on one machine leaves the others with files of the old key. A run with those writes what nobody
can decrypt into the history that all share, so it is looked at before any run.
"""

from __future__ import annotations

import json
import re
import secrets as random
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from geusemaker.catalog import SERVICES
from geusemaker.models.stack import Secrets

_COMMAND: Final = "command:remote:Command"
_INSTANCE: Final = "aws:ec2/instance:Instance"
OWN_OUTPUT: Final = "own_secrets"
_HOST_KEY: Final = re.compile(r"ed25519_private: \|\n(?P<key>(?:    .*\n)+)")


def config_key(document: Mapping[str, Any]) -> str:
    """What a config file says of its key; empty where it says nothing."""
    return str(document.get("encryptedkey") or document.get("encryptionsalt") or "")


def state_key(state: Mapping[str, Any]) -> str:
    """What an exported state says of its key; empty where it says nothing: nothing was applied yet."""
    provider = ((state.get("deployment") or {}).get("secrets_providers") or {}).get("state") or {}
    return str(provider.get("encryptedkey") or provider.get("salt") or "")


def needs_passphrase(state: Mapping[str, Any]) -> bool:
    """Whether an exported state is encrypted with a passphrase; one that names no provider has nothing to say yet."""
    provider = (state.get("deployment") or {}).get("secrets_providers") or {}
    return str(provider.get("type", "passphrase")) == "passphrase"


def is_outdated(document: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    """Whether a config file is of another key than the state: somebody has rotated it since, on another machine."""
    mine, theirs = config_key(document), state_key(state)
    return bool(mine and theirs) and mine != theirs


def secrets_in(state: Mapping[str, Any]) -> Secrets | None:
    """The deployment's secrets out of a state that was exported decrypted; None where some are not in it.

    They are inputs of what the program makes: the login's key of each command, the passwords of ``apply``, the host key
    of the instance.
    """
    found: dict[str, str] = {}
    for resource in (state.get("deployment") or {}).get("resources") or []:
        inputs = resource.get("inputs") or {}
        if resource.get("type") == _INSTANCE:
            host_key = _HOST_KEY.search(str(_plain(inputs.get("userData")) or ""))
            if host_key is not None:
                found["host_private_key"] = "\n".join(row[4:] for row in host_key["key"].splitlines()) + "\n"
        elif resource.get("type") == _COMMAND:
            connection = _plain(inputs.get("connection"))
            if isinstance(connection, dict) and (key := _plain(connection.get("privateKey"))):
                found["ssh_private_key"] = str(key)
            if str(resource.get("urn", "")).endswith("::apply"):
                found |= _passwords(_plain(inputs.get("stdin")))
    try:
        return Secrets.model_validate({**found, "own": _own(state)})
    except ValidationError:
        return None


def _own(state: Mapping[str, Any]) -> Any:
    """Those that the operator gave: the program puts them out."""
    return json.loads(str(_plain(_outputs(state).get(OWN_OUTPUT)) or "{}"))


def _outputs(state: Mapping[str, Any]) -> Mapping[str, Any]:
    resources = (state.get("deployment") or {}).get("resources") or []
    stack: Mapping[str, Any] = next((one for one in resources if one.get("type") == "pulumi:pulumi:Stack"), {})
    return stack.get("outputs") or {}


def rotation_in(state: Mapping[str, Any]) -> str:
    """Which rotation the secrets of an exported state are of, as the program put it out; empty: of none."""
    return str(_outputs(state).get("rotation") or "")


def _passwords(stdin: Any) -> dict[str, str]:
    try:
        environment = json.loads(str(stdin)).get("environment") or {}
    except (ValueError, AttributeError):
        return {}
    values: dict[str, Any] = {}
    for service in SERVICES.values():
        own = environment.get(service.name)
        for variable, field in service.secrets.items():
            if environment and own is None and service.data is None:
                values[field] = random.token_urlsafe(24)  # nothing runs that knows another, and no data does
            values.setdefault(field, (own or {}).get(variable))
        for variable, field in service.third_secrets.items():
            # No data is closed with it: where nothing runs that has it, another one is as good.
            values[field] = (own or {}).get(variable) or (random.token_urlsafe(24) if environment else None)
    return {field: str(value) for field, value in values.items() if value}


def _plain(value: Any) -> Any:
    """A property of an export with ``--show-secrets``: a secret is wrapped, with its value as JSON."""
    if isinstance(value, dict) and "plaintext" in value:
        return json.loads(value["plaintext"])
    return value
