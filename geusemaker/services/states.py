"""Reading a deployment's state, and the refusals that every verb shares."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from geusemaker.agent.protocol.stored import Lease
from geusemaker.engine.versions import read_state
from geusemaker.errors import DeploymentBusyError, DeploymentNotFoundError, RefusedError
from geusemaker.models.history import BESIDE, HISTORY_PAGE, Intent, StackTags, short_host
from geusemaker.models.ownership import Sought, own_tags
from geusemaker.models.record import OperationRecord
from geusemaker.models.state import DeploymentState
from geusemaker.services.collaborators import Collaborators


def load_state(collaborators: Collaborators, *, whole: bool = False, fell_ill: str = "") -> DeploymentState:
    """The deployment's state; its newest hundred updates, or all of them. ``fell_ill``: see ``read_state``.

    Raises:
        DeploymentNotFoundError: there is no such deployment.
    """
    engine = collaborators.engine
    with ThreadPoolExecutor(max_workers=2) as pool:
        history_read = pool.submit(engine.history, None if whole else HISTORY_PAGE)
        tags_read = pool.submit(engine.tags)
        history, tags = history_read.result(), tags_read.result()
    state = read_state(collaborators.deployment, history, tags, fell_ill)
    if not whole and len(history) == HISTORY_PAGE and not _is_enough(state, tags):
        state = read_state(collaborators.deployment, engine.history(None), tags, fell_ill)
    collaborators.warn_once(damage_notice(state))
    if state.target is None and not state.unreadable:
        # A first deploy that was killed left no history, and may have left all else.
        state = state.model_copy(update={"target": engine.stored_target()})
    return state


def get_state(collaborators: Collaborators, *, whole: bool = False) -> DeploymentState:
    """As ``load_state``, of a deployment on which something was begun at least.

    Raises:
        DeploymentNotFoundError: there is no such deployment.
    """
    state = load_state(collaborators, whole=whole)
    if not state.versions and state.intent is None and not unreadable_notice(state):
        raise not_found(collaborators.deployment)
    return state


def _is_enough(state: DeploymentState, tags: StackTags) -> bool:
    """Whether the newest page holds every version that matters: those kept, the pinned ones, and one to go back to.

    Refreshes and failures fill pages as well.
    """
    retention_is_full = any(version.healthy and version.archived for version in state.versions)
    return retention_is_full and all(number >= state.versions[0].number for number in tags.pinned)


def damage_notice(state: DeploymentState) -> str:
    """What is said of entries of the history that cannot be read; empty where all can."""
    if not state.damaged:
        return ""
    count = "1 entry" if len(state.damaged) == 1 else f"{len(state.damaged)} entries"
    return (
        f"{count} of the history cannot be read and left out ({'; '.join(state.damaged)}); "
        f"`geusemaker doctor {state.name}` says what to do."
    )


def read_journal(collaborators: Collaborators) -> list[OperationRecord]:
    """The journal's records; that some of it cannot be read is said once."""
    records = collaborators.journal.read()
    collaborators.warn_once(collaborators.journal.damage)
    return records


def unreadable_notice(state: DeploymentState) -> str:
    """What of a deployment this geusemaker cannot read, so that nothing can be said of it; empty where it can all."""
    what = []
    if state.unreadable:
        newest = state.unreadable_versions[-1] if state.unreadable_versions else None
        number = f" (v{newest.number})" if newest is not None and newest.number is not None else ""
        what.append(
            f"The newest version of {state.name}{number} cannot be read by this geusemaker ({state.unreadable})."
        )
    if state.unreadable_intent:
        what.append(
            f"The note of the latest operation on {state.name} cannot be read by this geusemaker "
            f"({state.unreadable_intent}), so whether one is under way is not known."
        )
    if state.unreadable_marks:
        what.append(
            f"What was noted of the versions of {state.name} cannot be read by this geusemaker "
            f"({state.unreadable_marks}), so which of them are bad or failed is not known."
        )
    return " ".join(what)


USE_THAT_ONE: Final = "It was written by another, later version of geusemaker: use that one, or upgrade this one."


def require_readable(state: DeploymentState) -> None:
    """Refuse to change what another schema describes: an older version would be taken for the active one.

    Raises:
        RefusedError: the newest version, the note of the latest operation, or the marks cannot be read.
    """
    if notice := unreadable_notice(state):
        raise RefusedError(notice, state="Nothing was changed.", next_step=USE_THAT_ONE)


def require_settled(collaborators: Collaborators, state: DeploymentState) -> None:
    """Refuse while another operation runs, or after one was killed.

    Raises:
        DeploymentBusyError: another operation runs now.
        RefusedError: one was killed and has to be recovered first.
    """
    require_readable(state)
    intent = state.intent
    if intent is None or (intent.outcome and not state.interrupted):
        return
    require_idle(collaborators, state)
    if state.interrupted and intent.kind == "restore":
        raise RefusedError(
            f"The last operation on {state.name}, a restore of {intent.actor}, was killed before it was done.",
            state="Each database is the old one or the restored one; collections may be either, and n8n may be down.",
            next_step=f"Run `geusemaker restore {state.name}` again as before, or `geusemaker recover {state.name}` to "
            "go on with what is there.",
        )
    if state.interrupted and intent.kind in ROTATIONS:
        raise RefusedError(
            f"The last operation on {state.name}, {with_article(intent.kind)} by {intent.actor}, was killed before it "
            "was done.",
            state="Both secrets may hold.",
            next_step=f"Run `geusemaker secrets {ROTATIONS[intent.kind]} {state.name}` again, or `geusemaker "
            f"recover {state.name}` to go on with the one that is stored.",
        )
    if state.interrupted:
        what = f"{intent.kind} v{intent.number} of {intent.actor}"
        raise RefusedError(
            f"An operation on {state.name} was killed before it was done, and {what} did not repair that."
            if intent.outcome or intent.kind in BESIDE
            else f"The last operation on {state.name}, {what}, was killed before it was done.",
            state="What runs on the instance may be neither version.",
            next_step=f"Run `geusemaker recover {state.name}` (or `geusemaker rollback {state.name}`) first.",
        )


def require_idle(collaborators: Collaborators, state: DeploymentState) -> None:
    """Refuse while another operation runs.

    Raises:
        DeploymentBusyError
        RefusedError: whether one runs cannot be read.
    """
    if state.unreadable_intent:
        require_readable(state)
    if state.intent is not None and is_running(collaborators, state.intent):
        raise busy(state.name, state.intent)


_MARK_SECONDS: Final = 600.0
"""No mark takes as long, with all others that it may have waited for: one that is older was killed, wherever it ran."""


def is_running(collaborators: Collaborators, intent: Intent) -> bool:
    """Whether the owner of an unfinished operation lives; on another machine that cannot be seen, so it may."""
    if intent.outcome:
        return False
    if intent.kind == "mark" and (collaborators.clock.now() - intent.started_at).total_seconds() > _MARK_SECONDS:
        return False
    if intent.host != short_host(collaborators.host_name):
        return True
    is_this = (intent.pid, intent.born) == (collaborators.pid, collaborators.born)
    return not is_this and collaborators.is_alive(intent.pid, intent.born)


def is_left_behind(collaborators: Collaborators, holder: Lease, *, owner_is_gone: bool = False) -> bool:
    """Whether a held lease is that of an operation whose process is gone, or of this process's own failed one.

    ``owner_is_gone`` is the operator's word for a process of another machine.
    """
    owner = holder.owner
    if holder.state != "held":
        return False
    if owner.host != collaborators.host_name:
        return owner_is_gone
    pid, born = owner.pid or 0, owner.born or ""
    return (pid, born) == (collaborators.pid, collaborators.born) or not collaborators.is_alive(pid, born)


def with_article(kind: str) -> str:
    """``an update``, ``a rollback``: an operation's kind in a sentence."""
    words = spoken(kind)
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


ROTATIONS: Final = {"rotate-ssh": "rotate ssh", "rotate-database": "rotate database", "import-n8n-key": "import"}
"""Kind of operation → the words of `geusemaker secrets` that do it."""
_SPOKEN: Final = {
    "rotate-ssh": "rotation of the ssh secret",
    "rotate-database": "rotation of the database secret",
    "rotate-passphrase": "rotation of the passphrase",
    "import-n8n-key": "import of n8n's key",
    "set-secret": "setting of a secret",
    "delete-secret": "deletion of a secret",
    "label": "change of labels",
}


def spoken(kind: str) -> str:
    """An operation's kind in a sentence."""
    return _SPOKEN.get(kind, kind)


def killed_beside(intent: Intent) -> str:
    """What is said of an operation that touches nothing that runs, and was killed."""
    return f"{with_article(intent.kind).capitalize()} by {intent.actor} was killed; nothing that runs was touched."


def busy(name: str, intent: Intent) -> DeploymentBusyError:
    """Another operation holds the deployment."""
    number = "" if intent.kind in BESIDE else f" (v{intent.number})"
    return DeploymentBusyError(
        f"{name} is held by {with_article(intent.kind)}{number} of {intent.actor}: process {intent.pid} on "
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
        next_step=f"`geusemaker list` shows those there are; `geusemaker deploy {name}` makes it.",
    )


def has_volume(state: DeploymentState) -> bool:
    """Whether the deployment has a data volume; one from before there was one has not."""
    return state.target is not None and state.target.has_data_volume


def models_on_volume(state: DeploymentState) -> bool:
    """Whether models lie on it."""
    return state.target is not None and state.target.models_on == "volume"


def find_adoptable(
    collaborators: Collaborators, state: DeploymentState, region: str, *, has_data: bool
) -> dict[str, str]:
    """What AWS has and Pulumi's state has not, and what the state says it is: URN → id.

    That is what a killed engine was making and, with ``has_data``, what holds the data. It has to carry the stack's own
    tags: something else of the same name is never taken.
    """
    cloud, engine = collaborators.cloud(region), collaborators.engine
    own = own_tags(state.name, state.target.stack_id if state.target is not None else "")
    lost = engine.missing_data(has_volume=has_volume(state)) if has_data else {}
    sought = {urn: Sought(type=resource_type, tags=own) for urn, resource_type in lost.items()}
    found = {urn: cloud.find_created(one) for urn, one in (sought | engine.pending_creates()).items()}
    return {urn: created for urn, created in found.items() if created is not None}
