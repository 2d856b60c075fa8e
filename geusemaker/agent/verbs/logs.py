"""``logs``: a service's last lines."""

from __future__ import annotations

from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Document, Json, check_service_name
from geusemaker.agent.errors import AgentError


def logs(agent: Agent, document: Document) -> Json:
    """The last lines of a service, or of all."""
    agent.reporter.hide(agent.secrets())
    wanted, count = document.optional_text("service"), int(document.number("lines", 100))
    containers = agent.containers()
    if wanted is not None and wanted not in containers:
        raise AgentError("no_such_service", f"There is no container of {check_service_name(wanted)} on the instance.")
    shown = 0
    for name in [wanted] if wanted else sorted(containers):

        def on_line(line: str, name: str = name) -> None:
            nonlocal shown
            shown += 1
            agent.reporter.emit("log", service=name, line=line)

        agent.stream(("docker", "logs", "--timestamps", "--tail", str(count), containers[name].id), 120, on_line)
    return {"lines": shown}
