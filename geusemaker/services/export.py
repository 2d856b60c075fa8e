"""ExportService: a version of a deployment as a stack file."""

from __future__ import annotations

from geusemaker.errors import RefusedError
from geusemaker.models.request import ConfigRequest
from geusemaker.models.stack_file import StackFile
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.configure import changed_config
from geusemaker.services.rollback.target import known_version
from geusemaker.services.states import get_state, require_readable


class ExportService:
    """Exports; asks the backend alone, neither AWS nor the instance."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def export(self, number: int | None = None) -> StackFile:
        """The stack file of a version; without a number, of the active one, or the last that was healthy.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version.
        """
        name = self._with.deployment
        state = get_state(self._with, whole=number is not None)
        if number is None:
            require_readable(state)
        version = state.last_healthy if number is None else known_version(state, number)
        if version is None:
            raise RefusedError(
                f"{name} has no version that ever became healthy.",
                state="Nothing was changed.",
                next_step=f"Name one with --version; `geusemaker history {name} --all` lists them.",
            )
        # In the words in which a file is read: of the first rendering's no more.
        config = changed_config(ConfigRequest(), version.config)
        return StackFile.of(config, state.target, _head(name, version.number), state.labels)


def _head(name: str, number: int) -> str:
    lines = (
        f"geusemaker: all of {name}, as v{number} has it. `geusemaker diff {name} -f stack.yaml` tells what a change",
        f"of this file comes to, `geusemaker update {name} -f stack.yaml` makes it so.",
        "",
        "Services and variables that are not here go away. Of anything else that is not here, the deployment keeps",
        "what it has. Secrets are named here, never told. `geusemaker export --schema` has the schema for editors.",
    )
    return "\n".join(lines)
