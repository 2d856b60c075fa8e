"""RecoverService: gets back to a healthy version after a killed or failed operation, with no hand work."""

from __future__ import annotations

from geusemaker.errors import DeploymentBusyError, RefusedError
from geusemaker.models.plan import Event
from geusemaker.models.request import ChangeOptions
from geusemaker.models.result import OperationResult
from geusemaker.models.state import DeploymentState
from geusemaker.services.change import Change, ChangeService
from geusemaker.services.collaborators import Collaborators, Confirm
from geusemaker.services.states import busy, is_running, load_state, not_found


class RecoverService:
    """Recovers: clears what a dead owner left, then makes the last healthy version real again."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def recover(self, options: ChangeOptions, confirm: Confirm) -> OperationResult:
        """Recover; does nothing, successfully, when there is nothing to repair.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            DeploymentBusyError: the operation's owner is alive.
            RefusedError: no version was ever healthy, so there is nothing to go back to.
        """
        state = load_state(self._with)
        if not state.versions and state.intent is None:
            raise not_found(self._with.deployment)
        if state.intent is not None and is_running(self._with, state.intent):
            raise busy(state.name, state.intent)
        self._clear_lock(state)
        if not state.unsettled:
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

    def _clear_lock(self, state: DeploymentState) -> None:
        owner = self._with.engine.lock_owner()
        if owner is None:
            return
        if owner.host != self._with.host_name or self._with.is_alive(owner.pid):
            raise DeploymentBusyError(
                f"A run of the engine holds {state.name}: process {owner.pid} of {owner.user} on {owner.host} "
                f"since {owner.since}.",
                state="Nothing was changed.",
                next_step="Wait for it, or recover on that machine.",
            )
        self._with.engine.remove_lock()
        self._with.on_event(Event(kind="note", message=f"Removed the lock of the dead process {owner.pid}."))
