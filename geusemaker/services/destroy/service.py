"""DestroyService: deletes the instance and what belongs to it. Data, history and secrets stay."""

from __future__ import annotations

from geusemaker.errors import ChangeFailedError, DeclinedError, DeploymentBusyError, HostError
from geusemaker.models.history import Intent
from geusemaker.models.plan import Event, Plan, ResourceOperation
from geusemaker.models.record import OperationRecord
from geusemaker.models.request import ChangeOptions, ConfigRequest
from geusemaker.models.result import InstanceState, OperationResult
from geusemaker.models.stack import Target
from geusemaker.models.state import DeploymentState
from geusemaker.services.collaborators import Collaborators, Confirm
from geusemaker.services.configure import first_config
from geusemaker.services.guard import DATA_TYPES
from geusemaker.services.states import clear_dead_lock, is_left_behind, load_state, require_idle


class DestroyService:
    """Destroys; ``delete_data`` removes the data as well, and then the stack with its history."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def destroy(self, options: ChangeOptions, confirm: Confirm, *, delete_data: bool) -> OperationResult:
        """Destroy.

        Raises:
            DeclinedError: ``confirm`` said no; nothing was changed.
            DeploymentBusyError: another operation holds the deployment.
            ChangeFailedError: something could not be deleted.
        """
        started = self._with.clock.monotonic()
        state = load_state(self._with)
        require_idle(self._with, state)
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
        lease_taken = False
        if state.target is not None:
            instance = self._with.cloud(state.target.region).find_instance(state.name)
            if instance is not None and instance.may_answer:
                lease_taken = self._stop_services(state, state.target, instance, operation_id)
        self._with.engine.set_intent(self._intent(state, operation_id, ""))
        if delete_data and state.target is not None and state.versions:
            self._unprotect(state, state.target, operation_id, started)
        outcome = self._with.engine.destroy(self._with.on_event)
        if not outcome.succeeded:
            raise self._failure(
                state,
                operation_id,
                started,
                f"Not everything could be deleted: {next(iter(outcome.diagnostics), outcome.failure)}",
                "Some of the data may be left." if delete_data else "The data is untouched.",
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
            # A deploy later on expects the lease on the file system to be that of the last operation: this one's, if
            # there was an instance to take it through.
            last = operation_id if lease_taken else state.last_operation_id or operation_id
            self._with.engine.set_intent(self._intent(state, last, "done"))
        self._record(state, operation_id, started, None)
        return self._result(state, operation_id, started)

    def _plan(self, state: DeploymentState, operation_id: str, delete_data: bool) -> Plan:
        operations = tuple(
            ResourceOperation(
                op="delete" if delete_data or not resource["protect"] else "same",
                type=resource["type"],
                name=urn.rsplit("::", 1)[-1],
                urn=urn,
                provider_id=resource["id"],
                protected=resource["protect"],
            )
            for urn, resource in self._with.engine.resources().items()
        )
        return Plan(
            deployment=state.name,
            kind="destroy",
            operation_id=operation_id,
            number=state.next_number,
            active_version=state.active.number if state.active else None,
            config=state.versions[-1].config if state.versions else first_config(ConfigRequest()),
            operations=operations,
            downtime="Everything stops for good.",
            data_notice="ALL DATA IS DELETED, and the history with it. There is no way back."
            if delete_data
            else "The data with its file system and volume, the history and the secrets are kept; "
            f"`geusemaker deploy {state.name}` takes them up again.",
            target_kind=state.target.kind if state.target else "local",
        )

    def _stop_services(
        self, state: DeploymentState, target: Target, instance: InstanceState, operation_id: str
    ) -> bool:
        """Stop the services in order, so that nothing is cut off in the middle of a write.

        Returns:
            Whether the lease was this operation's.
        """
        taken = False
        begin = {
            "operation": operation_id,
            "expects": None,
            "takeover": state.last_operation_id or None,
            "kind": "destroy",
            "actor": self._with.actor,
            "owner": self._with.owner,
            "instance_id": instance.id,
        }
        try:
            secrets = self._with.engine.load_secrets()
            with self._with.open_host(instance.address, target, secrets) as host:
                try:
                    host.run("begin", begin, timeout=60.0)
                except HostError as error:
                    holder = error.detail.get("holder") or {}
                    if not is_left_behind(self._with, holder):
                        raise
                    host.run("begin", {**begin, "takeover": holder["operation"]}, timeout=60.0)
                taken = True
                try:
                    host.run("hold", {"operation": operation_id}, timeout=180.0)
                finally:
                    host.run("end", {"operation": operation_id, "outcome": "destroyed"}, timeout=60.0)
        except HostError as error:
            if error.code == "lease_held":
                raise DeploymentBusyError(
                    f"{state.name} is held by another operation: {error.message}",
                    state="Nothing was changed.",
                    next_step=f"Wait for it; if it was killed, run `geusemaker recover {state.name}` first.",
                ) from error
            # A broken instance must not be one that cannot be got rid of; its shutdown stops what still runs.
            self._with.on_event(
                Event(kind="warning", message=f"Services were not stopped one by one beforehand: {error.message}")
            )
        return taken

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
                "Services are stopped; the data is untouched.",
            )

    def _failure(
        self, state: DeploymentState, operation_id: str, started: float, message: str, left: str
    ) -> ChangeFailedError:
        """Record a failure, and make its error."""
        self._with.engine.set_intent(self._intent(state, operation_id, "failed"))
        self._record(state, operation_id, started, message)
        return ChangeFailedError(
            message,
            restored=False,
            state=left,
            next_step=f"Mend the cause and run `geusemaker destroy {state.name}` again.",
        )

    def _record(self, state: DeploymentState, operation_id: str, started: float, error_message: str | None) -> None:
        self._with.journal.append(
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
            )
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
