"""The secrets of a deployment: generated once, at its first deploy."""

from __future__ import annotations

import secrets as random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from geusemaker.models.stack import Secrets


def generate() -> Secrets:
    """New secrets."""
    return Secrets(
        ssh_private_key=_private(Ed25519PrivateKey.generate()),
        host_private_key=_private(Ed25519PrivateKey.generate()),
        postgresql_password=random.token_urlsafe(24),
        n8n_encryption_key=random.token_urlsafe(24),
        crawl4ai_token=random.token_urlsafe(24),
    )


def public_keys(secrets: Secrets) -> tuple[str, str]:
    """The public halves of the login key and of the host key (authorized_keys form)."""
    return _public_half(secrets.ssh_private_key), _public_half(secrets.host_private_key)


def _public_half(private_key: str) -> str:
    key = load_ssh_private_key(private_key.encode(), password=None)
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _private(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
