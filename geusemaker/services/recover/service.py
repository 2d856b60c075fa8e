"""RecoverService: gets back to a healthy version after a killed or failed operation, with no hand work."""

from __future__ import annotations

from typing import Final

from geusemaker.errors import HostError, RefusedError
from geusemaker.models.history import IntentKind, short_host
from geusemaker.models.plan import Event
from geusemaker.models.request import ChangeOptions
from geusemaker.models.result import Inspection, OperationResult
from geusemaker.models.stack import StackConfig, Target
from geusemaker.models.state import DeploymentState
from geusemaker.services import lost
from geusemaker.services.change import Change, ChangeService
from geusemaker.services.collaborators import Collaborators, Confirm
from geusemaker.services.engine_lock import dead_lock
from geusemaker.services.identity import require_account
from geusemaker.services.inspect.service import InspectService
from geusemaker.services.judgement import AS_IT_SHOULD_BE
from geusemaker.services.rollback.target import advice, repair_target
from geusemaker.services.states import busy, get_state, has_volume, is_left_behind, is_running, require_readable

_POLL_SECONDS: Final = 1.0
_SETTLING_SECONDS: Final = 600.0
"""Longer than anything settles; what starts again and again never does."""


def reconciliation(state: DeploymentState, found: lost.Lost) -> Change:
    """How history and file system get together: the lost version comes back as it was, or else the last healthy one.

    Where its number was given again meanwhile, its config comes back under a new one. No number is given twice. Pure.
    """
    assert state.target is not None and state.last_healthy is not None
    # Where no version is left to go to by itself there must be a way on all the same.
    healthy, record = repair_target(state) or state.last_healthy, found.record
    if record is not None and found.can_return:
        assert record.config is not None and record.provenance is not None
        is_free = state.find_version(record.provenance.number) is None
        return Change(
            kind="recover",
            config=record.config,
            target=state.target,
            put_back=record.provenance if is_free else None,
            above=found.highest_number,
            repair=True,
        )
    return Change(
        kind="recover",
        config=healthy.config,
        target=state.target,
        source_version=healthy.number,
        above=found.highest_number,
        repair=True,
    )


class RecoverService:
    """Recovers: clears what a dead owner left, then makes the last healthy version real again."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def recover(self, options: ChangeOptions, confirm: Confirm) -> OperationResult:
        """Recover; does nothing, successfully, when the last operation was settled and the instance runs.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            DeploymentBusyError: the operation's owner is alive.
            RefusedError: no version was ever healthy, so there is nothing to go back to.
        """
        state = get_state(self._with)
        intent = state.intent
        if intent is not None and is_running(self._with, intent):
            elsewhere = intent.host != short_host(self._with.host_name)
            if not (elsewhere and options.owner_is_gone):
                raise busy(state.name, intent)
        require_readable(state)
        if state.target is not None:
            require_account(self._with, state.target)
        lock = dead_lock(self._with, state, owner_is_gone=options.owner_is_gone)
        if (gone := self._find_lost(state)) is not None:
            self._with.warn_once(lost.notice(state.name, gone))
            if gone.is_version:
                return ChangeService(self._with, state, options).run(reconciliation(state, gone), confirm)
            if not options.dry_run:
                self._acknowledge(gone)
            state = get_state(self._with)
        found = None if state.unsettled else self._look()
        if found is not None and found.status in AS_IT_SHOULD_BE and lock is None and not self._lost_data(state):
            if not options.dry_run:
                self._settle(state, options)
            apart = f" {found.summary}" if found.status == "stopped" else ""
            self._with.on_event(Event(kind="note", message=f"Nothing to repair: {state.name} is settled.{apart}"))
            return OperationResult(
                success=True,
                deployment=state.name,
                kind="recover",
                version=state.active.number if state.active else None,
            )
        if state.last_healthy is None and state.interrupted and (begun := self._begun(state)) is not None:
            # A first deploy that was killed: there is nothing to go back to, and nothing against going on with it.
            config, target = begun
            change = Change(kind="recover", config=config, target=target, repair=True)
            return ChangeService(self._with, state, options).run(change, confirm)
        if state.last_healthy is None or state.target is None:
            raise RefusedError(
                f"{state.name} never had a healthy version, so there is none to recover.",
                state="Nothing was changed.",
                next_step=f"Run `geusemaker deploy {state.name}` again, or `geusemaker destroy {state.name}`.",
            )
        failing = found is not None and bool(found.failing)
        healthy = repair_target(state, failing=failing)
        if healthy is None:
            raise RefusedError(
                f"{state.name} has no version that a recovery may go to by itself.",
                state="Nothing was changed.",
                next_step=advice(state, failing=failing),
            )
        return ChangeService(self._with, state, options).run(
            Change(
                kind="recover",
                config=healthy.config,
                target=state.target,
                source_version=healthy.number,
                found_failing=state.last_healthy.number if failing else None,
                repair=True,
                repairs=tuple(found.repairs) if found is not None else (),
                restarts=tuple(found.restarts) if found is not None else (),
            ),
            confirm,
        )

    def _find_lost(self, state: DeploymentState) -> lost.Lost | None:
        """What runs and the history does not know; None where it knows all, or the data cannot be asked."""
        if state.last_healthy is None or state.target is None or state.destroyed:
            return None
        instance = self._with.cloud(state.target.region).find_instance(state.name)
        if instance is None or not instance.may_answer:
            return None
        try:
            with self._with.open_host(instance.address, state.target, self._with.engine.load_secrets()) as host:
                return lost.read_lost(self._with, host, state, host.lease().lease)
        except HostError:
            return None  # what is wrong with it is found and told below

    def _acknowledge(self, found: lost.Lost) -> None:
        """Let the backend know the last operation again; it made no version that could be put back."""
        kind: IntentKind = "destroy" if found.kind == "destroy" else "restore"
        self._with.engine.set_intent(self._with.intent(found.operation_id, kind, found.highest_number, "done"))

    def _begun(self, state: DeploymentState) -> tuple[StackConfig, Target] | None:
        """What a first deploy was to make that was killed; None where that is not known from here."""
        if state.versions and state.target is not None:
            return state.versions[-1].config, state.target
        return self._with.engine.accepted()

    def _lost_data(self, state: DeploymentState) -> bool:
        """Whether Pulumi's state has lost what holds the data, which is then nobody's: it is taken up again."""
        return state.last_healthy is not None and bool(self._with.engine.missing_data(has_volume=has_volume(state)))

    def _settle(self, state: DeploymentState, options: ChangeOptions) -> None:
        """Clear what an operation left that was killed before it changed anything, or after all was done.

        Else it would hold the deployment for everybody on other machines, who cannot see that it is dead.
        """
        intent = state.intent
        done = intent.operation_id if intent is not None and not intent.outcome else ""
        if intent is not None and done:
            self._with.engine.set_intent(intent.model_copy(update={"outcome": "done"}))
            self._with.on_event(
                Event(
                    kind="note",
                    message=f"The {intent.kind} to v{intent.number} was killed when its work was done already.",
                )
            )
        instance = self._with.cloud(state.target.region).find_instance(state.name) if state.target is not None else None
        if state.target is None or instance is None or not instance.may_answer:
            return
        with self._with.open_host(instance.address, state.target, self._with.engine.load_secrets()) as host:
            lease = host.lease().lease
            if lease is None or not is_left_behind(self._with, lease, owner_is_gone=options.owner_is_gone):
                return
            operation = lease.operation
            host.cancel(operation)
            outcome = "done" if operation == done else "abandoned"
            host.end(operation, outcome)
        self._with.on_event(
            Event(kind="note", message=f"The dead operation {operation} held the lease; it is given back.")
        )

    def _look(self) -> Inspection:
        """How the deployment is, as ``status`` says it; what is settling is waited for."""
        found = InspectService(self._with).inspect()
        deadline = self._with.clock.monotonic() + _SETTLING_SECONDS
        if found.status == "settling":
            self._with.on_event(Event(kind="note", message=found.summary))
        while found.status == "settling" and self._with.clock.monotonic() < deadline:
            self._with.clock.sleep(_POLL_SECONDS)
            found = InspectService(self._with).inspect()
        return found
