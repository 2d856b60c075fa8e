"""ReachService: finds where a deployment's instance is and how it is logged in to. It takes no lease."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from difflib import get_close_matches

from geusemaker.catalog import SERVICE_ALIASES
from geusemaker.errors import HostError, InvalidInputError
from geusemaker.host.connection import Login
from geusemaker.models.stack import Secrets, StackConfig, Target
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.identity import require_account
from geusemaker.services.states import load_state, not_found


@dataclass(frozen=True)
class Way:
    """The way to a deployment: its instance's login, and what is to run there."""

    deployment: str
    target: Target
    login: Login = field(repr=False)
    secrets: Secrets = field(repr=False)
    config: StackConfig | None
    """Of the active version; of the latest one where none is active yet. None: there is no version."""

    def service(self, name: str) -> str:
        """The service of this name, which the deployment has.

        Raises:
            InvalidInputError: it has no such service.
        """
        service = SERVICE_ALIASES.get(name, name)
        enabled = list(self.config.services) if self.config is not None else []
        if service not in enabled:
            near = next(iter(get_close_matches(service, enabled, n=1)), None)
            has = f"It has {', '.join(enabled)}." if enabled else "It has no services yet."
            raise InvalidInputError(
                f"{self.deployment} has no service {name!r}.",
                next_step=f"Did you mean {near}? {has}" if near else has,
            )
        return service

    def told(self, error: HostError) -> HostError:
        """The error, with what to type next where the instance does not answer."""
        if error.code == "unreachable":
            step = f"`geusemaker status {self.deployment}` says how it is."
            if self.target.kind == "aws" and not self.target.through_aws:
                step += f" Addresses that may connect: {', '.join(self.target.ssh_cidrs) or 'none'}."
            return error.but(next_step=step)
        return error.completed(next_step=f"`geusemaker status {self.deployment}` says why.")


class ReachService:
    """Finds the way to a deployment."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def find(self) -> Way:
        """The way to the instance.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: it is in another account than these credentials are for.
            HostError: ``unreachable``: its instance does not run.
        """
        state = load_state(self._with)
        if state.target is None:
            raise not_found(self._with.deployment)
        with ThreadPoolExecutor(1) as pool:  # AWS is asked while the secrets are opened: somebody waits at a terminal
            opened = pool.submit(self._with.engine.load_secrets)
            require_account(self._with, state.target)
            instance = self._with.cloud(state.target.region).find_instance(state.name)
        if instance is None or not instance.may_answer:
            raise HostError(
                f"The instance of {state.name} does not run ({instance.state if instance else 'there is none'}).",
                code="unreachable",
                next_step=f"`geusemaker status {state.name}` says more.",
            )
        secrets = opened.result()
        active = state.active
        config = active.config if active is not None else state.versions[-1].config if state.versions else None
        login = Login.of(instance.address, state.target, secrets, self._with.forwarding(state.target))
        return Way(state.name, state.target, login, secrets, config)
