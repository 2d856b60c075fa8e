"""The services that the gate, and whoever looks, watches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.containers import Container
from geusemaker.agent.data.migration import MigrationLook
from geusemaker.agent.data.postgresql import database_user
from geusemaker.agent.docker import PROJECT
from geusemaker.agent.document import Document
from geusemaker.agent.errors import AgentError
from geusemaker.agent.exchange import NO_ANSWER, exchange
from geusemaker.agent.files import read_leniently
from geusemaker.agent.images import Image
from geusemaker.agent.probes import GPU_COMMAND, Probe, Seen, judge_gpus
from geusemaker.agent.processes import Job

PROBE_TIMEOUT: Final = 2.0
COMMAND_TIMEOUT: Final = 5.0  # of all commands of one look together
GPU_TIMEOUT: Final = 20.0  # likewise; a driver that nothing else uses sets each GPU up for every question
PROBE_LIMIT: Final = 1 << 20  # bytes of an answer that are read; n8n's settings are some tens of KB
READY_ATTEMPTS: Final = 5


class Watch:
    """A service the gate is looking at."""

    def __init__(
        self, name: str, image: Image, text: str, probe: Probe, deadline: float, depends_on: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.image = image
        self.text = text
        self.probe = probe
        self.deadline = deadline
        self.depends_on = depends_on
        self.successes = 0
        self.ever_healthy = False
        self.state = "waiting"
        self.detail = ""
        self.seconds = 0.0
        self.tolerated: int | None = None
        self.had_to_wait = False
        self.container: Container | None = None
        self.life: tuple[str, str, int] | None = None
        """Which container answered, since when it runs, how often it was restarted."""
        self.starting = False
        self.looks = 0
        """How often its migration was looked at."""
        self.migration: MigrationLook | None = None
        self.migration_at = float("-inf")
        """When its migration was looked at, and …"""
        self.progress_at = float("-inf")
        """… when it was last seen to get on."""


def parse_watches(agent: Agent, document: Document) -> dict[str, Watch]:
    """The services to look at: those of the document, else those the gate was last asked about."""
    if "services" not in document.values:
        document = Document(read_leniently(agent.probes_file))
    watches = {}
    for name, value in document.service_map("services").items():
        service = Document(value if isinstance(value, dict) else {})
        text = service.text("image")
        watches[name] = Watch(
            name=name,
            image=Image.parse(text),
            text=text,
            probe=Probe.parse(service.values.get("probe")),
            deadline=service.number("deadline_seconds", document.number("deadline_seconds", 180)),
            depends_on=tuple(service.values.get("depends_on") or ()),
        )
    return watches


def probe_services(agent: Agent, watches: Iterable[Watch], timeout: float) -> dict[str, Seen]:
    """Ask all of them, whose containers run, at once; the name of each → what it answered."""
    chosen = {watch.name: watch for watch in watches}
    user = database_user(agent) if "postgresql" in chosen else ""
    requests = {
        (name, path): request
        for name, watch in chosen.items()
        for path, request in watch.probe.requests(agent.address, user).items()
    }
    began = time.monotonic()
    begun = {name: _begin(agent, name, watch.probe.command) for name, watch in chosen.items() if watch.probe.command}
    gpus = {name: _begin(agent, name, GPU_COMMAND) for name, watch in chosen.items() if watch.probe.gpus}
    answers = exchange(requests, timeout, PROBE_LIMIT)
    deadline = time.monotonic() + COMMAND_TIMEOUT
    ended = {name: _end(agent, job, deadline) for name, job in begun.items()}
    found = ended | {
        name: watch.probe.judge({path: answer for (of, path), answer in answers.items() if of == name})
        for name, watch in chosen.items()
        if name not in ended
    }
    driven = {name: _end_gpus(agent, job, chosen[name].probe.gpus, began) for name, job in gpus.items()}
    return found | {name: _both(found[name], seen) for name, seen in driven.items()}


def _begin(agent: Agent, name: str, command: Sequence[str]) -> Job:
    """Begin to run a command in a service's container, whose name Compose makes of the project's and the service's."""
    return agent.start(("docker", "exec", f"{PROJECT}-{name}-1", *command), None)


def _end_gpus(agent: Agent, job: Job, wanted: int, began: float) -> Seen:
    try:
        [finished] = agent.finish_jobs([job], max(0.1, began + GPU_TIMEOUT - time.monotonic()))
    except AgentError:
        return Seen(False, f"nvidia-smi did not end within {GPU_TIMEOUT:g} s in its container")
    return judge_gpus(wanted, finished.code, finished.out, finished.reason())


def _both(seen: Seen, gpus: Seen) -> Seen:
    """What a service answered, and what is seen of its GPUs: both have to be well."""
    if not seen.healthy or not gpus.healthy:
        return gpus if seen.healthy else seen
    return Seen(True, f"{seen.detail}; {gpus.detail}")


def _end(agent: Agent, job: Job, deadline: float) -> Seen:
    try:
        [finished] = agent.finish_jobs([job], max(0.1, deadline - time.monotonic()))
    except AgentError:
        return Seen(False, f"its command did not end within {COMMAND_TIMEOUT:g} s")
    if finished.code == 0:
        return Seen(True, "its command says yes")
    return Seen(False, f"its command ended with {finished.code}: {finished.reason()}"[:200])


def is_ready(agent: Agent, name: str) -> bool:
    """Whether a running service says so, by the probe that the gate had for it last.

    One that gives no answer at all, as on a busy machine, is asked again: what hangs on this must not hang on that.
    """
    watches = [watch for watch in parse_watches(agent, Document({})).values() if watch.name == name]
    for _ in range(READY_ATTEMPTS):
        seen = probe_services(agent, watches, PROBE_TIMEOUT)
        if not any(NO_ANSWER in one.detail for one in seen.values()):
            break
    return any(one.healthy for one in seen.values())
