"""``newer``, ``renew``: Docker, which nothing else renews, and what it runs containers with."""

from __future__ import annotations

import re
from typing import Final

from geusemaker.agent.agent import Agent, hold_lease
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.packages import apt, installed_packages
from geusemaker.agent.system import docker_packages, find_system
from geusemaker.agent.upkeep import ENGINE, hold

# apt-get's simulation prints a line for each package (apt-get(8), --simulate): Inst NAME [OLD] (NEW ARCHIVE [ARCH])
_LINE: Final = re.compile(r"Inst (\S+) \[([^\]]+)\] \((\S+)")
_UPGRADE: Final = ("--only-upgrade", "--allow-change-held-packages")


def newer(agent: Agent, document: Document) -> Json:
    """Which packages have a newer version in the archive. Nothing but apt's lists is changed."""
    if apt(agent, "update").code != 0:
        agent.reporter.note("The package lists could not be renewed: what is told is by the last ones")
    return {"newer": _newer(agent)}


def renew(agent: Agent, document: Document) -> Json:
    """Upgrade them; services are stopped by then. Afterwards they are held back as before.

    Raises:
        AgentError: package_failed
    """
    operation = document.operation()
    with agent.registered(operation, "renew"):
        hold_lease(agent, operation)
        found = _newer(agent)
        if not found:
            return {"renewed": {}}
        try:
            finished = apt(agent, "install", *_UPGRADE, *_installed(agent))
            if finished.code != 0:
                raise AgentError("package_failed", f"Docker could not be renewed: {finished.reason()}")
        finally:
            # An upgrade takes a package's hold away.
            hold(agent, docker_packages(agent, find_system(agent)))
        if left := _newer(agent):
            raise AgentError("package_failed", f"{', '.join(sorted(left))} could not be renewed.")
        return {"renewed": found}


def _installed(agent: Agent) -> list[str]:
    return sorted(installed_packages(agent, (*docker_packages(agent, find_system(agent)), *ENGINE)))


def _newer(agent: Agent) -> dict[str, list[str]]:
    """Package → its version, and the newer one."""
    finished = apt(agent, "install", "--simulate", *_UPGRADE, *_installed(agent))
    if finished.code != 0:
        raise AgentError("package_failed", f"What is newer of Docker cannot be told: {finished.reason()}")
    return {match[1]: [match[2], match[3]] for match in _LINE.finditer(finished.out)}
