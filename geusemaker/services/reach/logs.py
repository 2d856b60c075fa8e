"""What the services wrote, and what they write while somebody watches."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from geusemaker.agent.protocol.documents import LogsDocument
from geusemaker.agent.protocol.looks import LogEvent
from geusemaker.errors import HostError
from geusemaker.models.plan import Event
from geusemaker.models.reach import LogLine
from geusemaker.services.collaborators import Collaborators, Host
from geusemaker.services.reach.service import ReachService, Way

_ROUND_SECONDS: Final = 300.0
"""For how long the agent is asked to follow at a time; well below the verb's deadline."""
_LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to connect again; the first comes after one, each later after twice as many."""
_REMEMBERED: Final = 5000
"""Lines that are told apart from further ones, since the last line seen comes again with those after it."""
_FINAL: Final = ("no_such_service", "bad_input", "internal", "install_failed")
"""Codes of errors that no further attempt mends."""


@dataclass(frozen=True)
class Asked:
    """Which lines are wanted. ``lines``: the last ones of each service; None: all of them."""

    service: str | None = None
    lines: int | None = 100
    since: timedelta | datetime | None = None
    grep: str = ""

    def document(self, way: Way) -> LogsDocument:
        """As the agent is asked; how long ago is counted by the instance's clock."""
        since = ""
        if isinstance(self.since, timedelta):
            since = f"{max(self.since.total_seconds(), 0):g}s"
        elif self.since is not None:
            since = self.since.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        service = way.service(self.service) if self.service is not None else None
        return LogsDocument(service=service, lines=self.lines or 0, since=since, grep=self.grep)


def read_logs(collaborators: Collaborators, asked: Asked) -> list[LogLine]:
    """The lines there are, in the order in which they were written.

    Raises:
        InvalidInputError: there is no such service.
        HostError: the instance cannot be reached.
    """
    way = ReachService(collaborators).find()
    document = asked.document(way)
    found: list[LogLine] = []
    with collaborators.open_host(way.login.address, way.target, way.secrets) as host:
        try:
            host.logs(document, lambda event: found.append(_line(event)), on_event=collaborators.on_event)
        except HostError as error:
            raise way.told(error) from error
    return in_order(found)


def in_order(lines: list[LogLine]) -> list[LogLine]:
    """By time; lines of one service stay as they came."""
    return sorted(lines, key=lambda line: line.time or datetime.min.replace(tzinfo=UTC))


def _line(event: LogEvent) -> LogLine:
    try:
        time = datetime.fromisoformat(event.time)
    except ValueError:
        time = None
    return LogLine(event.service, event.line, time)


def follow_logs(collaborators: Collaborators, asked: Asked) -> Generator[LogLine, None, None]:
    """The lines there are, and those to come, until the iterator is closed.

    A connection that is lost is made again, and nothing is told twice; both are told as events.

    Raises:
        InvalidInputError: there is no such service.
        HostError: the instance cannot be reached at the beginning, or takes the key no more.
    """
    way = ReachService(collaborators).find()
    follower = _Follower(collaborators, way, asked.document(way))
    thread = threading.Thread(target=follower.run, name="geusemaker-logs", daemon=True)
    thread.start()
    try:
        while (told := follower.told.get()) is not None:
            if isinstance(told, BaseException):
                raise told
            yield told
    finally:
        follower.stop()
        thread.join(10)


@dataclass
class _Follower:
    """Asks the agent round after round, in a thread of its own: each answer is waited for, and Ctrl-C is not."""

    collaborators: Collaborators
    way: Way
    document: LogsDocument
    told: queue.Queue[LogLine | BaseException | None] = field(default_factory=queue.Queue)
    _at: dict[str, str] = field(default_factory=dict)
    _seen: dict[LogEvent, None] = field(default_factory=dict)
    _backlog: list[LogLine] | None = None
    _lost: bool = False
    _ever: bool = False
    _over: threading.Event = field(default_factory=threading.Event)
    _host: Host | None = None

    def stop(self) -> None:
        self._over.set()
        if (host := self._host) is not None:
            host.close()

    def run(self) -> None:
        try:
            self._rounds()
        except BaseException as error:  # it is raised where the lines are read
            self.told.put(error)
        finally:
            self.told.put(None)

    def _rounds(self) -> None:
        pause = 1.0
        while not self._over.is_set():
            try:
                self._round()
                pause = 1.0
            except HostError as error:
                if self._over.is_set():
                    return
                self._judge(error)
                if not self._lost:
                    pause, self._lost = 1.0, True
                    self._tell("warning", "The connection to the instance was lost; it is being made again.")
                self._over.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except Exception:
                if not self._over.is_set():  # the connection was closed under it
                    raise

    def _judge(self, error: HostError) -> None:
        """Raise it where no further attempt helps."""
        if not self._ever or error.code in _FINAL:
            raise self.way.told(error)
        if error.code in ("auth_failed", "host_key_mismatch"):  # the key may be another one since
            found = ReachService(self.collaborators).find()
            if found.login == self.way.login:
                raise self.way.told(error)
            self.way = found

    def _round(self) -> None:
        self._backlog = []
        asked = replace(self.document, follow=_ROUND_SECONDS, resume=dict(self._at))
        try:
            with self.collaborators.open_host(self.way.login.address, self.way.target, self.way.secrets) as host:
                self._host = host
                host.logs(asked, self._take, self._alive, self.collaborators.on_event)
        finally:
            self._host = None
            self._flush()

    def _take(self, event: LogEvent) -> None:
        if event in self._seen:
            return
        self._seen[event] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        if event.time:
            self._at[event.service] = event.time
        if self._backlog is None:
            self.told.put(_line(event))
        else:
            self._backlog.append(_line(event))

    def _alive(self, at: dict[str, str]) -> None:
        self._ever = True
        self._at.update(at)
        self._flush()
        if self._lost:
            self._lost = False
            self._tell("note", "Connected to the instance again.")

    def _flush(self) -> None:
        """What there was when the round began came service by service."""
        for line in in_order(self._backlog or []):
            self.told.put(line)
        self._backlog = None

    def _tell(self, kind: Literal["note", "warning"], text: str) -> None:
        self.collaborators.on_event(Event(kind=kind, message=text))
