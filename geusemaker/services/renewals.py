"""Newer packages of Docker: held back from what patches by itself, and renewed where that is asked for."""

from __future__ import annotations

from geusemaker.models.state import DeploymentState
from geusemaker.services import progress
from geusemaker.services.before import find_answering
from geusemaker.services.collaborators import Collaborators


def find_renewals(collaborators: Collaborators, state: DeploymentState) -> tuple[str, ...]:
    """``docker.io 26.1.5 → 26.1.6``, one a package that has a newer version.

    Raises:
        RefusedError: the instance does not run.
        HostError: it does not tell.
    """
    if state.target is None:
        return ()
    instance = find_answering(collaborators, state.target, ", so Docker cannot be renewed")
    secrets = collaborators.engine.load_secrets()
    with (
        progress.phase(collaborators.on_event, "look", "asking for newer packages of Docker"),
        collaborators.open_host(instance.address, state.target, secrets) as host,
    ):
        found = host.newer(collaborators.on_event).newer
    return tuple(f"{name} {old} → {new}" for name, (old, new) in sorted(found.items()))
