"""``begin``, ``end``, ``cancel``, ``lease``: who may change the deployment."""

from __future__ import annotations

import contextlib

from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.mounting import mount_again
from geusemaker.agent.rehearsal import sweep_rehearsal
from geusemaker.agent.store.lease import DONE


def begin(agent: Agent, document: Document) -> Json:
    """Take the lease for an operation, and end what still runs of any other."""
    operation = document.operation()
    facts = {key: document.values.get(key) for key in ("kind", "actor", "owner", "instance_id", "number")}
    expects, takeover = document.optional_text("expects"), document.optional_text("takeover")
    salvage = bool(document.values.get("salvage"))
    mount_again(agent, 0)
    lease = agent.on_efs(lambda: agent.store.begin(operation, expects, takeover, facts, salvage=salvage))
    (agent.operations / operation / "cancelled").unlink(missing_ok=True)
    if takeover and takeover != operation:
        agent.end_operation(takeover)
    agent.end_stragglers(operation)
    sweep_rehearsal(agent)
    return {"lease": lease}


def end(agent: Agent, document: Document) -> Json:
    """Give the lease back."""
    operation, outcome = document.operation(), document.text("outcome")

    def give_back() -> tuple[Json, Json]:
        if outcome == DONE:
            agent.store.settle_return(operation)
        return agent.store.end(operation, outcome), agent.store.data_return()

    lease, note = agent.on_efs(give_back)
    if note.get("operation") == operation and note["state"] in ("loading", "loaded"):
        from geusemaker.agent.verbs.load import drop_loaded

        with contextlib.suppress(AgentError):  # the next `apply` does it
            drop_loaded(agent, note)
    sweep_rehearsal(agent)
    return {"lease": lease}


def cancel(agent: Agent, document: Document) -> Json:
    """End an operation's processes here, and let no further one of it start. Needs no file system: that may hang."""
    operation = document.operation()
    folder = agent.operations / operation
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "cancelled").touch()
    return {"ended": agent.end_operation(operation)}


def lease(agent: Agent, document: Document) -> Json:
    """Who holds the deployment."""
    held, damage = agent.on_efs(agent.store.read_lease)
    return {"lease": held, "lease_damaged": damage, "operations_running": agent.running_operations()}
