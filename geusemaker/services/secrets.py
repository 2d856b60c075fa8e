"""The secrets of a deployment: generated once, at its first deploy."""

from __future__ import annotations

import secrets as random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from geusemaker.errors import InvalidInputError
from geusemaker.models.secrets import USABLE
from geusemaker.models.stack import Secrets
from geusemaker.program.keys import public_half
from geusemaker.services.secret_values import require_value


def generate() -> Secrets:
    """New secrets."""
    values = {
        "ssh_private_key": _private(Ed25519PrivateKey.generate()),
        "host_private_key": _private(Ed25519PrivateKey.generate()),
        **{field: random.token_urlsafe(24) for field in USABLE},
    }
    return Secrets.model_validate(values)


def completed(secrets: Secrets) -> Secrets:
    """The same secrets, with those that there were not yet when they were made; themselves where nothing is missing."""
    missing = {field: random.token_urlsafe(24) for field in USABLE if not getattr(secrets, field)}
    return secrets.model_copy(update=missing) if missing else secrets


def public_keys(secrets: Secrets) -> tuple[str, str]:
    """The public halves of the login key and of the host key (authorized_keys form)."""
    return public_half(secrets.ssh_private_key), public_half(secrets.host_private_key)


def with_new_login(secrets: Secrets) -> Secrets:
    """The same secrets with another key to log in with."""
    return secrets.model_copy(update={"ssh_private_key": _private(Ed25519PrivateKey.generate())})


def with_new_database_password(secrets: Secrets) -> Secrets:
    """The same secrets with another password of the database."""
    return secrets.model_copy(update={"postgresql_password": random.token_urlsafe(24)})


def with_n8n_key(secrets: Secrets, key: str) -> Secrets:
    """The same secrets with the encryption key of an n8n that there was before.

    Raises:
        InvalidInputError: it cannot be one.
    """
    require_value("n8n_encryption_key", key)
    if not key.isprintable():
        raise InvalidInputError("n8n's encryption key is one line of text.")
    return secrets.model_copy(update={"n8n_encryption_key": key})


def _private(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
