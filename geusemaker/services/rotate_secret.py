"""Rotating a secret that the instance knows: the key to log in with, the database's password, or n8n's key.

Secrets are no part of a version, so none is made and none is lost. At each moment the secret that is stored opens the
instance: another key logs in beside the old one before it is stored, and the old one goes last. The database takes what
its env file has, at every ``apply``, from before another password is stored until it is known to have it; so does n8n's
own file with a key that is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from pydantic import SecretStr

from geusemaker.agent.protocol.documents import ApplyDocument
from geusemaker.agent.protocol.looks import Health
from geusemaker.catalog import DATABASE, MIGRATED
from geusemaker.errors import (
    DeclinedError,
    GeusemakerError,
    HostError,
    InterruptedOperationError,
    RefusedError,
)
from geusemaker.models.record import told_by
from geusemaker.models.result import SecretRotationResult
from geusemaker.models.stack import Secrets
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import RotationKind, Version
from geusemaker.program import compose
from geusemaker.program.keys import public_half
from geusemaker.services import progress, secrets
from geusemaker.services.before import find_answering, require_data, require_same_secrets, require_whole
from geusemaker.services.bookkeeping import reason
from geusemaker.services.collaborators import Collaborators
from geusemaker.services.engine_lock import clear_dead_lock, dead_lock
from geusemaker.services.identity import require_account
from geusemaker.services.n8n_key import require_no_credentials
from geusemaker.services.operation import UNTOUCHED, Operation
from geusemaker.services.rotation import CHANGED, NAMES, STILL_OPENS, Act, again, what
from geusemaker.services.states import get_state, require_idle, require_readable

Confirm = Callable[[str], bool]


class RotateSecretService:
    """Rotates. An instance serves one operation."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators
        self._started = collaborators.clock.monotonic()
        self._holds = "old"
        """Which secret is stored: the old or the new one."""
        self._health: dict[str, bool] = {}
        self._warnings: list[str] = []

    def run(self, kind: RotationKind, confirm: Confirm, key: SecretStr | None = None) -> SecretRotationResult:
        """Rotate, or import n8n's ``key``. What was killed, or failed, is finished by the same again.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            RefusedError: it cannot be done now; nothing was changed.
            DeclinedError: ``confirm`` said no; nothing was changed.
            DeploymentBusyError: another operation holds the deployment; nothing was changed.
            WorkspaceError: the secrets cannot be read here; nothing was changed.
            InterruptedOperationError: Ctrl-C; says what was done.
        """
        state = get_state(self._with)
        active = self._require_settled(state, kind)
        assert state.target is not None
        target = require_account(self._with, state.target)
        dead_lock(self._with, state)
        engine = self._with.engine
        engine.require_current()
        old = engine.load_secrets()
        new = self._new(state, kind, old, key)
        instance = find_answering(self._with, target, f", and it has to learn the new {NAMES[kind]}")
        with ExitStack() as stack:
            host = stack.enter_context(self._with.open_host(instance.address, target, old))
            health = host.health(compose.probes(active.config))
            self._check(state, kind, health)
            if kind == "import-n8n-key":
                require_no_credentials(state.name, host)
            if not confirm(what(state.name, kind)):
                raise DeclinedError("Not confirmed.", state=UNTOUCHED)
            operation = Operation(
                self._with,
                self._with.clock.new_operation_id(),
                kind,
                active.number,
                left_unsettled=state.interrupted,
                unwritten="The operation was not noted as ended",
            )
            operation.take_over(host, instance.id, state)

            def first() -> None:
                clear_dead_lock(self._with, state)
                require_same_secrets(self._with, state, old)
                if kind == "import-n8n-key":  # nobody else changes the deployment now, and n8n's users may have
                    require_no_credentials(state.name, host)

            operation.begin(host, first)
            act = Act(self._with, stack, state.name, active, target, instance.address, instance.id, operation, host)
            return self._act(act, kind, old, new, health)

    # --- before anything changes ---------------------------------------------------------------------------------

    def _require_settled(self, state: DeploymentState, kind: RotationKind) -> Version:
        require_idle(self._with, state)
        require_readable(state)
        if state.target is None or state.active is None or state.destroyed:
            raise RefusedError(
                f"{state.name} is not deployed, so nothing knows its {NAMES[kind]}.",
                state=UNTOUCHED,
                next_step=f"Run `geusemaker deploy {state.name}` first.",
            )
        require_whole(state, kind)
        if kind == "rotate-database" and DATABASE.name not in state.active.config.services:
            raise RefusedError(f"{state.name} has no database.", state=UNTOUCHED)
        if kind == "import-n8n-key" and MIGRATED.name not in state.active.config.services:
            raise RefusedError(f"{state.name} runs no n8n.", state=UNTOUCHED)
        return state.active

    def _new(self, state: DeploymentState, kind: RotationKind, old: Secrets, key: SecretStr | None) -> Secrets:
        """The secrets that are to hold.

        Raises:
            InvalidInputError: the key that was given cannot be one.
        """
        if kind == "rotate-ssh":
            return secrets.with_new_login(old)
        if kind == "rotate-database":
            return secrets.with_new_database_password(old)
        assert key is not None
        return secrets.with_n8n_key(old, key.get_secret_value())

    def _check(self, state: DeploymentState, kind: RotationKind, health: Health) -> None:
        require_data(state.name, health)
        if kind == "rotate-database" and DATABASE.name in health.stopped:
            raise RefusedError(
                f"The database of {state.name} is stopped on purpose, and only a running one takes another password.",
                state=UNTOUCHED,
                next_step=f"Run `geusemaker start {state.name} {DATABASE.name}` first.",
            )

    # --- the act itself ------------------------------------------------------------------------------------------

    def _act(self, act: Act, kind: RotationKind, old: Secrets, new: Secrets, health: Health) -> SecretRotationResult:
        problem = ""
        try:
            if kind == "rotate-ssh":
                self._rotate_login(act, old, new)
            else:
                self._change_on_instance(act, kind, new, health)
        except (GeusemakerError, OSError) as error:
            problem = reason(error)
        except KeyboardInterrupt as error:
            act.operation.cancel(act.host)
            self._finish(act, kind, "interrupted")
            raise InterruptedOperationError(
                f"Interrupted while the {NAMES[kind]} of {act.name} was changed.",
                state=self._state(kind),
                next_step=again(act.name, kind),
            ) from error
        return self._finish(act, kind, problem)

    def _rotate_login(self, act: Act, old: Secrets, new: Secrets) -> None:
        operation, user, key = act.operation.id, act.target.ssh_user, public_half(new.ssh_private_key)
        with self._phase("apply", "letting another key log in beside the old one"):
            act.host.authorize(operation, user, key)
        with self._phase("verify", "logging in with the new key"):
            other = act.open_host(new)
            other.lease()
        with self._phase("record", "storing the new key"):
            self._with.engine.rotate_secrets(new, operation)
            self._holds, act.host = "new", other
        gone = [public_half(old.ssh_private_key), *filter(None, [act.target.ssh_public_key])]
        with self._phase("collect", "removing the old key from the instance"):
            others = act.host.authorize(operation, user, key, gone).others
        if others:
            keys = "1 other key" if others == 1 else f"{others} other keys"
            self._warn(
                f"{keys} that somebody put into ~{user}/.ssh/authorized_keys may log in as before: if "
                "that laptop had one of them, remove its line there."
            )
        with self._phase("verify", "trying the old key"):
            self._require_refused(act, old)

    @staticmethod
    def _require_refused(act: Act, old: Secrets) -> None:
        try:
            act.open_host(old).lease()
        except HostError as error:
            if error.code != "auth_failed":
                raise
        else:
            raise HostError("The old key was removed from authorized_keys, and still logs in.", code="old_key")

    def _change_on_instance(self, act: Act, kind: RotationKind, new: Secrets, health: Health) -> None:
        config = act.active.config
        file_system_id, volume = str(health.mount.file_system_id), health.data_volume
        # From here on each `apply` puts into the data what it is given, whichever secret that is.
        note = act.host.key if kind == "import-n8n-key" else act.host.password
        note(act.operation.id)
        with self._phase("record", f"storing the new {NAMES[kind]}"):
            self._with.engine.rotate_secrets(new, act.operation.id)
            self._holds = "new"
        has_volume = act.target.has_data_volume
        with self._phase("apply", f"changing the {NAMES[kind]}, and starting what uses it once more"):
            document = ApplyDocument(
                act.operation.id,
                act.name,
                act.instance_id,
                file_system_id,
                compose=compose.render(
                    config,
                    data_volume=has_volume,
                    site=act.target.site,
                    models_on_volume=act.target.models_on == "volume",
                ),
                environment=compose.secret_environment(config, new),
                directories=compose.data_directories(
                    config, data_volume=has_volume, models_on_volume=act.target.models_on == "volume"
                ),
                kind=kind,
                data_volume_id=(volume.id or None) if has_volume and volume is not None else None,
                settled=act.active.provenance.operation_id,
            )
            act.host.apply(document, self._with.on_event)
        with self._phase("verify", "waiting until everything is healthy"):
            self._health = act.operation.gate(act.host, config, act.target, file_system_id)

    # --- afterwards ----------------------------------------------------------------------------------------------

    def _finish(self, act: Act, kind: RotationKind, problem: str) -> SecretRotationResult:
        result = self._result(act, kind, problem)
        act.operation.finish(act.host, **told_by(result))
        return result

    def _result(self, act: Act, kind: RotationKind, problem: str) -> SecretRotationResult:
        return SecretRotationResult(
            success=not problem,
            deployment=act.name,
            kind=kind,
            version=act.active.number,
            operation_id=act.operation.id,
            changes=[CHANGED[kind]] if self._holds == "new" else [],
            health_status=self._health,
            duration_seconds=round(self._with.clock.monotonic() - self._started, 3),
            error_message=f"The {NAMES[kind]} of {act.name} was not changed to the end: {problem} {self._state(kind)}"
            if problem
            else None,
            exit_code=4 if problem else 0,
            warnings=self._warnings,
            still_opens="" if problem else STILL_OPENS[kind],
            next_step=again(act.name, kind) if problem else "",
        )

    def _state(self, kind: RotationKind) -> str:
        """Which secret holds, after it was not done to the end."""
        if self._holds == "old":
            return f"The old {NAMES[kind]} is the one that is stored, and it holds as before."
        if kind == "rotate-ssh":
            return "The new key is stored and logs in; the old one may do so, too."
        if kind == "import-n8n-key":
            return "The new key is stored; n8n's own file may still have the old one, and n8n may be down."
        return "The new password is stored; the database may still have the old one, and n8n may be down."

    def _warn(self, message: str) -> None:
        self._warnings.append(message)

    def _phase(self, name: str, message: str) -> AbstractContextManager[None]:
        return progress.phase(self._with.on_event, name, message)
