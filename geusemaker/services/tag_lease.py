"""The lease for an operation that writes stack tags alone: others of that kind are waited for."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from geusemaker.agent.protocol.stored import Lease
from geusemaker.errors import DeploymentBusyError, GeusemakerError, RefusedError
from geusemaker.models.plan import Event
from geusemaker.models.state import DeploymentState
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.identity import require_account
from geusemaker.services.operation import Operation

_KINDS: Final = ("mark", "label")
_TURN_SECONDS: Final = 60.0
"""For so long others of these are waited for; each takes a second or two."""
_PAUSE_SECONDS: Final = 0.2


def take_lease_of_tags(
    collaborators: Collaborators, operation: Operation, state: DeploymentState, stack: ExitStack
) -> Host | None:
    """The agent, which has given the lease to this until ``stack`` is closed; None where there is none to ask.

    Raises:
        DeploymentBusyError: another operation has it, or others of these kinds do all the time.
    """
    if state.target is None or state.destroyed:
        return None
    try:
        require_account(collaborators, state.target)
        instance = collaborators.cloud(state.target.region).find_instance(state.name)
        if instance is None or not instance.may_answer:
            return None
        secrets = collaborators.engine.load_secrets()
        host = stack.enter_context(collaborators.open_host(instance.address, state.target, secrets))
        _await_turn(collaborators, operation, host, instance.id)
    except (DeploymentBusyError, RefusedError):
        raise
    except GeusemakerError as error:
        text = f"Written without the lease, as the instance does not give it: {error.message}"
        collaborators.on_event(Event(kind="warning", message=text))
        return None
    stack.callback(operation.give_back, host, "abandoned")  # where it was not given back before
    return host


def _await_turn(collaborators: Collaborators, operation: Operation, host: Host, instance_id: str) -> None:
    deadline = collaborators.clock.monotonic() + _TURN_SECONDS
    while True:
        try:
            return operation.take_lease(host, instance_id, expects=None, takeover=None)
        except DeploymentBusyError:
            holder = host.lease().lease or Lease()
            others = holder.state != "held" or holder.kind in _KINDS
            if not others or collaborators.clock.monotonic() > deadline:
                raise
            collaborators.clock.sleep(_PAUSE_SECONDS)
