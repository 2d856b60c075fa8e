"""What the rotations of secrets are called and say, and what one that was begun works with."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from geusemaker.models.stack import Secrets, Target
from geusemaker.models.version import RotationKind, Version
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.operation import Operation
from geusemaker.services.states import ROTATIONS

NAMES: Final[dict[RotationKind, str]] = {
    "rotate-ssh": "key",
    "rotate-database": "password",
    "import-n8n-key": "encryption key",
}

CHANGED: Final[dict[RotationKind, str]] = {
    "rotate-ssh": "ssh key: changed",
    "rotate-database": "database password: changed",
    "import-n8n-key": "n8n encryption key: imported",
}

STILL_OPENS: Final[dict[RotationKind, str]] = {
    "rotate-ssh": (
        "The old key opens nothing on the instance any more. Older entries of the history, copies of the state and "
        "backups of either still hold it, encrypted with the passphrase of then; the state itself does until the next "
        "change. The key pair in EC2 keeps its public half, and no instance takes that any more."
    ),
    "rotate-database": (
        "The old password opens nothing that runs any more. Older entries of the history, copies of the state and "
        "backups of either still hold it, encrypted with the passphrase of then; the state itself does until the next "
        "change. AWS's backups of the file system hold its hash: a database that is brought back from one takes the "
        "old password until it is rotated again."
    ),
    "import-n8n-key": (
        "The key of before closed no credentials. What else n8n had closed with it (two-factor logins of users, LDAP, "
        "external secrets) has to be set up anew, and whoever was logged in has to log in again."
    ),
}
"""What is said of the secret that was there before."""


class Act:
    """What a rotation that was begun works with."""

    def __init__(
        self,
        collaborators: Collaborators,
        stack: ExitStack,
        name: str,
        active: Version,
        target: Target,
        address: str,
        instance_id: str,
        operation: Operation,
        host: Host,
    ) -> None:
        self._with = collaborators
        self._stack = stack
        self.name = name
        self.active = active
        self.target = target
        self._address = address
        self.instance_id = instance_id
        self.operation = operation
        self.host = host
        """A connection with the secret that holds."""

    def open_host(self, secrets: Secrets) -> Host:
        """Another connection, with these secrets; closed with the rest."""
        return self._stack.enter_context(self._with.open_host(self._address, self.target, secrets))


def what(name: str, kind: RotationKind) -> str:
    if kind == "rotate-ssh":
        return f"Another key logs in to the instance of {name}, and the old one does not any more; nothing stops."
    if kind == "import-n8n-key":
        return (
            f"n8n of {name} holds no credentials yet, and gets the encryption key that was given. It stops for a "
            "moment and is started again; whoever is logged in has to log in again."
        )
    return f"The database of {name} gets another password. It and n8n stop for a moment and are started again."


def again(name: str, kind: RotationKind) -> str:
    return f"Run `geusemaker secrets {ROTATIONS[kind]} {name}` again: it finishes what is left."
