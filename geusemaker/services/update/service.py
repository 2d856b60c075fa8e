"""UpdateService: changes a running deployment."""

from __future__ import annotations

from geusemaker.errors import InvalidInputError, RefusedError
from geusemaker.models.plan import Event
from geusemaker.models.request import UpdateRequest
from geusemaker.models.result import OperationResult
from geusemaker.models.stack import DATA_VOLUME_LIMIT_GIB, Target, root_volume_gib
from geusemaker.services.change import Change, ChangeService
from geusemaker.services.collaborators import Collaborators, Confirm
from geusemaker.services.configure import changed_config, complete_config, service_name
from geusemaker.services.identity import require_account
from geusemaker.services.inspect.service import InspectService
from geusemaker.services.judgement import AS_IT_SHOULD_BE
from geusemaker.services.settling import with_settle_time
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
        require_account(self._with, state.target)
        wished = changed_config(request, active.config, state.versions)
        config, checks = complete_config(
            wished,
            active.config,
            request.ami,
            self._with.cloud(state.target.region),
            self._with.registry,
            resolve={service_name(text) for text in request.images},
        )
        grown = self._grown(request.data_volume_gib, state.target)
        root = self._grown_root(request.root_volume_gib, root_volume_gib(state.target, active.config), state.target)
        target = with_settle_time(state.target, request.settle_seconds)
        grows = grown is not None or root is not None
        same = config == active.config and not grows and target == state.target and not state.unsettled
        found = InspectService(self._with).inspect() if same else None
        if found is not None and found.status in (*AS_IT_SHOULD_BE, "settling"):
            apart = f" {found.summary}" if found.status != "healthy" else ""
            self._with.on_event(Event(kind="note", message=f"v{active.number} of {name} is that already.{apart}"))
            return OperationResult(
                success=True, deployment=name, kind="update", version=active.number, health_status={}
            )
        automatic = config.rollback.auto_rollback_on_failure if request.auto_rollback is None else request.auto_rollback
        return ChangeService(self._with, state, request).run(
            Change(
                kind="update",
                config=config,
                target=target,
                checks=tuple(checks),
                returns=automatic,
                data_volume_gib=grown,
                root_volume_gib=root,
                repair=state.unsettled,
                repairs=tuple(found.repairs) if found is not None else (),
                restarts=tuple(found.restarts) if found is not None else (),
            ),
            confirm,
        )

    def _grown_root(self, wanted: int | None, known: int, target: Target) -> int | None:
        """The size that the instance's own disk is to grow to; None: it has that already, or nothing was asked for.

        Raises:
            InvalidInputError: it cannot have that size.
        """
        if wanted is None:
            return None
        name = self._with.deployment
        size = self._with.cloud(target.region).find_root_volume_gib(name) or known
        if not size <= wanted <= DATA_VOLUME_LIMIT_GIB:
            raise InvalidInputError(
                f"The disk of {name}'s instance has {size} GiB, and it only grows, to at most {DATA_VOLUME_LIMIT_GIB}: "
                f"{wanted} GiB cannot be had.",
                state="Nothing was changed.",
                next_step="Give a larger size, or leave --root-volume out.",
            )
        return wanted if wanted > size else None

    def _grown(self, wanted: int | None, target: Target) -> int | None:
        """The size that the data volume is to grow to; None: it has that already, or nothing was asked for.

        Raises:
            InvalidInputError: there is none, or it cannot have that size.
        """
        if wanted is None:
            return None
        name = self._with.deployment
        if not target.has_data_volume:
            raise InvalidInputError(
                f"{name} has no data volume: it was deployed before there was one, and Qdrant's data is on EFS.",
                state="Nothing was changed.",
                next_step="Leave --data-volume out.",
            )
        found = self._with.cloud(target.region).find_data_volume(name, target.stack_id)
        size = found.size_gib if found is not None else target.data_volume_gib
        if not size <= wanted <= DATA_VOLUME_LIMIT_GIB:
            raise InvalidInputError(
                f"The data volume of {name} has {size} GiB, and it only grows, to at most {DATA_VOLUME_LIMIT_GIB}: "
                f"{wanted} GiB cannot be had.",
                state="Nothing was changed.",
                next_step="Give a larger size, or leave --data-volume out.",
            )
        return wanted if wanted > size else None
