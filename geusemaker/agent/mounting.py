"""systemd's units for what is mounted, and mounting with patience."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.errors import AgentError
from geusemaker.agent.machine import MOUNT_POINT, VOLUME_POINT
from geusemaker.agent.mounts import MOUNT_UNIT, NOTED_ID, Mount
from geusemaker.agent.walls import before_docker

VOLUME_UNIT: Final = "mnt-data.mount"
RETRY_UNIT: Final = "geusemaker-docker.service"


def mount_unit(source: str, options: str, file_system_id: str) -> str:
    noted = "" if source.startswith(f"{file_system_id}.") else f"{NOTED_ID}={file_system_id}\n"
    return (
        "# written by geusemaker\n"
        f"[Unit]\nDescription=geusemaker data\n{noted}\n"
        f"[Mount]\nWhat={source}\nWhere={MOUNT_POINT}\nType=nfs4\nOptions={options}\nTimeoutSec=60\n\n"
        "[Install]\nWantedBy=remote-fs.target multi-user.target\n"
    )


def volume_unit(uuid: str) -> str:
    # Not wanted by local-fs.target, whose failure is an emergency shell that nobody could reach: without the volume
    # the machine boots, and Docker does not start.
    return (
        "# written by geusemaker\n"
        f"[Unit]\nDescription=geusemaker data volume\n\n"
        f"[Mount]\nWhat=/dev/disk/by-uuid/{uuid}\nWhere={VOLUME_POINT}\nType=ext4\nOptions=noatime\nTimeoutSec=60\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def docker_drop_in(has_volume: bool) -> str:
    """A container started without the mounts would write to the instance's own disk and lose it with the instance."""
    points = f"{MOUNT_POINT} {VOLUME_POINT}" if has_volume else MOUNT_POINT
    return f"# written by geusemaker\n[Unit]\nRequiresMountsFor={points}\n\n{before_docker()}"


def retry_unit() -> str:
    """systemd tries a mount once at boot, and what requires it never again: a boot may come before its EFS answers.

    ``oneshot`` with ``Restart=``: systemd.service(5), since version 244.
    """
    return (
        "# written by geusemaker\n"
        "[Unit]\nDescription=geusemaker: Docker, as soon as the data can be mounted\n"
        "Wants=network-online.target\nAfter=network-online.target\nStartLimitIntervalSec=0\n\n"
        f"[Service]\nType=oneshot\nExecStartPre=-systemctl reset-failed {MOUNT_UNIT} {VOLUME_UNIT} docker.service\n"
        "ExecStart=systemctl start docker.service\nRestart=on-failure\nRestartSec=10\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def mount_again(agent: Agent, timeout: float) -> None:
    """Mount what belongs on this instance and is not there: it still boots, or did so while EFS did not answer.

    An instance that ``mount`` has not set up is left as it is.

    Raises:
        AgentError: mount_failed
    """
    mounts = (
        (MOUNT_UNIT, agent.host().get("file_system_id"), agent.mount),
        (VOLUME_UNIT, agent.data_volume_id(), agent.volume_mount),
    )
    missing = [(unit, what, look) for unit, what, look in mounts if what and look() is None]
    for unit, what, look in missing:
        agent.reporter.phase("mount", "started", f"Mounting {what}, which is not mounted yet")
        # Whoever asked for Docker meanwhile had systemd try: it refuses a unit that failed often, and says that alone.
        agent.run(("systemctl", "reset-failed", unit), 30)
        mount_with_patience(agent, unit, look, timeout)
        agent.reporter.phase("mount", "done", f"{what} is mounted")
    if missing and (started := agent.run(("systemctl", "start", "docker.service"), 120)).code != 0:
        agent.reporter.note(f"Docker did not start: {started.reason()}")  # whoever needs it will find that, too


def system(agent: Agent, *arguments: str) -> None:
    finished = agent.run(("systemctl", *arguments), 120, "mount_failed")
    if finished.code != 0:
        raise AgentError("mount_failed", f"systemctl {' '.join(arguments)} failed: {finished.reason()}")


def mount_with_patience(agent: Agent, unit: str, look: Callable[[], Mount | None], timeout: float) -> None:
    """Mount, trying again while the name of a new mount target is not known everywhere yet."""
    deadline = time.monotonic() + timeout
    while True:
        finished = agent.run(("systemctl", "enable", "--now", unit), 120, "mount_failed")
        if finished.code == 0 and look() is not None:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            status = agent.run(("systemctl", "status", "--no-pager", "--lines", "5", unit), 30, "mount_failed")
            said = re.findall(r"(?<![.\w])(mount(?:\.\w+)?: .*)", status.out)
            point = VOLUME_POINT if unit == VOLUME_UNIT else MOUNT_POINT
            within = f" within {timeout:g} seconds" if timeout else ""
            raise AgentError(
                "mount_failed",
                f"{point} could not be mounted{within}: {said[-1] if said else finished.reason()}",
                systemctl=status.out[-1500:],
            )
        agent.reporter.note(f"Not mounted yet, trying again: {finished.reason()[:200]}")
        time.sleep(min(3.0, left))
