"""DiffService: which two versions are compared, and what differs between them."""

from __future__ import annotations

from geusemaker.errors import RefusedError
from geusemaker.models.comparison import Comparison
from geusemaker.models.request import ConfigRequest
from geusemaker.models.stack import StackConfig, Target
from geusemaker.models.stack_file import StackFile
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.desired import fact_changes, wished_config, with_facts
from geusemaker.services.desired.refusals import left
from geusemaker.services.diff.compare import Side, compare
from geusemaker.services.rollback.target import default_target, known_version
from geusemaker.services.site import require_fit, site_changes, wished_site
from geusemaker.services.states import get_state, has_volume, models_on_volume, require_readable


class DiffService:
    """Compares; asks the backend alone, neither AWS nor the instance."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def diff(self, old: int | None = None, new: int | None = None) -> Comparison:
        """What differs from ``old`` to ``new``.

        With one number: from that version to the active one. Without: from the active one to the one that a rollback
        without a number goes to.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version, or none that is meant without a number.
        """
        state = get_state(self._with, whole=True)
        if old is None:
            sides = self._active(state), self._back(state)
        else:
            sides = known_version(state, old), known_version(state, new) if new is not None else self._active(state)
        return compare(
            state.name,
            *(_side(version, state.target) for version in sides),
            data_volume=has_volume(state),
            models_on_volume=models_on_volume(state),
        )

    def file(self, file: StackFile) -> Comparison:
        """What differs from the active version to a stack file: what an update with it would change.

        Images whose tag is another one have no digest yet: no registry is asked.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: a value of the file cannot be used.
            RefusedError: there is no active version, or it cannot be read.
        """
        state = get_state(self._with)
        require_readable(state)
        active = self._active(state)
        request = with_facts(ConfigRequest(desired=file), active.config)
        target = state.target
        site = wished_site(request, target.site, target.kind) if target is not None else None
        config = wished_config(request, active.config, state.versions, site)
        require_fit(config, site)
        new = Side(file.source, config, site=site)
        found = compare(
            state.name,
            _side(active, target),
            new,
            data_volume=has_volume(state),
            models_on_volume=models_on_volume(state),
        )
        found = found.model_copy(update={"note": _note(state, config, file)})
        if target is None:
            return found
        opened = site_changes(target, target.model_copy(update={"site": site}))
        facts = fact_changes(file, target, active.config, state.labels)
        return found.model_copy(update={"changes": [*found.changes, *opened, *facts]})

    @staticmethod
    def _active(state: DeploymentState) -> Version:
        if state.active is None:
            raise RefusedError(
                f"{state.name} has no active version to compare with.",
                state="Nothing was changed.",
                next_step=f"Name two versions; `geusemaker history {state.name}` lists them.",
            )
        return state.active

    @staticmethod
    def _back(state: DeploymentState) -> Version:
        back = default_target(state)
        if back is None or back is state.active:
            raise RefusedError(
                f"A rollback of {state.name} without a number would go to no other version, so there is none to "
                "compare with.",
                state="Nothing was changed.",
                next_step=f"Name one or two versions; `geusemaker history {state.name}` lists them.",
            )
        return back


def _note(state: DeploymentState, config: StackConfig, file: StackFile) -> str:
    told = []
    if state.unsettled:
        told.append(
            "The latest operation failed or was interrupted: what runs may be something else. "
            f"`geusemaker status {state.name}` tells."
        )
    if why := left(state, config):
        told.append(f"An update with {file.source} is refused without --again: {why}.")
    return " ".join(told)


def _side(version: Version, target: Target | None) -> Side:
    site = target.site if target is not None else None  # of the deployment: the same for each version
    return Side(f"v{version.number}", version.config, version.number, site)
