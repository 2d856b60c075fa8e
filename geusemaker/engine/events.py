"""Engine events read into our own: resource operations, progress, the agent's answers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from pulumi.automation.events import EngineEvent, StepEventMetadata

from geusemaker.host.instance import read_event
from geusemaker.models.history import ApplyOutcome
from geusemaker.models.plan import Event, ResourceOperation

_COLOR = re.compile(r"<\{%[^%]*%\}>")


def resource_name(urn: str) -> str:
    """The logical name in a URN."""
    return urn.rsplit("::", 1)[-1]


def read_operation(step: StepEventMetadata) -> ResourceOperation:
    """One planned step, without any value in it."""
    changed = list(step.detailed_diff or {}) or list(step.diffs or ())
    inputs = step.new.inputs if step.new is not None else {}
    return ResourceOperation(
        op=step.op.value,
        type=step.type,
        name=resource_name(step.urn),
        urn=step.urn,
        changed=tuple(dict.fromkeys(_property(path) for path in changed)),
        replaces=tuple(step.keys or ()),
        inputs_digest=hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest(),
        provider_id=step.old.id if step.old is not None and step.old.id else "",
        protected=bool(step.old is not None and step.old.protect),
        unprotects=bool(step.old is not None and step.old.protect and step.new is not None and not step.new.protect),
    )


def _property(path: str) -> str:
    """The property that differs. Tags of a part of it are named apart: a disk's are no other size."""
    tags = re.match(r"\w+\.tags", path)
    return tags[0] if tags else re.split(r"[.\[]", path)[0]


class ApplyWatcher:
    """Turns the events of one run into progress, and keeps what its outcome needs."""

    def __init__(self, on_event: Callable[[Event], None]) -> None:
        self._on_event = on_event
        self.diagnostics: list[str] = []
        self._agent_error: dict[str, Any] | None = None
        self._agent_results: dict[str, dict[str, Any]] = {}
        self._deleted: list[str] = []
        self._running: dict[str, str] = {}
        """URN → how it is called, of what was begun and has not ended."""
        self.heard_all = False
        """Whether the run's last event has come. The thread that hands them on ends at one that it cannot read."""

    def watch(self, event: EngineEvent) -> None:
        """Take one engine event."""
        self.heard_all |= event.cancel_event is not None
        if event.diagnostic_event is not None:
            self._diagnostic(event)
        elif event.resource_pre_event is not None:
            self._resource(event.resource_pre_event.metadata, "started")
        elif event.res_outputs_event is not None:
            metadata = event.res_outputs_event.metadata
            if metadata.op.value in ("delete", "delete-replaced"):
                self._deleted.append(f"{metadata.type} {resource_name(metadata.urn)}")
            self._resource(metadata, "done")
        elif event.res_op_failed_event is not None:
            self._resource(event.res_op_failed_event.metadata, "failed")

    def outcome(self, *, succeeded: bool, timed_out: bool, failure: str, duration_seconds: float) -> ApplyOutcome:
        """What the run came to."""
        return ApplyOutcome(
            succeeded=succeeded,
            timed_out=timed_out,
            failure=failure,
            diagnostics=tuple(self.diagnostics),
            agent_error=self._agent_error,
            agent_results=self._agent_results,
            waiting=() if succeeded else tuple(self._running.values()),
            resources_deleted=tuple(self._deleted),
            duration_seconds=duration_seconds,
        )

    def _resource(self, step: StepEventMetadata, state: str) -> None:
        if step.op.value in ("same", "read") or step.type.startswith("pulumi:"):
            return
        if state == "started":
            kind, name = step.type.rsplit(":", 1)[-1], resource_name(step.urn)
            self._running[step.urn] = name if step.type.startswith("command:") else f"{kind} {name}"
        elif state == "done":
            self._running.pop(step.urn, None)
        self._on_event(
            Event(
                kind="resource",
                name=resource_name(step.urn),
                state=state,
                data={"op": step.op.value, "type": step.type},
            )
        )

    def _diagnostic(self, event: EngineEvent) -> None:
        diagnostic = event.diagnostic_event
        assert diagnostic is not None
        text = _COLOR.sub("", diagnostic.message).strip()
        if not text or diagnostic.severity == "debug":
            return
        if line := _agent_line(text):
            self._agent(line, resource_name(diagnostic.urn or ""))
        elif diagnostic.severity == "error":
            self.diagnostics.append(text)
        elif diagnostic.severity == "warning":
            self._on_event(Event(kind="warning", message=text))

    def _agent(self, line: dict[str, Any], resource: str) -> None:
        kind = line["event"]
        if (told := read_event(line)) is not None:
            self._on_event(told)
        elif kind == "result":
            self._agent_results[resource] = line
        elif kind == "error":
            self._agent_error = line


def _agent_line(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("event"), str) else None
