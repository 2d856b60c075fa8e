"""``logs``: the services' last lines, and those that are yet to come."""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.containers import Container, state_of
from geusemaker.agent.document import Document, Json, check_service_name
from geusemaker.agent.errors import AgentError
from geusemaker.agent.processes import Job

LOOK_SECONDS: Final = 2.0
"""How often to look whether a container ended, was started again or was replaced; and to say that we are there."""


def logs(agent: Agent, document: Document) -> Json:
    """The last lines of a service, or of all; with ``follow`` also what they write in so many seconds.

    While it follows, ``{"event": "alive", "at": {service: time of its last line}}`` tells every two seconds up to where
    all was told, so that whoever lost us can go on from there.
    """
    agent.reporter.hide(agent.secrets())
    wanted, resume = document.optional_text("service"), document.service_map("resume")
    seconds = document.number("follow", 0)
    containers = agent.containers()
    if wanted is not None and wanted not in containers and not resume:
        raise AgentError("no_such_service", f"There is no container of {check_service_name(wanted)} on the instance.")
    teller = _Teller(agent, (document.optional_text("grep") or "").casefold(), resume)
    count = int(document.number("lines", 100))
    for name in sorted(containers):
        if wanted in (None, name):
            teller.tell_last(name, containers[name], count, document.optional_text("since"))
    if seconds:
        _follow(agent, teller, wanted, time.monotonic() + seconds)
    return {"lines": teller.told}


class _Teller:
    """Tells lines as events, and remembers when each service last wrote one."""

    def __init__(self, agent: Agent, text: str, resume: Mapping[str, str]) -> None:
        self.told = 0
        self.at: dict[str, str] = dict(resume)
        self._agent = agent
        self._text = text

    def tell_last(self, name: str, container: Container, count: int, since: str | None) -> None:
        """Tell a service's last ``count`` lines (0: all) since then, or those since it was last seen."""
        argv = ["docker", "logs", "--timestamps"]
        if start := self.at.get(name) or since:
            argv += ["--since", start]
        limited = bool(count) and name not in self.at
        if limited and self._text:  # which ones are the last that hold it is known at the end only
            kept: deque[tuple[str, str]] = deque(maxlen=count)
            self._agent.stream((*argv, container.id), 120, lambda line: kept.extend(self._read(name, line)))
            for stamp, text in kept:
                self._tell(name, stamp, text)
            return
        tail = ("--tail", str(count)) if limited else ()
        self._agent.stream((*argv, *tail, container.id), 120, self.taker(name))

    def taker(self, name: str) -> Callable[[str], None]:
        """What tells a service's lines as Docker writes them: the time, a blank, the text."""

        def take(line: str) -> None:
            for stamp, text in self._read(name, line):
                self._tell(name, stamp, text)

        return take

    def _read(self, name: str, line: str) -> list[tuple[str, str]]:
        """A line's time and text, if it is to be told."""
        stamp, _, text = line.partition(" ")
        if len(stamp) < 20 or stamp[4] != "-" or stamp[10] != "T":
            self._agent.reporter.note(f"{name}: {line}")  # Docker's own words
            return []
        self.at[name] = stamp
        holds = not self._text or self._text in str(self._agent.reporter.redact(text)).casefold()
        return [(stamp, text)] if holds else []

    def _tell(self, name: str, stamp: str, text: str) -> None:
        self.told += 1
        self._agent.reporter.emit("log", service=name, time=stamp, line=text)


def _follow(agent: Agent, teller: _Teller, wanted: str | None, end: float) -> None:
    jobs: dict[str, Job] = {}
    lives: dict[str, tuple[str, str] | None] = {}
    looked = 0.0
    with selectors.DefaultSelector() as selector:
        try:
            while (now := time.monotonic()) < end and not agent.reporter.gone:
                if now - looked >= LOOK_SECONDS:
                    looked = now
                    agent.reporter.hide(agent.secrets())
                    for name, container in sorted(agent.containers().items()):
                        if wanted not in (None, name):
                            continue
                        if _runs(agent, name, container, lives) and name not in jobs:
                            jobs[name] = _start(agent, teller, name, container)
                            selector.register(jobs[name].pipe, selectors.EVENT_READ, name)
                    agent.reporter.emit("alive", at=teller.at)
                for key, _ in selector.select(min(end, looked + LOOK_SECONDS) - time.monotonic()):
                    if not jobs[key.data].read():  # its container ended
                        selector.unregister(key.fileobj)
                        jobs.pop(key.data).finish()
        finally:
            for job in jobs.values():
                agent.end_child(job.process)


def _runs(agent: Agent, name: str, container: Container, lives: dict[str, tuple[str, str] | None]) -> bool:
    """Whether it runs; that it ended, or is another one, is told."""
    life = (container.id, container.started_at) if container.running else None
    if name in lives and lives[name] != life:
        agent.reporter.note(f"{name}: its container was started" if life else f"{name}: {state_of(container)}")
    lives[name] = life
    return life is not None


def _start(agent: Agent, teller: _Teller, name: str, container: Container) -> Job:
    since = ("--since", teller.at[name]) if name in teller.at else ()
    argv = ("docker", "logs", "--follow", "--timestamps", *since, container.id)
    return agent.start(argv, teller.taker(name))
