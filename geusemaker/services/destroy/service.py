"""DestroyService: deletes the instance and what belongs to it. Data, history and secrets stay."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from geusemaker.errors import (
    ChangeFailedError,
    DeclinedError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
)
from geusemaker.models.history import ApplyOutcome, Intent
from geusemaker.models.ownership import own_tags
from geusemaker.models.plan import CheckResult, Event, Plan, ResourceOperation
from geusemaker.models.record import OperationRecord
from geusemaker.models.request import ChangeOptions, ConfigRequest
from geusemaker.models.result import OperationResult
from geusemaker.models.stack import Target
from geusemaker.models.state import DeploymentState
from geusemaker.services import bookkeeping, lease, progress
from geusemaker.services.bookkeeping import reason
from geusemaker.services.collaborators import Collaborators, Confirm, Host
from geusemaker.services.configure import first_config
from geusemaker.services.destroy.leftovers import promised, still_there, strangers, wait_until_gone
from geusemaker.services.guard import DATA_TYPES
from geusemaker.services.identity import require_account
from geusemaker.services.states import clear_dead_lock, load_state, require_idle, require_readable

_HOLD_SECONDS: Final = 600.0


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
        self._adopted: dict[str, str] = {}
        """What a killed engine was making and AWS has: URN → id. It is taken up, and deleted with the rest."""
        self._dropped = False
        """Whether a killed engine was about to make what AWS has not."""

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
        plan = self._plan(state, operation_id, delete_data)
        if state.destroyed and not any(operation.op == "delete" for operation in plan.operations) and not delete_data:
            self._with.on_event(Event(kind="note", message=f"Nothing to destroy: {state.name} is destroyed already."))
            return self._result(state, operation_id, started)
        if options.dry_run:
            self._with.on_event(Event(kind="plan", plan=plan))
            return self._result(state, operation_id, started, dry_run=True)
        if not confirm(plan):
            raise DeclinedError("Not confirmed.", state="Nothing was changed.")
        clear_dead_lock(self._with, state)
        with ExitStack() as stack:
            try:
                host = self._take_lease(state, operation_id, stack)
            except KeyboardInterrupt as error:
                raise InterruptedOperationError("Interrupted.", state="Nothing was changed.") from error
            return self._carry_out(state, plan, host, started, delete_data=delete_data)

    def _carry_out(
        self, state: DeploymentState, plan: Plan, host: Host | None, started: float, *, delete_data: bool
    ) -> OperationResult:
        operation_id = plan.operation_id
        touched = False
        try:
            self._with.engine.set_intent(self._intent(state, operation_id, ""))
            if delete_data and state.target is not None and state.versions:
                self._may_have_changed = touched = True
                self._unprotect(state, state.target, operation_id, started)
            if self._adopted or self._dropped:
                self._may_have_changed = touched = True
                with progress.phase(self._with.on_event, "adopt", "taking up what a killed operation was making"):
                    self._with.engine.clear_pending(self._adopted)
            # With a host it is told when the engine has come so far.
            self._may_have_changed = self._may_have_changed or host is None
            self._deletes_data = delete_data
            seconds = plan.config.rollback.deadline_minutes * 60.0
            with progress.phase(self._with.on_event, "delete"):
                outcome = self._with.engine.destroy(
                    self._with.on_event, self._stopping(host, operation_id), deadline_seconds=seconds
                )
        except ChangeFailedError:
            self._end(host, operation_id, "failed")
            raise
        except GeusemakerError as error:
            # What a run of the engine comes to is an outcome: this one did not even begin.
            self._may_have_changed, self._deletes_data = touched or self._stopped, False
            raise self._ended_early(state, host, operation_id, error) from error
        except (OSError, KeyboardInterrupt) as error:
            raise self._ended_early(state, host, operation_id, error) from error
        self._may_have_changed = True
        try:
            return self._conclude(state, plan, host, started, outcome, delete_data=delete_data)
        except ChangeFailedError:
            if not self._stopped:  # else it was given back then
                self._end(host, operation_id, "failed")
            raise
        except (GeusemakerError, OSError, KeyboardInterrupt) as error:
            raise self._ended_early(state, host, operation_id, error) from error

    def _conclude(
        self,
        state: DeploymentState,
        plan: Plan,
        host: Host | None,
        started: float,
        outcome: ApplyOutcome,
        *,
        delete_data: bool,
    ) -> OperationResult:
        """Look at what is left, and write down what came of it."""
        operation_id = plan.operation_id
        if not outcome.succeeded:
            raise self._failure(
                state,
                operation_id,
                started,
                f"Not everything could be deleted: {next(iter(outcome.diagnostics), outcome.failure)}"
                f"{self._left(state, plan)}",
                "Some of the data may be left." if delete_data else "The data is untouched.",
            )
        if state.target is not None:
            seconds = plan.config.rollback.deadline_minutes * 60.0
            cloud = self._with.cloud(state.target.region)
            with progress.phase(self._with.on_event, "verify", "asking AWS whether all of it is gone"):
                undead = wait_until_gone(self._with, cloud, promised(plan.operations), started + seconds)
            if undead:
                raise self._failure(
                    state,
                    operation_id,
                    started,
                    f"Pulumi deleted it, but AWS still has {', '.join(undead)}.",
                    "All else is gone." if delete_data else "All else is gone; the data is untouched.",
                )
        if delete_data:
            if left := self._with.engine.resources():
                names = ", ".join(f"{resource['type']} {resource['id']}" for resource in left.values())
                raise self._failure(
                    state,
                    operation_id,
                    started,
                    f"Not everything could be deleted: {names} is left.",
                    "The data is left.",
                )
            self._with.engine.remove()
        else:
            self._write_intent(state, self._last(state, host, operation_id), "done")
        self._record(state, operation_id, started, None)
        return self._result(state, operation_id, started)

    @staticmethod
    def _last(state: DeploymentState, host: Host | None, operation_id: str) -> str:
        """What a deploy later on will find as the last operation in the lease on the file system.

        This one, if there was an instance to take it through.
        """
        return operation_id if host is not None else state.last_operation_id or operation_id

    def _left(self, state: DeploymentState, plan: Plan) -> str:
        """What AWS has of what was to go, as the end of a sentence; that it cannot be asked is said."""
        if state.target is None:
            return ""
        try:
            left = still_there(self._with.cloud(state.target.region), promised(plan.operations))
        except GeusemakerError as error:
            return f" What is left cannot be told: {error.message}"
        return f" AWS still has {', '.join(left)}." if left else ""

    def _plan(self, state: DeploymentState, operation_id: str, delete_data: bool) -> Plan:
        resources = self._with.engine.resources()
        checks: list[CheckResult] = []
        if state.target is not None:
            pending = self._with.engine.pending_creates()
            cloud = self._with.cloud(state.target.region)
            found = {urn: (sought.type, cloud.find_created(sought)) for urn, sought in pending.items()}
            self._adopted = {urn: created for urn, (_, created) in found.items() if created is not None}
            self._dropped = len(found) > len(self._adopted)
            for urn, created in self._adopted.items():
                resources[urn] = {"type": found[urn][0], "id": created, "protect": found[urn][0] in DATA_TYPES}
            own = own_tags(state.name, self._with.engine.stack_id())
            ids = [resource["id"] for resource in resources.values()]
            if apart := strangers(cloud.find_tagged(state.name), ids, own):
                checks.append(apart)
        operations = tuple(
            ResourceOperation(
                # What the data needs stays with it: the mount target's security groups.
                op="delete" if delete_data or not (resource["protect"] or resource.get("kept")) else "same",
                type=resource["type"],
                name=urn.rsplit("::", 1)[-1],
                urn=urn,
                provider_id=resource["id"],
                protected=resource["protect"],
            )
            for urn, resource in resources.items()
        )
        return Plan(
            deployment=state.name,
            kind="destroy",
            operation_id=operation_id,
            number=state.next_number,
            active_version=state.active.number if state.active else None,
            config=state.versions[-1].config if state.versions else first_config(ConfigRequest()),
            operations=operations,
            checks=tuple(checks),
            downtime="Everything stops for good.",
            data_notice="ALL DATA IS DELETED, and the history with it. There is no way back."
            if delete_data
            else "The data with its file system and volume, the history and the secrets are kept; "
            f"`geusemaker deploy {state.name}` takes them up again.",
            target_kind=state.target.kind if state.target else "unknown",
        )

    def _take_lease(self, state: DeploymentState, operation_id: str, stack: ExitStack) -> Host | None:
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
            lease.take(
                self._with,
                host,
                operation_id,
                "destroy",
                expects=None,
                takeover=state.last_operation_id or None,
                instance_id=instance.id,
                untouched="Nothing was changed.",
            )
        except HostError as error:
            self._warn(f"Services are not stopped one by one beforehand: {error.message}")
            return None
        return host

    def _stopping(self, host: Host | None, operation_id: str) -> Callable[[], None] | None:
        """What stops the services in order, so that nothing is cut off in a write, once the engine has its lock."""
        if host is None:
            return None

        def stop() -> None:
            self._may_have_changed = self._stopped = True
            try:
                with progress.phase(self._with.on_event, "hold", "stopping services before the instance goes"):
                    host.run("hold", {"operation": operation_id}, timeout=_HOLD_SECONDS)
            except HostError as error:
                # Its shutdown stops what still runs.
                self._warn(f"Services were not stopped one by one beforehand: {error.message}")
            # The instance goes, and the lease stays on the file system: nothing could give it back afterwards.
            self._end(host, operation_id, "destroyed")

        return stop

    def _ended_early(
        self,
        state: DeploymentState,
        host: Host | None,
        operation_id: str,
        error: GeusemakerError | OSError | KeyboardInterrupt,
    ) -> GeusemakerError:
        """What is to be said of a destroy that the engine did not carry out, or not to its end."""
        if not self._may_have_changed:
            # What an earlier operation left is left as it was.
            outcome = "failed" if state.last_failed and not state.interrupted else "abandoned"
            self._write_intent(state, self._last(state, host, operation_id), outcome)
            self._end(host, operation_id, "abandoned")
            if isinstance(error, KeyboardInterrupt):
                return InterruptedOperationError("Interrupted.", state="Nothing was changed.")
            if isinstance(error, OSError):
                return GeusemakerError(f"This machine is in the way: {reason(error)}", state="Nothing was changed.")
            error.state = error.state or "Nothing was changed."
            return error
        self._write_intent(state, operation_id, "failed")
        self._end(host, operation_id, "failed")
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

    def _end(self, host: Host | None, operation_id: str, outcome: str) -> None:
        if host is not None:
            lease.give_back(self._with, host, operation_id, outcome)

    def _write_intent(self, state: DeploymentState, operation_id: str, outcome: str) -> None:
        bookkeeping.insist(
            self._with.on_event,
            "That this operation has ended was not written down",
            lambda: self._with.engine.set_intent(self._intent(state, operation_id, outcome)),
        )

    def _warn(self, message: str) -> None:
        self._with.on_event(Event(kind="warning", message=message))

    def _unprotect(self, state: DeploymentState, target: Target, operation_id: str, started: float) -> None:
        """An update of the data resources alone, with protection off: only then may the engine delete them."""
        newest = state.versions[-1]
        urns = [urn for urn, resource in self._with.engine.resources().items() if resource["type"] in DATA_TYPES]
        candidate = self._with.engine.write_candidate(
            newest.config, newest.provenance, target.model_copy(update={"protect": False})
        )
        outcome = self._with.engine.up(
            candidate, "protection off, to delete the data", self._with.on_event, deadline_seconds=900.0, only=urns
        )
        if not outcome.succeeded:
            raise self._failure(
                state,
                operation_id,
                started,
                f"The data could not be unprotected: {outcome.failure}",
                "No service was stopped by this; the data is untouched.",
            )

    def _failure(
        self, state: DeploymentState, operation_id: str, started: float, message: str, left: str
    ) -> ChangeFailedError:
        """Record a failure, and make its error."""
        self._write_intent(state, operation_id, "failed")
        self._record(state, operation_id, started, message)
        return ChangeFailedError(
            message,
            restored=False,
            state=left,
            next_step=f"Mend the cause and run `geusemaker destroy {state.name}` again.",
        )

    def _record(self, state: DeploymentState, operation_id: str, started: float, error_message: str | None) -> None:
        bookkeeping.record(
            self._with,
            OperationRecord(
                operation_id=operation_id,
                deployment=state.name,
                kind="destroy",
                number=state.next_number - 1,
                from_version=state.active.number if state.active else None,
                actor=self._with.actor,
                started_at=self._with.clock.now(),
                duration_seconds=round(self._with.clock.monotonic() - started, 3),
                success=error_message is None,
                error_message=error_message,
            ),
        )

    def _intent(self, state: DeploymentState, operation_id: str, outcome: str) -> Intent:
        return self._with.intent(operation_id, "destroy", state.next_number - 1, outcome)

    def _result(
        self, state: DeploymentState, operation_id: str, started: float, dry_run: bool = False
    ) -> OperationResult:
        return OperationResult(
            success=True,
            deployment=state.name,
            kind="destroy",
            version=None,
            operation_id=operation_id,
            duration_seconds=round(self._with.clock.monotonic() - started, 3),
            dry_run=dry_run,
        )
