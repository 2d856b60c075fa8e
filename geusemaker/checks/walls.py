"""What walls between the services mean to those who call them, where a change puts them up or takes them down. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from geusemaker.catalog import SERVICES
from geusemaker.models.plan import CheckResult
from geusemaker.models.site import Site
from geusemaker.models.stack import ServiceName, StackConfig, describe
from geusemaker.program import walls

KEYED: Final = "qdrant"
"""The service that asks for a key from then on."""
_NAMED: Final = 8
"""So many workflows are named."""


def check_walls(config: StackConfig, running: StackConfig | None, site: Site | None) -> list[CheckResult]:
    """Who reaches whom, where that changes; nothing where it does not, or nothing runs yet."""
    if running is None or walls.has_walls(config) == walls.has_walls(running):
        return []
    if not walls.has_walls(config):
        return [_warning("walls", "they come down: every service reaches every other")]
    callers = walls.networks(config, site)
    kept = [name for name in callers if name in config.services and not describe(config, name).calls_all]
    reached = [f"{name} by {_listed(walls.reached(config, name, site))}" for name in kept]
    return [_warning("walls", f"they go up, and a service is reached by its callers alone: {'; '.join(reached)}")]


def needs_key(config: StackConfig, running: StackConfig | None) -> bool:
    """Whether a change has Qdrant ask for a generated key that it did not ask for before."""
    return running is not None and _is_keyed(config) and KEYED in running.services and not _is_keyed(running)


def check_key(name: str, workflows: Sequence[str] | None) -> CheckResult:
    """Who has to show that key.

    Args:
        name: the deployment's.
        workflows: the names of n8n's workflows that mention Qdrant; None: they could not be asked for.
    """
    if workflows is None:
        who = "n8n could not be asked which workflows name it; those that do need it"
    elif not workflows:
        who = "no workflow of n8n names it"
    else:
        more = f" and {len(workflows) - _NAMED} more" if len(workflows) > _NAMED else ""
        named = ", ".join(repr(one) for one in workflows[:_NAMED])
        who = f"the workflows {named}{more} name it, and need the key in their credentials"
    return _warning(
        f"{SERVICES[KEYED].title} key",
        f"Qdrant answers 401 to whoever does not send its key (`geusemaker secrets show {name} qdrant_key`): {who}",
    )


def _is_keyed(config: StackConfig) -> bool:
    return KEYED in config.services and "qdrant_key" in config.secrets_of(KEYED).values()


def _listed(names: Sequence[ServiceName]) -> str:
    return " and ".join(names) or "nobody"


def _warning(name: str, detail: str) -> CheckResult:
    return CheckResult(name=name, status="warn", detail=detail)
