"""The instance as the services see it: a method for each verb of its agent, with the verb's own document and answer.

How long an answer is waited for is the agent's affair (``geusemaker.agent.deadlines``): it gives up first, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeVar

from geusemaker.agent.deadlines import patience
from geusemaker.agent.protocol import answers, documents, looks, rehearsal
from geusemaker.agent.protocol.reading import Json, read, to_json
from geusemaker.errors import HostError
from geusemaker.host.telling import OnEvent as OnEvent
from geusemaker.host.telling import OnLine as OnLine
from geusemaker.host.telling import read_event as read_event
from geusemaker.host.telling import tell_all, tell_services, tell_waits
from geusemaker.models.plan import Event

A = TypeVar("A")


class Connection(Protocol):
    """What carries a verb's document to the agent, and its lines back; see geusemaker.host.client.AgentClient."""

    def run(self, verb: str, document: Json, on_line: OnLine | None = ..., timeout: float = ...) -> Json: ...
    def seen_from(self) -> str: ...
    def close(self) -> None: ...


class Instance:
    """One instance. Closed at the end of a ``with``. Every method raises:

    HostError: with the agent's own code and detail, or the connection's (see ``AgentClient.run``); ``timeout`` also
        where the agent itself gave a verb up.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def close(self) -> None:
        """End the connection, and whatever another thread waits for on it."""
        self._connection.close()

    def __enter__(self) -> Instance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def seen_from(self) -> str:
        """The address that this machine connects from, as the instance sees it; empty where it does not tell."""
        return self._connection.seen_from()

    # -- the lease

    def begin(self, document: documents.BeginDocument, on_event: OnEvent | None = None) -> answers.Leased:
        """Take the lease, and end what still runs of other operations."""
        return self._ask("begin", document, answers.Leased, tell_waits(on_event))

    def end(self, operation: str, outcome: str) -> answers.Leased:
        """Give the lease back; again is fine."""
        return self._ask("end", documents.EndDocument(operation, outcome), answers.Leased)

    def cancel(self, operation: str) -> answers.Cancelled:
        """End an operation's processes, and let no further one of it start."""
        return self._ask("cancel", documents.OfOperation(operation), answers.Cancelled)

    def lease(self) -> looks.Holding:
        """Who holds the deployment."""
        return self._ask("lease", documents.Nothing(), looks.Holding)

    # -- looking

    def health(
        self,
        services: Mapping[str, Any] | None = None,
        *,
        images: Mapping[str, str] | None = None,
        compose: Json | None = None,
        environment: dict[str, dict[str, str]] | None = None,
        domains: Json | None = None,
        models: bool = False,
    ) -> looks.Health:
        """One look at everything, without waiting; the arguments are those of ``HealthDocument``."""
        document = documents.HealthDocument(
            None if services is None else dict(services),
            None if images is None else dict(images),
            *(compose, environment, domains, models or None),
        )
        return self._ask("health", document, looks.Health)

    def measure(
        self,
        services: Mapping[str, Any],
        operation: str | None = None,
        *,
        gives_way: bool = True,
        log_seconds: float = 60,
        rounds: int = 1,
    ) -> looks.Measured:
        """Measure each service; the arguments are those of ``MeasureDocument``."""
        document = documents.MeasureDocument(dict(services), operation, gives_way, log_seconds, rounds)
        return self._ask("measure", document, looks.Measured)

    def watch(self) -> answers.Watched:
        """One look of the instance at itself, as its timer has it look; what changed is told."""
        return self._ask("watch", documents.Nothing(), answers.Watched)

    def notify(self, operation: str, watch: Json | None, on_event: OnEvent | None = None) -> answers.Notified:
        """Set who is told by the instance between operations; None: nobody."""
        return self._ask("notify", documents.NotifyDocument(operation, watch), answers.Notified, tell_waits(on_event))

    def manifest(self, tables: Mapping[str, list[str]] | None = None, *, mentions: str | None = None) -> looks.Manifest:
        """What each service holds; with the rows of these tables of its own, and n8n's workflows with this word."""
        document = documents.ManifestDocument((tables or {}).get("n8n"), mentions)
        return self._ask("manifest", document, looks.Manifest)

    def adoption(self) -> looks.Adoption:
        """What mounted data tells to whoever takes it up."""
        return self._ask("adoption", documents.Nothing(), looks.Adoption)

    def logs(
        self,
        asked: documents.LogsDocument,
        on_log: Callable[[looks.LogEvent], None],
        on_alive: Callable[[dict[str, str]], None] | None = None,
        on_event: OnEvent | None = None,
    ) -> looks.Logs:
        """Log lines as they come, one by one.

        ``on_alive`` is told, every few seconds while lines are followed, up to which time each service's were told.
        """

        def on_line(line: Json) -> None:
            if line.get("event") == "log":
                on_log(read(looks.LogEvent, {key: value for key, value in line.items() if key != "event"}))
            elif line.get("event") == "alive" and on_alive is not None:
                on_alive(line["at"])
            elif line.get("event") == "note" and on_event is not None:
                on_event(Event(kind="note", message=str(line["message"])))

        return self._ask("logs", asked, looks.Logs, on_line)

    def evidence(self, operation: str) -> looks.Evidence:
        """What a person needs to understand a failure, before a rollback sweeps it away."""
        return self._ask("evidence", documents.OfOperation(operation), looks.Evidence)

    def journal(
        self,
        *,
        append: Json | None = None,
        tail: int = 0,
        operations: Sequence[str] | None = None,
        returned: bool | None = None,
    ) -> looks.Journal:
        """Add an entry to the journal's copy, and read its last ones or those of some operations.

        ``returned``: the entry tells of an interruption that has passed, and the note of it ends.
        """
        document = documents.JournalDocument(append, tail, None if operations is None else list(operations), returned)
        return self._ask("journal", document, looks.Journal)

    # -- the data

    def checkpoint(
        self, operation: str, number: int, kind: str, services: Sequence[str], on_event: OnEvent | None = None
    ) -> answers.Copied:
        """Copy what services hold in version ``number``, while everything still runs."""
        document = documents.CheckpointDocument(operation, number, kind, list(services))
        return self._ask("checkpoint", document, answers.Copied, tell_services(on_event))

    def checkpoints(self, now: Sequence[str] | None = None) -> looks.Checkpoints:
        """The checkpoints; and what is there now of the services that ``now`` names."""
        document = documents.CheckpointsDocument(None if now is None else list(now))
        return self._ask("checkpoints", document, looks.Checkpoints)

    def backup(self, document: documents.BackupDocument, on_event: OnEvent | None = None) -> answers.BackedUp:
        """Copy all that services hold, while everything runs; whoever takes the lease meanwhile ends this."""
        return self._ask("backup", document, answers.BackedUp, tell_services(on_event))

    def schedule(self, document: documents.ScheduleDocument) -> answers.Scheduled:
        """Set how often a backup is taken by itself, and how many of those are kept."""
        return self._ask("schedule", document, answers.Scheduled)

    def restore(
        self, operation: str, number: int, checkpoint: str, services: Sequence[str], on_event: OnEvent | None = None
    ) -> answers.Restored:
        """Put a checkpoint's data in the place of version ``number``'s."""
        document = documents.RestoreDocument(operation, number, checkpoint, list(services))
        return self._ask("restore", document, answers.Restored, tell_services(on_event))

    def load(
        self, operation: str, checkpoint: str, settled: str | None, on_event: OnEvent | None = None
    ) -> answers.Loaded:
        """Load a checkpoint's databases beside those that are there, while everything still runs."""
        document = documents.LoadDocument(operation, checkpoint, settled)
        return self._ask("load", document, answers.Loaded, tell_services(on_event))

    def rehearse(self, document: rehearsal.RehearseDocument, on_event: OnEvent | None = None) -> rehearsal.Rehearsal:
        """Start other images on a copy of the data, and then those that run now on what they left."""
        return self._ask("rehearse", document, rehearsal.Rehearsal, tell_all(on_event))

    # -- the services

    def prefetch(
        self, operation: str, compose: Json, on_event: OnEvent | None = None, *, on_new_instance: bool = False
    ) -> answers.Pulled:
        """Have a compose file checked and bring its images, while the old containers go on serving.

        ``on_new_instance``: there are none, and the operation's lease, which its `apply` takes, is not asked for.
        """
        document = documents.PrefetchDocument(operation, compose, new_instance=on_new_instance or None)
        return self._ask("prefetch", document, answers.Pulled, tell_services(on_event))

    def hold(self, operation: str, on_event: OnEvent | None = None) -> answers.Held:
        """Stop all services until ``apply`` starts them."""
        return self._ask("hold", documents.OfOperation(operation), answers.Held, tell_services(on_event))

    def newer(self, on_event: OnEvent | None = None) -> answers.Newer:
        """Docker's packages that have a newer version."""
        return self._ask("newer", documents.Nothing(), answers.Newer, tell_waits(on_event))

    def renew(self, operation: str, on_event: OnEvent | None = None) -> answers.Renewed:
        """Renew Docker, whose services are stopped."""
        return self._ask("renew", documents.OfOperation(operation), answers.Renewed, tell_waits(on_event))

    def stop(
        self, operation: str, services: Sequence[str], by: str, reason: str, on_event: OnEvent | None = None
    ) -> answers.Rested:
        """Stop services on purpose: nothing starts them by itself."""
        document = documents.StopDocument(operation, list(services), by, reason)
        return self._ask("stop", document, answers.Rested, tell_services(on_event))

    def start(self, operation: str, services: Sequence[str], on_event: OnEvent | None = None) -> answers.Started:
        """Start services that were stopped on purpose."""
        document = documents.OfServices(operation, list(services))
        return self._ask("start", document, answers.Started, tell_services(on_event))

    def restart(self, operation: str, services: Sequence[str], on_event: OnEvent | None = None) -> answers.Restarted:
        """Start services once more that run and do not answer."""
        document = documents.OfServices(operation, list(services))
        return self._ask("restart", document, answers.Restarted, tell_services(on_event))

    def apply(self, document: documents.ApplyDocument, on_event: OnEvent | None = None) -> answers.Applied:
        """Make the compose project on the instance the given one, without the engine."""
        return self._ask("apply", document, answers.Applied, tell_services(on_event))

    def gate(self, document: documents.GateDocument, on_event: OnEvent | None = None) -> looks.Gate:
        """Wait until every service is ready and stays so, without the engine."""
        return self._ask("gate", document, looks.Gate, tell_services(on_event))

    def gc(
        self,
        operation: str,
        keep: Sequence[str],
        checkpoints: Sequence[int],
        repositories: Sequence[str],
        former: Sequence[str],
    ) -> answers.Collected:
        """Remove the images of these repositories, and those that versions had, that are not to be kept.

        And the checkpoints of other versions.
        """
        document = documents.GcDocument(operation, list(keep), list(checkpoints), list(repositories), list(former))
        return self._ask("gc", document, answers.Collected)

    # -- secrets

    def authorize(self, operation: str, user: str, key: str, remove: Sequence[str] | None = None) -> answers.Authorized:
        """Let a key log in; with ``remove`` (an empty one as well) those of before may no more."""
        document = documents.AuthorizeDocument(operation, user, key, None if remove is None else list(remove))
        return self._ask("authorize", document, answers.Authorized)

    def password(self, operation: str) -> answers.PasswordNoted:
        """Note that the database gets another password."""
        return self._ask("password", documents.OfOperation(operation), answers.PasswordNoted)

    def key(self, operation: str) -> answers.PasswordNoted:
        """Note that n8n gets another encryption key."""
        return self._ask("key", documents.OfOperation(operation), answers.PasswordNoted)

    def _ask(self, verb: str, document: Any, answer: type[A], on_line: OnLine | None = None) -> A:
        try:
            told = self._connection.run(verb, to_json(document), on_line, patience(verb))
        except HostError as error:
            if error.code == "deadline":  # who of the two gave up makes no difference to anybody
                raise error.but(code="timeout") from error
            raise
        return read(answer, told)


def failure_detail(error: HostError) -> answers.FailureDetail:
    """What the agent's error tells beside its message."""
    return read(answers.FailureDetail, error.detail)
