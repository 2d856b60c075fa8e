"""The secrets of a deployment: generated once, at its first deploy."""

from __future__ import annotations

import secrets as random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from geusemaker.catalog import SERVICES
from geusemaker.models.stack import Secrets
from geusemaker.program.keys import public_half


def generate() -> Secrets:
    """New secrets."""
    fields = {field for service in SERVICES.values() for field in service.secrets.values()}
    return Secrets(
        ssh_private_key=_private(Ed25519PrivateKey.generate()),
        host_private_key=_private(Ed25519PrivateKey.generate()),
        **{field: random.token_urlsafe(24) for field in fields},
    )


def public_keys(secrets: Secrets) -> tuple[str, str]:
    """The public halves of the login key and of the host key (authorized_keys form)."""
    return public_half(secrets.ssh_private_key), public_half(secrets.host_private_key)


def with_new_login(secrets: Secrets) -> Secrets:
    """The same secrets with another key to log in with."""
    return secrets.model_copy(update={"ssh_private_key": _private(Ed25519PrivateKey.generate())})


def with_new_database_password(secrets: Secrets) -> Secrets:
    """The same secrets with another password of the database."""
    return secrets.model_copy(update={"postgresql_password": random.token_urlsafe(24)})


def _private(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
