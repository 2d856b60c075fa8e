"""RestService: stops services on purpose, so that nothing starts them by itself, and starts them again.

The note of who stopped what, since when and why is on the file system, beside the lease: boots, changes and `recover`
respect it, whichever machine they come from. That the instance is stopped as well is noted in the backend: the file
system cannot be asked then. The config stays as it is, so no version is made.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from geusemaker.agent.protocol.looks import Health
from geusemaker.agent.protocol.stored import Lease
from geusemaker.errors import DeclinedError, GeusemakerError, InterruptedOperationError, InvalidInputError
from geusemaker.models.cost import Cost
from geusemaker.models.history import StoppedInstance
from geusemaker.models.inspection import InstanceState
from geusemaker.models.plan import Event, RestPlan
from geusemaker.models.request import RestRequest
from geusemaker.models.result import OperationResult
from geusemaker.models.stack import ServiceName, Target
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.program.compose import probes
from geusemaker.services import costs, progress
from geusemaker.services.before import find_answering, require_data, require_running
from geusemaker.services.change.power import await_boot
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.configure import service_name
from geusemaker.services.identity import require_account
from geusemaker.services.operation import UNTOUCHED, Operation, nothing_changed
from geusemaker.services.rest.act import Act, result_of
from geusemaker.services.rest.at_rest import at_rest, told
from geusemaker.services.rest.instance import switch_on
from geusemaker.services.rest.plan import make_plan, to_start, to_stop
from geusemaker.services.states import get_state, is_left_behind

Confirm = Callable[[RestPlan], bool]


@dataclass(frozen=True)
class _Asked:
    """What is asked for, of which deployment."""

    request: RestRequest
    """With the names of services as the config has them."""
    state: DeploymentState
    active: Version
    target: Target


class RestService:
    """Stops and starts services. An instance serves one operation."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators
        self._started = collaborators.clock.monotonic()

    def run(self, request: RestRequest, confirm: Confirm) -> OperationResult:
        """Stop or start what ``request`` names.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: there is no such service, or it is not enabled; or some of them with the instance.
            RefusedError: nothing can be stopped or started now; nothing was changed.
            DeclinedError: ``confirm`` said no; nothing was changed.
            DeploymentBusyError: another operation holds the deployment; nothing was changed.
            EnvironmentProblemError: AWS does not start the instance; it stays stopped.
            InterruptedOperationError: Ctrl-C; says what was done.
        """
        state = get_state(self._with)
        active, target = require_running(self._with, state, "stop", "start", why="so nothing of it runs")
        asked = _Asked(self._named(active, request), state, active, target)
        require_account(self._with, target)
        found = self._with.cloud(target.region).find_instance(state.name)
        if found is not None and (note := at_rest(state, found)) is not None:
            return self._at_rest(asked, found, note, confirm)
        instance = find_answering(self._with, target, ", so none of its services runs")
        with self._with.open_host(instance.address, target, self._with.engine.load_secrets()) as host:
            health = host.health(probes(active.config))
            require_data(state.name, health)
            plan = self._plan(asked, health, instance.id if request.instance else "")
            if not plan.services and not plan.instance:
                return self._nothing(plan, plan.summary)
            if plan.kind == "stop":
                plan = plan.model_copy(update={"cost": self._cost(asked, instance, runs=not plan.instance)})
            if not confirm(plan):
                raise DeclinedError("Not confirmed.", state=UNTOUCHED)
            operation = self._operation(asked, plan)
            operation.take_over(host, instance.id, state)
            operation.begin(host)
            return self._act(operation, asked, plan).run(host, str(health.mount.file_system_id))

    # --- before anything changes ---------------------------------------------------------------------------------

    @staticmethod
    def _named(active: Version, request: RestRequest) -> RestRequest:
        named = tuple(dict.fromkeys(service_name(text, active.config.services) for text in request.services))
        if missing := [name for name in named if name not in active.config.services]:
            raise InvalidInputError(
                f"{' and '.join(missing)} is not part of v{active.number}, which has "
                f"{', '.join(active.config.services)}.",
                state=UNTOUCHED,
            )
        if named and request.instance:
            raise InvalidInputError(
                "An instance stops with all of its services.",
                next_step="Leave the service out, or --instance.",
            )
        return request.model_copy(update={"services": named})

    def _plan(self, asked: _Asked, health: Health, instance: str) -> RestPlan:
        # One that was killed is done once more, whatever it came to: else what it holds would stay so.
        anew = asked.state.interrupted or is_left_behind(self._with, health.lease or Lease())
        noted = set(health.stopped)
        runs = {name for name, found in health.services.items() if found.state in ("running", "restarting")}
        config, named = asked.active.config, asked.request.services
        services: tuple[ServiceName, ...]
        if asked.request.kind == "stop":
            services, why = to_stop(config, named)
            services = tuple(name for name in services if anew or name not in noted or name in runs)
        else:
            down = {name for name in config.services if anew or name not in runs or name in noted}
            services, why = to_start(config, named, down)
        return self._made(asked, services, why, instance)

    def _made(self, asked: _Asked, services: tuple[ServiceName, ...], why: tuple[str, ...], instance: str) -> RestPlan:
        return make_plan(
            asked.state.name,
            self._with.clock.new_operation_id(),
            asked.active,
            asked.target,
            asked.request,
            services,
            why,
            instance,
        )

    def _cost(self, asked: _Asked, instance: InstanceState, *, runs: bool) -> Cost | None:
        spot = asked.active.config.purchase == "spot"
        priced = costs.ask(self._with, asked.target, [instance.type], spot=spot)
        return costs.of_rest(priced, asked.target, asked.active.config, instance, runs=runs)

    def _nothing(self, plan: RestPlan, why: str) -> OperationResult:
        self._with.on_event(Event(kind="note", message=f"{why}."))
        return result_of(plan, self._with.clock.monotonic() - self._started)

    def _operation(self, asked: _Asked, plan: RestPlan) -> Operation:
        left = asked.state.interrupted
        return Operation(self._with, plan.operation_id, plan.kind, asked.active.number, left_unsettled=left)

    def _act(self, operation: Operation, asked: _Asked, plan: RestPlan) -> Act:
        return Act(self._with, operation, plan, asked.active, asked.target, self._started)

    # --- of an instance that is stopped on purpose -----------------------------------------------------------------

    def _at_rest(
        self, asked: _Asked, instance: InstanceState, note: StoppedInstance, confirm: Confirm
    ) -> OperationResult:
        """Nothing runs: there is nothing to stop, and ``start`` starts the instance first."""
        if asked.request.kind == "stop":
            return self._nothing(self._made(asked, (), (), ""), f"All is stopped already: {told(note)}")
        config = asked.active.config
        services, why = to_start(config, asked.request.services, config.services)
        cost = self._cost(asked, instance, runs=True)
        plan = self._made(asked, services, why, instance.id).model_copy(update={"cost": cost})
        if not confirm(plan):
            raise DeclinedError("Not confirmed.", state=UNTOUCHED)
        operation = self._operation(asked, plan)
        operation.begin(None)
        try:
            with progress.phase(self._with.on_event, "start", f"starting {instance.id}"):
                switch_on(self._with, asked.target, instance, note)
        except (GeusemakerError, KeyboardInterrupt) as error:
            operation.settle(None, "abandoned", last=asked.state.last_operation_id)
            stays = f"No service of {asked.state.name} runs; its data is as it was."
            raise nothing_changed(error, stays).completed(
                next_step=f"`geusemaker status {asked.state.name}` tells how the instance is; `geusemaker start "
                f"{asked.state.name}` tries again."
            ) from error
        return self._woken(operation, asked, plan)

    def _woken(self, operation: Operation, asked: _Asked, plan: RestPlan) -> OperationResult:
        """Go on once the instance runs."""
        act, state = self._act(operation, asked, plan), asked.state
        with ExitStack() as stack:
            try:
                with progress.phase(self._with.on_event, "wait", "until the instance answers, its data mounted"):
                    instance = find_answering(self._with, asked.target, ", so none of its services runs")
                    secrets = self._with.engine.load_secrets()
                    host = stack.enter_context(self._with.open_host(instance.address, asked.target, secrets))
                    await_boot(self._with, host)
                    health = host.health(probes(asked.active.config))
                require_data(state.name, health)
                operation.take_over(host, instance.id, state)
            except GeusemakerError as error:
                return act.never_began(state.last_operation_id, error.message)
            except KeyboardInterrupt as error:
                act.never_began(state.last_operation_id, "interrupted")
                raise InterruptedOperationError(
                    f"Interrupted while the instance of {state.name} started.",
                    state="It may run; no service does.",
                    next_step=f"`geusemaker start {state.name}` goes on.",
                ) from error
            return act.run(host, str(health.mount.file_system_id))
