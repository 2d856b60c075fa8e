"""RestService: stops services on purpose, so that nothing starts them by itself, and starts them again.

The note of who stopped what, since when and why is on the file system, beside the lease: boots, changes and `recover`
respect it, whichever machine they come from. The config stays as it is, so no version is made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager

from geusemaker.agent.protocol.looks import Health
from geusemaker.agent.protocol.stored import Lease, Stopped
from geusemaker.errors import (
    DeclinedError,
    HostError,
    InterruptedOperationError,
    InvalidInputError,
    RefusedError,
)
from geusemaker.models.plan import Event, RestPlan
from geusemaker.models.record import OperationRecord
from geusemaker.models.request import RestRequest
from geusemaker.models.result import OperationResult
from geusemaker.models.stack import ServiceName, StackConfig, Target
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.program.compose import probes
from geusemaker.services import progress
from geusemaker.services.before import find_answering, require_data, require_whole
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.configure import service_name
from geusemaker.services.identity import require_account
from geusemaker.services.operation import UNTOUCHED, Operation
from geusemaker.services.states import get_state, is_left_behind, not_found, require_idle, require_readable

Confirm = Callable[[RestPlan], bool]


def to_stop(config: StackConfig, named: Collection[ServiceName]) -> tuple[tuple[ServiceName, ...], tuple[str, ...]]:
    """The services to stop where these are named, none meaning all, and why more than those. Pure.

    What needs a service stops with it: it could do nothing but fail.
    """
    needs = {name: probe["depends_on"] for name, probe in probes(config).items()}
    chosen = set(named or config.services)
    also = {name: sorted(chosen & set(needs[name])) for name in config.services if name not in chosen}
    why = tuple(f"{name} stops as well: it needs {' and '.join(lost)}" for name, lost in also.items() if lost)
    return _ordered(config, chosen | {name for name, lost in also.items() if lost}), why


def to_start(
    config: StackConfig, named: Collection[ServiceName], down: Collection[str]
) -> tuple[tuple[ServiceName, ...], tuple[str, ...]]:
    """The services to start where these are named, none meaning all that are down, and why more than those. Pure."""
    needs = {name: probe["depends_on"] for name, probe in probes(config).items()}
    chosen = {name for name in config.services if name in down and (not named or name in named)}
    needed = {name: sorted(one for one in chosen if name in needs[one]) for name in config.services}
    also = {name: by for name, by in needed.items() if by and name in down and name not in chosen}
    why = tuple(f"{name} starts as well: {' and '.join(by)} needs it" for name, by in also.items())
    return _ordered(config, chosen | also.keys()), why


def _ordered(config: StackConfig, chosen: Collection[str]) -> tuple[ServiceName, ...]:
    return tuple(name for name in config.services if name in chosen)


class RestService:
    """Stops and starts services. An instance serves one operation."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators
        self._started = collaborators.clock.monotonic()

    def run(self, request: RestRequest, confirm: Confirm) -> OperationResult:
        """Stop or start what ``request`` names.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: there is no such service, or it is not enabled.
            RefusedError: nothing can be stopped or started now; nothing was changed.
            DeclinedError: ``confirm`` said no; nothing was changed.
            DeploymentBusyError: another operation holds the deployment; nothing was changed.
            InterruptedOperationError: Ctrl-C; says what was done.
        """
        state = get_state(self._with)
        active = self._require_settled(state, request)
        named = self._named(active, request)
        assert state.target is not None
        require_account(self._with, state.target)
        instance = find_answering(self._with, state.target, ", so none of its services runs")
        with self._with.open_host(instance.address, state.target, self._with.engine.load_secrets()) as host:
            health = host.health(probes(active.config))
            require_data(state.name, health)
            plan = self._plan(state, active, state.target, request, named, health)
            if not plan.services:
                self._note(f"{plan.summary}.")
                return self._result(plan, "")
            if not confirm(plan):
                raise DeclinedError("Not confirmed.", state=UNTOUCHED)
            operation = Operation(
                self._with, plan.operation_id, plan.kind, active.number, left_unsettled=state.interrupted
            )
            operation.take_over(host, instance.id, state)
            operation.begin(host)
            return self._act(operation, host, state, active, plan, str(health.mount.file_system_id))

    # --- before anything changes ---------------------------------------------------------------------------------

    def _require_settled(self, state: DeploymentState, request: RestRequest) -> Version:
        require_idle(self._with, state)
        require_readable(state)
        if state.target is None:
            raise not_found(state.name)
        if state.active is None:
            raise RefusedError(
                f"{state.name} {'was destroyed' if state.destroyed else 'never had a healthy version'}, so nothing "
                "of it runs.",
                state=UNTOUCHED,
                next_step=f"Run `geusemaker deploy {state.name}` first.",
            )
        require_whole(state, "stop", "start")
        return state.active

    @staticmethod
    def _named(active: Version, request: RestRequest) -> tuple[ServiceName, ...]:
        named = tuple(dict.fromkeys(service_name(text) for text in request.services))
        if missing := [name for name in named if name not in active.config.services]:
            raise InvalidInputError(
                f"{' and '.join(missing)} is not part of v{active.number}, which has "
                f"{', '.join(active.config.services)}.",
                state=UNTOUCHED,
            )
        return named

    def _plan(
        self,
        state: DeploymentState,
        active: Version,
        target: Target,
        request: RestRequest,
        named: tuple[ServiceName, ...],
        health: Health,
    ) -> RestPlan:
        # One that was killed is done once more, whatever it came to: else what it holds would stay so.
        anew = state.interrupted or is_left_behind(self._with, health.lease or Lease())
        noted = set(health.stopped)
        runs = {name for name, found in health.services.items() if found.state in ("running", "restarting")}
        config = active.config
        if request.kind == "stop":
            services, why = to_stop(config, named)
            services = tuple(name for name in services if anew or name not in noted or name in runs)
        else:
            down = {name for name in config.services if anew or name not in runs or name in noted}
            services, why = to_start(config, named, down)
        already = "stopped" if request.kind == "stop" else "running"
        words = ", ".join(services)
        if not services:
            summary = f"{', '.join(named) or 'All that'} is {already} already" if named else f"All is {already} already"
        elif request.kind == "stop":
            summary = f"{words} stops, and stays so until `geusemaker start {state.name}`: nothing starts it by itself"
        else:
            summary = f"{words} starts, as v{active.number} has it"
        return RestPlan(
            deployment=state.name,
            kind=request.kind,
            operation_id=self._with.clock.new_operation_id(),
            services=services,
            summary=summary,
            because=why if services else (),
            reason=request.reason,
            active_version=active.number,
            target_kind=target.kind,
        )

    # --- the act itself ------------------------------------------------------------------------------------------

    def _act(
        self,
        operation: Operation,
        host: Host,
        state: DeploymentState,
        active: Version,
        plan: RestPlan,
        file_system_id: str,
    ) -> OperationResult:
        assert state.target is not None
        on_event = self._with.on_event
        stopped: Mapping[str, Stopped]
        health: dict[str, bool] = {}
        try:
            with self._phase(plan.kind, ", ".join(plan.services)):
                if plan.kind == "stop":
                    stopped = host.stop(operation.id, plan.services, self._with.actor, plan.reason, on_event).stopped
                else:
                    stopped = host.start(operation.id, plan.services, on_event).stopped
            if plan.kind == "start":
                with self._phase("verify", "waiting until everything is healthy"):
                    health = operation.gate(host, active.config, state.target, file_system_id)
        except HostError as error:
            return self._finish(operation, host, plan, health, error.message)
        except KeyboardInterrupt as error:
            operation.cancel(host)
            self._finish(operation, host, plan, health, "interrupted")
            raise InterruptedOperationError(
                f"Interrupted while {', '.join(plan.services)} was told to {plan.kind}.",
                state="Each of them may run, or not.",
                next_step=f"`geusemaker status {state.name}` tells how things are.",
            ) from error
        self._note(", ".join(sorted(stopped)) + " stopped on purpose" if stopped else "")
        return self._finish(operation, host, plan, health, "")

    def _finish(
        self, operation: Operation, host: Host, plan: RestPlan, health: dict[str, bool], problem: str
    ) -> OperationResult:
        result = self._result(plan, plan.operation_id, health, problem)
        operation.finish(
            host,
            OperationRecord.of(
                result,
                number=plan.active_version,
                from_version=plan.active_version,
                actor=self._with.actor,
                reason=plan.reason,
                now=self._with.clock.now(),
            ),
        )
        return result

    def _result(
        self, plan: RestPlan, operation_id: str, health: dict[str, bool] | None = None, problem: str = ""
    ) -> OperationResult:
        old, new = ("running", "stopped on purpose") if plan.kind == "stop" else ("stopped", "running")
        what = f"Not all of {', '.join(plan.services)} could be {'stopped' if plan.kind == 'stop' else 'started'}"
        return OperationResult(
            success=not problem,
            deployment=plan.deployment,
            kind=plan.kind,
            version=plan.active_version,
            operation_id=operation_id,
            changes=[f"{name}: {old} -> {new}" for name in plan.services],
            health_status=health or {},
            duration_seconds=round(self._with.clock.monotonic() - self._started, 3),
            error_message=f"{what}: {problem}" if problem else None,
            exit_code=4 if problem else 0,
            next_step=f"`geusemaker status {plan.deployment}` tells how things are." if problem else "",
        )

    def _note(self, message: str) -> None:
        if message:
            self._with.on_event(Event(kind="note", message=message))

    def _phase(self, name: str, message: str = "") -> AbstractContextManager[None]:
        return progress.phase(self._with.on_event, name, message)
