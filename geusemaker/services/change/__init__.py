"""One change of a deployment, whatever its verb: ``run`` is its table of contents, each step one further file.

``deploy``, ``update``, ``rollback`` and ``recover`` differ in how they choose the config; from there on they are this.
"""

from __future__ import annotations

from dataclasses import replace

from geusemaker.errors import DeclinedError
from geusemaker.models.plan import Event, Plan
from geusemaker.models.request import ChangeOptions
from geusemaker.models.result import OperationResult
from geusemaker.models.state import DeploymentState
from geusemaker.services.bake.words import failed_by
from geusemaker.services.change.apply import apply
from geusemaker.services.change.away import Away
from geusemaker.services.change.back import go_back
from geusemaker.services.change.bake import Bake, bake, close, measure_before
from geusemaker.services.change.begin import begin, given_back
from geusemaker.services.change.connection import Connection
from geusemaker.services.change.fail import fail
from geusemaker.services.change.findings import Findings
from geusemaker.services.change.finish import afterwards, finish
from geusemaker.services.change.look import look
from geusemaker.services.change.meanwhile import Meanwhile
from geusemaker.services.change.model import Asked, Change
from geusemaker.services.change.plan import make_plan
from geusemaker.services.change.power import boot_anew, renew_docker
from geusemaker.services.change.prepare import prepare, restart
from geusemaker.services.change.recheck import recheck
from geusemaker.services.change.record import make_result, with_kept
from geusemaker.services.change.switch import switch
from geusemaker.services.change.verify import verify
from geusemaker.services.change.work import Work
from geusemaker.services.collaborators import Collaborators, Confirm
from geusemaker.services.operation import Operation
from geusemaker.services.outcomes import applied_of
from geusemaker.services.settling import not_healthy_after_all
from geusemaker.services.way_back import require_way_back

__all__ = ["Change", "ChangeService"]


class ChangeService:
    """Carries one change out. An instance serves one operation."""

    def __init__(
        self, collaborators: Collaborators, state: DeploymentState, options: ChangeOptions, bake: Bake | None = None
    ) -> None:
        self._with = collaborators
        self._bake = bake
        self._state = state
        self._options = options

    def run(self, change: Change, confirm: Confirm) -> OperationResult:
        """Carry the change out.

        Returns:
            What it came to; ``success`` is False when it failed after it began.

        Raises:
            RefusedError: validation or the plan guard said no; nothing was changed.
            DeclinedError: ``confirm`` said no; nothing was changed.
            DeploymentBusyError: another operation holds the deployment; nothing was changed.
            GeusemakerError: something failed before anything was changed.
        """
        started = self._with.clock.monotonic()
        with Connection(self._with, self._state.target) as connection:
            found = look(self._with, connection, Asked(change, self._options, self._state))
            plan = make_plan(found)
            require_way_back(plan, self._options, found.asked.untouched)
            if self._options.dry_run:
                self._with.on_event(Event(kind="plan", plan=plan))
                seconds = round(self._with.clock.monotonic() - started, 3)
                return make_result(plan, seconds, success=True, dry_run=True)
            if not confirm(plan):
                raise DeclinedError("Not confirmed.", state="Nothing was changed.")
            work = self._work(self._with_way_back(found, plan), plan, connection, started)
            with given_back(work):
                begin(work)
                before = recheck(work)
                figures = measure_before(work) if self._bake is not None else {}
                switch(work)
                checkpoint = prepare(work)
            restart(work)
            renew_docker(work)
            boot_anew(work)
            meanwhile = Meanwhile(work)
            outcome = apply(work, meanwhile)
            checkpoint = with_kept(checkpoint, applied_of(outcome))
            with afterwards(work):
                if outcome.succeeded:
                    seen = verify(work, outcome, before)
                    if seen.problem or not seen.ill:
                        bakes = self._bake is not None
                        result = finish(work, meanwhile, outcome, seen, before, checkpoint, bakes=bakes)
                        if self._bake is None or seen.problem:
                            return result
                        report, why = bake(work, self._bake, seen.host, outcome, figures)
                        if report.ended not in ("regression", "test_failed"):
                            return close(work, result, report, why, seen.host, before, seen.after, checkpoint)
                        outcome, baked = failed_by(report), report
                    else:
                        outcome, baked = not_healthy_after_all(seen.ill), None
                    failed, way = fail(work, outcome, before, checkpoint, was_healthy=True, baked=baked)
                else:
                    failed, way = fail(work, outcome, before, checkpoint)
                result = go_back(work, failed, way, _carry_out) if way is not None else failed
            said = meanwhile.error.next_step if meanwhile.error is not None and result.exit_code == 4 else ""
            return result.model_copy(update={"next_step": said or result.next_step})

    def _work(self, found: Findings, plan: Plan, connection: Connection, started: float) -> Work:
        active = self._state.active
        away = Away(self._with.clock, self._with.on_event, active.config.services if active is not None else ())
        telling = replace(self._with, on_event=away.event)
        return Work(telling, found, plan, self._operation(found, plan), connection, started, away)

    def _with_way_back(self, found: Findings, plan: Plan) -> Findings:
        """Have the version say what its way back is, and its data: what it was made with tells it for ever."""
        data_of = plan.data_return.checkpoint if plan.data_return is not None else ""
        provenance = found.provenance.model_copy(update={"way_back": plan.way_back, "data_of": data_of})
        if provenance != found.provenance:
            self._with.engine.rewrite_candidate(found.candidate, provenance)
        return replace(found, provenance=provenance)

    def _operation(self, found: Findings, plan: Plan) -> Operation:
        name = found.asked.name
        return Operation(
            self._with,
            plan.operation_id,
            plan.kind,
            plan.number,
            left_unsettled=self._state.interrupted,
            untouched=found.asked.untouched,
            unwritten=f"That this operation has ended was not written down; `geusemaker recover {name}` does it",
            trigger=plan.trigger,
        )


def _carry_out(collaborators: Collaborators, asked: Asked) -> OperationResult:
    """Another change, which nobody is asked for."""
    return ChangeService(collaborators, asked.state, asked.options).run(asked.change, confirm=lambda plan: True)
