"""What an operation that makes no version requires before it begins: it works on what runs, as it is."""

from __future__ import annotations

from geusemaker.agent.protocol.looks import Health
from geusemaker.checks import failures
from geusemaker.checks.host import check_data
from geusemaker.errors import RefusedError, ValidationFailedError
from geusemaker.models.history import IntentKind
from geusemaker.models.inspection import InstanceState
from geusemaker.models.secrets import Secrets
from geusemaker.models.stack import Target
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.identity import require_account
from geusemaker.services.operation import UNTOUCHED
from geusemaker.services.states import not_found, require_idle, require_readable


def require_running(
    collaborators: Collaborators, state: DeploymentState, *own: IntentKind, why: str
) -> tuple[Version, Target]:
    """The version that runs, and where, while nothing else is under way, and nothing half-done but by these kinds.

    Args:
        collaborators: who holds the deployment is looked at with them.
        state: the deployment.
        own: the kinds that go on with what one of them left.
        why: what it means that nothing runs, as the end of a sentence.

    Raises:
        DeploymentNotFoundError: there is no such deployment.
        DeploymentBusyError: another operation holds it.
        RefusedError: nothing runs, the last operation was killed or failed, or another geusemaker is needed.
    """
    require_idle(collaborators, state)
    require_readable(state)
    if state.target is None:
        raise not_found(state.name)
    if state.active is None:
        raise RefusedError(
            f"{state.name} {'was destroyed' if state.destroyed else 'never had a healthy version'}, {why}.",
            state=UNTOUCHED,
            next_step=f"Run `geusemaker deploy {state.name}` first.",
        )
    require_whole(state, *own)
    return state.active, state.target


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


def find_copies(collaborators: Collaborators, state: DeploymentState, what: str) -> tuple[Target, InstanceState]:
    """Where the copies of the data are: the target, and the instance that serves them, which may be asked.

    Args:
        collaborators: AWS, and the deployment's name.
        state: the deployment.
        what: what such a copy is called, in the plural.

    Raises:
        DeploymentNotFoundError: it was never deployed.
        RefusedError: it is of another account, or the instance does not run.
        EnvironmentProblemError: AWS cannot be asked.
    """
    if state.target is None:
        raise not_found(collaborators.deployment)
    require_account(collaborators, state.target)
    why = f"; its {what} are on the file system that it serves"
    return state.target, find_answering(collaborators, state.target, why)


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


def require_same_secrets(collaborators: Collaborators, state: DeploymentState, known: Secrets) -> None:
    """Refuse where another machine has set or changed a secret since they were read: it would be lost.

    Raises:
        RefusedError
        EngineError: the history cannot be read.
    """
    engine = collaborators.engine
    history = engine.history(10)
    rotation = next((entry.rotation for entry in history if entry.says_target), state.rotation)
    if rotation != state.rotation or engine.load_secrets() != known:
        raise RefusedError(
            f"The secrets of {state.name} were changed by somebody else meanwhile.",
            state=UNTOUCHED,
            next_step="Run the command again: it takes them as they are now.",
        )
