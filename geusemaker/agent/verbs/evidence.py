"""``evidence``: what a person needs to understand a failure."""

from __future__ import annotations

from collections import deque
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.containers import state_of
from geusemaker.agent.document import Document, Json
from geusemaker.agent.watches import PROBE_TIMEOUT, parse_watches, probe_services

EVIDENCE_FACTS: Final = (
    *("id", "image", "image_id", "status", "oom_killed", "exit_code", "error"),
    *("created_at", "started_at", "restarts"),
)


def evidence(agent: Agent, document: Document) -> Json:
    """What a person needs to understand a failure, before a rollback sweeps it away."""
    agent.reporter.hide(agent.secrets())
    watches = parse_watches(agent, document)
    containers = agent.containers()
    running = [watch for name, watch in watches.items() if name in containers and containers[name].running]
    answers = probe_services(agent, running, PROBE_TIMEOUT)
    services = {}
    for name in sorted({*watches, *containers}):
        container = containers.get(name)
        lines: deque[str] = deque(maxlen=200)
        if container is not None:
            argv = ("docker", "logs", "--timestamps", "--tail", "200", container.id)
            agent.stream(argv, 30, lines.append)
        seen = answers.get(name)
        healthy, detail = (seen.healthy, seen.detail) if seen else (None, state_of(container))
        services[name] = {
            "logs": [line[:500] for line in lines],
            "inspect": None if container is None else {key: getattr(container, key) for key in EVIDENCE_FACTS},
            "probe": {"healthy": healthy, "detail": detail},
        }
    return {"operation": document.optional_text("operation"), "services": services}
