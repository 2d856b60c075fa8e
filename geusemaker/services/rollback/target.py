"""Which version is gone to: by a rollback, by a recovery, and by a failed change on its own. Pure.

One choice for all of them, so that no two verbs disagree, and what ``status`` and errors advise is what happens.

Complaints about other tools shaped the rules: going to N-1 even if that one had failed (helm#7158), reverting to the
identical version (nomad#3052, nomad#3357).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from geusemaker.engine.standing import origin
from geusemaker.errors import RefusedError
from geusemaker.models.request import RollbackRequest
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.services.differences import another_instance, same_system

_LISTED: Final = 3
"""So many of the last versions are named where none is left to go to."""


def choose_target(state: DeploymentState, request: RollbackRequest) -> Version:
    """The version that a rollback goes to.

    With a number: that version, if nothing speaks against it. Without: ``default_target``.

    Raises:
        RefusedError: there is no such version, or something speaks against it and its flag was not given.
    """
    if request.to_version is not None:
        return _numbered(state, request)
    target = default_target(state)
    if target is None:
        raise RefusedError(
            f"{state.name} has no earlier healthy version with another config to go back to by itself.",
            state=unchanged(state),
            next_step=advice(state),
        )
    return target


def default_target(state: DeploymentState) -> Version | None:
    """Where a rollback without a number goes, and a failed change by itself; None when no version is left for that.

    The last healthy version itself when the latest operation failed or was interrupted; else, and where something
    speaks against that one, the newest healthy version older than where its config comes from, with another config.
    """
    active = state.active
    if active is None:
        return None
    if state.unsettled and not objections(active):
        return active
    return next(_earlier(state, active), None)


def repair_target(state: DeploymentState, *, failing: bool = False) -> Version | None:
    """Where a recovery goes; None when no version is left for that.

    After an operation that failed or was killed, where a rollback goes. Else what is active is put right, unless it
    fails by itself: then, too, where a rollback goes. What only was marked or failed once is put right all the same
    where nothing else is left: else nothing could be done about an instance that is gone.

    Args:
        state: the deployment.
        failing: the services of the active version run, and fail.
    """
    base = state.last_healthy
    if base is None:
        return None
    # Data that has been migrated past it is no reason against what runs on it already: nothing is gone back to.
    stays = not state.unsettled and not failing and not base.bad and base.failed_as is None
    returns = state.unsettled and not objections(base)
    if stays or returns:
        return base
    return next(_earlier(state, base), base if not state.unsettled and not failing else None)


def objections(version: Version) -> list[str]:
    """What speaks against going to a version without being asked for it by number."""
    found = [] if version.healthy else ["never became healthy"]
    if version.bad:
        found.append("is marked bad")
    if version.failed_as is not None:
        found.append(f"failed when it was last tried{_other_number(version, version.failed_as)}")
    if version.newer_data_as is not None:
        as_other = _other_number(version, version.newer_data_as)
        found.append(f"last ran on data that newer software had migrated{as_other}")
    if version.archived:
        found.append("is archived")
    return found


def advice(state: DeploymentState, *, failing: bool = False) -> str:
    """What to type to get back to a version that works. Never names what has just failed.

    Args:
        state: the deployment.
        failing: the services of the active version run, and fail.
    """
    name = state.name
    target = default_target(state)
    if target is not None:
        command = " ".join(["geusemaker rollback", name, *replacing(state, target)])
        return f"Run `{command}`: it goes back to v{target.number}."
    others = list(_others(state, failing))
    if not others:
        return f"There is no other version that ever was healthy. Run `geusemaker update {name}` with a mended release."
    listed = [f"v{version.number} {' and '.join(objections(version)) or 'was left before'}" for version in others]
    first = others[0]
    flags = (*flags_for(first), *replacing(state, first))
    command = " ".join([f"geusemaker rollback {name} --to-version {first.number}", *flags])
    return (
        f"No version is left to go back to by itself: {'; '.join(listed)}. Choose one by number, such as `{command}`, "
        f"or run `geusemaker update {name}` with a mended release."
    )


_FLAGS: Final[dict[str, Callable[[Version], bool]]] = {
    "--allow-unhealthy": lambda version: not version.healthy,
    "--allow-bad": lambda version: version.bad,
    "--allow-data-downgrade": lambda version: version.newer_data_as is not None,
    "--allow-archived": lambda version: version.archived,
}
"""Flag of `rollback` → whether a version needs it."""


def flags_for(version: Version) -> list[str]:
    """The flags that a rollback to a version by number needs."""
    return [flag for flag, needed in _FLAGS.items() if needed(version)]


def replacing(state: DeploymentState, version: Version) -> tuple[str, ...]:
    """The flag that a rollback to a version needs where what was tried last was another instance."""
    last = state.versions[-1].config if state.versions else version.config
    return ("--allow-replace",) if another_instance(last, version.config) else ()


def _others(state: DeploymentState, failing: bool) -> Iterator[Version]:
    """The last versions that were healthy, newest first, one a system, without what has just failed or runs."""
    active = state.active
    last = state.versions[-1] if state.versions else None
    # What failed need not be among them: of an engine that was killed at its deadline only the intent tells.
    fell = last is not None and (failing or (state.last_failed and (last.gate_failed or not last.healthy)))
    seen = {last.config.system} if last is not None and fell else set()
    if active is not None and (failing or not state.unsettled):
        seen.add(active.config.system)
    left = _LISTED
    for version in reversed(state.versions):
        if left and version.healthy and version.config.system not in seen:
            seen.add(version.config.system)
            left -= 1
            yield version


def _earlier(state: DeploymentState, base: Version) -> Iterator[Version]:
    """What may be gone to instead of a version without being asked for, newest first."""
    came_from = origin({version.number: version for version in state.versions}, base)
    for version in reversed(state.versions):
        if version.number < came_from and not objections(version) and not same_system(version.config, base.config):
            yield version


def _other_number(version: Version, number: int) -> str:
    return f" (as v{number})" if number != version.number else ""


def _numbered(state: DeploymentState, request: RollbackRequest) -> Version:
    assert request.to_version is not None
    version, name, active = known_version(state, request.to_version), state.name, state.active
    if active is not None and not state.unsettled:
        require_other(state, version, active)
        if same_system(version.config, active.config):
            raise RefusedError(
                f"v{version.number} has the same config as the active v{active.number}: there is nothing to change.",
                state=unchanged(state),
                next_step=f"`geusemaker history {name}` lists the others.",
            )
    require_allowed(state, request, version)
    return version


def require_other(state: DeploymentState, version: Version, active: Version) -> None:
    """Refuse the active version.

    Raises:
        RefusedError
    """
    if version.number == active.number:
        raise RefusedError(
            f"v{version.number} is the active version of {state.name} already.",
            state=unchanged(state),
            next_step=f"`geusemaker history {state.name}` lists the others.",
        )


def require_allowed(state: DeploymentState, request: RollbackRequest, version: Version) -> None:
    """Refuse a version that something speaks against, unless its flag was given.

    Raises:
        RefusedError
    """
    name = state.name
    if not version.healthy and not request.allow_unhealthy:
        raise RefusedError(
            f"v{version.number} of {name} never became healthy.",
            state=unchanged(state),
            next_step="Choose another version, or add --allow-unhealthy to go there all the same.",
        )
    if version.bad and not request.allow_bad:
        raise RefusedError(
            f"v{version.number} of {name} is marked bad, or has the config of a version that is.",
            state=unchanged(state),
            next_step="Choose another version, or add --allow-bad to go there all the same.",
        )
    if version.archived and not request.allow_archived:
        raise RefusedError(
            f"v{version.number} of {name} is archived: it is past retention, and its images may be gone.",
            state=unchanged(state),
            next_step="Add --allow-archived to go there all the same; missing images are pulled again.",
        )


def known_version(state: DeploymentState, number: int) -> Version:
    """The version with that number.

    Raises:
        RefusedError: there is none; names those there are.
    """
    if (found := state.find_version(number)) is not None:
        return found
    numbers = ", ".join(f"v{known.number}" for known in state.versions) or "none"
    raise RefusedError(
        f"{state.name} has no version {number}; there are: {numbers}.",
        state=unchanged(state),
        next_step=f"See `geusemaker history {state.name}`.",
    )


def unchanged(state: DeploymentState) -> str:
    """What is said where nothing was changed."""
    active = state.active
    return f"Nothing was changed; v{active.number} stays active." if active is not None else "Nothing was changed."


def mending(state: DeploymentState, does: str, *, failing: bool = False) -> str:
    """What to type: ``recover`` as it would go, with what it ``does`` where it puts right what is active."""
    target = repair_target(state, failing=failing)
    if target is None:
        return advice(state, failing=failing)
    stays = state.active is not None and target.number == state.active.number
    return f"`geusemaker recover {state.name}` {does if stays else f'goes back to v{target.number}'}."
