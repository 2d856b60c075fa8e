"""What a failed change leaves for a person: logs, container states, probe answers, the engine's diagnostics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from geusemaker.errors import GeusemakerError
from geusemaker.models.history import ApplyOutcome
from geusemaker.models.plan import Event, Plan
from geusemaker.services.collaborators import Host


def collect(
    folder: Path, outcome: ApplyOutcome, host: Host | None, plan: Plan, on_event: Callable[[Event], None]
) -> str:
    """Write the evidence into ``folder`` before anything is taken back; the folder's path is returned.

    The agent redacts secrets; what cannot be collected is said, and does not hinder the way back.
    """
    _write(folder / "diagnostics.txt", "\n".join([outcome.failure, *outcome.diagnostics]))
    if outcome.agent_error is not None:
        _write(folder / "agent-error.json", json.dumps(outcome.agent_error, indent=2))
    _write(folder / "plan.json", plan.model_dump_json(indent=2))
    if host is None:
        return str(folder)
    try:
        services = host.run("evidence", {"operation": plan.operation_id}, timeout=60.0)["services"]
    except GeusemakerError as error:
        on_event(Event(kind="warning", message=f"Evidence on the instance could not be collected: {error.message}"))
        return str(folder)
    for name, found in services.items():
        _write(folder / f"{name}.log", "\n".join(found.get("logs") or ()))
        _write(folder / f"{name}.json", json.dumps({key: found[key] for key in found if key != "logs"}, indent=2))
    return str(folder)


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
