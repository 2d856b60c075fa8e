"""What is refused of a stack file: to take services out unasked, and to go back to what was gone back from. Pure."""

from __future__ import annotations

from geusemaker.catalog import PROXY
from geusemaker.errors import RefusedError
from geusemaker.models.request import ConfigRequest
from geusemaker.models.stack import StackConfig
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.services.configure import changed_config
from geusemaker.services.differences import same_system


def require_kept(request: ConfigRequest, base: StackConfig | None, config: StackConfig) -> None:
    """Refuse to take services out that a file does not have, where nobody said that they may go.

    Raises:
        RefusedError
    """
    file = request.desired
    gone = [name for name in base.services if name not in {*config.services, PROXY.name}] if base is not None else []
    if file is None or not gone or request.prune or request.dry_run:
        return
    raise RefusedError(
        f"{file.source} does not have {' and '.join(gone)}, which would be taken out.",
        state="Nothing was changed.",
        next_step="Add to the file what is to stay, or add --prune to take it out. Its data stays in any case.",
    )


def require_not_left(request: ConfigRequest, state: DeploymentState, config: StackConfig) -> None:
    """Refuse to make a file real that was rolled back: what failed, was marked bad or was left by a rollback.

    Raises:
        RefusedError
    """
    file, active = request.desired, state.active
    if file is None or request.again:
        return
    if why := left(state, config):
        raise RefusedError(
            f"{file.source} asks for what {state.name} went back from: {why}.",
            state=f"Nothing was changed; v{active.number} stays active." if active else "Nothing was changed.",
            next_step="Take the change back in the file, or add --again to try it once more.",
        )


def left(state: DeploymentState, config: StackConfig) -> str:
    """Which version with this system was gone back from, when and why; empty where none was, or where it runs."""
    if state.active is not None and not state.unsettled and _are_same(state.active.config, config):
        return ""
    same = [version for version in state.versions if _are_same(version.config, config)]
    if not same:
        return ""
    last = same[-1]
    tried = f"v{last.number}, tried {last.provenance.created_at:%Y-%m-%d %H:%M} UTC by {last.provenance.actor},"
    if state.active is None and not any(version.bad for version in same):
        return ""  # a deploy that failed is done again: nothing was gone back to
    marked = next((version for version in reversed(same) if version.bad), None)
    if marked is not None:
        noted = next((version.note for version in reversed(same) if version.note), "")
        return f"{tried} has the config of a version that is marked bad{f' ({noted})' if noted else ''}"
    if last.failed_as is not None or last.status == "failed":
        return f"{tried} failed when it was last tried"
    for version, rollback in _rollbacks(state):
        if _are_same(version.config, config):
            made = rollback.provenance
            reason = f" ({made.reason})" if made.reason else ""
            return (
                f"v{version.number} was left by the rollback v{rollback.number} of {made.actor}, "
                f"{made.created_at:%Y-%m-%d %H:%M} UTC{reason}"
            )
    return ""


def _rollbacks(state: DeploymentState) -> list[tuple[Version, Version]]:
    """(what was left, the rollback that left it) of the rollbacks since the last other change, newest first."""
    found: list[tuple[Version, Version]] = []
    healthy = [version for version in state.versions if version.healthy]
    while len(healthy) > 1 and healthy[-1].provenance.kind == "rollback":
        found.append((healthy[-2], healthy.pop()))
    return found


def _are_same(one: StackConfig, other: StackConfig) -> bool:
    """Whether two configs ask for the same system, in whatever rendering and under whatever domains."""
    newest = ConfigRequest(rendering="newest")
    return same_system(*(changed_config(newest, config) for config in (one, other)))
