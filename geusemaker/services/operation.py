"""One operation as others see it: its intent in the backend, its lease beside the data, the record of its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from geusemaker.agent.protocol.documents import GateDocument
from geusemaker.errors import GeusemakerError, HostError, InterruptedOperationError
from geusemaker.models.history import BESIDE, Intent, IntentKind
from geusemaker.models.plan import Event
from geusemaker.models.record import OperationRecord
from geusemaker.models.stack import StackConfig, Target
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Trigger
from geusemaker.program.compose import probes
from geusemaker.services import bookkeeping, facts, lease
from geusemaker.services.collaborators import Collaborators, Host

UNTOUCHED: Final = "Nothing was changed."


class Operation:
    """Takes the lease, announces the operation before its first effect, and says how it ended.

    Args:
        collaborators: what all this is done through.
        operation_id: the operation's id.
        kind: what it is.
        number: the version that it makes, or works on.
        left_unsettled: an earlier operation was killed; where this one is abandoned, that stays so.
        untouched: says that nothing was changed, for errors.
        unwritten: the beginning of the warning that the end could not be written down.
        trigger: why it is made.
    """

    def __init__(
        self,
        collaborators: Collaborators,
        operation_id: str,
        kind: IntentKind,
        number: int,
        *,
        left_unsettled: bool = False,
        untouched: str = UNTOUCHED,
        unwritten: str = "",
        trigger: Trigger = "manual",
    ) -> None:
        self._with = collaborators
        self.id = operation_id
        self.kind = kind
        self.number = number
        self.untouched = untouched
        self._left_unsettled = left_unsettled
        self._unwritten = unwritten or (
            f"That this {kind} has ended was not written down; `geusemaker recover {collaborators.deployment}` does it"
        )
        self._trigger = trigger
        self._beside: DeploymentState | None = None
        """Set of one that touches nothing that runs: how it found the deployment."""
        self.announced = False
        """Whether the intent was written, or may have been."""
        self.has_lease = False
        """Whether the lease was taken here; of a change it may be `apply` that takes it, and the gate gives it back."""

    def take_lease(
        self,
        host: Host,
        instance_id: str,
        *,
        expects: str | None,
        takeover: str | None,
        owner_is_gone: bool = False,
        untouched: str = "",
        number: int = 0,
        salvage: bool = False,
    ) -> None:
        """Take the lease; see ``lease.take``.

        Raises:
            DeploymentBusyError: another operation has it.
            PlanRefusedError: another operation was the last.
            HostError: the instance or its file system does not answer.
        """
        lease.take(
            self._with,
            host,
            self.id,
            self.kind,
            expects=expects,
            takeover=takeover,
            instance_id=instance_id,
            untouched=untouched or self.untouched,
            owner_is_gone=owner_is_gone,
            number=number,
            salvage=salvage,
        )
        self.has_lease = True

    def take_over(self, host: Host, instance_id: str, state: DeploymentState) -> None:
        """As ``take_lease``, after what ``state`` knows as the last operation; from that, too, where it was killed.

        Raises:
            InterruptedOperationError: Ctrl-C; nothing was changed. Else as ``take_lease``.
        """
        last = state.last_operation_id or None
        try:
            self.take_lease(host, instance_id, expects=last, takeover=last if state.interrupted else None)
        except KeyboardInterrupt as error:
            raise nothing_changed(error, self.untouched) from error

    def announce(self) -> None:
        """Write the intent down, before the first effect."""
        if not self.announced:
            self.announced = True  # from here on it may be there
            self._with.teller.begins(self._set_intent(""))

    def begin(
        self,
        host: Host | None,
        first: Callable[[], None] = lambda: None,
        *,
        beside: DeploymentState | None = None,
    ) -> None:
        """Do ``first`` and announce, or give all of it back.

        Args:
            host: the instance; None where there is none, and so no lease.
            first: what the intent is to wait for.
            beside: of an operation that touches nothing that runs: how it finds the deployment. What is noted of the
                latest operation is put back when this one has ended.

        Raises:
            GeusemakerError: it was not possible, or Ctrl-C; nothing was changed.
        """
        self._beside = beside
        try:
            first()
            self.announce()
        except (GeusemakerError, OSError, KeyboardInterrupt) as error:
            self.settle(host, "abandoned")
            raise nothing_changed(error, self.untouched) from error

    def gate(self, host: Host, config: StackConfig, target: Target, file_system_id: str) -> dict[str, bool]:
        """Wait until all services of ``config`` are healthy; service → whether it is.

        Raises:
            HostError: they do not become so.
        """
        document = GateDocument(
            self.id,
            file_system_id,
            services=probes(config),
            consecutive_successes=config.health.consecutive_successes,
            deadline_seconds=config.health.deadline_seconds,
            settle_seconds=target.settle_seconds,
        )
        return host.gate(document, self._with.on_event).health

    def cancel(self, host: Host, what: str = "It") -> bool:
        """End what the agent does for this operation, which it would go on with by itself; whether it has ended."""
        try:
            host.cancel(self.id)
        except HostError as error:
            message = f"{what} was not ended on the instance: {error.message}"
            self._with.on_event(Event(kind="warning", message=message))
            return False
        return True

    def settle(self, host: Host | None, outcome: str, *, last: str = "") -> None:
        """Say that the operation has ended, and give the lease back. Neither can change what it came to.

        ``last`` is the operation that the next one will find as the last, where that is not this one.
        """
        try:
            self.write_end(outcome, last=last)
        finally:
            self.give_back(host, outcome)

    def record(self, *, tells: bool = True, **told: Any) -> OperationRecord:
        """Put what it came to into the journal; ``told`` are fields of the record, before what is known here.

        ``tells``: hooks and addresses are told as well.
        """
        known: dict[str, Any] = {
            "operation_id": self.id,
            "deployment": self._with.deployment,
            "kind": self.kind,
            "number": self.number,
            "from_version": self.number,
            "actor": self._with.actor,
            "started_at": self._with.clock.now(),
        }
        record = OperationRecord(**known | told)
        bookkeeping.record(self._with, record)
        if tells:
            self._with.teller.ended(record)
        return record

    def finish(self, host: Host | None, *, success: bool, **told: Any) -> None:
        """Put it on record, beside the data too, and settle it; ``told`` as of ``record``."""
        try:
            record = self.record(success=success, **told)
            if host is not None:
                facts.copy_record(self._with, host, record)
        finally:
            self.settle(host, "done" if success else "failed")

    def write_end(self, outcome: str, *, last: str = "") -> None:
        """Say that the operation has ended."""
        bookkeeping.insist(self._with.on_event, self._unwritten, lambda: self._set_intent(outcome, last))

    def give_back(self, host: Host | None, outcome: str) -> None:
        """Give the lease back, if it was taken here."""
        if host is not None and self.has_lease:
            lease.give_back(self._with, host, self.id, outcome)
            self.has_lease = False

    def interrupted(self) -> None:
        """Tell that Ctrl-C ended it in the middle."""
        self._with.teller.interrupted(self._intent("failed"))

    def _set_intent(self, outcome: str, operation_id: str = "") -> Intent:
        beside = self._beside
        intent = self._intent(outcome, operation_id) if beside is None else self._intent_beside(beside, outcome)
        self._with.engine.set_intent(intent)
        return intent

    def _intent(self, outcome: str, operation_id: str = "") -> Intent:
        return self._with.intent(
            operation_id or self.id,
            self.kind,
            self.number,
            outcome,
            trigger=self._trigger,
            unsettled=outcome == "abandoned" and self._left_unsettled,
        )

    def _intent_beside(self, state: DeploymentState, outcome: str) -> Intent:
        """The intent of an operation that touches nothing that runs.

        Should it be killed, it is all that is left of the one before: the next number, the operation that is expected
        as the last in the lease (this one if it took that), and whether there is something to recover.
        """
        if outcome and state.intent is not None:
            ended = "done" if state.intent.kind in BESIDE else ""  # one of these was killed
            return state.intent.model_copy(update={"outcome": state.intent.outcome or ended})
        last = self.id if self.has_lease else state.last_operation_id or self.id
        return self._with.intent(last, self.kind, state.next_number - 1, outcome, unsettled=state.untold)


def nothing_changed(error: GeusemakerError | OSError | KeyboardInterrupt, untouched: str) -> GeusemakerError:
    """What is raised for an error, or a Ctrl-C, before anything was changed."""
    if isinstance(error, KeyboardInterrupt):
        return InterruptedOperationError("Interrupted.", state=untouched)
    if isinstance(error, OSError):
        return GeusemakerError(f"This machine is in the way: {bookkeeping.reason(error)}", state=untouched)
    return error.completed(state=untouched)
