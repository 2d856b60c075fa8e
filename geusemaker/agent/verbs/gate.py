"""``gate``: waiting until all services are ready, and stay so."""

from __future__ import annotations

import json

from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import write_atomic
from geusemaker.agent.gate import Gate
from geusemaker.agent.store.lease import DONE
from geusemaker.agent.store.sentinel import check_sentinel
from geusemaker.agent.watches import parse_watches


def gate(agent: Agent, document: Document) -> Json:
    """Wait until every service is ready and stays so, with the wanted image and data.

    It fails as soon as that is out of reach. ``deadline_seconds`` is for becoming ready; the ``settle_seconds`` come
    after it, begin when all are ready, and begin anew when one is not, or was started again.
    """
    operation, file_system_id = document.operation(), document.text("file_system_id")
    watches = parse_watches(agent, document)
    needed = max(1, int(document.number("consecutive_successes", 2)))
    agent.reporter.hide(agent.secrets())
    with agent.registered(operation, "gate"):
        lease, stopped = agent.on_efs(
            lambda: [agent.store.require(operation, held=False), agent.store.stopped()], file_system_id=file_system_id
        )
        watches = {name: watch for name, watch in watches.items() if name not in stopped}
        write_atomic(agent.probes_file, json.dumps({"services": document.values.get("services")}))
        try:
            deadline, settle = document.number("deadline_seconds", 600), document.number("settle_seconds", 15)
            answer = Gate(agent, watches, needed, deadline, settle, operation).wait()
            agent.on_efs(
                lambda: _record_healthy(agent, answer, operation, file_system_id), file_system_id=file_system_id
            )
        except AgentError:
            _end_own_lease(agent, lease, operation, "failed")
            raise
        _end_own_lease(agent, lease, operation, DONE)
        return {**answer, "stopped": stopped}


def _record_healthy(agent: Agent, answer: Json, operation: str, file_system_id: str) -> None:
    """The data is still the deployment's, and what it now belongs to is written down (runs in the child)."""
    check_sentinel(agent.store.sentinel(), agent.host().get("deployment"), file_system_id)
    if "postgresql" in answer["services"]:
        agent.store.mark_database()
    agent.store.record_served({name: value["image"] for name, value in answer["services"].items()}, operation)


def _end_own_lease(agent: Agent, lease: Json, operation: str, outcome: str) -> None:
    """A lease that ``apply`` took by itself has nobody else to end it."""
    if lease.get("taken_by") == "apply" and lease["state"] == "held":
        agent.on_efs(lambda: agent.store.end(operation, outcome))
