"""RestoreService: puts a checkpoint's data in the place of what is there, on request, and loses nothing of that.

The config stays as it is, so no version is made and the engine does not run: the intent and the lease say that an
operation is under way, and the agent does it all in one verb, which goes on should this process be killed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from geusemaker.catalog import MIGRATED
from geusemaker.errors import (
    DeclinedError,
    HostError,
    InterruptedOperationError,
    InvalidInputError,
)
from geusemaker.models.checkpoint import Checkpoint, CheckpointList, RestorePlan
from geusemaker.models.inspection import InstanceState
from geusemaker.models.request import RestoreRequest
from geusemaker.models.result import RestoreResult
from geusemaker.models.stack import Target
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.services import bookkeeping, facts, progress, verdicts
from geusemaker.services.before import find_copies, require_running
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.operation import UNTOUCHED, Operation
from geusemaker.services.restore.choice import (
    default_checkpoint,
)
from geusemaker.services.restore.ending import Act, ended_early, failed, finish, result_of
from geusemaker.services.restore.plan import checkpoints_on, plan_restore
from geusemaker.services.states import get_state, read_journal

Confirm = Callable[[RestorePlan], bool]


class RestoreService:
    """Restores a checkpoint, and lists those there are. An instance serves one operation."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators
        self._started = collaborators.clock.monotonic()

    def list(self) -> CheckpointList:
        """The checkpoints there are.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: its instance does not run: they are on the file system.
            HostError: the instance does not answer.
        """
        state = get_state(self._with)
        target, instance = find_copies(self._with, state, "checkpoints")
        with self._with.open_host(instance.address, target, self._with.engine.load_secrets()) as host:
            found = checkpoints_on(host)
        default = default_checkpoint(found)
        return CheckpointList(
            deployment=state.name,
            default=default.checkpoint if default is not None else None,
            checkpoints=list(reversed(found)),
        )

    def restore(self, request: RestoreRequest, confirm: Confirm) -> RestoreResult:
        """Restore ``request.checkpoint``.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: a value cannot be used.
            RefusedError: there is no such checkpoint, or what runs cannot read it; nothing was changed.
            DeclinedError: ``confirm`` said no; nothing was changed.
            DeploymentBusyError: another operation holds the deployment; nothing was changed.
            InterruptedOperationError: Ctrl-C; says whether anything was changed.
            ChangeFailedError: the instance went out of sight in the middle.
            GeusemakerError: something failed before anything was changed.
        """
        if request.checkpoint is not None and request.backup is not None:
            raise InvalidInputError("A restore takes a checkpoint or a backup, not both.", state=UNTOUCHED)
        state = get_state(self._with)
        why = "so nothing runs that data could be restored into"
        active, _ = require_running(self._with, state, "restore", why=why)
        target, instance = find_copies(self._with, state, "checkpoints")
        with self._with.open_host(instance.address, target, self._with.engine.load_secrets()) as host:
            with self._phase("plan"):
                plan, file_system_id = plan_restore(self._with, host, state, active, target, request)
            if not confirm(plan):
                raise DeclinedError("Not confirmed.", state=UNTOUCHED)
            return self._apply(host, state, active, target, instance, plan, file_system_id)

    def _apply(
        self,
        host: Host,
        state: DeploymentState,
        active: Version,
        target: Target,
        instance: InstanceState,
        plan: RestorePlan,
        file_system_id: str,
    ) -> RestoreResult:
        operation = Operation(
            self._with, plan.operation_id, "restore", plan.active_version, left_unsettled=state.interrupted
        )
        operation.take_over(host, instance.id, state)
        operation.begin(host)
        act = Act(self._with, operation, host, plan, self._started)
        on_event, number = self._with.on_event, plan.active_version
        try:
            with self._phase("restore", f"{plan.checkpoint.checkpoint}, after a copy of what is there now"):
                done = host.restore(operation.id, number, plan.checkpoint.checkpoint, plan.services, on_event)
        except (HostError, KeyboardInterrupt) as error:
            return ended_early(act, error)
        try:
            with self._phase("verify", "waiting until everything is healthy"):
                health = operation.gate(host, active.config, target, file_system_id)
        except HostError as error:
            what = "The data is restored, but not everything is healthy"
            return failed(act, done, error.message, what)
        except KeyboardInterrupt as error:
            operation.cancel(host, "The restore")
            what = "Whether everything is healthy on the restored data is open"
            failed(act, done, "interrupted", what)
            raise InterruptedOperationError(
                "Interrupted while waiting until everything is healthy.",
                state=f"The data is as in {plan.checkpoint.checkpoint}.",
                next_step=f"`geusemaker status {plan.deployment}` tells how things are.",
            ) from error
        try:
            if not set(plan.services).isdisjoint(MIGRATED.needs):
                bookkeeping.attempt(
                    self._with.on_event,
                    "Whether the version fits this data was not written down",
                    lambda: self._clear_verdict(host, state, active, plan.checkpoint),
                )
        finally:
            result = finish(act, result_of(act, done, success=True, health=health))
        return result

    def _clear_verdict(self, host: Host, state: DeploymentState, active: Version, restored: Checkpoint) -> None:
        """Take back that the active version runs on newer data, where what was restored is data of its own."""
        knows = facts.migrations_then(host, read_journal(self._with), state, active.config)
        if active.newer_data_as is not None and knows is not None and set(restored.migrations or ()) <= knows:
            verdicts.note(self._with, cleared=active.newer_data_as)

    def _phase(self, name: str, message: str = "") -> AbstractContextManager[None]:
        return progress.phase(self._with.on_event, name, message)
