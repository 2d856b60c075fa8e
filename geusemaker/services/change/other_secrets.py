"""Which secrets hold from a change on."""

from __future__ import annotations

from geusemaker.errors import RefusedError
from geusemaker.models.secrets import Secrets
from geusemaker.models.stack import StackConfig
from geusemaker.program.compose import missing_secrets
from geusemaker.program.walls import has_walls
from geusemaker.services.change.model import Asked
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.secret_values import came_with_failed, differing, held, taken_back, with_values
from geusemaker.services.secrets import completed


def find_changed(collaborators: Collaborators, asked: Asked, operation: str) -> tuple[Secrets | None, tuple[str, ...]]:
    """The secrets that hold from a change on, where it changes one of them, and the names of those.

    Raises:
        RefusedError: a variable refers to a secret that there is not.
        WorkspaceError: the secrets cannot be read here.
    """
    change = asked.change
    failed = came_with_failed(asked.state) if change.kind in ("rollback", "recover") else set()
    may_lack = _may_lack(asked)
    if not (change.secret_values or failed or may_lack or _refers(change.config)):
        return None, ()
    today = change.new_secrets or collaborators.engine.load_secrets()
    then = taken_back(today, failed) if failed else today
    if values := differing(then, change.secret_values):
        now, by = collaborators.clock.now(), collaborators.actor
        then = with_values(then, values, operation=operation, at=now, by=by)
    names = tuple(sorted(key for key, one in then.own.items() if one.value != held(today, key)))
    whole = completed(then) if has_walls(change.config) else then
    if missing := missing_secrets(change.config, whole):
        name, secret = asked.name, next(iter(missing.values()))
        variables = ", ".join(missing)
        raise RefusedError(
            f"{name} has no secret {secret}, which {variables} is to have."
            if len(missing) == 1
            else f"{name} lacks secrets: {', '.join(f'{key} is to have {value}' for key, value in missing.items())}.",
            state=asked.untouched,
            next_step="Give a value with --secret-env SERVICE.KEY (asked for, or =@FILE, =-, =env:VARIABLE)."
            if change.new_secrets is not None
            else f"`geusemaker secrets set {name} {secret}` asks for its value and keeps it.",
        )
    return (whole if names or whole is not then else None), names


def _may_lack(asked: Asked) -> bool:
    """Whether the deployment may lack a generated secret: it was made before there was such, and has no walls yet."""
    known = any(version.healthy and has_walls(version.config) for version in asked.state.versions)
    return has_walls(asked.change.config) and not known


def _refers(config: StackConfig) -> bool:
    return any(service.secret_environment for service in config.services.values())
