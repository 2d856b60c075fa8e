"""How a deployment's SSH server is reached: at its address, or through AWS's Session Manager with no port open.

A fact of the deployment: no rollback opens a port or closes one.
"""

from __future__ import annotations

from collections.abc import Callable

from geusemaker.errors import InvalidInputError
from geusemaker.host.forwarding import choose_port
from geusemaker.models.plan import ConfigChange
from geusemaker.models.request import ConfigRequest
from geusemaker.models.stack import Target


def with_connect(
    target: Target, request: ConfigRequest, deployment: str, choose: Callable[[str], int] = choose_port
) -> Target:
    """The target, reached as is asked for.

    Args:
        target: where the deployment is, with the addresses that may connect by SSH.
        request: what is asked for.
        deployment: its name.
        choose: finds a port of this machine for it.

    Raises:
        InvalidInputError: nobody could get there any more, or the local cloud's instances are containers.
        EnvironmentProblemError: no port is free.
    """
    connect = request.connect or target.connect
    if connect == "ssh":
        if target.through_aws and not target.ssh_cidrs:
            raise InvalidInputError(
                "No address may reach the instance over SSH then, and everything on it is done over SSH.",
                next_step="Give yours with it: --ssh-cidr me, or --ssh-cidr 203.0.113.7/32 (repeat it for more).",
            )
        return target.model_copy(update={"connect": connect})
    if target.kind == "local" and target.become:
        raise InvalidInputError(
            "An instance of the local cloud that is a container has no Session Manager agent.",
            next_step="Leave --connect out, or use --local-runtime process.",
        )
    return target.model_copy(update={"connect": connect, "forward_port": target.forward_port or choose(deployment)})


def connect_change(before: Target | None, after: Target) -> tuple[ConfigChange, ...]:
    """The line of a plan that says so."""
    if before is None or before.connect == after.connect:
        return ()
    return (ConfigChange(path="connect", old=before.connect, new=after.connect),)
