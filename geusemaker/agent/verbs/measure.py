"""``measure``: figures by which two versions of a service are compared while they run."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Mapping
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.clock import now, seconds_between
from geusemaker.agent.containers import Container, life_of, state_of
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.memory import memory_of
from geusemaker.agent.processes import Job
from geusemaker.agent.watches import PROBE_TIMEOUT, Watch, parse_watches, probe_services

LOG_LINES: Final = 10_000
"""So many of a service's last lines are looked through at most."""
LOG_SECONDS: Final = 10.0
ERROR: Final = re.compile(r"\b(?:error|fatal|panic|critical|exception|traceback)\b", re.IGNORECASE)
"""What a line of trouble holds, in the words of the services' own loggers: PostgreSQL's severities (PostgreSQL docs,
"Message Severity Levels"), the levels of n8n's winston, Qdrant's tracing and Ollama's slog, Python's tracebacks. It is
compared with as many lines of before, so a word that stands in every line of a service decides nothing."""
_TIMED: Final = ("http", "postgresql")
"""Kinds of probe whose answer takes as long as the service does."""


def measure(agent: Agent, document: Document) -> Json:
    """Measure each service that is to run.

    With ``operation`` it is done for one that has the lease, before and after: what was measured is of its own time.
    That lease gives way from then on, unless ``gives_way`` is false: a rollback or a recovery may take it.
    """
    agent.reporter.hide(agent.secrets())
    operation = document.operation() if document.optional_text("operation") is not None else ""
    seconds, rounds = document.number("log_seconds", 60), max(1, int(document.number("rounds", 1)))
    if operation:
        gives_way = bool(document.values.get("gives_way", True))
        agent.on_efs(lambda: agent.store.give_way(operation, gives_way=gives_way))
    stopped = agent.on_efs(lambda: agent.store.stopped())
    watches = {name: watch for name, watch in parse_watches(agent, document).items() if name not in stopped}
    containers = agent.containers()
    running = {name: watch for name, watch in watches.items() if name in containers and containers[name].running}
    ready, times = _ask(agent, running, rounds)
    errors = _count_errors(agent, {name: containers[name] for name in watches if name in containers}, seconds)
    found = {}
    for name in watches:
        container = containers.get(name)
        is_ready, detail = ready.get(name, (False, state_of(container)))
        used, limit = memory_of(agent.cgroups, container.pid) if name in running and container else (None, None)
        found[name] = {
            "ready": is_ready,
            "detail": detail,
            "answer_seconds": round(statistics.median(times[name]), 4) if times.get(name) else None,
            "memory_bytes": used,
            "memory_limit_bytes": limit,
            "error_lines": errors.get(name, 0),
            "log_seconds": _covered(container, seconds),
            **life_of(container),
        }
    if operation:
        agent.on_efs(lambda: agent.store.require(operation, held=True))
    return {"services": found}


def _ask(
    agent: Agent, watches: Mapping[str, Watch], rounds: int
) -> tuple[dict[str, tuple[bool, str]], dict[str, list[float]]]:
    """Service → how it answered last; and how many seconds each good answer took, of those where that tells."""
    timed = {name: watch for name, watch in watches.items() if watch.probe.kind in _TIMED}
    others = [watch for name, watch in watches.items() if name not in timed]
    ready = {name: (seen.healthy, seen.detail) for name, seen in probe_services(agent, others, PROBE_TIMEOUT).items()}
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, watch in timed.items():  # one after the other: each by itself is what is timed
            began = time.monotonic()
            seen = probe_services(agent, [watch], PROBE_TIMEOUT)[name]
            ready[name] = (seen.healthy, seen.detail)
            if seen.healthy:
                times.setdefault(name, []).append(time.monotonic() - began)
    return ready, times


def _count_errors(agent: Agent, containers: Mapping[str, Container], seconds: float) -> dict[str, int]:
    """Service → how many lines of trouble it wrote in the last ``seconds``."""
    counts = dict.fromkeys(containers, 0)

    def counter(name: str) -> None:
        def take(line: str) -> None:
            counts[name] += bool(ERROR.search(line))

        since = ("--since", f"{max(1, round(seconds))}s", "--tail", str(LOG_LINES))
        jobs.append(agent.start(("docker", "logs", *since, containers[name].id), take))

    jobs: list[Job] = []
    for name in containers:
        counter(name)
    try:
        agent.finish_jobs(jobs, LOG_SECONDS)
    except AgentError as error:  # what was counted until then counts
        agent.reporter.note(error.message)
    return counts


def _covered(container: Container | None, seconds: float) -> float:
    """How many of the last ``seconds`` it can have written lines in."""
    age = seconds_between(container.started_at, now()) if container is not None else 0.0
    return round(max(0.0, min(seconds, age)), 1)
