"""Opens what leads to an instance: its agent, or local ports that lead to its services."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from geusemaker.host.connection import Login
from geusemaker.host.forwarding import Forwarding
from geusemaker.host.instance import Instance
from geusemaker.host.tunnel import Forward, Tell, Tunnel
from geusemaker.models.stack import Secrets, Target


def open_instance(address: str, target: Target, secrets: Secrets, through: Forwarding | None) -> Instance:
    """The instance at this address; it is closed at the end of a ``with``."""
    from geusemaker.host.client import AgentClient

    return Instance(
        AgentClient(
            address,
            target.ssh_port,
            target.ssh_user,
            private_key=secrets.ssh_private_key,
            host_key=target.host_public_key,
            become=target.become,
            through=through,
        )
    )


def tunnels(
    forwarding: Callable[[Target], Forwarding | None], tell: Tell
) -> Callable[[str, Target, Secrets, Sequence[Forward]], AbstractContextManager[Mapping[str, str]]]:
    """What opens a tunnel to the instance at an address, whose key is known; ``tell`` is told what becomes of it."""

    def open_tunnel(
        address: str, target: Target, secrets: Secrets, forwards: Sequence[Forward]
    ) -> AbstractContextManager[Mapping[str, str]]:
        login = Login.of(address, target, secrets, forwarding(target))
        return Tunnel(login, forwards, lambda: login, tell)

    return open_tunnel
