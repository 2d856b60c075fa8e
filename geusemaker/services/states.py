"""Reading a deployment's state, and the refusals that every verb shares."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from geusemaker.engine.versions import read_state
from geusemaker.errors import DeploymentBusyError, DeploymentNotFoundError, RefusedError
from geusemaker.models.history import Intent
from geusemaker.models.state import DeploymentState
from geusemaker.services.collaborators import Collaborators

HISTORY_PAGE = 100


def load_state(collaborators: Collaborators, *, whole: bool = False) -> DeploymentState:
    """The deployment's state; its newest hundred updates, or all of them.

    Raises:
        DeploymentNotFoundError: there is no such deployment.
    """
    engine = collaborators.engine
    with ThreadPoolExecutor(max_workers=2) as pool:
        history = pool.submit(engine.history, None if whole else HISTORY_PAGE)
        tags = pool.submit(engine.tags)
        return read_state(collaborators.deployment, history.result(), tags.result())


def require_settled(collaborators: Collaborators, state: DeploymentState) -> None:
    """Refuse while another operation runs, or after one was killed.

    Raises:
        DeploymentBusyError: another operation runs now.
        RefusedError: one was killed and has to be recovered first.
    """
    intent = state.intent
    if intent is None or intent.outcome:
        return
    if is_running(collaborators, intent):
        raise busy(state.name, intent)
    if state.interrupted:
        raise RefusedError(
            f"The last operation on {state.name}, {intent.kind} v{intent.number} of {intent.actor}, was killed before "
            "it was done.",
            state="What runs on the instance may be neither version.",
            next_step=f"Run `geusemaker recover {state.name}` (or `geusemaker rollback {state.name}`) first.",
        )


def is_running(collaborators: Collaborators, intent: Intent) -> bool:
    """Whether the owner of an unfinished operation lives; on another machine that cannot be seen, so it may."""
    if intent.outcome:
        return False
    if intent.host != collaborators.host_name[:40]:
        return True
    return intent.pid != collaborators.pid and collaborators.is_alive(intent.pid)


def busy(name: str, intent: Intent) -> DeploymentBusyError:
    """Another operation holds the deployment."""
    return DeploymentBusyError(
        f"{name} is held by a {intent.kind} (v{intent.number}) of {intent.actor}: process {intent.pid} on "
        f"{intent.host}, since {intent.started_at:%Y-%m-%d %H:%M:%S} UTC.",
        state="Nothing was changed by this one.",
        next_step=f"Wait for it, or watch it with `geusemaker status {name}`. If that process is gone, run "
        f"`geusemaker recover {name}` on {intent.host}.",
    )


def not_found(name: str) -> DeploymentNotFoundError:
    """There is no such deployment."""
    return DeploymentNotFoundError(
        f"There is no deployment {name}.",
        state="Nothing was changed.",
        next_step="`geusemaker list` shows those there are; `geusemaker deploy` makes one.",
    )
