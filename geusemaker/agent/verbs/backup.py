"""``backup``: a copy of all that services hold, on demand or as planned; ``schedule``: the plan.

It takes no lease, changes nothing and gives way: it registers itself before it looks whether anybody has the lease, and
whoever takes it ends what is registered. What is left of one that was ended is no copy (its folder begins with a dot).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Final

from geusemaker.agent.agent import Agent, or_problem
from geusemaker.agent.clock import now
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.planned import LEAST_SECONDS, follow_plan
from geusemaker.agent.retention import is_due
from geusemaker.agent.store.backups import version_of
from geusemaker.agent.store.checkpoints import BACKUP
from geusemaker.agent.verbs.checkpoint import COPIED, take_checkpoint

_SECONDS: Final = 3000.0
"""For the copy, and again for reading it."""
_ENTRIES: Final = 200
"""Of the journal that are looked through for the version."""


def backup(agent: Agent, document: Document) -> Json:
    """Copy all that can be copied while everything still runs, and read the copy once more.

    Without a document, as the timer runs it: if one is due, and then those of the plan go that are too many.

    Raises:
        AgentError: lease_held, backup_runs, nothing_to_copy, cancelled, and what ``take_checkpoint`` raises
    """
    if not document.values:
        return _as_planned(agent)
    operation, number = document.operation(), int(document.number("number", 0))
    if number < 1:
        raise AgentError("bad_input", "'number' has to be that of the version whose data is copied.")
    about = {"version": number, "operation": operation, "kind": BACKUP, "by": document.text("by")}
    with agent.registered(operation, "backup"):
        require_free(agent)
        require_alone(agent, operation)
        return {"checkpoint": take_backup(agent, about, document.number("deadline_seconds", _SECONDS))}


def schedule(agent: Agent, document: Document) -> Json:
    """Set how often a backup is taken by itself, and how many of those are kept; ``every_seconds`` 0: none is.

    Raises:
        AgentError: lease_held, bad_input, schedule_failed
    """
    operation, by = document.operation(), document.text("by")
    every, keep = document.number("every_seconds", 0), int(document.number("keep", 0))
    if every and (every < LEAST_SECONDS or keep < 1):
        raise AgentError("bad_input", f"'every_seconds' has to be {LEAST_SECONDS} or more, 'keep' 1 or more.")
    with agent.registered(operation, "schedule"):
        require_free(agent)
        if every:
            agent.on_efs(lambda: agent.store.plan_backups(every, keep, by))
        else:
            agent.on_efs(agent.store.forget_backup_plan)
        follow_plan(agent)
        return {"backups": agent.on_efs(agent.store.backup_state)}


def _as_planned(agent: Agent) -> Json:
    state = agent.on_efs(agent.store.backup_state)
    plan, done, failed = state["plan"], state["done"] or {}, state["failed"] or {}
    if plan is None or not is_due(now(), plan["every_seconds"], done.get("at", ""), failed.get("at", "")):
        return {"skipped": "none is due" if plan else "none is planned"}
    operation = f"op-{datetime.now(UTC):%Y%m%d%H%M%S}-{os.urandom(3).hex()}"
    number = agent.on_efs(lambda: version_of(agent.store.journal(_ENTRIES), agent.store.lease() or {}))
    about = {"version": number, "operation": operation, "kind": BACKUP, "planned": True}
    about["by"] = plan.get("by") or ""
    with agent.registered(operation, "backup"):
        require_free(agent)  # else the next run tries again
        require_alone(agent, operation)
        try:
            taken = take_backup(agent, about, _SECONDS)
        except AgentError as error:
            text = error.message
            or_problem(lambda: agent.on_efs(lambda: agent.store.note_backup_failure(text)))
            raise
        removed = agent.on_efs(lambda: agent.store.remove_surplus(int(plan["keep"])), _SECONDS)
        return {"checkpoint": taken, "removed": removed}


def require_free(agent: Agent) -> None:
    """Refuse while an operation has the deployment.

    Raises:
        AgentError: lease_held, lease_damaged
    """
    lease = agent.on_efs(agent.store.lease) or {}
    if lease.get("state") == "held":
        message = f"Operation {lease['operation']} has had the deployment since {lease.get('taken_at')}."
        raise AgentError("lease_held", message, holder=lease)


def require_alone(agent: Agent, operation: str) -> None:
    """Refuse while another backup is made.

    Raises:
        AgentError: backup_runs
    """
    others = {one["operation"] for one in agent.running_operations() if one["verb"] == "backup"} - {operation}
    if others:
        raise AgentError("backup_runs", f"Another backup is under way ({', '.join(sorted(others))}).")


def take_backup(agent: Agent, about: Json, deadline: float) -> Json:
    """The checkpoint's own file, once all of it was written and read again.

    Raises:
        AgentError: nothing_to_copy, checkpoint_damaged, and what ``take_checkpoint`` raises
    """
    enabled = agent.compose_document().get("services") or {}
    services = [name for name in COPIED if name in enabled]
    if not services:
        raise AgentError("nothing_to_copy", "Neither PostgreSQL nor Qdrant is enabled: there is nothing to copy.")
    # Whoever has the lease has ended this: no other copy is being written.
    agent.on_efs(agent.store.clear_unfinished, deadline)
    agent.reporter.phase("backup", "started", f"Copying what {' and '.join(services)} hold")
    taken = take_checkpoint(agent, about, services, deadline)
    held = sorted({one["service"] for one in taken["holds"]})  # a service that holds nothing yet leaves no file
    name = taken["checkpoint"]
    try:
        found = agent.on_efs(lambda: agent.store.verify_checkpoint(name, held), deadline)
    except AgentError as error:
        if error.code == "checkpoint_damaged":  # the disk lies; a copy that is known to be none is not kept
            or_problem(lambda: agent.on_efs(lambda: agent.store.remove_backup(name), deadline))
        raise
    agent.on_efs(lambda: agent.store.note_backup(found))
    agent.reporter.phase("backup", "done", f"{sum(one['bytes'] for one in found['holds'])} bytes, read back whole")
    return found
