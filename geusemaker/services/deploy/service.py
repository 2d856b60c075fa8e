"""DeployService: brings a deployment into being."""

from __future__ import annotations

import os

from geusemaker.engine.versions import read_state
from geusemaker.errors import InvalidInputError, RefusedError
from geusemaker.models.history import StackTags
from geusemaker.models.request import DeployRequest
from geusemaker.models.result import OperationResult
from geusemaker.models.stack import (
    DEPLOYMENT_NAME,
    Secrets,
    Target,
)
from geusemaker.models.state import DeploymentState
from geusemaker.services import secrets
from geusemaker.services.bookkeeping import attempt
from geusemaker.services.change import Change, ChangeService
from geusemaker.services.collaborators import Collaborators, Confirm
from geusemaker.services.completing import complete_config
from geusemaker.services.configure import service_name
from geusemaker.services.deploy.first_secrets import secrets_of_first
from geusemaker.services.deploy.place import place
from geusemaker.services.desired import wished_config, with_facts, with_secret_values
from geusemaker.services.desired.refusals import require_kept, require_not_left
from geusemaker.services.identity import require_account
from geusemaker.services.labels import labels_of
from geusemaker.services.machine_image import roomy, used_login
from geusemaker.services.site import exposed, require_fit, wished_site
from geusemaker.services.states import load_state, require_idle, require_readable, require_settled


class DeployService:
    """Deploys a new name, or one that was destroyed or whose first deploy failed."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def deploy(self, request: DeployRequest, confirm: Confirm) -> OperationResult:
        """Deploy.

        Raises:
            InvalidInputError: a value cannot be used.
            RefusedError: the deployment is there already, or validation failed; nothing was changed.
        """
        name = self._with.deployment
        if not DEPLOYMENT_NAME.fullmatch(name):
            raise InvalidInputError(
                f"{name!r} is no deployment name: use lower-case letters, digits and hyphens, at most 40, "
                "beginning with a letter.",
            )
        exists = self._with.engine.exists()
        state = load_state(self._with) if exists else read_state(name, (), StackTags())
        require_readable(state)
        killed = state.intent if state.interrupted else None
        if killed is not None and (state.last_healthy is None or (killed.kind == "deploy" and state.active is None)):
            # A deploy that was killed is done again, on what it left; `recover` goes on with it as well.
            require_idle(self._with, state)
        else:
            require_settled(self._with, state)
        if state.active is not None and not _redeploy_failed(state):
            raise RefusedError(
                f"{name} is deployed already: v{state.active.number} is active.",
                state="Nothing was changed.",
                next_step=f"`geusemaker update {name}` changes it.",
            )
        base = state.last_healthy
        known = self._known(state)
        request = with_facts(request, base.config if base else None)
        kind = known.kind if known is not None else request.target or "local"
        site = wished_site(request, known.site if known is not None else None, kind)
        config = wished_config(request, base.config if base else None, state.versions, site)
        require_fit(config, site)
        target = place(self._with, request, state, known, config.instance_type).model_copy(update={"site": site})
        target = exposed(target, config, asked=request.expose_known_hole)
        if state.target is not None:
            target = require_account(self._with, target)
        elif exists:
            # What a killed first deploy made is to be found with these credentials.
            require_account(self._with, target.model_copy(update={"account_id": ""}))
        config, checks = complete_config(
            config,
            base.config if base else None,
            request.ami,
            self._with.cloud(target.region),
            self._with.registry,
            resolve={service_name(text, config.services) for text in request.images},
            ssh_user=request.ssh_user,
        )
        if known is None:
            target = used_login(target, config, request.ssh_user)
            if request.root_volume_gib is None:
                target = roomy(target, config, self._with.cloud(target.region))
        require_kept(request, base.config if base else None, config)
        require_not_left(request, state, config)
        has_secrets = state.target is not None or self._with.engine.has_secrets()
        request = with_secret_values(
            request, config, self._with.engine.load_secrets if has_secrets else None, os.environ
        )
        new_secrets: Secrets | None = None
        if state.target is None:
            new_secrets = secrets_of_first(self._with, state, target, exists=exists)
            login_key, host_key = secrets.public_keys(new_secrets or self._with.engine.load_secrets())
            target = target.model_copy(update={"ssh_public_key": login_key, "host_public_key": host_key})
        came_of_it = False
        try:
            if not exists:
                self._with.engine.create()
            change = Change(
                kind="deploy",
                config=config,
                target=target,
                checks=tuple(checks),
                new_secrets=new_secrets,
                secret_values=request.secret_values,
                labels=labels_of(request, state.labels),
                n8n_key=request.n8n_key,
                new_n8n_key=request.new_n8n_key,
                repair=state.unsettled,
            )
            result = ChangeService(self._with, state, request).run(change, confirm)
            came_of_it = not result.dry_run
            return result
        finally:
            if not exists and not came_of_it:
                attempt(self._with.on_event, f"An empty stack {name} was left", self._forget_if_nothing_came_of_it)

    def _known(self, state: DeploymentState) -> Target | None:
        """Where it is already; what a killed first deploy made is there."""
        if state.target is None and state.interrupted and (begun := self._with.engine.accepted()) is not None:
            return begun[1]
        return state.target

    def _forget_if_nothing_came_of_it(self) -> None:
        """A declined or refused first deploy leaves no stack behind."""
        engine = self._with.engine
        if engine.exists() and not engine.history(1) and not engine.resources():
            engine.remove()


def _redeploy_failed(state: DeploymentState) -> bool:
    """Whether the latest operation was a deploy, after a destroy, that failed: it may be tried again."""
    return state.last_failed and state.versions[-1].provenance.kind == "deploy"
