"""RecoverService: gets back to a healthy version after a killed or failed operation, with no hand work."""

from __future__ import annotations

from typing import Final

from geusemaker.errors import HostError, RefusedError
from geusemaker.models.history import BESIDE, IntentKind, short_host
from geusemaker.models.inspection import Inspection
from geusemaker.models.plan import Event
from geusemaker.models.request import ChangeOptions
from geusemaker.models.result import OperationResult
from geusemaker.models.stack import StackConfig, Target
from geusemaker.models.state import DeploymentState
from geusemaker.services import lost
from geusemaker.services.change import Change, ChangeService
from geusemaker.services.collaborators import Collaborators, Confirm
from geusemaker.services.engine_lock import dead_lock
from geusemaker.services.identity import require_account
from geusemaker.services.inspect.service import InspectService
from geusemaker.services.interruption import EC2_STARTS_IT, brought_back, waits_for_capacity
from geusemaker.services.judgement import AS_IT_SHOULD_BE
from geusemaker.services.lease import REHEARSAL
from geusemaker.services.recover.decide import is_repair, require_interrupted
from geusemaker.services.recover.returned import record_return
from geusemaker.services.renewals import find_renewals
from geusemaker.services.rest.at_rest import at_rest, told
from geusemaker.services.rollback.target import advice, repair_target
from geusemaker.services.states import (
    busy,
    get_state,
    has_volume,
    is_left_behind,
    is_running,
    killed_beside,
    require_readable,
)

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


def _reboots(found: Inspection | None, options: ChangeOptions) -> tuple[str, ...]:
    """Why the instance, which answers, is rebooted where that is allowed. Pure."""
    if found is None or found.patching is None or not options.reboot:
        return ()
    return tuple(found.patching.reboot or ())


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
        if options.unattended:
            require_interrupted(InspectService(self._with).inspect(), self._with.clock.now())
        lock = dead_lock(self._with, state, owner_is_gone=options.owner_is_gone)
        if (gone := self._find_lost(state)) is not None:
            self._with.warn_once(lost.notice(state.name, gone))
            if gone.is_version:
                return ChangeService(self._with, state, options).run(reconciliation(state, gone), confirm)
            if not options.dry_run:
                self._acknowledge(gone)
            state = get_state(self._with)
        if self._is_at_rest(state):
            return self._left_at_rest(state, options)
        found = None if state.unsettled else self._look()
        ended = found.ended if found is not None else None
        if ended is not None and ended.cause == "ending":
            raise RefusedError(
                f"{ended.why}.",
                state="Nothing was changed; the data is untouched.",
                next_step=f"Run `geusemaker recover {state.name}` when it is gone.",
            )
        reboots = _reboots(found, options)
        renewals = find_renewals(self._with, state) if options.renew_docker and found is not None else ()
        if (
            found is not None
            and found.status in AS_IT_SHOULD_BE
            and lock is None
            and not self._lost_data(state)
            and not reboots
            and not renewals
        ):
            if not options.dry_run:
                self._settle(state, options)
            if not options.dry_run and ended is not None and ended.cause == "returned":
                record_return(self._with, state, ended)
            apart = f" {found.summary}" if found.status == "stopped" else ""
            apart += " No reboot is due." if options.reboot else ""
            apart += " Docker is the newest that there is." if options.renew_docker else ""
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
        if options.unattended and healthy.number != state.last_healthy.number:
            raise RefusedError(
                f"v{state.last_healthy.number} is not to be gone to by itself, and another version is for a person.",
                state="Nothing was changed.",
                next_step=advice(state),
            )
        if found is not None and not options.on_demand and waits_for_capacity(healthy.config, found.instance):
            raise RefusedError(
                f"{found.ended.why if found.ended is not None else 'It is stopped'}.",
                state=f"Nothing was changed; the data is untouched. {EC2_STARTS_IT}",
                next_step=f"Wait for that, or run `geusemaker recover {state.name} --on-demand`: another instance.",
            )
        config = brought_back(healthy.config, ended, on_demand=options.on_demand)
        again = state.last_failed and is_repair(state.versions[-1].provenance)
        if again:  # as the attempt that failed was to bring it back
            config = healthy.config.model_copy(update={"purchase": state.versions[-1].config.purchase})
        if config != healthy.config:  # it was said beforehand that another instance takes its place
            options = options.model_copy(update={"allow_replace": True})
        return ChangeService(self._with, state, options).run(
            Change(
                kind="recover",
                config=config,
                target=state.target,
                source_version=healthy.number,
                trigger="spot_interruption"
                if again or (ended is not None and ended.cause == "interrupted")
                else "manual",
                found_failing=state.last_healthy.number if failing else None,
                repair=True,
                repairs=(
                    *(found.repairs if found is not None else ()),
                    *(f"the instance reboots: {why}" for why in reboots),
                    *(f"Docker is renewed: {what}" for what in renewals),
                ),
                reboots=reboots,
                renewals=renewals,
                restarts=tuple(found.restarts) if found is not None else (),
            ),
            confirm,
        )

    def _is_at_rest(self, state: DeploymentState) -> bool:
        """Whether the instance is stopped on purpose, and all that may be unfinished is the stop itself."""
        if state.target is None or (state.unsettled and (state.intent is None or state.intent.kind != "stop")):
            return False
        return at_rest(state, self._with.cloud(state.target.region).find_instance(state.name)) is not None

    def _left_at_rest(self, state: DeploymentState, options: ChangeOptions) -> OperationResult:
        assert state.stopped is not None
        if not options.dry_run:
            self._settle(state, options)
        text = f"Nothing to repair: {told(state.stopped)}. `geusemaker start {state.name}` starts it again."
        self._with.on_event(Event(kind="note", message=text))
        number = state.active.number if state.active else None
        return OperationResult(success=True, deployment=state.name, kind="recover", version=number)

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
            beside = killed_beside(intent) if intent.kind in BESIDE else ""
            text = f"The {intent.kind} to v{intent.number} was killed when its work was done already."
            self._with.on_event(Event(kind="note", message=beside or text))
        instance = self._with.cloud(state.target.region).find_instance(state.name) if state.target is not None else None
        if state.target is None or instance is None or not instance.may_answer:
            return
        with self._with.open_host(instance.address, state.target, self._with.engine.load_secrets()) as host:
            lease = host.lease().lease
            if lease is None or lease.state != "held":
                return
            bakes, rehearses = lease.gives_way, lease.kind == REHEARSAL
            if not (bakes or rehearses or is_left_behind(self._with, lease, owner_is_gone=options.owner_is_gone)):
                return
            operation = lease.operation
            host.cancel(operation)
            outcome = "done" if bakes or operation == done else "abandoned"
            host.end(operation, outcome)
        text = f"The dead operation {operation} held the lease; it is given back."
        if bakes:
            text = f"The bake of v{lease.number} by {lease.actor} is ended; v{lease.number} stays."
        elif rehearses:
            text = f"The rehearsal of {lease.actor} is ended."
        self._with.on_event(Event(kind="note", message=text))

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
