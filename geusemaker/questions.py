"""What can be asked of a deployment, and of its files in the backend. Nothing is changed by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from geusemaker.cloud.aws import AwsCloud
from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.models.plan import CheckResult
from geusemaker.models.result import CheckpointList, DeploymentInfo, Inspection, RepairStep
from geusemaker.models.stack import Target
from geusemaker.targets import open_target
from geusemaker.wiring import Wiring, ignore

if TYPE_CHECKING:
    from geusemaker.models.state import DeploymentState
    from geusemaker.services.collaborators import Cloud


class Questions:
    """A deployment that is asked."""

    def __init__(self, name: str, settings: WorkspaceSettings) -> None:
        self.name = name
        self._settings = settings
        self._wiring = Wiring(name, settings)

    def inspect(self, show_history: bool = False) -> Inspection:
        """Everything known: versions, rollbacks, restores, and what runs right now.

        ``show_history`` asks the instance too for what other machines did; versions and rollbacks are always there.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
        """
        from geusemaker.services.inspect.service import InspectService

        return InspectService(self._wiring.existing(ignore)).inspect(whole_journal=show_history)

    def status(self) -> Inspection:
        """Health now, and what to do next."""
        return self.inspect()

    def checkpoints(self) -> CheckpointList:
        """The copies of the data that can be restored.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: its instance does not run.
            HostError: the instance cannot be reached.
        """
        from geusemaker.services.restore.service import RestoreService

        return RestoreService(self._wiring.existing(ignore)).list()

    def logs(self, service: str | None = None, lines: int = 100) -> Iterator[tuple[str, str]]:
        """The last log lines of a service, or of all: pairs of service and line.

        Raises:
            HostError: the instance cannot be reached.
        """
        from geusemaker.services.inspect.service import InspectService

        return iter(InspectService(self._wiring.existing(ignore)).logs(service, lines))

    def info(self) -> DeploymentInfo:
        """How to reach it: addresses, the ssh command, where credentials are."""
        from geusemaker.services.inspect.service import InspectService

        return InspectService(self._wiring.existing(ignore)).info(str(self._settings.home), self._settings.backend_url)

    def environment(self) -> dict[str, str]:
        """The variables with which plain ``pulumi`` works on this deployment; no secret among them."""
        if not self._settings.may_have_deployments:
            raise self._wiring.not_found()
        self._settings.prepare()
        engine = self._wiring.engine(ignore, self._settings)
        if not engine.exists():
            raise self._wiring.not_found()
        runtime = open_target(self._wiring.known_kind() or self._wiring.kind(engine), lambda text: None)
        return self._wiring.with_target(runtime).environment()

    def state(self) -> DeploymentState:
        """The versions and the latest operation, from the backend alone."""
        from geusemaker.services.states import load_state

        return load_state(self._wiring.collaborators(None, ignore))

    def examine(self) -> list[CheckResult]:
        """Whether the backend holds the deployment whole: its files, state, history, secrets; and the credentials.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
        """
        from geusemaker.engine.keys import read_target
        from geusemaker.services.doctor.service import deployment_checks

        engine, salvage = self._wiring.salvage(ignore)
        steps = salvage.steps()
        if not steps and not engine.exists():
            raise self._wiring.not_found()

        def where() -> Target | None:
            return read_target(self._settings.stack_file(self.name))

        def open_cloud(target: Target) -> Cloud:
            return AwsCloud(target.region, open_target(target.kind, lambda text: None).environment)

        return deployment_checks(self.name, engine, steps, open_cloud, where)

    def damage(self) -> tuple[RepairStep, ...]:
        """Files of the deployment that cannot be used, and what would be done about each; asks no engine."""
        return self._wiring.salvage(ignore)[1].steps()

    def check_secrets(self) -> None:
        """Raise WorkspaceError where the passphrase does not open the deployment's secrets."""
        self._settings.prepare()
        self._wiring.engine(ignore, self._settings).load_secrets()
