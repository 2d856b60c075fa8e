"""What a destroy does beside the engine's run: take the lease, stop the services, unprotect the data."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from geusemaker.errors import HostError
from geusemaker.models.plan import Event
from geusemaker.models.stack import Target
from geusemaker.models.state import DeploymentState
from geusemaker.services import progress
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.destroy.act import Act
from geusemaker.services.destroy.ending import failure
from geusemaker.services.guard import DATA_TYPES
from geusemaker.services.operation import Operation


def take_lease(
    collaborators: Collaborators, state: DeploymentState, operation: Operation, stack: ExitStack
) -> Host | None:
    """The agent, which has given the lease to this operation; None where there is no instance to ask.

    A broken instance must not be one that cannot be got rid of: then the engine's lock is all that is held.

    Raises:
        DeploymentBusyError: another operation has it; nothing was changed.
    """
    target = state.target
    instance = collaborators.cloud(target.region).find_instance(state.name) if target is not None else None
    if target is None or instance is None or not instance.may_answer:
        return None
    try:
        secrets = collaborators.engine.load_secrets()
        host = stack.enter_context(collaborators.open_host(instance.address, target, secrets))
        operation.take_lease(host, instance.id, expects=None, takeover=state.last_operation_id or None)
    except HostError as error:
        message = f"Services are not stopped one by one beforehand: {error.message}"
        collaborators.on_event(Event(kind="warning", message=message))
        return None
    return host


def stopping(act: Act) -> Callable[[], None] | None:
    """What stops the services in order, so that nothing is cut off in a write, once the engine has its lock."""
    host = act.host
    if host is None:
        return None

    def stop() -> None:
        act.reached.may_have_changed = act.reached.stopped = True
        try:
            with progress.phase(act.collaborators.on_event, "hold", "stopping services before the instance goes"):
                host.hold(act.operation.id)
        except HostError as error:
            # Its shutdown stops what still runs.
            act.warn(f"Services were not stopped one by one beforehand: {error.message}")
        # The instance goes, and the lease stays on the file system: nothing could give it back afterwards.
        act.operation.give_back(host, "destroyed")

    return stop


def unprotect(act: Act, target: Target) -> None:
    """An update of the data resources alone, with protection off: only then may the engine delete them."""
    newest = act.state.versions[-1]
    urns = [urn for urn, resource in act.collaborators.engine.resources().items() if resource["type"] in DATA_TYPES]
    candidate = act.collaborators.engine.write_candidate(
        newest.config, newest.provenance, target.model_copy(update={"protect": False})
    )
    outcome = act.collaborators.engine.up(
        candidate, "protection off, to delete the data", act.collaborators.on_event, deadline_seconds=900.0, only=urns
    )
    if not outcome.succeeded:
        raise failure(
            act,
            f"The data could not be unprotected: {outcome.failure}",
            "No service was stopped by this; the data is untouched.",
        )
