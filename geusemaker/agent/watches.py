"""The services that the gate, and whoever looks, watches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.containers import Container
from geusemaker.agent.data.migration import MigrationLook
from geusemaker.agent.data.postgresql import database_user
from geusemaker.agent.document import Document
from geusemaker.agent.exchange import NO_ANSWER, exchange
from geusemaker.agent.files import read_leniently
from geusemaker.agent.images import Image
from geusemaker.agent.probes import Probe, Seen

PROBE_TIMEOUT: Final = 2.0
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
    """Ask all of them at once; the name of each → what it answered."""
    chosen = {watch.name: watch for watch in watches}
    user = database_user(agent) if "postgresql" in chosen else ""
    requests = {
        (name, path): request
        for name, watch in chosen.items()
        for path, request in watch.probe.requests(agent.address, user).items()
    }
    answers = exchange(requests, timeout, PROBE_LIMIT)
    return {
        name: watch.probe.judge({path: answer for (of, path), answer in answers.items() if of == name})
        for name, watch in chosen.items()
    }


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
