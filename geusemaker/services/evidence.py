"""What a failed change leaves for a person: logs, container states, probe answers, the engine's diagnostics."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from geusemaker.models.history import ApplyOutcome
from geusemaker.models.plan import Event, Plan
from geusemaker.services.bookkeeping import attempt
from geusemaker.services.collaborators import Host


def collect(
    open_folder: Callable[[], Path],
    outcome: ApplyOutcome,
    host: Host | None,
    plan: Plan,
    on_event: Callable[[Event], None],
    redact: Callable[[Any], Any] = lambda value: value,
) -> str | None:
    """Write the evidence before anything is taken back; the path of its folder is returned, None where there is none.

    What cannot be collected or written is said, and does not hinder the way back. The agent takes secrets out of what
    it tells; ``redact`` takes out those that only this machine knows.
    """
    folder = attempt(on_event, "There is no folder for the evidence", open_folder)
    if folder is None:
        return None

    def write(name: str, text: Callable[[], str]) -> None:
        attempt(on_event, f"{name} of the evidence was not written", lambda: _write(folder / name, redact(text())))

    write("diagnostics.txt", lambda: "\n".join([outcome.failure, *outcome.diagnostics]))
    if outcome.agent_error is not None:
        write("agent-error.json", lambda: json.dumps(outcome.agent_error, indent=2))
    write("plan.json", lambda: plan.model_dump_json(indent=2))
    if host is None:
        return str(folder)
    answer = attempt(
        on_event,
        "Evidence on the instance could not be collected",
        lambda: host.evidence(plan.operation_id),
    )
    for name, found in (answer.services if answer is not None else {}).items():
        about = {"inspect": found.inspect, "probe": found.probe}
        write(f"{name}.log", partial("\n".join, found.logs))
        write(f"{name}.json", partial(json.dumps, about, indent=2))
    return str(folder)


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    # What a service wrote need not be text.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
