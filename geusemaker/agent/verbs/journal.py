"""``journal``: an entry more, or the last ones."""

from __future__ import annotations

from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Document, Json


def journal(agent: Agent, document: Document) -> Json:
    """Add an entry to the journal on the file system, and read its last ones or those of some operations."""
    entry, tail = document.mapping("append"), int(document.number("tail", 0))
    operations = [str(name) for name in document.items("operations")]

    def work() -> list[Json]:
        if entry:
            agent.store.append_journal(entry)
        if document.values.get("returned") is True:
            agent.store.forget_interruption()
        return agent.store.journal_of(operations) if operations else agent.store.journal(tail)

    return {"entries": agent.on_efs(work)}
