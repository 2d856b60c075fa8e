"""Who may log in to an instance, as what, and what sshd tells a login's programs of its connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
from asyncssh import SSHServerProcess


@dataclass
class Login:
    """What a server needs to know of its instance."""

    instance_id: str
    user: str
    host_keys: list[asyncssh.SSHKey]
    authorized_keys: Path
    deaf: Path
    """While this file is there, connections are cut off; a boot removes it."""
    environment: Mapping[str, str]
    loopback: str
    """What 127.0.0.1 is on the instance."""
    home: Path
    log: Callable[[str], None]
    sessions: set[int] = field(default_factory=set)
    """Session leaders of the commands that run; each is a process group of its own."""


def told_connection(process: SSHServerProcess[bytes]) -> str:
    """``SSH_CONNECTION``, as sshd(8) has it: the client's address and port, then the server's."""
    ends = (process.get_extra_info("peername"), process.get_extra_info("sockname"))
    return " ".join(f"{host} {port}" for host, port, *_ in ends)
