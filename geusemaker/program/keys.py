"""SSH keys."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key


def public_half(private_key: str) -> str:
    """The public half of a private key in OpenSSH's form, as a line of authorized_keys without a comment."""
    key = load_ssh_private_key(private_key.encode(), password=None)
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
