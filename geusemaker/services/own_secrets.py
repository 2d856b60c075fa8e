"""The secrets of a deployment as its operator sees them: which there are, one of them, another value for one."""

from __future__ import annotations

from typing import Final

from pydantic import SecretStr

from geusemaker.errors import InvalidInputError
from geusemaker.models.record import OperationRecord
from geusemaker.models.secrets import SecretEntry, SecretList, Secrets
from geusemaker.models.stack import StackConfig
from geusemaker.models.state import DeploymentState
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.secret_values import users
from geusemaker.services.states import get_state, read_journal

_MACHINE: Final = {"ssh_private_key": "the login on the instance", "host_private_key": "the instance's SSH server"}
_CHANGED_BY: Final = {
    "rotate-ssh": "ssh_private_key",
    "rotate-database": "postgresql_password",
    "import-n8n-key": "n8n_encryption_key",
}
"""Kind of an operation → the generated secret that it changes."""


class OwnSecretsService:
    """Looks at secrets. The instance is not asked."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def list(self) -> SecretList:
        """Which there are, where the active version has them, and since when; no value.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            WorkspaceError: they cannot be read here.
        """
        state = get_state(self._with)
        secrets = self._with.engine.load_secrets()
        return listed(state, secrets, read_journal(self._with))

    def value(self, name: str) -> SecretStr:
        """The value of one.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: there is no such secret.
            WorkspaceError: they cannot be read here.
        """
        get_state(self._with)
        secrets = self._with.engine.load_secrets()
        values = {**secrets.generated, **{key: one.value for key, one in secrets.own.items()}}
        if name not in values:
            raise InvalidInputError(
                f"{self._with.deployment} has no secret {name!r}; it has {', '.join(values)}.",
            )
        return SecretStr(values[name])


def listed(state: DeploymentState, secrets: Secrets, records: list[OperationRecord]) -> SecretList:
    """What is told of the secrets. Pure.

    Args:
        state: the deployment, for the variables of its active version.
        secrets: all of them.
        records: the journal, for who changed a generated one, and when.
    """
    base = state.last_healthy or (state.versions[-1] if state.versions else None)
    config = base.config if base is not None else None
    first = state.versions[0].provenance if state.versions and state.versions[0].number == 1 else None
    changed = {_CHANGED_BY[one.kind]: one for one in records if one.success and one.kind in _CHANGED_BY}
    found = []
    for name in sorted(secrets.generated):
        last = changed.get(name)
        # Another machine may have changed it since, and that is in that one's journal alone.
        as_made = first is not None and not (state.rotation and name in _CHANGED_BY.values())
        found.append(
            SecretEntry(
                name=name,
                kind="generated",
                used_by=[_MACHINE[name]] if name in _MACHINE else _used(config, name),
                set_at=last.started_at
                if last is not None
                else first.created_at
                if first is not None and as_made
                else None,
                set_by=last.actor if last is not None else "",
            )
        )
    for name, one in sorted(secrets.own.items()):
        found.append(
            SecretEntry(name=name, kind="given", used_by=_used(config, name), set_at=one.set_at, set_by=one.set_by)
        )
    active = state.active
    return SecretList(deployment=state.name, version=active.number if active is not None else None, secrets=found)


def _used(config: StackConfig | None, name: str) -> list[str]:
    """The variables that have a secret, by the catalog or because the operator said so."""
    if config is None:
        return []
    known = [
        f"{service}.{variable}"
        for service in config.services
        for variable, field in config.secrets_of(service).items()
        if field == name
    ]
    return [*known, *users(config, name)]
