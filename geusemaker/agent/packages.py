"""Debian packages."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from geusemaker.agent.agent import Agent
from geusemaker.agent.errors import AgentError
from geusemaker.agent.processes import Finished


def install_packages(agent: Agent, packages: Sequence[str]) -> None:
    """Install the Debian packages that are not there yet.

    Raises:
        AgentError: package_failed
    """
    missing = sorted(set(packages) - installed_packages(agent, packages))
    if not missing:
        return
    names = ", ".join(missing)
    agent.reporter.phase("packages", "started", f"Installing {names}")
    fresh = False
    if package_lists_are_stale(agent.root):
        _apt(agent, "update")
        fresh = True
    finished = _apt(agent, "install", *missing)
    if finished.code != 0 and not fresh:
        _apt(agent, "update")
        finished = _apt(agent, "install", *missing)
    if finished.code != 0:
        raise AgentError("package_failed", f"{names} could not be installed: {finished.reason()}")
    agent.reporter.phase("packages", "done", f"Installed {names}")


def installed_packages(agent: Agent, packages: Sequence[str]) -> set[str]:
    if not packages:
        return set()
    finished = agent.run(("dpkg-query", "-W", "-f=${Package}\\t${Status}\\n", *packages), 60, "package_failed")
    pairs = (line.partition("\t") for line in finished.out.splitlines())
    return {name for name, _, status in pairs if status.strip() == "install ok installed"}


def package_lists_are_stale(root: Path) -> bool:
    lists = root / "var/lib/apt/lists"
    try:
        return time.time() - max(file.stat().st_mtime for file in lists.glob("*_Packages*")) > 86_400
    except (ValueError, OSError):
        return True


def _apt(agent: Agent, verb: str, *packages: str) -> Finished:
    options = ("-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold")
    more = ("-y", "--no-install-recommends") if verb == "install" else ()
    deadline = time.monotonic() + 300
    while True:
        finished = agent.stream(("apt-get", *options, verb, *more, *packages), 900, code="package_failed")
        # The option above does not cover the lock of the package lists, which a first boot may hold for a while.
        locked = re.search(r"(?i)could not get lock|unable to lock", finished.out)
        if finished.code == 0 or not locked or time.monotonic() > deadline:
            return finished
        time.sleep(2)
