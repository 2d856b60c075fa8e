"""The instance itself, stopped on purpose so that it is not paid for, and started again."""

from __future__ import annotations

from geusemaker.errors import GeusemakerError
from geusemaker.models.history import StoppedInstance
from geusemaker.models.inspection import InstanceState
from geusemaker.models.plan import RestPlan
from geusemaker.models.stack import Target
from geusemaker.services.bookkeeping import attempt
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.operation import Operation


def switch_off(collaborators: Collaborators, operation: Operation, host: Host, target: Target, plan: RestPlan) -> None:
    """Stop the instance, whose services are stopped already, and wait until it is.

    The note comes first, and in the backend: what is on the file system nobody can read while the instance is off. So
    is the lease given back before: nothing could do that afterwards. The intent holds the deployment until all is done.

    Raises:
        GeusemakerError: it was not stopped; nothing is noted then.
    """
    since = collaborators.clock.now()
    note = StoppedInstance(id=plan.instance, by=collaborators.actor, since=since, reason=plan.reason)
    collaborators.engine.set_stopped(note)
    operation.give_back(host, "done")
    try:
        collaborators.cloud(target.region).stop_instance(plan.instance)
    except GeusemakerError:
        forget(collaborators)
        raise


def switch_on(collaborators: Collaborators, target: Target, instance: InstanceState, note: StoppedInstance) -> None:
    """Start an instance that is stopped on purpose, and wait until it runs.

    Raises:
        GeusemakerError: AWS does not start it; it is as before.
    """
    cloud = collaborators.cloud(target.region)
    if instance.state == "stopping":
        cloud.wait_until_settled(instance)
    # First, so that one that runs is never noted as stopped: should AWS stop it one day, that is not on purpose.
    collaborators.engine.set_stopped(None)
    try:
        cloud.start_instance(instance.id)
    except GeusemakerError:
        why = "That the instance is stopped on purpose was not noted again"
        attempt(collaborators.on_event, why, lambda: collaborators.engine.set_stopped(note))
        raise


def forget(collaborators: Collaborators) -> None:
    """Forget that the instance was stopped on purpose; that it cannot be is a warning."""
    why = "That the instance was to be stopped on purpose is still noted"
    attempt(collaborators.on_event, why, lambda: collaborators.engine.set_stopped(None))
