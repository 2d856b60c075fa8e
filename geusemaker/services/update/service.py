"""UpdateService: changes a running deployment."""

from __future__ import annotations

import os

from geusemaker.errors import InvalidInputError, RefusedError
from geusemaker.models.plan import Event
from geusemaker.models.request import UpdateRequest
from geusemaker.models.result import OperationResult
from geusemaker.models.stack import DATA_VOLUME_LIMIT_GIB, StackConfig, Target, root_volume_gib
from geusemaker.services.addresses import changed_addresses
from geusemaker.services.bake.trials import Verify, trials_of
from geusemaker.services.change import Change, ChangeService
from geusemaker.services.change.bake import LONGEST_SECONDS, Bake
from geusemaker.services.collaborators import Collaborators, Confirm
from geusemaker.services.completing import complete_config
from geusemaker.services.configure import service_name
from geusemaker.services.connecting import with_connect
from geusemaker.services.desired import wished_config, with_facts, with_secret_values
from geusemaker.services.desired.refusals import require_kept, require_not_left
from geusemaker.services.identity import require_account
from geusemaker.services.inspect.service import InspectService
from geusemaker.services.judgement import AS_IT_SHOULD_BE
from geusemaker.services.label import LabelService
from geusemaker.services.labels import labels_of
from geusemaker.services.models_place import require_models_stay
from geusemaker.services.secret_values import differing
from geusemaker.services.settling import with_settle_time
from geusemaker.services.site import exposed, require_fit, wished_site
from geusemaker.services.states import get_state, require_settled
from geusemaker.services.tags import with_rights


class UpdateService:
    """Updates: instance type, images, which services run, settings."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def update(self, request: UpdateRequest, confirm: Confirm, verify: Verify | None = None) -> OperationResult:
        """Update. A failed update goes back to the last healthy version by itself, unless told not to.

        ``verify`` is a test of the new version, beside those of the request.

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
        request = with_facts(request, active.config)
        require_models_stay(request.models_on, name, state.target)
        site = wished_site(request, state.target.site, state.target.kind)
        wished = wished_config(request, active.config, state.versions, site)
        require_fit(wished, site)
        config, checks = complete_config(
            wished,
            active.config,
            request.ami,
            self._with.cloud(state.target.region),
            self._with.registry,
            resolve={service_name(text, wished.services) for text in request.images},
            ssh_user=request.ssh_user,
        )
        require_kept(request, active.config, config)
        require_not_left(request, state, config)
        bake = _bake_of(request, verify, config)
        request = with_secret_values(request, config, self._with.engine.load_secrets, os.environ)
        grown = self._grown(request.data_volume_gib, state.target)
        root = self._grown_root(request.root_volume_gib, root_volume_gib(state.target, active.config), state.target)
        target = with_settle_time(state.target, request.settle_seconds).model_copy(update={"site": site})
        target, addresses = changed_addresses(self._with, request, with_rights(target, request))
        target = with_connect(target, request, name)
        target = exposed(target, config, asked=request.expose_known_hole)
        grows = grown is not None or root is not None
        values = differing(self._with.engine.load_secrets(), request.secret_values) if request.secret_values else {}
        same = config == active.config and not grows and target == state.target and not state.unsettled and not values
        labels = labels_of(request, state.labels)
        if same and labels:
            return LabelService(self._with).write(labels, request)
        found = InspectService(self._with).inspect() if same else None
        if found is not None and found.status in (*AS_IT_SHOULD_BE, "settling"):
            apart = f" {found.summary}" if found.status != "healthy" else ""
            apart += " So nothing is watched or tested." if bake is not None else ""
            self._with.on_event(Event(kind="note", message=f"v{active.number} of {name} is that already.{apart}"))
            return OperationResult(
                success=True, deployment=name, kind="update", version=active.number, health_status={}
            )
        automatic = config.rollback.auto_rollback_on_failure if request.auto_rollback is None else request.auto_rollback
        return ChangeService(self._with, state, request, bake).run(
            Change(
                kind="update",
                config=config,
                target=target,
                checks=(*checks, *addresses),
                returns=automatic,
                secret_values=values,
                labels=labels,
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
        return self._larger(wanted, size, f"The disk of {name}'s instance", "--root-volume")

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
                next_step="Leave --data-volume out.",
            )
        found = self._with.cloud(target.region).find_data_volume(name, target.stack_id)
        size = found.size_gib if found is not None else target.data_volume_gib
        return self._larger(wanted, size, f"The data volume of {name}", "--data-volume")

    @staticmethod
    def _larger(wanted: int, size: int, disk: str, option: str) -> int | None:
        if not size <= wanted <= DATA_VOLUME_LIMIT_GIB:
            raise InvalidInputError(
                f"{disk} has {size} GiB, and it only grows, to at most {DATA_VOLUME_LIMIT_GIB}: {wanted} GiB cannot be "
                "had.",
                next_step=f"Give a larger size, or leave {option} out.",
            )
        return wanted if wanted > size else None


def _bake_of(request: UpdateRequest, verify: Verify | None, config: StackConfig) -> Bake | None:
    """How the new version is watched once its gate has passed; None: it is not.

    Raises:
        InvalidInputError: it cannot be so.
    """
    seconds = config.rollback.bake_seconds if request.bake_seconds is None else request.bake_seconds
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise InvalidInputError(
            f"A version can be watched for up to {LONGEST_SECONDS / 3600:g} hours, not for {seconds:g} s.",
            next_step="Write it as --bake 10m.",
        )
    trials = trials_of(request.tests, request.test_urls, verify, config)
    return Bake(seconds, trials) if seconds or trials else None
