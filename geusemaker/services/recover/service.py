"""RecoverService: gets back to a healthy version after a killed or failed operation, with no hand work."""

from __future__ import annotations

from geusemaker.errors import RefusedError
from geusemaker.models.history import short_host
from geusemaker.models.plan import Event
from geusemaker.models.request import ChangeOptions
from geusemaker.models.result import OperationResult
from geusemaker.models.state import DeploymentState
from geusemaker.services.change import Change, ChangeService
from geusemaker.services.collaborators import Collaborators, Confirm
from geusemaker.services.inspect.service import InspectService
from geusemaker.services.states import busy, clear_dead_lock, is_running, load_state, not_found, require_readable


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
        state = load_state(self._with)
        if not state.versions and state.intent is None:
            raise not_found(self._with.deployment)
        intent = state.intent
        if intent is not None and is_running(self._with, intent):
            elsewhere = intent.host != short_host(self._with.host_name)
            if not (elsewhere and options.owner_is_gone):
                raise busy(state.name, intent)
        require_readable(state)
        clear_dead_lock(self._with, state.name, owner_is_gone=options.owner_is_gone)
        if not state.unsettled and not self._lost_data(state) and (state.destroyed or self._runs_as_it_should(state)):
            self._with.on_event(Event(kind="note", message=f"Nothing to repair: {state.name} is settled."))
            return OperationResult(
                success=True,
                deployment=state.name,
                kind="recover",
                version=state.active.number if state.active else None,
            )
        healthy = state.last_healthy
        if healthy is None or state.target is None:
            raise RefusedError(
                f"{state.name} never had a healthy version, so there is none to recover.",
                state="Nothing was changed.",
                next_step=f"Run `geusemaker deploy {state.name}` again, or `geusemaker destroy {state.name}`.",
            )
        return ChangeService(self._with, state, options).run(
            Change(
                kind="recover",
                config=healthy.config,
                target=state.target,
                source_version=healthy.number,
                repair=True,
            ),
            confirm,
        )

    def _lost_data(self, state: DeploymentState) -> bool:
        """Whether Pulumi's state has lost what holds the data, which is then nobody's: it is taken up again."""
        return state.last_healthy is not None and bool(self._with.engine.missing_data())

    def _runs_as_it_should(self, state: DeploymentState) -> bool:
        """Whether the instance runs what the active version says; somebody may have changed it by other means."""
        if state.active is None:
            return True  # there is nothing that should run
        found = InspectService(self._with).inspect()
        return found.status not in ("drifted", "unreachable") and found.efs is not None
