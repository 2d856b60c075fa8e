"""What keeps an instance fit for months: security updates, bounded logs, a clock that is right.

Nothing of it restarts a container. What an update of it would restart (Docker, containerd, runc) is on hold, which
apt-get and unattended-upgrades respect, and is renewed by the verb ``renew`` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import write_atomic
from geusemaker.agent.packages import install_packages, installed_packages

ENGINE: Final = ("containerd", "containerd.io", "runc")
"""What Docker runs containers with, as Debian and Ubuntu, or Docker itself, call it."""
_UPDATER: Final = "unattended-upgrades"
_CLOCK: Final = "chrony"
_CLOCKS: Final = ("chrony.service", "chronyd.service", "systemd-timesyncd.service", "ntpsec.service", "ntp.service")

# https://www.freedesktop.org/software/systemd/man/latest/journald.conf.html: without, a tenth of the disk, up to 4 GB.
_JOURNAL: Final = "# written by geusemaker\n[Journal]\nSystemMaxUse=500M\n"

# https://wiki.debian.org/UnattendedUpgrades. The image's own file says which updates: the security ones.
_UPDATES: Final = (
    "// written by geusemaker\n"
    'APT::Periodic::Update-Package-Lists "1";\n'
    'APT::Periodic::Unattended-Upgrade "1";\n'
    'Unattended-Upgrade::Automatic-Reboot "false";\n'
)

# Ubuntu's needrestart restarts what uses a renewed library, Docker included; its README.Cont.md and example settings
# have this form. Without needrestart nobody reads it.
_RESTARTS: Final = (
    "# written by geusemaker: a container is restarted by an operation of its own, and by nothing else\n"
    "$nrconf{override_rc}{qr(^docker)} = 0;\n"
    "$nrconf{override_rc}{qr(^containerd)} = 0;\n"
    "$nrconf{override_rc}{qr(^mnt-)} = 0;\n"
    "1;\n"
)

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configure-ec2-ntp.html
_TIME_SOURCE: Final = "# written by geusemaker\nserver 169.254.169.123 prefer iburst minpoll 4 maxpoll 4\n"


def upkeep_files(agent: Agent) -> dict[Path, str]:
    """The settings, by path."""
    etc = agent.root / "etc"
    return {
        etc / "systemd/journald.conf.d/geusemaker.conf": _JOURNAL,
        etc / "apt/apt.conf.d/52geusemaker": _UPDATES,
        etc / "needrestart/conf.d/geusemaker.conf": _RESTARTS,
    }


def upkeep_packages(agent: Agent) -> list[str]:
    """What it takes. Whatever sets the clock already goes on doing so; a container has that of the machine below."""
    # https://systemd.io/CONTAINER_INTERFACE: systemd writes what kind of container it runs in.
    if (agent.root / "run/systemd/container").exists():
        return [_UPDATER]
    keeps_time = agent.run(("systemctl", "is-active", *_CLOCKS), 30, "package_failed").code == 0
    return [_UPDATER] if keeps_time else [_UPDATER, _CLOCK]


def keep_up(agent: Agent, docker: Sequence[str], packages: Sequence[str]) -> None:
    """Have all of it set up.

    Args:
        agent: the agent.
        docker: the packages that are Docker here.
        packages: as ``upkeep_packages`` had them before any of them was installed.

    Raises:
        AgentError: package_failed
    """
    install_packages(agent, packages)
    for path, text in upkeep_files(agent).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
    hold(agent, docker)
    # It reads its settings when it starts. What is logged meanwhile waits in its socket.
    agent.run(("systemctl", "try-restart", "systemd-journald.service"), 60, "package_failed")
    if _CLOCK in packages:
        _keep_time(agent)
    agent.reporter.phase("upkeep", "done", "Security updates come by themselves; Docker is renewed only when told to")


def hold(agent: Agent, docker: Sequence[str]) -> None:
    """Have Docker, and what it runs containers with, kept as they are.

    Raises:
        AgentError: package_failed
    """
    held = sorted(installed_packages(agent, (*docker, *ENGINE)))
    told = agent.run(("apt-mark", "hold", *held), 60, "package_failed")
    if told.code != 0:
        raise AgentError("package_failed", f"{', '.join(held)} could not be held back: {told.reason()}")


def _keep_time(agent: Agent) -> None:
    """Have chrony set the clock, from AWS's own source, on an instance where nothing did."""
    source = agent.root / "etc/chrony/sources.d/geusemaker.sources"
    source.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(source, _TIME_SOURCE)
    agent.run(("systemctl", "enable", "chrony.service"), 60, "package_failed")
    started = agent.run(("systemctl", "restart", "chrony.service"), 60, "package_failed")
    if started.code != 0:
        agent.reporter.note(f"Nothing sets the instance's clock: {started.reason()}")
