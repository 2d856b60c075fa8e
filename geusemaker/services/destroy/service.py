"""DestroyService: deletes the instance and what belongs to it. Data, history and secrets stay."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from geusemaker.errors import (
    ChangeFailedError,
    DeclinedError,
    GeusemakerError,
)
from geusemaker.models.plan import Event, Plan
from geusemaker.models.request import ChangeOptions
from geusemaker.models.result import OperationResult
from geusemaker.models.state import DeploymentState
from geusemaker.services import costs, progress
from geusemaker.services.collaborators import Collaborators, Confirm
from geusemaker.services.destroy.act import Act
from geusemaker.services.destroy.ending import conclude, ended_early, result_of
from geusemaker.services.destroy.plan import look
from geusemaker.services.destroy.steps import stopping, take_lease, unprotect
from geusemaker.services.engine_lock import clear_dead_lock
from geusemaker.services.identity import require_account
from geusemaker.services.operation import UNTOUCHED, Operation, nothing_changed
from geusemaker.services.states import load_state, require_idle, require_readable


class DestroyService:
    """Destroys; ``delete_data`` removes the data as well, and then the stack with its history."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

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
        planned = replace(planned, plan=self._priced(planned.plan, state, delete_data=delete_data))
        plan = planned.plan
        if state.destroyed and not any(operation.op == "delete" for operation in plan.operations) and not delete_data:
            self._with.on_event(Event(kind="note", message=f"Nothing to destroy: {state.name} is destroyed already."))
            return result_of(plan, self._with, started)
        if options.dry_run:
            self._with.on_event(Event(kind="plan", plan=plan))
            return result_of(plan, self._with, started, dry_run=True)
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
                host = take_lease(self._with, state, operation, stack)
            except KeyboardInterrupt as error:
                raise nothing_changed(error, UNTOUCHED) from error
            return _carry_out(Act(self._with, state, planned, operation, host, started, delete_data))

    def _priced(self, plan: Plan, state: DeploymentState, *, delete_data: bool) -> Plan:
        """The plan with what is paid now, and for what stays."""
        target, last = state.target, state.last_healthy
        if target is None or last is None or target.kind != "aws":
            return plan
        instance = self._with.cloud(target.region).find_instance(state.name)
        types, spot = [instance.type] if instance is not None else [], last.config.purchase == "spot"
        priced = costs.ask(self._with, target, types, spot=spot)
        cost = costs.of_destroy(priced, target, last.config, instance, delete_data=delete_data)
        return plan.model_copy(update={"cost": cost})


def _carry_out(act: Act) -> OperationResult:
    touched = False
    try:
        act.operation.announce()
        if act.delete_data and act.state.target is not None and act.state.versions:
            act.reached.may_have_changed = touched = True
            unprotect(act, act.state.target)
        if act.planned.adopted or act.planned.dropped:
            act.reached.may_have_changed = touched = True
            with progress.phase(act.collaborators.on_event, "adopt", "taking up what a killed operation was making"):
                act.collaborators.engine.clear_pending(act.planned.adopted)
        # With a host it is told when the engine has come so far.
        act.reached.may_have_changed = act.reached.may_have_changed or act.host is None
        act.reached.deletes_data = act.delete_data
        with progress.phase(act.collaborators.on_event, "delete"):
            outcome = act.collaborators.engine.destroy(
                act.collaborators.on_event, stopping(act), deadline_seconds=act.deadline_seconds
            )
    except ChangeFailedError:
        act.operation.give_back(act.host, "failed")
        raise
    except GeusemakerError as error:
        # What a run of the engine comes to is an outcome: this one did not even begin.
        act.reached.may_have_changed, act.reached.deletes_data = touched or act.reached.stopped, False
        raise ended_early(act, error) from error
    except (OSError, KeyboardInterrupt) as error:
        raise ended_early(act, error) from error
    act.reached.may_have_changed = True
    try:
        return conclude(act, outcome)
    except ChangeFailedError:
        if not act.reached.stopped:  # else it was given back then
            act.operation.give_back(act.host, "failed")
        raise
    except (GeusemakerError, OSError, KeyboardInterrupt) as error:
        raise ended_early(act, error) from error
