"""The secrets of a deployment: generated once, at its first deploy."""

from __future__ import annotations

import secrets as random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from geusemaker.models.stack import Secrets


def generate() -> tuple[Secrets, str, str]:
    """New secrets, and the public halves of the login key and of the host key (authorized_keys form)."""
    login, host = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    secrets = Secrets(
        ssh_private_key=_private(login),
        host_private_key=_private(host),
        postgresql_password=random.token_urlsafe(24),
        n8n_encryption_key=random.token_urlsafe(24),
        crawl4ai_token=random.token_urlsafe(24),
    )
    return secrets, _public(login), _public(host)


def _private(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
