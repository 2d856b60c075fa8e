"""Debian packages, installed with patience for whoever else installs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.errors import AgentError
from geusemaker.agent.processes import Finished

APT_SECONDS: Final = 300.0
"""So long somebody else may be at it: a first boot, or the day's security updates."""
_LOCKED: Final = re.compile(
    r"(?i)(?:could not get lock|unable to lock|unable to acquire)[^\n]*?(?:held by process (\d+)(?: \(([^)]*)\))?|$)"
)
_CUT_OFF: Final = "dpkg --configure -a"
_PROGRESS: Final = 10  # packages between two lines that tell how far it is


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
        apt(agent, "update")
        fresh = True
    finished = apt(agent, "install", *missing)
    if finished.code != 0 and not fresh:
        apt(agent, "update")
        finished = apt(agent, "install", *missing)
    if finished.code != 0:
        raise AgentError("package_failed", f"{names} could not be installed: {finished.reason()}")
    agent.reporter.phase("packages", "done", f"Installed {names}")


def installed_packages(agent: Agent, packages: Sequence[str]) -> set[str]:
    if not packages:
        return set()
    shown = "-f=${Package}\\t${db:Status-Status}\\n"  # not Status, which of a package on hold begins with that
    finished = agent.run(("dpkg-query", "-W", shown, *packages), 60, "package_failed")
    pairs = (line.partition("\t") for line in finished.out.splitlines())
    return {name for name, _, status in pairs if status.strip() == "installed"}


def package_lists_are_stale(root: Path) -> bool:
    lists = root / "var/lib/apt/lists"
    try:
        return time.time() - max(file.stat().st_mtime for file in lists.glob("*_Packages*")) > 86_400
    except (ValueError, OSError):
        return True


def apt(agent: Agent, verb: str, *words: str, patience: float = APT_SECONDS) -> Finished:
    """Run apt-get. Whoever has its locks or dpkg's is waited for, and what a killed dpkg left is put right first.

    Raises:
        AgentError: package_failed: it could not be run, or somebody else did not come to an end.
    """
    options = ("-q", "-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Options::=--force-confdef")
    more = ("-y", "--no-install-recommends") if verb == "install" else ()
    command = ("apt-get", *options, verb, *more, *words)
    began, told, mended = time.monotonic(), "", False
    while True:
        finished = agent.stream(command, 900, _teller(agent), code="package_failed")
        if finished.code == 0:
            return finished
        if _CUT_OFF in finished.out and not mended:
            mended = True
            agent.reporter.phase("packages", "started", "Putting right what an installation that was cut off left")
            agent.stream(("dpkg", "--force-confold", "--configure", "-a"), 900, code="package_failed")
            continue
        locked = _LOCKED.search(finished.out)
        if locked is None:
            return finished
        # apt-get's own DPkg::Lock::Timeout does not cover the lock of the package lists, which a first boot may hold.
        holder = f"{locked[2] or 'a process'} (process {locked[1]})" if locked[1] else "another process"
        if time.monotonic() - began >= patience:
            raise AgentError(
                "package_failed",
                f"Nothing can be installed: {holder} has been using apt on the instance for {patience:g} seconds.",
            )
        if holder != told:
            told = holder
            agent.reporter.phase("packages", "started", f"Waiting for {holder}, which uses apt")
        time.sleep(2)


def _teller(agent: Agent) -> Callable[[str], None]:
    """Tells of an installation how much it downloads, and every so many packages how far it is."""
    total, done = 0, 0

    def take(line: str) -> None:
        nonlocal total, done
        if found := re.search(r"(\d+) newly installed", line):
            total = int(found[1])
        elif (found := re.match(r"Need to get ([\d.,]+ .?B)", line)) and found[1] != "0 B":
            agent.reporter.phase("packages", "started", f"Downloading {found[1]}")
        elif line.startswith("Setting up "):
            done += 1
            if done % _PROGRESS == 0:
                agent.reporter.phase("packages", "started", f"{done} of {max(total, done)} packages are set up")

    return take
