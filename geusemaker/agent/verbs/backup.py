"""``backup``: a copy of all that services hold, on demand.

It takes no lease, changes nothing and gives way: it registers itself before it looks whether anybody has the lease, and
whoever takes it ends what is registered. What is left of one that was ended is no copy (its folder begins with a dot).
"""

from __future__ import annotations

from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.store.checkpoints import BACKUP
from geusemaker.agent.verbs.checkpoint import COPIED, take_checkpoint


def backup(agent: Agent, document: Document) -> Json:
    """Copy all that can be copied while everything still runs, and read the copy once more.

    Raises:
        AgentError: lease_held, backup_runs, nothing_to_copy, cancelled, and what ``take_checkpoint`` raises
    """
    operation, number = document.operation(), int(document.number("number", 0))
    if number < 1:
        raise AgentError("bad_input", "'number' has to be that of the version whose data is copied.")
    about = {"version": number, "operation": operation, "kind": BACKUP, "by": document.text("by")}
    with agent.registered(operation, "backup"):
        require_free(agent, operation)
        return {"checkpoint": take_backup(agent, about, document.number("deadline_seconds", 3000))}


def require_free(agent: Agent, operation: str) -> None:
    """Refuse while an operation has the deployment, or another backup is made.

    Raises:
        AgentError: lease_held, lease_damaged, backup_runs
    """
    lease = agent.on_efs(agent.store.lease) or {}
    if lease.get("state") == "held":
        message = f"Operation {lease['operation']} has had the deployment since {lease.get('taken_at')}."
        raise AgentError("lease_held", message, holder=lease)
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
    agent.on_efs(agent.store.clear_unfinished)  # whoever has the lease has ended this: no other copy is being written
    agent.reporter.phase("backup", "started", f"Copying what {' and '.join(services)} hold")
    taken = take_checkpoint(agent, about, services, deadline)
    held = sorted({one["service"] for one in taken["holds"]})  # a service that holds nothing yet leaves no file
    found = agent.on_efs(lambda: agent.store.verify_checkpoint(taken["checkpoint"], held), deadline)
    agent.reporter.phase("backup", "done", f"{sum(one['bytes'] for one in found['holds'])} bytes, read back whole")
    return found
