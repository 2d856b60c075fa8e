"""Reading a deployment's state, and the refusals that every verb shares."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from geusemaker.engine.versions import read_state
from geusemaker.errors import DeploymentBusyError, DeploymentNotFoundError, RefusedError
from geusemaker.models.history import HISTORY_PAGE, Intent, StackTags, short_host
from geusemaker.models.plan import Event
from geusemaker.models.state import DeploymentState
from geusemaker.services.collaborators import Collaborators


def load_state(collaborators: Collaborators, *, whole: bool = False) -> DeploymentState:
    """The deployment's state; its newest hundred updates, or all of them.

    Raises:
        DeploymentNotFoundError: there is no such deployment.
    """
    engine = collaborators.engine
    with ThreadPoolExecutor(max_workers=2) as pool:
        history_read = pool.submit(engine.history, None if whole else HISTORY_PAGE)
        tags_read = pool.submit(engine.tags)
        history, tags = history_read.result(), tags_read.result()
    state = read_state(collaborators.deployment, history, tags)
    if not whole and len(history) == HISTORY_PAGE and not _is_enough(state, tags):
        state = read_state(collaborators.deployment, engine.history(None), tags)
    return state


def _is_enough(state: DeploymentState, tags: StackTags) -> bool:
    """Whether the newest page holds every version that matters: those kept, the pinned ones, and one to go back to.

    Refreshes and failures fill pages as well.
    """
    retention_is_full = any(version.healthy and version.archived for version in state.versions)
    return retention_is_full and all(number >= state.versions[0].number for number in tags.pinned)


def require_readable(state: DeploymentState) -> None:
    """Refuse to change what another schema describes: an older version would be taken for the active one.

    Raises:
        RefusedError: the newest version cannot be read.
    """
    if state.unreadable:
        raise RefusedError(
            f"The newest version of {state.name} cannot be read by this geusemaker ({state.unreadable}).",
            state="Nothing was changed.",
            next_step="It was made by another version of geusemaker: use that one, or upgrade this one.",
        )


def clear_dead_lock(collaborators: Collaborators, name: str, *, owner_is_gone: bool = False) -> None:
    """Remove the lock of a run of the engine whose process is gone. It outlives the geusemaker that started it.

    ``owner_is_gone`` is the operator's word for a process of another machine; one of this machine is looked at.

    Raises:
        DeploymentBusyError: its owner lives, or is on another machine, where that cannot be seen.
    """
    owner = collaborators.engine.lock_owner()
    if owner is None:
        return
    elsewhere = owner.host != collaborators.host_name
    if not owner_is_gone if elsewhere else collaborators.is_alive(owner.pid):
        raise DeploymentBusyError(
            f"A run of the engine holds {name}: process {owner.pid} of {owner.user} on {owner.host} "
            f"since {owner.since}.",
            state="Nothing was changed.",
            next_step=f"Wait for it. If that process is gone, run `geusemaker recover {name}` on {owner.host}, or with "
            "--owner-is-gone from anywhere.",
        )
    collaborators.engine.remove_lock()
    collaborators.on_event(Event(kind="note", message=f"Removed the lock of the dead process {owner.pid}."))


def require_settled(collaborators: Collaborators, state: DeploymentState) -> None:
    """Refuse while another operation runs, or after one was killed.

    Raises:
        DeploymentBusyError: another operation runs now.
        RefusedError: one was killed and has to be recovered first.
    """
    require_readable(state)
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
    if intent.host != short_host(collaborators.host_name):
        return True
    return intent.pid != collaborators.pid and collaborators.is_alive(intent.pid)


def is_left_behind(collaborators: Collaborators, holder: dict[str, Any]) -> bool:
    """Whether a held lease is that of an operation whose process is gone, or of this process's own failed one."""
    owner = holder.get("owner") or {}
    if holder.get("state") != "held" or owner.get("host") != collaborators.host_name:
        return False
    pid = int(owner.get("pid") or 0)
    return pid == collaborators.pid or not collaborators.is_alive(pid)


def busy(name: str, intent: Intent) -> DeploymentBusyError:
    """Another operation holds the deployment."""
    return DeploymentBusyError(
        f"{name} is held by a {intent.kind} (v{intent.number}) of {intent.actor}: process {intent.pid} on "
        f"{intent.host}, since {intent.started_at:%Y-%m-%d %H:%M:%S} UTC.",
        state="Nothing was changed by this one.",
        next_step=f"Wait for it, or watch it with `geusemaker status {name}`. If that process is gone, run "
        f"`geusemaker recover {name}` on {intent.host}, or with --owner-is-gone from anywhere.",
    )


def not_found(name: str) -> DeploymentNotFoundError:
    """There is no such deployment."""
    return DeploymentNotFoundError(
        f"There is no deployment {name}.",
        state="Nothing was changed.",
        next_step="`geusemaker list` shows those there are; `geusemaker deploy` makes one.",
    )


def settle_pending(collaborators: Collaborators, region: str, *, has_data: bool) -> None:
    """Bring the engine's state in line with AWS after a run that was killed; what it had created already is adopted.

    Else the next run would create a second one, and the first would be nobody's. With ``has_data`` that is so for
    what holds the data, too, where the state has lost it.
    """
    cloud, engine = collaborators.cloud(region), collaborators.engine
    wanted = engine.pending_creates() | (engine.missing_data() if has_data else {})
    found = {urn: cloud.find_created(resource_type, collaborators.deployment) for urn, resource_type in wanted.items()}
    collaborators.engine.clear_pending({urn: created for urn, created in found.items() if created is not None})
