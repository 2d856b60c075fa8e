"""What cloud-init does with an instance's user data: the SSH host keys, the login, and who may log in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml


@dataclass(frozen=True)
class HostKeys:
    """Private keys in OpenSSH or PEM form by type (``ed25519``); empty when the instance makes its own."""

    private: Mapping[str, str] = field(default_factory=dict)


def host_keys(user_data: str) -> HostKeys:
    """The host keys that a cloud-config document gives.

    Like cloud-init, anything that is not ``#cloud-config`` or cannot be read is not an error of the boot:
    the instance then has keys of its own. https://cloudinit.readthedocs.io/en/latest/reference/modules.html#ssh
    """
    keys = _document(user_data).get("ssh_keys")
    if not isinstance(keys, dict):
        return HostKeys()
    return HostKeys(
        {
            str(name).removesuffix("_private"): value
            for name, value in keys.items()
            if str(name).endswith("_private") and isinstance(value, str)
        }
    )


def authorized_keys(user_data: str, key_pair: str) -> str:
    """The default user's authorized_keys file: the key pair's key, unless that is not wanted, and those given.

    https://cloudinit.readthedocs.io/en/latest/reference/modules.html#ssh (``allow_public_ssh_keys``,
    ``ssh_authorized_keys``).
    """
    document = _document(user_data)
    given = document.get("ssh_authorized_keys")
    keys = [key_pair] if document.get("allow_public_ssh_keys", True) else []
    keys += [str(key) for key in given] if isinstance(given, list) else []
    return "".join(f"{key.strip()}\n" for key in keys)


def default_user(user_data: str, image_login: str) -> str:
    """The default user, to whom the keys go: the image's, or the one that takes its place.

    https://cloudinit.readthedocs.io/en/latest/reference/yaml_examples/user_groups.html (``user``).
    """
    user = _document(user_data).get("user")
    name = user.get("name") if isinstance(user, dict) else user
    return name if isinstance(name, str) and name else image_login


def commands(user_data: str) -> list[list[str]]:
    """What is run as root at the end of the first boot, and at no other; a line is for a shell.

    https://cloudinit.readthedocs.io/en/latest/reference/modules.html#runcmd
    """
    given = _document(user_data).get("runcmd")
    found = given if isinstance(given, list) else []
    return [[str(word) for word in one] if isinstance(one, list) else ["/bin/sh", "-c", str(one)] for one in found]


def _document(user_data: str) -> Mapping[str, Any]:
    if not user_data.lstrip().startswith("#cloud-config"):
        return {}
    try:
        document = yaml.safe_load(user_data)
    except yaml.YAMLError:
        return {}
    return document if isinstance(document, dict) else {}
