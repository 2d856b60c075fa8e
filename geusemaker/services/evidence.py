"""What a failed change leaves for a person: logs, container states, probe answers, the engine's diagnostics."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from geusemaker.models.history import ApplyOutcome
from geusemaker.models.plan import Event, Plan
from geusemaker.services.bookkeeping import attempt
from geusemaker.services.collaborators import Host

_SHOWN_LINES: Final = 10
_DOCKERS_TIME = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z ?")


@dataclass(frozen=True)
class Evidence:
    """What was kept."""

    folder: str | None
    """Where; None: nowhere."""
    tails: dict[str, list[str]] = field(default_factory=dict)
    """Service → the last lines of its log, without secrets."""


def collect(
    open_folder: Callable[[], Path],
    outcome: ApplyOutcome,
    host: Host | None,
    plan: Plan,
    on_event: Callable[[Event], None],
    redact: Callable[[Any], Any] = lambda value: value,
) -> Evidence:
    """Write the evidence before anything is taken back.

    What cannot be collected or written is said, and does not hinder the way back. The agent takes secrets out of what
    it tells; ``redact`` takes out those that only this machine knows.
    """
    folder = attempt(on_event, "There is no folder for the evidence", open_folder)

    def write(name: str, text: Callable[[], str]) -> None:
        if folder is not None:
            attempt(on_event, f"{name} of the evidence was not written", lambda: _write(folder / name, redact(text())))

    write("diagnostics.txt", lambda: "\n".join([outcome.failure, *outcome.diagnostics]))
    if outcome.agent_error is not None:
        write("agent-error.json", lambda: json.dumps(outcome.agent_error, indent=2))
    write("plan.json", lambda: plan.model_dump_json(indent=2))
    if host is None:
        return Evidence(str(folder) if folder is not None else None)
    answer = attempt(
        on_event,
        "Evidence on the instance could not be collected",
        lambda: host.evidence(plan.operation_id),
    )
    for name, found in (answer.services if answer is not None else {}).items():
        about = {"inspect": found.inspect, "probe": found.probe}
        write(f"{name}.log", partial("\n".join, found.logs))
        write(f"{name}.json", partial(json.dumps, about, indent=2))
    tails = {name: _tail(found.logs, redact) for name, found in (answer.services if answer is not None else {}).items()}
    return Evidence(str(folder) if folder is not None else None, {name: tail for name, tail in tails.items() if tail})


def _tail(logs: Sequence[str], redact: Callable[[Any], Any]) -> list[str]:
    """The last lines that say something, without the times that Docker puts before them."""
    lines = [line for line in (_DOCKERS_TIME.sub("", text).rstrip() for text in logs) if line]
    return [str(redact(line)) for line in lines[-_SHOWN_LINES:]]


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    # What a service wrote need not be text.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
