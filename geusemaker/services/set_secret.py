"""Sets or deletes a secret of the operator's: by an update where variables have it, else in the store alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Literal

from pydantic import SecretStr

from geusemaker.errors import (
    DeclinedError,
    GeusemakerError,
    InterruptedOperationError,
    InvalidInputError,
    RefusedError,
)
from geusemaker.models.plan import Event
from geusemaker.models.request import ChangeOptions, UpdateRequest
from geusemaker.models.result import OperationResult
from geusemaker.models.secrets import NOBODY, NOTIFY, Secrets
from geusemaker.models.stack import Target
from geusemaker.models.state import DeploymentState
from geusemaker.program.watch import watch_document
from geusemaker.services import progress
from geusemaker.services.before import require_same_secrets, require_whole
from geusemaker.services.bookkeeping import reason
from geusemaker.services.collaborators import Collaborators, Confirm, Host
from geusemaker.services.engine_lock import clear_dead_lock, dead_lock
from geusemaker.services.identity import require_account
from geusemaker.services.operation import UNTOUCHED, Operation
from geusemaker.services.secret_values import (
    differing,
    keepers,
    require_own_name,
    require_value,
    unknown_keepers,
    users,
    with_values,
    without,
)
from geusemaker.services.states import get_state, require_readable, require_settled
from geusemaker.services.update.service import UpdateService


class SetSecretService:
    """Sets. An instance serves one operation."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators
        self._started = collaborators.clock.monotonic()

    def set(self, name: str, value: SecretStr, options: ChangeOptions, confirm: Confirm) -> OperationResult:
        """Set it. ``confirm`` is asked where something restarts for it.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: the value cannot be kept, or it is a generated secret.
            RefusedError: it cannot be done now; nothing was changed.
            DeploymentBusyError: another operation holds the deployment; nothing was changed.
        """
        require_own_name(name, self._with.deployment)
        require_value(name, value.get_secret_value())
        state = get_state(self._with)
        if state.active is not None and users(state.active.config, name):
            request = UpdateRequest(secret_values={name: value}, reason=options.reason, dry_run=options.dry_run)
            return UpdateService(self._with).update(request, confirm)
        return self._give(state, name, value, options)

    def delete(self, name: str, options: ChangeOptions, confirm: Callable[[str], bool]) -> OperationResult:
        """Delete it. ``confirm`` is told what goes, and says whether to go on.

        Raises:
            DeploymentNotFoundError: there is no such deployment.
            InvalidInputError: there is no such secret, or it is a generated one.
            RefusedError: a version that is kept has it, or it cannot be done now; nothing was changed.
            DeclinedError: ``confirm`` said no; nothing was changed.
            DeploymentBusyError: another operation holds the deployment; nothing was changed.
        """
        require_own_name(name, self._with.deployment, to="deleted")
        state = get_state(self._with)
        target, old = self._look(state, name)
        if name not in old.own:
            raise InvalidInputError(
                f"{state.name} has no secret {name!r} of yours.",
                state=UNTOUCHED,
                next_step=f"`geusemaker secrets list {state.name}` tells which there are.",
            )
        require_whole(state)
        self._require_unused(state, name)
        if not options.dry_run and not confirm(_what_goes(state.name, name)):
            raise DeclinedError("Not confirmed.", state=UNTOUCHED)
        result = self._result(state, "delete-secret", f"secret {name}: deleted", options)
        return self._store(state, target, old, name, result, options, lambda operation: without(old, name))

    @staticmethod
    def _require_unused(state: DeploymentState, name: str) -> None:
        """Refuse while a version that one may go back to has it: that would have nothing to start with.

        Raises:
            RefusedError
        """
        if unknown_keepers(state):
            raise RefusedError(
                f"Versions of {state.name} that are kept cannot be read by this geusemaker, and may have {name}.",
                state=UNTOUCHED,
                next_step="Use the geusemaker that made them, or a newer one.",
            )
        if found := keepers(state, name):
            told = "; ".join(f"v{number} ({', '.join(variables)})" for number, variables in found.items())
            active = state.active is not None and state.active.number in found
            variable = next(iter(found.values()))[0]
            raise RefusedError(
                f"{name} is not deleted: versions that are kept have it: {told}.",
                state=UNTOUCHED,
                next_step=f"`geusemaker update {state.name} --secret-env {variable}=` takes the variable out; the "
                "secret can go when no version that is kept has it any more."
                if active
                else f"It can go when those are archived. `geusemaker secrets set {state.name} {name}` gives it "
                "another value meanwhile.",
            )

    def _give(self, state: DeploymentState, name: str, value: SecretStr, options: ChangeOptions) -> OperationResult:
        """Store a value for later."""
        target, old = self._look(state, name)
        result = self._result(state, "set-secret", f"secret {name}: {'changed' if name in old.own else 'set'}", options)
        result = result.model_copy(update={"next_step": next_step_of(name, value.get_secret_value())})
        if not differing(old, {name: value}):
            return result.model_copy(update={"changes": []})
        now, by = self._with.clock.now(), self._with.actor
        return self._store(
            state,
            target,
            old,
            name,
            result,
            options,
            lambda operation: with_values(old, {name: value}, operation=operation, at=now, by=by),
        )

    def _look(self, state: DeploymentState, name: str) -> tuple[Target, Secrets]:
        """Where the deployment is, and its secrets as they are."""
        require_settled(self._with, state)
        if state.target is None or state.active is None:
            raise RefusedError(
                f"{state.name} is not deployed, so there is nobody to keep {name} for.",
                state=UNTOUCHED,
                next_step=f"Run `geusemaker deploy {state.name}` first; its --secret-env takes values.",
            )
        target = require_account(self._with, state.target)
        dead_lock(self._with, state)
        self._with.engine.require_current()
        return target, self._with.engine.load_secrets()

    @staticmethod
    def _result(
        state: DeploymentState, kind: Literal["set-secret", "delete-secret"], change: str, options: ChangeOptions
    ) -> OperationResult:
        return OperationResult(
            success=True,
            deployment=state.name,
            kind=kind,
            version=state.active.number if state.active is not None else None,
            dry_run=options.dry_run,
            changes=[change],
        )

    def _store(
        self,
        state: DeploymentState,
        target: Target,
        old: Secrets,
        name: str,
        result: OperationResult,
        options: ChangeOptions,
        make: Callable[[str], Secrets],
    ) -> OperationResult:
        """Let other secrets hold, under the lease: those that ``make`` makes for an operation."""
        if options.dry_run:
            return result
        assert state.active is not None and (result.kind == "set-secret" or result.kind == "delete-secret")
        operation = Operation(self._with, self._with.clock.new_operation_id(), result.kind, state.active.number)
        told: dict[str, Any] = {"changes": result.changes, "reason": options.reason}
        deletes = result.kind == "delete-secret"
        with ExitStack() as stack:
            host = self._take_lease(operation, state, target, old, stack)

            def first() -> None:
                clear_dead_lock(self._with, state)
                require_same_secrets(self._with, state, old)
                if deletes:  # nobody else changes the deployment now, and somebody may have given it to a variable
                    require_readable(now := get_state(self._with))
                    self._require_unused(now, name)

            operation.begin(host, first, beside=state)
            try:
                with progress.phase(self._with.on_event, "record", f"{'deleting' if deletes else 'storing'} {name}"):
                    new = make(operation.id)
                    self._with.engine.rotate_secrets(new, operation.id)
            except (GeusemakerError, OSError, KeyboardInterrupt) as error:
                why = "interrupted" if isinstance(error, KeyboardInterrupt) else reason(error)
                operation.finish(host, success=False, error_message=why, **told)
                raise _unsure(state.name, name, error, "deleted" if deletes else "stored") from error
            if name == NOTIFY:
                self._let_watch(operation, host, watch_document(new, target.site))
            seconds = round(self._with.clock.monotonic() - self._started, 3)
            operation.finish(host, success=True, duration_seconds=seconds, **told)
        return result.model_copy(update={"operation_id": operation.id, "duration_seconds": seconds})

    def _let_watch(self, operation: Operation, host: Host | None, watch: dict[str, Any] | None) -> None:
        """Have the instance watch itself; where it cannot be told now, the next change tells it."""
        later = "The instance learns of it with the next change that is made to it"
        if host is None:
            self._with.on_event(Event(kind="note", message=f"{later}: it does not run."))
            return
        try:
            host.notify(operation.id, watch, self._with.on_event)
        except (GeusemakerError, KeyboardInterrupt) as error:  # what was asked for, the secret, is stored
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else reason(error)
            self._with.on_event(Event(kind="warning", message=f"{later}: {why}"))

    def _take_lease(
        self, operation: Operation, state: DeploymentState, target: Target, secrets: Secrets, stack: ExitStack
    ) -> Host | None:
        """The agent, which has given the lease to this; None where no instance runs: then Pulumi's lock has to do.

        Raises:
            DeploymentBusyError: another operation has it.
            HostError: the instance runs and does not give it.
        """
        instance = self._with.cloud(target.region).find_instance(state.name)
        if instance is None or not instance.may_answer:
            return None
        host = stack.enter_context(self._with.open_host(instance.address, target, secrets))
        # Whatever was last: a backend restored from an older backup needs its secrets to be put right.
        operation.take_lease(host, instance.id, expects=None, takeover=None)
        return host


def next_step_of(name: str, value: str) -> str:
    """What a secret that no variable has is good for."""
    if name == NOTIFY and value.split() == [NOBODY]:
        return "From now on no address is told."
    if name == NOTIFY:
        return f"Operations tell these addresses from now on, and so does the instance; the value {NOBODY} ends that."
    return f"No variable has it yet: --secret-env SERVICE.KEY=secret:{name} of an update gives it to one."


def _what_goes(deployment: str, name: str) -> str:
    """What is to be done, for the question."""
    ends = "nobody is told of this deployment's operations any more" if name == NOTIFY else "nothing restarts"
    return f"{name} is deleted from {deployment}'s secrets, and its value with it; {ends}."


def _unsure(
    deployment: str, name: str, error: GeusemakerError | OSError | KeyboardInterrupt, done: str
) -> GeusemakerError:
    """The engine's run failed or was interrupted: what the history has holds, which the next command reads."""
    state = f"Whether {name} was {done} is not known here; nothing that runs was changed."
    next_step = f"`geusemaker secrets list {deployment}` tells since when there is which."
    if isinstance(error, KeyboardInterrupt):
        return InterruptedOperationError("Interrupted.", state=state, next_step=next_step)
    return GeusemakerError(f"{name} could not be {done}: {reason(error)}", state=state, next_step=next_step)
