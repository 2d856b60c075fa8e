"""What is mounted, and touching EFS only where it cannot hang the agent."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeVar

from geusemaker.agent.clock import wait_until
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_text
from geusemaker.agent.machine import MOUNT_POINT, VOLUME_POINT, Machine

MOUNT_UNIT: Final = "mnt-efs.mount"  # systemd wants the unit named after its mount point
NOTED_ID: Final = "X-GeusemakerFileSystem"  # systemd.unit(5): what begins with X- is no setting of systemd's
EFS_DEADLINE: Final = 20.0
T = TypeVar("T")


class Mount(NamedTuple):
    """What is mounted on the data's mount point."""

    kind: str
    source: str
    noted: str = ""
    """``fs-…`` of one mounted by its address, as noted beside it."""

    @property
    def file_system_id(self) -> str | None:
        """``fs-…``, for an EFS file system mounted under its DNS name, or under its address."""
        first = self.noted or self.source.partition(":")[0].partition(".")[0]
        # Also over FUSE: a user-space NFS client's mount has the type fuse.nfs…
        return first if self.kind.removeprefix("fuse.").startswith("nfs") and first.startswith("fs-") else None


def find_mount(table: str, mount_points: Iterable[str]) -> Mount | None:
    """What a mount table in the form of /proc/self/mountinfo, see proc(5), has there; the last line wins."""
    wanted = set(mount_points)
    found = None
    for line in table.splitlines():
        before, separator, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if separator and len(fields) >= 6 and len(rest) >= 2 and _unescaped(fields[4]) in wanted:
            found = Mount(rest[0], _unescaped(rest[1]))
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


class Mounts(Machine):
    """The file system and the data volume."""

    def mount(self) -> Mount | None:
        table = read_text(self.root / "proc/self/mountinfo") or ""
        found = find_mount(table, (MOUNT_POINT, str(self.efs)))
        if found is None or found.file_system_id is not None:
            return found
        # An address tells no id: the unit that it was mounted with does.
        unit = read_text(self.units / MOUNT_UNIT) or ""
        lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line)
        return found._replace(noted=lines.get(NOTED_ID, "")) if lines.get("What") == found.source else found

    def require_mount(self, file_system_id: str | None = None) -> str:
        """The id of the mounted file system, if it is the one that belongs here.

        Raises:
            AgentError: not_mounted, wrong_file_system
        """
        wanted = file_system_id or self.host().get("file_system_id")
        mount = self.mount()
        if mount is None:
            raise AgentError("not_mounted", f"{wanted or 'The file system'} is not mounted on {MOUNT_POINT}.")
        if wanted and mount.file_system_id != wanted:
            raise AgentError(
                "wrong_file_system",
                f"{mount.source} is mounted on {MOUNT_POINT} where {wanted} belongs.",
                wanted=wanted,
            )
        return mount.file_system_id or mount.source

    def data_volume_id(self) -> str | None:
        """The data volume that belongs on this instance; None where the deployment has none."""
        found: str | None = self.host().get("data_volume_id")
        return found

    def volume_device(self, volume_id: str) -> str | None:
        """The device of an attached EBS volume, as the instance sees it; None while there is none.

        Its name differs with each boot (docs.aws.amazon.com/ebs/latest/userguide/nvme-ebs-volumes.html), so it is
        found by the link that udev makes of the volume's serial number. An instance of the Xen kind has no such link,
        and the name that the volume was attached under.
        """
        for link in (f"disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}", "xvdf"):
            path = self.root / "dev" / link
            if path.exists():
                return "/" + str(path.resolve().relative_to(self.root.resolve()))
        return None

    def is_volume_mounted(self, volume_id: str) -> bool:
        mount = self.volume_mount()
        return mount is not None and mount.source == self.volume_device(volume_id)

    def volume_mount(self) -> Mount | None:
        table = read_text(self.root / "proc/self/mountinfo") or ""
        return find_mount(table, (VOLUME_POINT, str(self.data)))

    def require_volume(self, volume_id: str | None) -> None:
        """The data volume is mounted, where the deployment has one.

        Raises:
            AgentError: not_mounted, wrong_volume
        """
        if not volume_id or self.is_volume_mounted(volume_id):
            return
        mount = self.volume_mount()
        if mount is None:
            raise AgentError("not_mounted", f"The data volume {volume_id} is not mounted on {VOLUME_POINT}.")
        raise AgentError(
            "wrong_volume", f"{mount.source} is mounted on {VOLUME_POINT} where {volume_id} belongs.", wanted=volume_id
        )

    def on_efs(self, work: Callable[[], T], deadline: float = EFS_DEADLINE, file_system_id: str | None = None) -> T:
        """Do something on the file system, in a child: if the server is gone, the child hangs and not we.

        Raises:
            AgentError: not_mounted, wrong_file_system, efs_hung, efs_failed, and whatever ``work`` raises
        """
        self.require_mount(file_system_id)
        reader, writer = os.pipe()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _be_child(work, reader, writer, deadline)
        os.close(writer)
        try:
            data = _read_all(reader, deadline)
        finally:
            os.close(reader)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            # A child that the kernel will not let go is left behind: waiting for it would be hanging after all.
            wait_until(lambda: os.waitpid(child, os.WNOHANG)[0] != 0, 0.5, 0.002)
        if data is None:
            raise AgentError(
                "efs_hung",
                f"The file system on {MOUNT_POINT} did not answer within {deadline:g} seconds.",
                mounted=True,
            )
        kind, value = json.loads(data)
        if kind == "agent":
            raise AgentError(value[0], value[1], **value[2])
        if kind == "failed":
            raise AgentError("efs_failed", f"The file system on {MOUNT_POINT} cannot be used: {value}")
        result: T = value
        return result


def _be_child(work: Callable[[], Any], reader: int, writer: int, deadline: float) -> None:
    """The child's part of ``Agent.on_efs``. It never returns."""
    try:
        os.close(reader)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, deadline + 1)  # should the parent be killed, this one ends as well
        try:
            answer: tuple[str, Any] = ("done", work())
        except AgentError as error:
            answer = ("agent", (error.code, error.message, error.detail))
        except Exception as error:
            answer = ("failed", f"{type(error).__name__}: {error}")
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


def _read_all(descriptor: int, timeout: float) -> bytes | None:
    """Everything up to the end of the stream; None if that does not come in time, or nothing comes."""
    deadline = time.monotonic() + timeout
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if selector.select(left):
                piece = os.read(descriptor, 65536)
                if not piece:
                    return data or None
                data += piece
    return None
