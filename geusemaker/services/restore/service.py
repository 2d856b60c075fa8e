"""RestoreService: puts a checkpoint's data in the place of what is there, on request, and loses nothing of that.

The config stays as it is, so no version is made and the engine does not run: the intent and the lease say that an
operation is under way, and the agent does it all in one verb, which goes on should this process be killed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from geusemaker.agent.protocol.answers import Restored
from geusemaker.agent.protocol.stored import Lease
from geusemaker.catalog import MIGRATED
from geusemaker.checks import failures
from geusemaker.checks.host import check_data, run_host_checks
from geusemaker.errors import (
    ChangeFailedError,
    DeclinedError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
    RefusedError,
    ValidationFailedError,
)
from geusemaker.models.checkpoint import Checkpoint, DataNow, RestorePlan
from geusemaker.models.record import OperationRecord
from geusemaker.models.request import RestoreRequest
from geusemaker.models.result import CheckpointList, InstanceState, RestoreResult
from geusemaker.models.stack import Target
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.program.compose import probes
from geusemaker.services import bookkeeping, facts, progress, verdicts
from geusemaker.services.before import find_answering, require_whole
from geusemaker.services.checkpoints import read_checkpoints
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.identity import require_account
from geusemaker.services.notices import CHECKPOINTS
from geusemaker.services.operation import UNTOUCHED, Operation, nothing_changed
from geusemaker.services.restore.choice import (
    choose_checkpoint,
    choose_services,
    default_checkpoint,
    kept_aside,
    replacements,
    restore_checks,
    restore_downtime,
    restore_notice,
)
from geusemaker.services.states import get_state, not_found, read_journal, require_idle, require_readable

Confirm = Callable[[RestorePlan], bool]

_OUT_OF_SIGHT: Final = ("unreachable", "timeout", "agent_died")
"""Codes of errors that the agent did not tell itself: it may be at work still, or have left n8n stopped."""


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
        target, instance = self._instance(state)
        with self._with.open_host(instance.address, target, self._with.engine.load_secrets()) as host:
            found = self._checkpoints(host)
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
        state = get_state(self._with)
        active = self._require_settled(state)
        target, instance = self._instance(state)
        with self._with.open_host(instance.address, target, self._with.engine.load_secrets()) as host:
            with self._phase("plan"):
                plan, file_system_id = self._plan(host, state, active, target, request)
            if not confirm(plan):
                raise DeclinedError("Not confirmed.", state=UNTOUCHED)
            return self._apply(host, state, active, target, instance, plan, file_system_id)

    # --- before anything changes ---------------------------------------------------------------------------------

    def _require_settled(self, state: DeploymentState) -> Version:
        """The active version, on a deployment that nothing but a restore may have left half-done.

        Raises:
            DeploymentBusyError, RefusedError
        """
        require_idle(self._with, state)
        require_readable(state)
        if state.active is None:
            raise RefusedError(
                f"{state.name} {'was destroyed' if state.destroyed else 'never had a healthy version'}, so nothing "
                "runs that data could be restored into.",
                state=UNTOUCHED,
                next_step=f"Run `geusemaker deploy {state.name}` first.",
            )
        require_whole(state, "restore")
        return state.active

    def _instance(self, state: DeploymentState) -> tuple[Target, InstanceState]:
        if state.target is None:
            raise not_found(self._with.deployment)
        require_account(self._with, state.target)
        why = "; its checkpoints are on the file system that it serves"
        return state.target, find_answering(self._with, state.target, why)

    @staticmethod
    def _checkpoints(host: Host) -> tuple[Checkpoint, ...]:
        return read_checkpoints(host.checkpoints().checkpoints)

    def _plan(
        self, host: Host, state: DeploymentState, active: Version, target: Target, request: RestoreRequest
    ) -> tuple[RestorePlan, str]:
        """(what would be done, the id of the mounted file system)"""
        checkpoint = choose_checkpoint(state.name, self._checkpoints(host), request.checkpoint)
        services = choose_services(state.name, checkpoint, active.config, request.services)
        health = host.health(probes(active.config))
        now = DataNow.model_validate(host.checkpoints(services).now)
        replaced, left = replacements(checkpoint, now, services)
        checks = (
            *run_host_checks(health, active.config, target),
            check_data(health, state.name),
            *restore_checks(checkpoint, now, services, active.config),
        )
        if failed := failures(checks):
            raise ValidationFailedError(
                f"Checkpoint {checkpoint.checkpoint} cannot be restored now: {'; '.join(failed)}.",
                state=UNTOUCHED,
                next_step=f"`geusemaker history {state.name}` shows the versions; `geusemaker rollback {state.name} "
                f"--to-version {checkpoint.version}` goes to the one whose data it is.",
                checks=checks,
            )
        operation_id = self._with.clock.new_operation_id()
        plan = RestorePlan(
            deployment=state.name,
            operation_id=operation_id,
            checkpoint=checkpoint,
            services=services,
            replaced=replaced,
            left=left,
            checks=checks,
            downtime=restore_downtime(services, active.config),
            data_notice=f"What is there now is copied to {CHECKPOINTS}/v{active.number}/{operation_id} first"
            f"{kept_aside(services)}. {restore_notice(checkpoint, services)}".rstrip(),
            reason=request.reason,
            active_version=active.number,
            target_kind=target.kind,
        )
        return plan, str(health.mount.file_system_id)

    # --- the restore itself --------------------------------------------------------------------------------------

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
        try:
            operation.take_over(host, instance.id, state)
        except KeyboardInterrupt as error:
            raise nothing_changed(error, UNTOUCHED) from error
        operation.begin(host)
        on_event, number = self._with.on_event, plan.active_version
        try:
            with self._phase("restore", f"{plan.checkpoint.checkpoint}, after a copy of what is there now"):
                done = host.restore(operation.id, number, plan.checkpoint.checkpoint, plan.services, on_event)
        except (HostError, KeyboardInterrupt) as error:
            return self._ended_early(operation, host, plan, error)
        try:
            with self._phase("verify", "waiting until everything is healthy"):
                health = operation.gate(host, active.config, target, file_system_id)
        except HostError as error:
            what = "The data is restored, but not everything is healthy"
            return self._failed(operation, host, plan, done, error.message, what)
        except KeyboardInterrupt as error:
            operation.cancel(host, "The restore")
            what = "Whether everything is healthy on the restored data is open"
            self._failed(operation, host, plan, done, "interrupted", what)
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
            result = self._finish(operation, host, plan, self._result(plan, done, success=True, health=health))
        return result

    def _clear_verdict(self, host: Host, state: DeploymentState, active: Version, restored: Checkpoint) -> None:
        """Take back that the active version runs on newer data, where what was restored is data of its own."""
        knows = facts.migrations_then(host, read_journal(self._with), state, active.config)
        if active.newer_data_as is not None and knows is not None and set(restored.migrations or ()) <= knows:
            verdicts.note(self._with, cleared=active.newer_data_as)

    def _ended_early(
        self, operation: Operation, host: Host, plan: RestorePlan, error: HostError | KeyboardInterrupt
    ) -> RestoreResult:
        """What a restore that did not come to its end amounts to.

        Raises:
            HostError: nothing was changed.
            InterruptedOperationError: Ctrl-C; says whether anything was changed.
            ChangeFailedError: the instance is out of sight, so nobody knows how far it came.
        """
        if isinstance(error, KeyboardInterrupt):
            if not operation.cancel(host, "The restore") or self._may_have_changed(host, plan):
                raise self._unfinished(plan, error) from error
            operation.settle(host, "abandoned")
            raise InterruptedOperationError("Interrupted.", state=UNTOUCHED) from error
        if error.code in _OUT_OF_SIGHT:
            raise self._unfinished(plan, error) from error
        if self._may_have_changed(host, plan):
            return self._failed(operation, host, plan, Restored(), error.message, "The restore failed half-way")
        operation.settle(host, "abandoned")
        error.state = UNTOUCHED
        raise error

    @staticmethod
    def _may_have_changed(host: Host, plan: RestorePlan) -> bool:
        """Whether anything that shows may have been done: the agent notes so in the lease before it does."""
        try:
            held = host.lease().lease or Lease()
        except HostError:
            return True
        return held.operation != plan.operation_id or held.changed

    def _unfinished(self, plan: RestorePlan, error: BaseException) -> GeusemakerError:
        """It was stopped, or is out of sight, in the middle. The intent stays open: that is how others know."""
        name = plan.deployment
        state = "Each database is the old one or the restored one; collections may be either. Nothing is lost."
        again = f"`geusemaker restore {name} --checkpoint {plan.checkpoint.checkpoint}` again"
        next_step = f"Run {again}, or `geusemaker recover {name}` to go on with what is there."
        if isinstance(error, KeyboardInterrupt):
            return InterruptedOperationError("Interrupted in the middle.", state=state, next_step=next_step)
        return ChangeFailedError(
            f"The instance went out of sight during the restore: {error}",
            restored=False,
            state=state,
            next_step=next_step,
        )

    def _failed(
        self, operation: Operation, host: Host, plan: RestorePlan, done: Restored, reason: str, what: str
    ) -> RestoreResult:
        taken = f"v{plan.active_version}/{plan.operation_id}"
        result = self._result(plan, done, success=False).model_copy(
            update={
                "taken": taken,
                "exit_code": 4,
                "error_message": f"{what}: {reason}",
                "next_step": f"`geusemaker status {plan.deployment}` tells how things are; `geusemaker restore "
                f"{plan.deployment} --checkpoint {taken}` puts back what was there before.",
            }
        )
        return self._finish(operation, host, plan, result)

    def _result(
        self, plan: RestorePlan, done: Restored, *, success: bool, health: dict[str, bool] | None = None
    ) -> RestoreResult:
        return RestoreResult(
            success=success,
            deployment=plan.deployment,
            version=plan.active_version,
            operation_id=plan.operation_id,
            checkpoint=plan.checkpoint.checkpoint,
            replaced=list(plan.replaced),
            kept=done.kept,
            set_aside=done.set_aside,
            taken=done.checkpoint.checkpoint,
            health_status=health or {},
            duration_seconds=round(self._with.clock.monotonic() - self._started, 3),
            checks=list(plan.checks),
        )

    def _finish(self, operation: Operation, host: Host, plan: RestorePlan, result: RestoreResult) -> RestoreResult:
        replaced = [
            f"{one.then.service}.{one.then.name}: as now -> as in {result.checkpoint}" for one in result.replaced
        ]
        operation.finish(
            host,
            OperationRecord.of(
                result,
                number=plan.active_version,
                from_version=plan.active_version,
                actor=self._with.actor,
                reason=plan.reason,
                now=self._with.clock.now(),
                changes=replaced,
                checkpoint={"checkpoint": result.taken, "kept": result.kept, "set_aside": result.set_aside},
                restored=result.checkpoint,
            ),
        )
        return result

    def _phase(self, name: str, message: str = "") -> AbstractContextManager[None]:
        return progress.phase(self._with.on_event, name, message)
