"""RollbackService: brings an earlier version back, by going forward to a new version with its config."""

from __future__ import annotations

from geusemaker.errors import RefusedError
from geusemaker.models.inspection import Inspection
from geusemaker.models.request import RollbackRequest
from geusemaker.models.result import OperationResult, RollbackResult
from geusemaker.models.stack import ServiceName, Target
from geusemaker.models.state import DeploymentState
from geusemaker.services.change import Change, ChangeService
from geusemaker.services.collaborators import Collaborators, Confirm
from geusemaker.services.engine_lock import dead_lock
from geusemaker.services.inspect.service import InspectService
from geusemaker.services.judgement import AS_IT_SHOULD_BE
from geusemaker.services.rollback.part import mixed_config, require_version
from geusemaker.services.rollback.target import choose_target
from geusemaker.services.site import exposed
from geusemaker.services.states import get_state, load_state, require_idle, require_readable, require_settled


class RollbackService:
    """Rolls back, also after a failed or killed operation."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def rollback(self, request: RollbackRequest, confirm: Confirm) -> RollbackResult:
        """Roll back to ``request.to_version``, or to the newest healthy version that differs.

        With ``request.services`` these alone go back, and all else stays as the active version has it. That is another
        config than any version had, so after an interruption it has to wait for what brings the last healthy one back.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: services were named, and no version to take them from, or there is no such service.
            RefusedError: the target cannot be gone to, or validation failed; nothing was changed.
            DeploymentBusyError: another operation holds the deployment.
        """
        require_version(request, self._with.deployment)
        state = self._state(request)
        require_idle(self._with, state)
        require_readable(state)
        if state.last_healthy is None or state.target is None:
            raise RefusedError(
                f"{state.name} never had a healthy version, so there is none to go back to.",
                state="Nothing was changed.",
                next_step=f"Run `geusemaker deploy {state.name}` again, or `geusemaker destroy {state.name}`.",
            )
        if state.destroyed:
            raise RefusedError(
                f"{state.name} was destroyed; its data is kept.",
                state="Nothing was changed.",
                next_step=f"Run `geusemaker deploy {state.name}` to take the data up again.",
            )
        if request.services:
            return self._part(state, state.target, request, confirm)
        found = self._look_at_active(state, request)
        source = choose_target(state, request) if found is None else state.active
        assert source is not None
        lock = dead_lock(self._with, state)
        result = ChangeService(self._with, state, request).run(
            Change(
                kind="rollback",
                config=source.config,
                target=exposed(state.target, source.config, asked=request.expose_known_hole),
                source_version=source.number,
                # A failed rollback goes on once by itself, in general to where it came from.
                returns=not state.unsettled and request.auto_rollback is not False,
                repair=state.unsettled or lock is not None,
                repairs=tuple(found.repairs) if found is not None else (),
                restarts=tuple(found.restarts) if found is not None else (),
                with_data=request.with_data,
            ),
            confirm,
        )
        return as_rollback_result(result, source.number)

    def _part(
        self, state: DeploymentState, target: Target, request: RollbackRequest, confirm: Confirm
    ) -> RollbackResult:
        require_settled(self._with, state)
        config, names = mixed_config(state, request)
        assert request.to_version is not None
        services_from = dict.fromkeys(names, request.to_version)
        result = ChangeService(self._with, state, request).run(
            Change(
                kind="rollback",
                config=config,
                target=exposed(target, config, asked=request.expose_known_hole),
                services_from=services_from,
                returns=not state.unsettled and request.auto_rollback is not False,
                repair=state.unsettled or dead_lock(self._with, state) is not None,
                with_data=request.with_data,
            ),
            confirm,
        )
        return as_rollback_result(result, None, services_from)

    def _look_at_active(self, state: DeploymentState, request: RollbackRequest) -> Inspection | None:
        """How the deployment is, where the active version is asked for and not all of it is as it should be."""
        active = state.active
        if active is None or state.unsettled or request.to_version != active.number:
            return None
        if active.bad and not request.allow_bad:
            return None
        found = InspectService(self._with).inspect()
        return None if found.status in (*AS_IT_SHOULD_BE, "settling") else found

    def _state(self, request: RollbackRequest) -> DeploymentState:
        state = get_state(self._with)
        wanted = request.to_version
        if wanted is not None and state.find_version(wanted) is None and state.versions:
            oldest = state.versions[0].number
            if 0 < wanted < oldest:
                return load_state(self._with, whole=True)
        return state


def as_rollback_result(
    result: OperationResult, source_version: int | None, services_from: dict[ServiceName, int] | None = None
) -> RollbackResult:
    """The story's RollbackResult."""
    shared = {name: getattr(result, name) for name in RollbackResult.model_fields if hasattr(result, name)}
    return RollbackResult(
        **shared,
        trigger="manual",
        changes_reverted=result.changes,
        source_version=source_version,
        services_from=services_from or {},
    )
