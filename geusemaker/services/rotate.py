"""Rotating the passphrase (or key) that a deployment's secrets are encrypted with; every version stays usable.

Neither a version nor anything on the instance changes: config file and state are encrypted anew, and the history gets
the config as it is then, from which other machines restore theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from geusemaker.errors import DeclinedError, GeusemakerError, RefusedError, WorkspaceError
from geusemaker.models.plan import Event
from geusemaker.models.result import RotationResult
from geusemaker.models.stack import Target
from geusemaker.models.state import DeploymentState
from geusemaker.services.bookkeeping import reason
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.engine_lock import clear_dead_lock, dead_lock
from geusemaker.services.identity import require_account
from geusemaker.services.operation import Operation
from geusemaker.services.states import get_state, require_settled

STILL_OPENS: Final = (
    "The old one still opens what was written before: older entries of the history, the copies of the state in the "
    "backend, and backups of either. Whoever has those and the old one can read the secrets in them, which are still "
    "the same."
)


class RotateService:
    """Rotates. An instance serves one operation."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def passphrase(
        self,
        provider: str,
        passphrase: str,
        confirm: Callable[[str], bool],
        begin: Callable[[], None],
        keep: Callable[[], None],
    ) -> RotationResult:
        """Encrypt with another passphrase, or with a cloud's key.

        Args:
            provider: ``passphrase``, or the URL of a key.
            passphrase: the new one; empty for a key.
            confirm: is told what is to be done.
            begin: called right before anything is encrypted with the new passphrase.
            keep: called when the new passphrase is the one that holds, to let the workspace have it.

        Raises:
            RefusedError: another operation is unfinished, nothing is deployed, or it is another account's.
            DeclinedError: ``confirm`` said no.
            DeploymentBusyError: another operation holds the deployment.
            WorkspaceError: it could not be done, or the secrets do not open afterwards.
        """
        state = get_state(self._with)
        require_settled(self._with, state)
        if state.active is None:
            raise RefusedError(
                f"{state.name} is not deployed, so there is no state to encrypt anew.",
                state="Nothing was changed.",
                next_step=f"Run `geusemaker deploy {state.name}` first.",
            )
        assert state.target is not None
        require_account(self._with, state.target)
        dead_lock(self._with, state)  # refuses where its owner lives
        engine = self._with.engine
        engine.require_current()
        secrets = engine.load_secrets()  # decrypted before anything is written
        what = "a new passphrase" if provider == "passphrase" else provider
        if not confirm(f"The secrets of {state.name} are encrypted with {what}. Nothing that runs is touched."):
            raise DeclinedError("Not confirmed.", state="Nothing was changed.")
        operation = Operation(self._with, self._with.clock.new_operation_id(), "rotate-passphrase", state.active.number)
        with ExitStack() as stack:
            host = self._take_lease(operation, state, state.target, stack)
            operation.begin(host, lambda: clear_dead_lock(self._with, state), beside=state)
            changes = [f"secrets: encrypted with {what}"]
            try:
                begin()
                engine.change_key(provider, passphrase)
                keep()
                after = engine.with_passphrase(passphrase) if provider == "passphrase" else engine
                if not after.opens() or after.load_secrets() != secrets:
                    raise WorkspaceError(
                        f"The secrets of {state.name} are not the same after they were encrypted anew.",
                        state="Nothing that runs was touched.",
                        next_step=f"`geusemaker doctor {state.name}` tells what can be read.",
                    )
                self._record(after.record_config)
            except (GeusemakerError, OSError, KeyboardInterrupt) as error:
                why = "interrupted" if isinstance(error, KeyboardInterrupt) else reason(error)
                operation.finish(host, success=False, error_message=why, changes=changes)
                raise
            operation.finish(host, success=True, changes=changes)
        return RotationResult(
            deployment=state.name,
            provider=provider,
            still_opens=STILL_OPENS,
            next_step=f"Give the new passphrase to everybody who works with {state.name}; their next command takes the "
            "secrets from the backend."
            if provider == "passphrase"
            else f"Everybody who works with {state.name} needs the right to use {provider}.",
        )

    def _record(self, write: Callable[[], None]) -> None:
        try:
            write()
        except GeusemakerError as error:
            # The rotation is done. Without it, fresh machines take the secrets out of the state.
            message = f"The history has no entry with the new key yet: {error.message}"
            self._with.on_event(Event(kind="warning", message=message))

    def _take_lease(
        self, operation: Operation, state: DeploymentState, target: Target, stack: ExitStack
    ) -> Host | None:
        """The agent, which has given the lease to this; None where no instance runs: then Pulumi's lock has to do.

        Raises:
            DeploymentBusyError: another operation has it.
            HostError: the instance runs and does not give it.
        """
        instance = self._with.cloud(target.region).find_instance(state.name)
        if instance is None or not instance.may_answer:
            return None
        secrets = self._with.engine.load_secrets()
        host = stack.enter_context(self._with.open_host(instance.address, target, secrets))
        operation.take_lease(host, instance.id, expects=state.last_operation_id or None, takeover=None)
        return host
