"""DestroyService: deletes the instance and what belongs to it. Data, history and secrets stay."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from geusemaker.errors import (
    ChangeFailedError,
    DeclinedError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
)
from geusemaker.models.history import ApplyOutcome
from geusemaker.models.plan import Event, Plan
from geusemaker.models.record import OperationRecord
from geusemaker.models.request import ChangeOptions
from geusemaker.models.result import OperationResult
from geusemaker.models.stack import Target
from geusemaker.models.state import DeploymentState
from geusemaker.services import bookkeeping, progress
from geusemaker.services.bookkeeping import reason
from geusemaker.services.collaborators import Collaborators, Confirm, Host
from geusemaker.services.destroy.leftovers import promised, still_there, wait_until_gone
from geusemaker.services.destroy.plan import Planned, look
from geusemaker.services.engine_lock import clear_dead_lock
from geusemaker.services.guard import DATA_TYPES
from geusemaker.services.identity import require_account
from geusemaker.services.operation import UNTOUCHED, Operation, nothing_changed
from geusemaker.services.states import load_state, require_idle, require_readable


@dataclass(frozen=True)
class _Act:
    """A destroy that is under way."""

    state: DeploymentState
    planned: Planned
    operation: Operation
    host: Host | None
    """The agent, where there is an instance to take the lease through."""
    started: float
    delete_data: bool
    """Whether the data goes as well, and then the stack with its history."""

    @property
    def plan(self) -> Plan:
        """What is to go."""
        return self.planned.plan

    @property
    def last(self) -> str:
        """What a deploy later on will find as the last operation in the lease on the file system.

        This one, if there was an instance to take it through.
        """
        return self.operation.id if self.host is not None else self.state.last_operation_id or self.operation.id

    @property
    def deadline_seconds(self) -> float:
        """How long the engine may take."""
        return self.plan.config.rollback.deadline_minutes * 60.0


class DestroyService:
    """Destroys; ``delete_data`` removes the data as well, and then the stack with its history."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators
        self._may_have_changed = False
        """Whether services may have been stopped, or anything be deleted."""
        self._stopped = False
        """Whether services may have been stopped; the lease is given back then."""
        self._deletes_data = False
        """Whether the engine was told to delete the data as well."""

    def destroy(self, options: ChangeOptions, confirm: Confirm, *, delete_data: bool) -> OperationResult:
        """Destroy.

        Raises:
            RefusedError: this geusemaker cannot read the newest version; nothing was changed.
            DeclinedError: ``confirm`` said no; nothing was changed.
            DeploymentBusyError: another operation holds the deployment.
            ChangeFailedError: something could not be deleted.
        """
        started = self._with.clock.monotonic()
        state = load_state(self._with)
        require_idle(self._with, state)
        require_readable(state)
        if state.target is not None:
            require_account(self._with, state.target)
        operation_id = self._with.clock.new_operation_id()
        cloud = self._with.cloud(state.target.region) if state.target is not None else None
        planned = look(self._with.engine, cloud, state, operation_id, delete_data=delete_data)
        plan = planned.plan
        if state.destroyed and not any(operation.op == "delete" for operation in plan.operations) and not delete_data:
            self._with.on_event(Event(kind="note", message=f"Nothing to destroy: {state.name} is destroyed already."))
            return self._result(plan, started)
        if options.dry_run:
            self._with.on_event(Event(kind="plan", plan=plan))
            return self._result(plan, started, dry_run=True)
        if not confirm(plan):
            raise DeclinedError("Not confirmed.", state=UNTOUCHED)
        clear_dead_lock(self._with, state)
        operation = Operation(
            self._with,
            operation_id,
            "destroy",
            state.next_number - 1,
            left_unsettled=state.interrupted,
            unwritten="That this operation has ended was not written down",
        )
        with ExitStack() as stack:
            try:
                host = self._take_lease(state, operation, stack)
            except KeyboardInterrupt as error:
                raise nothing_changed(error, UNTOUCHED) from error
            return self._carry_out(_Act(state, planned, operation, host, started, delete_data))

    def _carry_out(self, act: _Act) -> OperationResult:
        touched = False
        try:
            act.operation.announce()
            if act.delete_data and act.state.target is not None and act.state.versions:
                self._may_have_changed = touched = True
                self._unprotect(act, act.state.target)
            if act.planned.adopted or act.planned.dropped:
                self._may_have_changed = touched = True
                with progress.phase(self._with.on_event, "adopt", "taking up what a killed operation was making"):
                    self._with.engine.clear_pending(act.planned.adopted)
            # With a host it is told when the engine has come so far.
            self._may_have_changed = self._may_have_changed or act.host is None
            self._deletes_data = act.delete_data
            with progress.phase(self._with.on_event, "delete"):
                outcome = self._with.engine.destroy(
                    self._with.on_event, self._stopping(act), deadline_seconds=act.deadline_seconds
                )
        except ChangeFailedError:
            act.operation.give_back(act.host, "failed")
            raise
        except GeusemakerError as error:
            # What a run of the engine comes to is an outcome: this one did not even begin.
            self._may_have_changed, self._deletes_data = touched or self._stopped, False
            raise self._ended_early(act, error) from error
        except (OSError, KeyboardInterrupt) as error:
            raise self._ended_early(act, error) from error
        self._may_have_changed = True
        try:
            return self._conclude(act, outcome)
        except ChangeFailedError:
            if not self._stopped:  # else it was given back then
                act.operation.give_back(act.host, "failed")
            raise
        except (GeusemakerError, OSError, KeyboardInterrupt) as error:
            raise self._ended_early(act, error) from error

    def _conclude(self, act: _Act, outcome: ApplyOutcome) -> OperationResult:
        """Look at what is left, and write down what came of it."""
        state, plan = act.state, act.plan
        if not outcome.succeeded:
            raise self._failure(
                act,
                f"Not everything could be deleted: {next(iter(outcome.diagnostics), outcome.failure)}"
                f"{self._left(state, plan)}",
                "Some of the data may be left." if act.delete_data else "The data is untouched.",
            )
        if state.target is not None:
            cloud = self._with.cloud(state.target.region)
            with progress.phase(self._with.on_event, "verify", "asking AWS whether all of it is gone"):
                undead = wait_until_gone(
                    self._with, cloud, promised(plan.operations), act.started + act.deadline_seconds
                )
            if undead:
                raise self._failure(
                    act,
                    f"Pulumi deleted it, but AWS still has {', '.join(undead)}.",
                    "All else is gone." if act.delete_data else "All else is gone; the data is untouched.",
                )
        if act.delete_data:
            if left := self._with.engine.resources():
                names = ", ".join(f"{resource['type']} {resource['id']}" for resource in left.values())
                raise self._failure(act, f"Not everything could be deleted: {names} is left.", "The data is left.")
            self._with.engine.remove()
        else:
            act.operation.write_end("done", last=act.last)
        return self._record(act, None)

    def _left(self, state: DeploymentState, plan: Plan) -> str:
        """What AWS has of what was to go, as the end of a sentence; that it cannot be asked is said."""
        if state.target is None:
            return ""
        try:
            left = still_there(self._with.cloud(state.target.region), promised(plan.operations))
        except GeusemakerError as error:
            return f" What is left cannot be told: {error.message}"
        return f" AWS still has {', '.join(left)}." if left else ""

    def _take_lease(self, state: DeploymentState, operation: Operation, stack: ExitStack) -> Host | None:
        """The agent, which has given the lease to this operation; None where there is no instance to ask.

        A broken instance must not be one that cannot be got rid of: then the engine's lock is all that is held.

        Raises:
            DeploymentBusyError: another operation has it; nothing was changed.
        """
        target = state.target
        instance = self._with.cloud(target.region).find_instance(state.name) if target is not None else None
        if target is None or instance is None or not instance.may_answer:
            return None
        try:
            secrets = self._with.engine.load_secrets()
            host = stack.enter_context(self._with.open_host(instance.address, target, secrets))
            operation.take_lease(host, instance.id, expects=None, takeover=state.last_operation_id or None)
        except HostError as error:
            self._warn(f"Services are not stopped one by one beforehand: {error.message}")
            return None
        return host

    def _stopping(self, act: _Act) -> Callable[[], None] | None:
        """What stops the services in order, so that nothing is cut off in a write, once the engine has its lock."""
        host = act.host
        if host is None:
            return None

        def stop() -> None:
            self._may_have_changed = self._stopped = True
            try:
                with progress.phase(self._with.on_event, "hold", "stopping services before the instance goes"):
                    host.hold(act.operation.id)
            except HostError as error:
                # Its shutdown stops what still runs.
                self._warn(f"Services were not stopped one by one beforehand: {error.message}")
            # The instance goes, and the lease stays on the file system: nothing could give it back afterwards.
            act.operation.give_back(host, "destroyed")

        return stop

    def _ended_early(self, act: _Act, error: GeusemakerError | OSError | KeyboardInterrupt) -> GeusemakerError:
        """What is to be said of a destroy that the engine did not carry out, or not to its end."""
        state = act.state
        if not self._may_have_changed:
            # What an earlier operation left is left as it was.
            act.operation.write_end(
                "failed" if state.last_failed and not state.interrupted else "abandoned", last=act.last
            )
            act.operation.give_back(act.host, "abandoned")
            return nothing_changed(error, UNTOUCHED)
        act.operation.settle(act.host, "failed")
        again = f"Run `geusemaker destroy {state.name}` again, or `geusemaker deploy {state.name}` to have it back."
        if isinstance(error, KeyboardInterrupt):
            return InterruptedOperationError(
                "Interrupted while it was being deleted.",
                state=f"{self._services} a part may be gone.",
                next_step=again,
            )
        return ChangeFailedError(
            f"It was not deleted to the end: {reason(error)}",
            restored=False,
            state=f"{self._services} "
            + ("a part may be gone, the data included." if self._deletes_data else "the data is untouched."),
            next_step=again,
        )

    @property
    def _services(self) -> str:
        """How the services are, as the beginning of a sentence."""
        return "Services are stopped;" if self._stopped else "Services were not stopped by this;"

    def _warn(self, message: str) -> None:
        self._with.on_event(Event(kind="warning", message=message))

    def _unprotect(self, act: _Act, target: Target) -> None:
        """An update of the data resources alone, with protection off: only then may the engine delete them."""
        newest = act.state.versions[-1]
        urns = [urn for urn, resource in self._with.engine.resources().items() if resource["type"] in DATA_TYPES]
        candidate = self._with.engine.write_candidate(
            newest.config, newest.provenance, target.model_copy(update={"protect": False})
        )
        outcome = self._with.engine.up(
            candidate, "protection off, to delete the data", self._with.on_event, deadline_seconds=900.0, only=urns
        )
        if not outcome.succeeded:
            raise self._failure(
                act,
                f"The data could not be unprotected: {outcome.failure}",
                "No service was stopped by this; the data is untouched.",
            )

    def _failure(self, act: _Act, message: str, left: str) -> ChangeFailedError:
        """Record a failure, and make its error."""
        act.operation.write_end("failed")
        self._record(act, message)
        return ChangeFailedError(
            message,
            restored=False,
            state=left,
            next_step=f"Mend the cause and run `geusemaker destroy {act.state.name}` again.",
        )

    def _record(self, act: _Act, problem: str | None) -> OperationResult:
        """Put into the journal what it came to; ``problem`` is why it failed."""
        result = self._result(act.plan, act.started, problem)
        record = OperationRecord.of(
            result,
            number=act.operation.number,
            from_version=act.plan.active_version,
            actor=self._with.actor,
            now=self._with.clock.now(),
        )
        bookkeeping.record(self._with, record)
        return result

    def _result(
        self, plan: Plan, started: float, problem: str | None = None, *, dry_run: bool = False
    ) -> OperationResult:
        return OperationResult(
            success=problem is None,
            deployment=plan.deployment,
            kind="destroy",
            version=None,
            operation_id=plan.operation_id,
            duration_seconds=round(self._with.clock.monotonic() - started, 3),
            error_message=problem,
            dry_run=dry_run,
        )
