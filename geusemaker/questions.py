"""What can be asked of a deployment, and of its files in the backend. Nothing is changed by it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from geusemaker.cloud.aws import AwsCloud
from geusemaker.cloud.policy import Scope, aws_policy, session_policy
from geusemaker.engine.settings import WorkspaceSettings
from geusemaker.models import resource_types
from geusemaker.models.checkpoint import CheckpointList
from geusemaker.models.comparison import Comparison
from geusemaker.models.doctor import RepairStep
from geusemaker.models.inspection import DeploymentInfo, Inspection
from geusemaker.models.ownership import name_prefix
from geusemaker.models.partition import partition_of
from geusemaker.models.plan import CheckResult
from geusemaker.models.reach import LogLine
from geusemaker.models.stack import Target
from geusemaker.models.stack_file import StackFile
from geusemaker.models.updates import Updates
from geusemaker.models.version_report import VersionReport
from geusemaker.services.tell.also import Also
from geusemaker.targets import open_target
from geusemaker.wiring import OnEvent, Wiring, ignore

if TYPE_CHECKING:
    from geusemaker.models.state import DeploymentState
    from geusemaker.services.collaborators import Cloud

Result = TypeVar("Result")


class Questions:
    """A deployment that is asked."""

    def __init__(self, name: str, settings: WorkspaceSettings) -> None:
        self.name = name
        self._settings = settings
        self._wiring = Wiring(name, settings)
        self._wait_seconds = 0.0

    def tell(self, *, addresses: Sequence[str] = (), commands: Sequence[str] = ()) -> None:
        """Tell these as well, from now on, of what this object's operations come to.

        Who is told always are the programs in the workspace's ``hooks`` folder, and the addresses in the deployment's
        secret ``notify``. Nobody who is told delays an operation.

        Args:
            addresses: webhooks (``https://…``, which get the record as JSON), or what Apprise knows.
            commands: for the shell, which get the record as JSON on standard input.
        """
        self._wiring.also = Also(tuple(addresses), tuple(commands))

    def wait_lock(self, seconds: float) -> None:
        """Have this object's operations wait, from now on, while another one holds the deployment; at first none does.

        It is told for whom (a note to ``on_event``). Then all is looked at and planned anew, and ``confirm`` is asked.
        For ``mark``, ``pin`` and ``unpin`` it makes no difference: they wait a minute for one another in any case.

        Args:
            seconds: so long each waits at most, before DeploymentBusyError is raised; 0: not at all.
        """
        self._wait_seconds = seconds

    def _in_turn(self, operation: Callable[[], Result], on_event: OnEvent, *, owner_is_gone: bool = False) -> Result:
        """Carry an operation out, after others where it was told to wait."""
        from geusemaker.services.waiting import in_turn

        return in_turn(
            operation, lambda: self._wiring.existing(on_event), self._wait_seconds, owner_is_gone=owner_is_gone
        )

    def inspect(self, show_history: bool = False) -> Inspection:
        """Everything known: versions, rollbacks, restores, and what runs right now.

        ``show_history`` asks the instance too for what other machines did; versions and rollbacks are always there.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
        """
        from geusemaker.services.inspect.service import InspectService

        return InspectService(self._wiring.existing(ignore)).inspect(whole_journal=show_history)

    def inspect_version(self, number: int) -> VersionReport:
        """One version: its config, who made it, when and why, how it went, and what a return to it would do.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version.
        """
        from geusemaker.services.inspect.version import VersionService

        return VersionService(self._wiring.existing(ignore)).report(number)

    def status(self) -> Inspection:
        """Health now, and what to do next."""
        return self.inspect()

    def updates(self, *, advisories: bool = True) -> Updates:
        """Newer releases of what runs, as far as one step leads; with ``advisories`` the published holes each closes.

        Who is away, of registries and the database of holes, is told in it. Raises as ``inspect`` does.
        """
        from geusemaker.services.updates import UpdatesService

        return UpdatesService(self._wiring.existing(ignore), advisories=advisories).look()

    def watch(self, seconds: float = 2.0) -> Iterator[Inspection]:
        """Follow an operation that runs, another machine's too: each look, until nothing goes on any more.

        Args:
            seconds: so long is waited between two looks.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            GeusemakerError: several looks in a row failed.
        """
        from geusemaker.services.inspect.watch import watch

        return watch(self.status, lambda: time.sleep(seconds))

    def evidence(self, operation_id: str, lines: int = 10) -> dict[str, list[str]]:
        """Service → the last lines of its log, as a failed operation left them on this machine; secrets are taken out.

        Empty where that operation left none here.
        """
        from geusemaker.services.journal import FileJournal

        return FileJournal(self._settings.state, self.name).last_lines(operation_id, lines)

    def diff(self, old: int | None = None, new: int | None = None) -> Comparison:
        """What differs from version ``old`` to ``new``; the instance is not asked.

        With one number: from that version to the active one. Without: from the active one to the one that a rollback
        without a number goes to.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version, or none that is meant without a number.
        """
        from geusemaker.services.diff.service import DiffService

        return DiffService(self._wiring.existing(ignore)).diff(old, new)

    def diff_file(self, file: StackFile) -> Comparison:
        """What differs from the active version to a stack file: what an update with that file would change.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: a value of the file cannot be used.
            RefusedError: there is no active version.
        """
        from geusemaker.services.diff.service import DiffService

        return DiffService(self._wiring.existing(ignore)).file(file)

    def export(self, version: int | None = None) -> StackFile:
        """The stack file of a version, of the active one without a number: the whole desired state, without secrets.

        ``to_yaml()`` is its text.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: there is no such version.
        """
        from geusemaker.services.export import ExportService

        return ExportService(self._wiring.existing(ignore)).export(version)

    def checkpoints(self) -> CheckpointList:
        """The copies of the data that can be restored.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: its instance does not run.
            HostError: the instance cannot be reached.
        """
        from geusemaker.services.restore.service import RestoreService

        return RestoreService(self._wiring.existing(ignore)).list()

    def logs(
        self,
        service: str | None = None,
        lines: int | None = None,
        since: timedelta | datetime | None = None,
        grep: str = "",
        follow: bool = False,
        on_event: OnEvent = ignore,
    ) -> Generator[LogLine, None, None]:
        """Lines that a service wrote, or all of them, by time.

        Args:
            service: which; None: all.
            lines: the last ones of each service; None: 100, or with ``since`` all.
            since: only later ones: since this time, or for so long.
            grep: only those that hold this text, in whatever case.
            follow: go on with those to come, until the iterator is closed. Errors are raised by the iterator then.
            on_event: is told, while it follows, of a connection lost and made again, of containers that end or start.

        Raises:
            InvalidInputError: it has no such service.
            HostError: the instance cannot be reached.
        """
        from geusemaker.services.reach.logs import Asked, follow_logs, read_logs

        count = 100 if lines is None and since is None else lines
        asked = Asked(service, count, since, grep)
        collaborators = self._wiring.existing(on_event)
        return follow_logs(collaborators, asked) if follow else (line for line in read_logs(collaborators, asked))

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
            environment = open_target(target.kind, lambda text: None).environment
            return AwsCloud(target.region, environment, engine.identity_settings)

        return deployment_checks(self.name, engine, steps, open_cloud, where)

    def aws_policy(self, *, read_only: bool = False, sessions: bool = False) -> dict[str, Any]:
        """The IAM policy that its operators and pipelines need, as AWS takes it; it need not exist yet.

        Args:
            read_only: for who looks and changes nothing.
            sessions: the other one, which is needed beside it to reach the instance through Session Manager.
        """
        scope = self._policy_scope()
        return session_policy(scope) if sessions else aws_policy(scope, read_only=read_only)

    def _policy_scope(self) -> Scope:
        """What the policy is for: where the deployment is, and what its roles are called from before."""
        from geusemaker.engine.keys import read_target

        target = read_target(self._settings.stack_file(self.name))
        if target is None:
            return Scope(self.name, partition_of(os.environ.get("AWS_REGION") or ""))
        known = self._wiring.engine(ignore, self._settings).resources().values()
        names = {one["id"] for one in known if one["type"] in (resource_types.ROLE, resource_types.PROFILE)}
        return Scope(
            self.name,
            partition_of(target.region, target.partition),
            target.region,
            target.account_id or "*",
            roles=tuple(sorted(name for name in names if not name.startswith(name_prefix(self.name)))),
        )

    def damage(self) -> tuple[RepairStep, ...]:
        """Files of the deployment that cannot be used, and what would be done about each; asks no engine."""
        return self._wiring.salvage(ignore)[1].steps()

    def check_secrets(self) -> None:
        """Raise WorkspaceError where what is set here does not open the deployment's secrets."""
        self._settings.prepare()
        engine = self._wiring.engine(ignore, self._settings)
        self._wiring.require_passphrase(engine)
        engine.load_secrets()
