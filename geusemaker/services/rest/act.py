"""The act itself: services, and the instance where that is planned, stop or start; what came of it is told."""

from __future__ import annotations

from geusemaker.errors import GeusemakerError, InterruptedOperationError
from geusemaker.models.plan import Event, RestPlan
from geusemaker.models.record import told_by
from geusemaker.models.result import OperationResult
from geusemaker.models.stack import Target
from geusemaker.models.version import Version
from geusemaker.services import progress
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.operation import Operation
from geusemaker.services.rest.instance import switch_off
from geusemaker.services.undo import undo_of_rest


class Act:
    """One stop or start that was agreed to, under its lease."""

    def __init__(
        self,
        collaborators: Collaborators,
        operation: Operation,
        plan: RestPlan,
        active: Version,
        target: Target,
        started: float,
    ) -> None:
        self._with = collaborators
        self._operation = operation
        self._plan = plan
        self._active = active
        self._target = target
        self._started = started

    def run(self, host: Host, file_system_id: str) -> OperationResult:
        """Do it.

        Raises:
            InterruptedOperationError: Ctrl-C; says what was done.
        """
        plan, operation = self._plan, self._operation
        health: dict[str, bool] = {}
        try:
            if plan.kind == "stop":
                self._stop(host)
            else:
                health = self._start(host, file_system_id)
        except GeusemakerError as error:
            return self.finish(host, health, error.message)
        except KeyboardInterrupt as error:
            operation.cancel(host)
            self.finish(host, health, "interrupted")
            raise InterruptedOperationError(
                f"Interrupted while {', '.join(_named(plan))} was told to {plan.kind}.",
                state="Each of them may run, or not.",
                next_step=f"`geusemaker status {plan.deployment}` tells how things are.",
            ) from error
        return self.finish(host, health, "")

    def _stop(self, host: Host) -> None:
        plan, on_event = self._plan, self._with.on_event
        if plan.services:
            with progress.phase(on_event, "stop", ", ".join(plan.services)):
                done = host.stop(self._operation.id, plan.services, self._with.actor, plan.reason, on_event)
            on_event(Event(kind="note", message=", ".join(sorted(done.stopped)) + " stopped on purpose"))
        if plan.instance:
            with progress.phase(on_event, "stop", f"stopping {plan.instance}"):
                switch_off(self._with, self._operation, host, self._target, plan)
            on_event(Event(kind="note", message=f"{plan.instance} stopped on purpose"))

    def _start(self, host: Host, file_system_id: str) -> dict[str, bool]:
        plan, on_event = self._plan, self._with.on_event
        with progress.phase(on_event, "start", ", ".join(plan.services)):
            stopped = host.start(self._operation.id, plan.services, on_event).stopped
        with progress.phase(on_event, "verify", "waiting until everything is healthy"):
            health = self._operation.gate(host, self._active.config, self._target, file_system_id)
        if stopped:
            on_event(Event(kind="note", message=", ".join(sorted(stopped)) + " stopped on purpose"))
        return health

    def finish(self, host: Host, health: dict[str, bool], problem: str) -> OperationResult:
        """Put it on record; an instance that is off, to which the lease was given back, is not told any more."""
        result = self._result(health, problem)
        host_or_none = host if self._operation.has_lease else None
        self._operation.finish(host_or_none, **told_by(result), reason=self._plan.reason)
        return result

    def never_began(self, last: str, problem: str) -> OperationResult:
        """Put on record that the instance was started and the lease never taken; ``last`` is the lease's operation."""
        result = self._result({}, problem)
        try:
            self._operation.record(**told_by(result), reason=self._plan.reason)
        finally:
            self._operation.settle(None, "failed", last=last)
        return result

    def _result(self, health: dict[str, bool], problem: str) -> OperationResult:
        seconds = self._with.clock.monotonic() - self._started
        return result_of(self._plan, seconds, self._plan.operation_id, health, problem)


def _named(plan: RestPlan) -> tuple[str, ...]:
    return (*plan.services, *(["the instance"] if plan.instance else []))


def result_of(
    plan: RestPlan, seconds: float, operation_id: str = "", health: dict[str, bool] | None = None, problem: str = ""
) -> OperationResult:
    """What a stop or a start came to; ``problem`` is why it failed."""
    old, new = ("running", "stopped on purpose") if plan.kind == "stop" else ("stopped", "running")
    what = f"Not all of {', '.join(_named(plan))} could be {'stopped' if plan.kind == 'stop' else 'started'}"
    return OperationResult(
        success=not problem,
        deployment=plan.deployment,
        kind=plan.kind,
        version=plan.active_version,
        operation_id=operation_id,
        changes=[f"{name}: {old} -> {new}" for name in _named(plan)],
        health_status=health or {},
        duration_seconds=round(seconds, 3),
        error_message=f"{what}: {problem}" if problem else None,
        exit_code=4 if problem else 0,
        next_step=f"`geusemaker status {plan.deployment}` tells how things are." if problem else "",
        undo=undo_of_rest(plan) if operation_id and not problem else "",
    )
