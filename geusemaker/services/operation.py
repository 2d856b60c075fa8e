"""One operation as others see it: its intent in the backend, its lease beside the data, the record of its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from geusemaker.agent.protocol.documents import GateDocument
from geusemaker.errors import GeusemakerError, HostError, InterruptedOperationError
from geusemaker.models.history import IntentKind
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
        """As ``take_lease``, after what ``state`` knows as the last operation; from that, too, where it was killed."""
        last = state.last_operation_id or None
        self.take_lease(host, instance_id, expects=last, takeover=last if state.interrupted else None)

    def announce(self) -> None:
        """Write the intent down, before the first effect."""
        if not self.announced:
            self.announced = True  # from here on it may be there
            self._set_intent("")

    def begin(self, host: Host, first: Callable[[], None] = lambda: None) -> None:
        """Do ``first`` and announce, or give all of it back.

        Raises:
            GeusemakerError: it was not possible, or Ctrl-C; nothing was changed.
        """
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

    def finish(self, host: Host, record: OperationRecord) -> None:
        """Put it on record, beside the data too, and settle it."""
        try:
            bookkeeping.record(self._with, record)
            facts.copy_record(self._with, host, record)
        finally:
            self.settle(host, "done" if record.success else "failed")

    def write_end(self, outcome: str, *, last: str = "") -> None:
        """Say that the operation has ended."""
        bookkeeping.insist(self._with.on_event, self._unwritten, lambda: self._set_intent(outcome, last))

    def give_back(self, host: Host | None, outcome: str) -> None:
        """Give the lease back, if it was taken here."""
        if host is not None and self.has_lease:
            lease.give_back(self._with, host, self.id, outcome)

    def _set_intent(self, outcome: str, operation_id: str = "") -> None:
        intent = self._with.intent(
            operation_id or self.id,
            self.kind,
            self.number,
            outcome,
            trigger=self._trigger,
            unsettled=outcome == "abandoned" and self._left_unsettled,
        )
        self._with.engine.set_intent(intent)


def nothing_changed(error: GeusemakerError | OSError | KeyboardInterrupt, untouched: str) -> GeusemakerError:
    """What is raised for an error, or a Ctrl-C, before anything was changed."""
    if isinstance(error, KeyboardInterrupt):
        return InterruptedOperationError("Interrupted.", state=untouched)
    if isinstance(error, OSError):
        return GeusemakerError(f"This machine is in the way: {bookkeeping.reason(error)}", state=untouched)
    error.state = error.state or untouched
    return error
