"""The instance as the services see it: a method for each verb of its agent, with the verb's own document and answer.

How long an answer is waited for is the agent's affair (``geusemaker.agent.deadlines``): it gives up first, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeVar

from geusemaker.agent import protocol
from geusemaker.agent.deadlines import patience
from geusemaker.agent.protocol import Json
from geusemaker.errors import HostError
from geusemaker.models.plan import Event

A = TypeVar("A")
OnEvent = Callable[[Event], None]
OnLine = Callable[[Json], None]


class Connection(Protocol):
    """What carries a verb's document to the agent, and its lines back; see geusemaker.host.client.AgentClient."""

    def run(self, verb: str, document: Json, on_line: OnLine | None = ..., timeout: float = ...) -> Json: ...
    def close(self) -> None: ...


class Instance:
    """One instance. Closed at the end of a ``with``.

    Every method raises:
        HostError: with the agent's own code and detail, or the connection's (see ``AgentClient.run``); ``timeout`` also
            where the agent itself gave a verb up.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> Instance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    # -- the lease

    def begin(self, document: protocol.BeginDocument, on_event: OnEvent | None = None) -> protocol.Leased:
        """Take the lease, and end what still runs of other operations."""
        return self._ask("begin", document, protocol.Leased, _waits(on_event))

    def end(self, operation: str, outcome: str) -> protocol.Leased:
        """Give the lease back; again is fine."""
        return self._ask("end", protocol.EndDocument(operation, outcome), protocol.Leased)

    def cancel(self, operation: str) -> protocol.Cancelled:
        """End an operation's processes, and let no further one of it start."""
        return self._ask("cancel", protocol.CancelDocument(operation), protocol.Cancelled)

    def lease(self) -> protocol.Holding:
        """Who holds the deployment."""
        return self._ask("lease", protocol.LeaseDocument(), protocol.Holding)

    # -- looking

    def health(
        self,
        services: Mapping[str, Any] | None = None,
        *,
        images: Mapping[str, str] | None = None,
        compose: Json | None = None,
        environment: dict[str, dict[str, str]] | None = None,
    ) -> protocol.Health:
        """One look at everything, without waiting; the arguments are those of ``HealthDocument``."""
        document = protocol.HealthDocument(_plain(services), _plain(images), compose, environment)
        return self._ask("health", document, protocol.Health)

    def manifest(self, tables: Mapping[str, list[str]] | None = None) -> protocol.Manifest:
        """What each service holds; with the rows of these tables of its own."""
        document = protocol.ManifestDocument((tables or {}).get("n8n"))
        return self._ask("manifest", document, protocol.Manifest)

    def adoption(self) -> protocol.Adoption:
        """What mounted data tells to whoever takes it up."""
        return self._ask("adoption", protocol.AdoptionDocument(), protocol.Adoption)

    def logs(self, service: str | None, lines: int) -> list[tuple[str, str]]:
        """(service, line) of the last lines of one service's log, or of all."""
        found: list[tuple[str, str]] = []

        def on_line(line: Json) -> None:
            if line.get("event") == "log":
                found.append((line["service"], line["line"]))

        self._ask("logs", protocol.LogsDocument(service, lines), protocol.Logs, on_line)
        return found

    def evidence(self, operation: str) -> protocol.Evidence:
        """What a person needs to understand a failure, before a rollback sweeps it away."""
        return self._ask("evidence", protocol.EvidenceDocument(operation), protocol.Evidence)

    def journal(
        self, *, append: Json | None = None, tail: int = 0, operations: Sequence[str] | None = None
    ) -> protocol.Journal:
        """Add an entry to the journal's copy, and read its last ones or those of some operations."""
        document = protocol.JournalDocument(append, tail, None if operations is None else list(operations))
        return self._ask("journal", document, protocol.Journal)

    # -- the data

    def checkpoint(
        self, operation: str, number: int, kind: str, services: Sequence[str], on_event: OnEvent | None = None
    ) -> protocol.Copied:
        """Copy what services hold in version ``number``, while everything still runs."""
        document = protocol.CheckpointDocument(operation, number, kind, list(services))
        return self._ask("checkpoint", document, protocol.Copied, _services(on_event))

    def checkpoints(self, now: Sequence[str] | None = None) -> protocol.Checkpoints:
        """The checkpoints; and what is there now of the services that ``now`` names."""
        document = protocol.CheckpointsDocument(None if now is None else list(now))
        return self._ask("checkpoints", document, protocol.Checkpoints)

    def restore(
        self, operation: str, number: int, checkpoint: str, services: Sequence[str], on_event: OnEvent | None = None
    ) -> protocol.Restored:
        """Put a checkpoint's data in the place of version ``number``'s."""
        document = protocol.RestoreDocument(operation, number, checkpoint, list(services))
        return self._ask("restore", document, protocol.Restored, _services(on_event))

    # -- the services

    def prefetch(self, operation: str, compose: Json, on_event: OnEvent | None = None) -> protocol.Pulled:
        """Have a compose file checked and bring its images, while the old containers go on serving."""
        document = protocol.PrefetchDocument(operation, compose)
        return self._ask("prefetch", document, protocol.Pulled, _services(on_event))

    def hold(self, operation: str, on_event: OnEvent | None = None) -> protocol.Held:
        """Stop all services until ``apply`` starts them."""
        return self._ask("hold", protocol.HoldDocument(operation), protocol.Held, _services(on_event))

    def stop(
        self, operation: str, services: Sequence[str], by: str, reason: str, on_event: OnEvent | None = None
    ) -> protocol.Rested:
        """Stop services on purpose: nothing starts them by itself."""
        document = protocol.StopDocument(operation, list(services), by, reason)
        return self._ask("stop", document, protocol.Rested, _services(on_event))

    def start(self, operation: str, services: Sequence[str], on_event: OnEvent | None = None) -> protocol.Started:
        """Start services that were stopped on purpose."""
        document = protocol.StartDocument(operation, list(services))
        return self._ask("start", document, protocol.Started, _services(on_event))

    def restart(self, operation: str, services: Sequence[str], on_event: OnEvent | None = None) -> protocol.Restarted:
        """Start services once more that run and do not answer."""
        document = protocol.RestartDocument(operation, list(services))
        return self._ask("restart", document, protocol.Restarted, _services(on_event))

    def apply(self, document: protocol.ApplyDocument, on_event: OnEvent | None = None) -> protocol.Applied:
        """Make the compose project on the instance the given one, without the engine."""
        return self._ask("apply", document, protocol.Applied, _services(on_event))

    def gate(self, document: protocol.GateDocument, on_event: OnEvent | None = None) -> protocol.Gate:
        """Wait until every service is ready and stays so, without the engine."""
        return self._ask("gate", document, protocol.Gate, _services(on_event))

    def gc(self, operation: str, keep: Sequence[str], checkpoints: Sequence[int]) -> protocol.Collected:
        """Remove the images that are not to be kept, and the checkpoints of other versions."""
        document = protocol.GcDocument(operation, list(keep), list(checkpoints))
        return self._ask("gc", document, protocol.Collected)

    # -- secrets

    def authorize(
        self, operation: str, user: str, key: str, remove: Sequence[str] | None = None
    ) -> protocol.Authorized:
        """Let a key log in; with ``remove`` (an empty one as well) those of before may no more."""
        document = protocol.AuthorizeDocument(operation, user, key, None if remove is None else list(remove))
        return self._ask("authorize", document, protocol.Authorized)

    def password(self, operation: str) -> protocol.PasswordNoted:
        """Note that the database gets another password."""
        return self._ask("password", protocol.PasswordDocument(operation), protocol.PasswordNoted)

    def _ask(self, verb: str, document: Any, answer: type[A], on_line: OnLine | None = None) -> A:
        try:
            told = self._connection.run(verb, protocol.to_json(document), on_line, patience(verb))
        except HostError as error:
            if error.code == "deadline":
                error.code = "timeout"  # who of the two gave up makes no difference to anybody
            raise
        return protocol.read(answer, told)


def failure_detail(error: HostError) -> protocol.FailureDetail:
    """What the agent's error tells beside its message."""
    return protocol.read(protocol.FailureDetail, error.detail)


def read_event(line: Json) -> Event | None:
    """What a line of the agent's tells while it works; None: it is of another kind.

    Its phases are steps of what runs on the instance (``resource``); ``phase`` is what the whole operation is at.
    """
    kind, message = line.get("event"), str(line.get("message") or "")
    if kind == "service":
        return Event(kind="service", name=line["service"], state=line["state"], message=str(line.get("detail") or ""))
    if kind == "phase":
        return Event(kind="resource", name=line["name"], state=line["state"], message=message)
    return Event(kind="note", message=message) if kind == "note" else None


def _services(on_event: OnEvent | None) -> OnLine:
    """Tell what becomes of the services. What the agent is at beside them, whoever asked it says in own words."""

    def on_line(line: Json) -> None:
        event = read_event(line)
        if on_event is not None and event is not None and event.kind == "service":
            on_event(event)

    return on_line


def _waits(on_event: OnEvent | None) -> OnLine:
    """Tell what has to be waited for before the lease can be had."""

    def on_line(line: Json) -> None:
        event = read_event(line)
        if on_event is not None and event is not None and event.kind == "resource" and event.state == "started":
            on_event(Event(kind="note", message=event.message))

    return on_line


def _plain(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if values is None else dict(values)
