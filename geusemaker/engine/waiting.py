"""Says what a run of the engine waits for when nothing has happened for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pulumi.automation.events import EngineEvent, StepEventMetadata

from geusemaker.models.plan import Event

QUIET_SECONDS: Final = 15.0
"""After so long without a step done, and each time it lasts as long again."""

_WORDS: Final = {"create": "making", "delete": "deleting", "update": "changing", "replace": "replacing"}


class Waiting:
    """Which steps of a run have begun and not ended, and since when nothing has moved."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._on_event = on_event
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, str], str] = {}
        self._moved = time.monotonic()

    def watch(self, event: EngineEvent) -> None:
        """Take one engine event."""
        begun, ended = event.resource_pre_event, event.res_outputs_event or event.res_op_failed_event
        with self._lock:
            if begun is not None and begun.metadata.op.value not in ("same", "read"):
                self._under_way[_key(begun.metadata)] = describe(begun.metadata)
                self._moved = time.monotonic()
            if ended is not None:
                self._under_way.pop(_key(ended.metadata), None)
                self._moved = time.monotonic()

    @property
    def under_way(self) -> list[str]:
        """The steps that have not ended, in words."""
        with self._lock:
            return sorted(self._under_way.values())

    @contextmanager
    def telling(self, quiet_seconds: float = QUIET_SECONDS) -> Iterator[None]:
        """While this lasts, a wait is told once it is longer than that, and again whenever it has doubled."""
        ended = threading.Event()
        teller = threading.Thread(target=self._tell, args=(ended, quiet_seconds), daemon=True)
        with self._lock:
            self._moved = time.monotonic()
        teller.start()
        try:
            yield
        finally:
            ended.set()
            teller.join()

    def _tell(self, ended: threading.Event, quiet_seconds: float) -> None:
        told = 0.0
        since = self._moved
        while True:
            with self._lock:
                if self._moved != since:
                    since, told = self._moved, 0.0
            due = since + max(quiet_seconds, 2 * told)
            if ended.wait(max(due - time.monotonic(), 0.01)):
                return
            quiet = time.monotonic() - since
            if self._moved == since and quiet >= max(quiet_seconds, 2 * told):
                told = quiet
                if steps := self.under_way:
                    self._on_event(Event(kind="note", message=f"Waiting for {quiet:.0f} s now: {', '.join(steps)}."))


def describe(step: StepEventMetadata) -> str:
    """A step in words: ``deleting security group storage (sg-0abc…)``."""
    name = step.urn.rsplit("::", 1)[-1]
    kind = step.type.rsplit(":", 1)[-1]
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind).strip()
    known = step.old.id if step.old is not None and step.old.id else ""
    return f"{_WORDS.get(step.op.value, step.op.value)} {words} {name}" + (f" ({known})" if known else "")


def _key(step: StepEventMetadata) -> tuple[str, str]:
    return step.urn, step.op.value
