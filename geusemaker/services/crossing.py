"""Looks whether a change has put older software on data that newer software migrated, and puts that on record."""

from __future__ import annotations

from typing import Any

from geusemaker.catalog import MIGRATED
from geusemaker.models.plan import Event
from geusemaker.models.result import NewerData, OperationResult
from geusemaker.models.stack import StackConfig
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.services import facts, verdicts
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.newer_data import holding, newer_data, tried_since
from geusemaker.services.states import read_journal


def look(
    collaborators: Collaborators,
    host: Host,
    state: DeploymentState,
    left: Version | None,
    config: StackConfig,
    began_with: frozenset[str] | None,
    manifest: dict[str, Any] | None,
) -> NewerData | None:
    """What is to be said of what migrates, on its data, now that the change is done; None where that is of its own.

    Args:
        collaborators: the journal and the deployment's name.
        host: the instance.
        state: as it was before the change.
        left: the version that was left by the change.
        config: what runs now.
        began_with: the migrations the data had been through under this image minutes ago, where that was looked at.
        manifest: the data now, read when everything was ready.
    """
    service = config.services.get(MIGRATED.name)
    before = left.config.services.get(MIGRATED.name) if left is not None else None
    if service is None or before is None:
        return None
    others = tried_since(state, service.image)
    # What put what on the data is not known of a killed operation, or of a killed engine: then the data alone tells.
    same = before.image.by_digest == service.image.by_digest and not state.unsettled
    if not state.untold and (same or not others):
        return None
    now = facts.recorded_migrations(manifest)
    known = facts.migrations_then(host, read_journal(collaborators), state, config)
    if now is None or (known is None and began_with is None):
        return None
    knows = (known or frozenset()) | (began_with or frozenset())
    if not now - knows:
        return None
    works = MIGRATED.known_to_work(service.image, others)
    checkpoint = holding(facts.read_all_checkpoints(host), knows)
    return newer_data(collaborators.deployment, service.image, sorted(now - knows), works, checkpoint)


def stays_on_newer_data(state: DeploymentState, config: StackConfig) -> bool:
    """Whether the active version ran on newer data, and what migrates goes on running under it."""
    active, service = state.active, config.services.get(MIGRATED.name)
    before = active.config.services.get(MIGRATED.name) if active is not None else None
    if active is None or before is None or service is None or active.newer_data_as is None:
        return False
    return before.image.by_digest == service.image.by_digest


def record(collaborators: Collaborators, number: int, found: NewerData | None, *, stays: bool) -> None:
    """Keep with the version that it became healthy on newer data, unless it is known to work on that."""
    if stays or (found is not None and not found.known_to_work):
        verdicts.note(collaborators, newer=number)
    if found is not None:
        collaborators.on_event(Event(kind="warning", message=found.message))


def told(result: OperationResult, found: NewerData, *, accepted: bool) -> OperationResult:
    """The result of a change that worked, with what is to be said of the data.

    Args:
        result: the result.
        found: what was found.
        accepted: the operator said beforehand that older software may go on newer data.
    """
    next_step = way_on(result.deployment, found)
    result = result.model_copy(
        update={"newer_data": found, "warnings": [*result.warnings, found.message], "next_step": next_step}
    )
    if accepted or found.known_to_work:
        return result
    message = f"v{result.version} is active and answers, but {found.message}"
    return result.model_copy(update={"success": False, "exit_code": 4, "error_message": message})


def way_on(deployment: str, found: NewerData) -> str:
    """What to type where older software runs on newer data."""
    if found.known_to_work:
        return ""
    if found.restore:
        return f"Run `{found.restore}` to have the data back as it was, or update to a mended newer release."
    return f"Update to a mended newer release; `geusemaker checkpoints {deployment}` lists the copies of the data."
