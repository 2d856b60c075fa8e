"""What cloud-init does with an instance's user data: the SSH host keys. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
    if not user_data.lstrip().startswith("#cloud-config"):
        return HostKeys()
    try:
        document = yaml.safe_load(user_data)
    except yaml.YAMLError:
        return HostKeys()
    keys = document.get("ssh_keys") if isinstance(document, dict) else None
    if not isinstance(keys, dict):
        return HostKeys()
    return HostKeys(
        {
            str(name).removesuffix("_private"): value
            for name, value in keys.items()
            if str(name).endswith("_private") and isinstance(value, str)
        }
    )
