"""UpdateService: changes a running deployment."""

from __future__ import annotations

from geusemaker.errors import RefusedError
from geusemaker.models.plan import Event
from geusemaker.models.request import UpdateRequest
from geusemaker.models.result import OperationResult
from geusemaker.services.change import Change, ChangeService
from geusemaker.services.collaborators import Collaborators, Confirm
from geusemaker.services.configure import changed_config, complete_config, service_name
from geusemaker.services.states import get_state, require_settled


class UpdateService:
    """Updates: instance type, images, which services run, settings."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def update(self, request: UpdateRequest, confirm: Confirm) -> OperationResult:
        """Update. A failed update goes back to the last healthy version by itself, unless told not to.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: a value cannot be used.
            RefusedError: nothing would change, or validation failed; nothing was changed.
        """
        name = self._with.deployment
        state = get_state(self._with)
        require_settled(self._with, state)
        active = state.active
        if active is None or state.target is None:
            raise RefusedError(
                f"{name} has no healthy version to change" + (": it was destroyed." if state.destroyed else "."),
                state="Nothing was changed.",
                next_step=f"Run `geusemaker deploy {name}`.",
            )
        wished = changed_config(request, active.config)
        config, checks = complete_config(
            wished,
            active.config,
            request.ami,
            self._with.cloud(state.target.region),
            self._with.registry,
            resolve={service_name(text) for text in request.images},
        )
        if config == active.config and not state.unsettled:
            self._with.on_event(Event(kind="note", message=f"v{active.number} of {name} is that already."))
            return OperationResult(
                success=True, deployment=name, kind="update", version=active.number, health_status={}
            )
        automatic = config.rollback.auto_rollback_on_failure if request.auto_rollback is None else request.auto_rollback
        return ChangeService(self._with, state, request).run(
            Change(
                kind="update",
                config=config,
                target=state.target,
                checks=tuple(checks),
                fallback=active if automatic else None,
                repair=state.unsettled,
            ),
            confirm,
        )
