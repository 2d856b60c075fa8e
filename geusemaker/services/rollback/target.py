"""Which version a rollback goes to. Pure; the rules are design decisions that users rely on.

Complaints about other tools shaped them: going to N-1 even if that one had failed (helm#7158), reverting to the
identical version (nomad#3052, nomad#3357).
"""

from __future__ import annotations

from collections.abc import Iterator

from geusemaker.engine.versions import origin
from geusemaker.errors import RefusedError
from geusemaker.models.request import RollbackRequest
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.services.differences import same_system


def choose_target(state: DeploymentState, request: RollbackRequest) -> Version:
    """The version to go back to.

    With a number: that version, if nothing speaks against it. Without: the last healthy version itself when the
    latest operation failed or was interrupted; else the newest healthy version older than where the active config
    comes from, not marked bad, with a different config.

    Raises:
        RefusedError: there is no such version, or something speaks against it and its flag was not given.
    """
    if request.to_version is not None:
        return _numbered(state, request)
    target = default_target(state)
    if target is None:
        archived = next((version for version in _earlier(state) if version.archived), None)
        raise RefusedError(
            f"{state.name} has no earlier healthy version with another config to go back to"
            + (" that is not archived." if archived else "."),
            state=_unchanged(state),
            next_step=f"To go to the newest archived one, add --to-version {archived.number} --allow-archived."
            if archived
            else f"See `geusemaker history {state.name}`.",
        )
    return target


def default_target(state: DeploymentState) -> Version | None:
    """The target of a rollback without a number; None when there is none."""
    active = state.active
    if active is None:
        return None
    if state.unsettled and not active.bad:
        return active
    return next((version for version in _earlier(state) if not version.archived), None)


def _earlier(state: DeploymentState) -> Iterator[Version]:
    """What a plain rollback could go to, newest first: healthy, not bad, other than what is active, and before it."""
    active = state.active
    if active is None:
        return
    came_from = origin({version.number: version for version in state.versions}, active)
    for version in reversed(state.versions):
        usable = version.healthy and not version.bad and not same_system(version.config, active.config)
        if usable and version.number < came_from:
            yield version


def _numbered(state: DeploymentState, request: RollbackRequest) -> Version:
    assert request.to_version is not None
    version = state.find_version(request.to_version)
    name = state.name
    if version is None:
        raise unknown_version(state, request.to_version)
    active = state.active
    if active is not None and not state.unsettled:
        if version.number == active.number:
            raise RefusedError(
                f"v{version.number} is the active version of {name} already.",
                state=_unchanged(state),
                next_step=f"`geusemaker history {name}` lists the others.",
            )
        if same_system(version.config, active.config):
            raise RefusedError(
                f"v{version.number} has the same config as the active v{active.number}: there is nothing to change.",
                state=_unchanged(state),
                next_step=f"`geusemaker history {name}` lists the others.",
            )
    if not version.healthy and not request.allow_unhealthy:
        raise RefusedError(
            f"v{version.number} of {name} never became healthy.",
            state=_unchanged(state),
            next_step="Choose another version, or add --allow-unhealthy to go there all the same.",
        )
    if version.bad and not request.allow_bad:
        raise RefusedError(
            f"v{version.number} of {name} is marked bad.",
            state=_unchanged(state),
            next_step="Choose another version, or add --allow-bad to go there all the same.",
        )
    if version.archived and not request.allow_archived:
        raise RefusedError(
            f"v{version.number} of {name} is archived: it is past retention, and its images may be gone.",
            state=_unchanged(state),
            next_step="Add --allow-archived to go there all the same; missing images are pulled again.",
        )
    return version


def unknown_version(state: DeploymentState, number: int) -> RefusedError:
    """There is no such version; names those there are."""
    numbers = ", ".join(f"v{known.number}" for known in state.versions) or "none"
    return RefusedError(
        f"{state.name} has no version {number}; there are: {numbers}.",
        state=_unchanged(state),
        next_step=f"See `geusemaker history {state.name}`.",
    )


def _unchanged(state: DeploymentState) -> str:
    active = state.active
    return f"Nothing was changed; v{active.number} stays active." if active is not None else "Nothing was changed."
