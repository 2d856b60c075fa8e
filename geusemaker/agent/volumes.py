"""The data volume and the instance's own disk: made a file system, mounted, enlarged."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.clock import wait_until
from geusemaker.agent.docker import PROJECT
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import write_atomic
from geusemaker.agent.machine import VOLUME_POINT
from geusemaker.agent.mounting import VOLUME_UNIT, mount_with_patience, system, volume_unit
from geusemaker.agent.packages import install_packages

ROOT_OVERHEAD: Final = 2**30  # bytes of a disk for what stands before the root partition: boot loaders, tables


def mount_volume(agent: Agent, volume_id: str, file_system_id: str, deadline: float) -> None:
    """Mount the data volume, made a file system once in its life; what it was made is remembered on EFS.

    Raises:
        AgentError: no_volume, data_loss, foreign_data, mount_failed
    """
    say = agent.reporter
    # A volume is attached before its device shows.
    if not wait_until(lambda: agent.volume_device(volume_id) is not None, min(60.0, deadline), 0.2):
        raise AgentError("no_volume", f"The data volume {volume_id} is attached, and its device does not show.")
    device = str(agent.volume_device(volume_id))
    known = agent.on_efs(agent.store.data_volume, file_system_id=file_system_id)
    found = _file_system_on(agent, device)
    check_volume(volume_id, known, found)
    uuid = known["uuid"] if known else _new_uuid()

    def note(formatted: bool) -> None:
        about = {"volume_id": volume_id, "uuid": uuid, "formatted": formatted}
        agent.on_efs(lambda: agent.store.note_data_volume(about), file_system_id=file_system_id)

    if not known or not known["formatted"]:
        # Noted before and after: killed in between, it is done again, and a volume that was ever used never is.
        note(False)
        say.phase("volume", "started", f"Making a file system on {volume_id}")
        made = agent.run(("mkfs.ext4", "-q", "-F", "-U", uuid, "-L", PROJECT, device), 600, "mount_failed")
        if made.code != 0:
            raise AgentError("mount_failed", f"No file system could be made on {volume_id}: {made.reason()}")
    note(True)
    if not os.path.lexists(agent.data):
        agent.data.mkdir()
    write_atomic(agent.units / VOLUME_UNIT, volume_unit(uuid))
    system(agent, "daemon-reload")
    mount_with_patience(agent, VOLUME_UNIT, agent.volume_mount, deadline)
    agent.require_volume(volume_id)
    say.phase("volume", "done", f"{volume_id} is mounted on {VOLUME_POINT}")


def check_volume(volume_id: str, known: Json | None, found: Json) -> None:
    """What is on the data volume is what was left there, or it is new.

    Args:
        volume_id: the volume.
        known: what ``Store.data_volume`` remembers; None: there never was one.
        found: ``TYPE`` and ``UUID`` of the file system on it; nothing for an empty volume.

    Raises:
        AgentError: data_loss, foreign_data
    """
    if known and found and (found.get("TYPE"), found.get("UUID")) == ("ext4", known["uuid"]):
        return  # also on a volume that was made of this one's snapshot
    if known and known["formatted"]:
        what = f"holds another file system ({found.get('UUID') or found.get('TYPE')})" if found else "is empty"
        raise AgentError(
            "data_loss",
            f"The data volume {volume_id} {what}; the deployment's has the UUID {known['uuid']} and was last seen as "
            f"{known['volume_id']}. Nothing is started without it.",
        )
    if found:
        raise AgentError(
            "foreign_data",
            f"The data volume {volume_id} holds a file system ({found.get('TYPE') or 'unknown'}) that this deployment "
            "did not make. It is left as it is, and nothing is started.",
        )


def _file_system_on(agent: Agent, device: str) -> Json:
    """What blkid(8) finds on a device when it looks at the device itself; empty where there is nothing."""
    finished = agent.run(("blkid", "-p", "-o", "export", device), 60, "mount_failed")
    if finished.code == 2:  # "nothing found"
        return {}
    if finished.code != 0:
        raise AgentError("mount_failed", f"It cannot be told what is on {device}: {finished.reason()}")
    pairs = (line.partition("=") for line in finished.out.splitlines())
    return {key: value for key, _, value in pairs if key in ("TYPE", "UUID", "PTTYPE")}


def _new_uuid() -> str:
    return Path("/proc/sys/kernel/random/uuid").read_text().strip()


def fill_volume(agent: Agent, volume_id: str, size: int, deadline: float) -> None:
    """Have the file system as large as the volume, which EBS enlarges while it is used; never smaller.

    https://docs.aws.amazon.com/ebs/latest/userguide/recognize-expanded-volume-linux.html

    Args:
        agent: the agent.
        volume_id: the mounted volume.
        size: bytes that the volume has, according to AWS; the instance sees a larger size somewhat later.
        deadline: seconds to wait for that.

    Raises:
        AgentError: no_volume, mount_failed
    """
    device = str(agent.volume_device(volume_id))
    _await_size(agent, device, volume_id, size, deadline)
    # One that fills the volume already is left as it is.
    filled = agent.run(("resize2fs", device), 600, "mount_failed")
    if filled.code != 0:
        raise AgentError("mount_failed", f"The file system on {volume_id} could not be enlarged: {filled.reason()}")


def _device_bytes(agent: Agent, device: str, name: str) -> int:
    told = agent.run(("blockdev", "--getsize64", device), 30, "mount_failed")
    if told.code != 0:
        raise AgentError("mount_failed", f"The size of {name} cannot be told: {told.reason()}")
    return int(told.out)


def _await_size(agent: Agent, device: str, name: str, size: int, deadline: float) -> None:
    """Wait until the instance sees the size that AWS gave a volume.

    Raises:
        AgentError: no_volume
    """
    if not wait_until(lambda: _device_bytes(agent, device, name) >= size, min(120.0, deadline), 0.2):
        seen = _device_bytes(agent, device, name) / 2**30
        raise AgentError(
            "no_volume", f"AWS gave {name} {size / 2**30:.0f} GiB, and the instance sees only {seen:.0f} GiB of it."
        )


_DISK: Final = re.compile(r"(/dev/(?:nvme\d+n\d+(?=p\d|$)|(?:xvd|sd|vd)[a-z]+))(?:p?(\d+))?")
"""A disk, or a partition of one, with its number."""


def fill_root(agent: Agent, size: int, deadline: float) -> None:
    """Have partition and file system of the instance's own disk as large as the disk; never smaller.

    cloud-init does the same at each boot (its modules growpart and resizefs); here it is done while all runs. The last
    partition of Debian's images is the root's.

    Args:
        agent: the agent.
        size: bytes that the disk has, according to AWS.
        deadline: seconds to wait until the instance sees them.

    Raises:
        AgentError: no_volume, mount_failed
    """
    told = agent.run(("findmnt", "--noheadings", "--output", "SOURCE,FSTYPE", "/"), 30, "mount_failed")
    source, kind = ([*told.out.split(), "", ""])[:2]
    if not source.startswith("/dev/") or not (agent.root / source.lstrip("/")).exists():
        # A container's, say: it has what the machine below has.
        agent.reporter.note(
            f"The root file system ({source or 'unknown'}) is on no disk of its own: it is left as it is."
        )
        return
    parts = _DISK.fullmatch(source)
    if parts is None:  # of an AMI with LVM, encryption or RAID, say
        agent.reporter.note(
            f"The root file system is on {source}: it is to be enlarged by hand where its disk has grown."
        )
        return
    disk = parts[1]
    _await_size(agent, disk, "the instance's disk", size, deadline)
    if parts[2] and _device_bytes(agent, disk, disk) - _device_bytes(agent, source, source) > ROOT_OVERHEAD:
        install_packages(agent, ["cloud-guest-utils"])  # Debian's images for EC2 may come without
        grown = agent.run(("growpart", disk, parts[2]), 120, "mount_failed")
        # 1 is also its answer where nothing is left to take: https://manpages.debian.org/growpart
        if grown.code != 0 and not (grown.code == 1 and "NOCHANGE" in grown.out):
            raise AgentError("mount_failed", f"The partition {source} could not be enlarged: {grown.reason()}")
    if not kind.startswith("ext"):
        agent.reporter.note(f"The root file system is {kind}: the disk has grown, and it is to be enlarged by hand.")
        return
    filled = agent.run(("resize2fs", source), 600, "mount_failed")
    if filled.code != 0:
        raise AgentError("mount_failed", f"The root file system could not be enlarged: {filled.reason()}")
