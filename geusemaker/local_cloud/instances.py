"""EC2's state drives the machines: after each API call, those whose instances changed follow."""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Protocol

import asyncssh

from geusemaker.errors import LocalCloudError
from geusemaker.local_cloud.client import InstanceStatus
from geusemaker.local_cloud.machines import Wanted
from geusemaker.local_cloud.moto_backends import SSH_PORT

__all__ = ["AnyMachine", "Fleet", "Step", "steps"]

_LOG = logging.getLogger(__name__)
Step = Literal["boot", "attach", "shut_down", "remove", "listen"]


class AnyMachine(Protocol):
    """An instance, whatever it is made of. ``problem`` says why it could not follow EC2."""

    id: str
    lock: threading.Lock
    on: bool
    problem: str | None

    @property
    def address(self) -> str | None: ...
    @property
    def root(self) -> Path | None: ...
    def boot(self, wanted: Wanted) -> None: ...
    def attach(self, attached: tuple[str, ...]) -> None: ...
    def listen(self, address: str | None) -> None: ...
    def shut_down(self) -> None: ...
    def remove(self) -> None: ...
    def tell(self, notice: str) -> None: ...


def steps(wanted: Wanted | None, on: bool, reboot: bool = False) -> list[Step]:
    """What a machine has to do to become what EC2 says. Pure."""
    if wanted is None or not wanted.exists:
        return ["shut_down", "remove"] if on else ["remove"]
    if wanted.running:
        if on and reboot:
            return ["shut_down", "boot", "listen"]
        return ["attach", "listen"] if on else ["boot", "listen"]
    return ["shut_down"] if on else []


class Fleet:
    """All machines of the local cloud.

    Args:
        kind: of the machines, as shown.
        make: instance id → its machine.
    """

    def __init__(self, kind: str, make: Callable[[str], AnyMachine]) -> None:
        self._kind = kind
        self._make = make
        self._wanted: Mapping[str, Wanted] = {}
        self._machines: dict[str, AnyMachine] = {}
        self._guard = threading.Lock()

    def update(self, wanted: Mapping[str, Wanted]) -> list[str]:
        """Note what EC2 says now; returns the ids of the instances that changed."""
        before, self._wanted = self._wanted, wanted
        return [name for name in {*before, *wanted} if before.get(name) != wanted.get(name)]

    def settle(self, instance_ids: Iterable[str], reboot: Iterable[str] = ()) -> None:
        """Make these machines what EC2 says by now; returns when they are. One that cannot is marked failed."""
        rebooting = set(reboot)
        names = list(dict.fromkeys([*instance_ids, *rebooting]))
        if len(names) <= 1:
            for name in names:
                self._settle(name, name in rebooting)
            return
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(lambda name: self._settle(name, name in rebooting), names))

    def shut_down(self) -> None:
        """Stop every machine while EC2 goes on saying that they run, so that the next start brings them back."""
        machines = list(self._machines.values())
        if not machines:
            return
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(self._power_off, machines))

    def statuses(self) -> list[InstanceStatus]:
        """Every instance that EC2 still lists with a machine, running or stopped."""
        found = []
        for name, wanted in sorted(self._wanted.items()):
            if not wanted.exists:
                continue
            machine = self._machines.get(name)
            address = machine.address if machine is not None else None
            state = "failed" if machine is not None and machine.problem else wanted.state
            found.append(
                InstanceStatus(
                    id=name,
                    kind=self._kind,
                    address=wanted.address,
                    ssh_port=SSH_PORT if address else None,
                    state=state,
                )
            )
        return found

    def tell(self, instance_id: str, notice: str) -> None:
        """Have an instance's metadata service tell what EC2 is about to do."""
        self._machine(instance_id).tell(notice)

    def root_of(self, instance_id: str) -> Path | None:
        """The folder that is the disk of a living instance; None where it is none of this machine's."""
        wanted = self._wanted.get(instance_id)
        return self._machine(instance_id).root if wanted is not None and wanted.exists else None

    def ssh_of(self, instance_id: str) -> tuple[str, int] | None:
        """Where a living instance's SSH server listens; None where it does not."""
        wanted = self._wanted.get(instance_id)
        address = self._machine(instance_id).address if wanted is not None and wanted.exists else None
        return (address, SSH_PORT) if address is not None else None

    def _machine(self, name: str) -> AnyMachine:
        with self._guard:
            if name not in self._machines:
                self._machines[name] = self._make(name)
            return self._machines[name]

    def _settle(self, name: str, reboot: bool) -> None:
        machine = self._machine(name)
        with machine.lock:
            wanted = self._wanted.get(name)
            try:
                for step in steps(wanted, machine.on, reboot):
                    if step == "boot" and wanted is not None:
                        machine.boot(wanted)
                    elif step == "attach" and wanted is not None:
                        machine.attach(wanted.volumes)
                    elif step == "listen" and wanted is not None:
                        machine.listen(wanted.address)
                    elif step == "shut_down":
                        machine.shut_down()
                    elif step == "remove":
                        machine.remove()
            except (LocalCloudError, OSError, subprocess.SubprocessError, asyncssh.Error, ValueError) as error:
                # As on AWS, the API has answered for the instance by now; it is the machine that does not come up.
                machine.problem = f"{type(error).__name__}: {error}"
                _LOG.exception("%s cannot follow EC2", name)
        if wanted is None or not wanted.exists:
            with self._guard:
                self._machines.pop(name, None)

    def _power_off(self, machine: AnyMachine) -> None:
        with machine.lock:
            if not machine.on:
                return
            try:
                machine.shut_down()
            except (LocalCloudError, OSError, subprocess.SubprocessError):
                _LOG.exception("%s was not shut down in an orderly way", machine.id)
