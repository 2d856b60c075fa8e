"""What an operation that makes no version requires before it begins: it works on what runs, as it is."""

from __future__ import annotations

from geusemaker.agent.protocol.looks import Health
from geusemaker.checks import failures
from geusemaker.checks.host import check_data
from geusemaker.errors import RefusedError, ValidationFailedError
from geusemaker.models.history import IntentKind
from geusemaker.models.result import InstanceState
from geusemaker.models.stack import Target
from geusemaker.models.state import DeploymentState
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.operation import UNTOUCHED


def require_whole(state: DeploymentState, *own: IntentKind) -> None:
    """Refuse where the last operation was killed or failed, unless it was one of these kinds, which go on with it.

    Raises:
        RefusedError
    """
    if state.unsettled and not (state.intent is not None and state.intent.kind in own):
        raise RefusedError(
            f"The last operation on {state.name} was killed or failed, so what runs may be neither version.",
            state=UNTOUCHED,
            next_step=f"Run `geusemaker recover {state.name}` first.",
        )


def find_answering(collaborators: Collaborators, target: Target, why: str) -> InstanceState:
    """The instance, which may be asked; its account was looked at before.

    Args:
        collaborators: AWS, and the deployment's name.
        target: where it is.
        why: what it is needed for, as the end of a sentence that says how it is.

    Raises:
        RefusedError: it does not run.
    """
    name = collaborators.deployment
    instance = collaborators.cloud(target.region).find_instance(name)
    if instance is None or not instance.may_answer:
        found = f"is {instance.state}" if instance is not None else "is gone"
        raise RefusedError(
            f"The instance of {name} {found}{why}.",
            state=UNTOUCHED,
            next_step=f"`geusemaker status {name}` says what to do.",
        )
    return instance


def require_data(name: str, health: Health) -> None:
    """Refuse where the data that is mounted is not the deployment's.

    Raises:
        ValidationFailedError
    """
    checks = (check_data(health, name),)
    if failed := failures(checks):
        raise ValidationFailedError(
            f"Validation failed: {'; '.join(failed)}.",
            state=UNTOUCHED,
            next_step=f"`geusemaker status {name}` says what to do.",
            checks=checks,
        )
