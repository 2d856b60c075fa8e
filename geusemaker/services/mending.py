"""What a killed or failed engine left in Pulumi's state, and in AWS: looked for before a plan, put right after its yes.

Looking changes nothing. The plan is made on a copy of the state in which it is put right already (``Engine.rehearse``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geusemaker.errors import DeploymentBusyError
from geusemaker.models.history import LockOwner
from geusemaker.models.state import DeploymentState
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.engine_lock import clear_dead_lock, dead_lock
from geusemaker.services.known_rules import RULE_TYPES
from geusemaker.services.states import find_adoptable, has_volume


@dataclass(frozen=True)
class Mending:
    """What there is to put right."""

    adopt: dict[str, str] = field(default_factory=dict)
    """URN → id of what AWS has and the state lacks."""
    types: dict[str, str] = field(default_factory=dict)
    """URN → type of all that was looked for."""
    lock: LockOwner | None = None
    """Whose lock is in the way; its process is gone."""
    candidate: Path | None = None
    """The config file of a first deploy that takes up data: there is none else yet."""

    @property
    def lines(self) -> tuple[str, ...]:
        """What is done of it, one phrase each, for the plan."""
        told = []
        if self.lock is not None:
            where = f" on {self.lock.host}" if self.lock.host else ""
            told.append(f"Pulumi's lock of process {self.lock.pid}{where}, which is gone, is removed")
        for urn, type in sorted(self.types.items()):
            name = f"{type.rsplit(':', 1)[-1]} {urn.rsplit('::', 1)[-1]}"
            if urn in self.adopt:
                told.append(f"{name}: {self.adopt[urn]}, which AWS has and Pulumi's state lacks, is taken up")
            elif type not in RULE_TYPES:  # a rule that AWS has is taken up where the plan meets it
                told.append(f"{name}: that it was about to be created is forgotten; AWS has none")
        return tuple(told)


def find(
    collaborators: Collaborators, state: DeploymentState, region: str, *, has_data: bool, owner_is_gone: bool = False
) -> Mending:
    """Look for it. With ``has_data`` for what holds the data, too, where the state has lost it.

    Raises:
        DeploymentBusyError: a run of the engine holds the stack whose owner lives, or may live on another machine.
    """
    engine = collaborators.engine
    # That of an engine killed at its deadline; whoever says that an owner is gone says so of its lock.
    lock = dead_lock(collaborators, state, owner_is_gone=owner_is_gone)
    pending = {urn: sought.type for urn, sought in engine.pending_creates().items()}
    lost = engine.missing_data(has_volume=has_volume(state)) if has_data else {}
    return Mending(find_adoptable(collaborators, state, region, has_data=has_data), pending | lost, lock)


def mend(
    collaborators: Collaborators, state: DeploymentState, mending: Mending, *, owner_is_gone: bool = False
) -> None:
    """Put it right: the state is then in line with AWS, what was created already is in it.

    Raises:
        DeploymentBusyError: a run of the engine holds the stack whose owner lives, or may live on another machine.
    """
    clear_dead_lock(collaborators, state, owner_is_gone=owner_is_gone)
    try:
        collaborators.engine.clear_pending(mending.adopt, mending.candidate)
    except DeploymentBusyError as error:
        if error.lock is None:
            raise
        clear_dead_lock(collaborators, state, owner_is_gone=owner_is_gone, owner=error.lock)
        collaborators.engine.clear_pending(mending.adopt, mending.candidate)


def all_gone(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether AWS has nothing left of what the state knew: that is another world, not one to repair. Pure."""

    def in_aws(resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
        return [urn for urn, resource in resources.items() if str(resource["type"]).startswith("aws:")]

    return bool(in_aws(before)) and not in_aws(after)
