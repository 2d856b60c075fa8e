"""An instance of kind ``process``: a folder as its disk, a boot and a shutdown."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncssh

from geusemaker.local_cloud.amis import has_gpu_driver, system_of
from geusemaker.local_cloud.cloud_init import authorized_keys, commands, default_user, host_keys
from geusemaker.local_cloud.containers import devices
from geusemaker.local_cloud.files import write
from geusemaker.local_cloud.machine import gpu_image, volumes
from geusemaker.local_cloud.metadata import NOTICE
from geusemaker.local_cloud.moto_backends import free_loopback_address
from geusemaker.local_cloud.paths import OWN_PATHS, CloudPaths
from geusemaker.local_cloud.processes import INSTANCE_VARIABLE, end_processes
from geusemaker.local_cloud.program import PROGRAMS, script
from geusemaker.local_cloud.ssh_server import Login, SshServers

_LOG = logging.getLogger(__name__)
METADATA: Final = f"{OWN_PATHS}metadata/"
"""Followed by an instance's id and the path that it asks for, at the AWS API's address."""
_LATER: Final = frozenset({"docker", "growpart"})
"""The programs that a package brings; the image has the others."""
_NO_COMMANDS: Final = frozenset({"dockerd", "service", "session-manager-plugin"})
"""Those that nobody types there."""
_FOLDERS: Final = (
    "dev", "etc/ssh", "etc/systemd/system", "mnt/efs", "opt", "proc/self", "root", "run", "tmp",
    "usr/bin", "usr/sbin", "var/lib/dpkg", "var/log",
)  # fmt: skip
_BOOT_SECONDS: Final = 120.0
# Longer than the container engine's own patience with its containers.
_SHUTDOWN_SECONDS: Final = 110.0
_SESSION_GRACE_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Wanted:
    """What EC2 says an instance should be."""

    instance_id: str
    running: bool
    exists: bool
    state: str
    address: str | None
    region: str
    zone: str
    user_data: str
    authorized_key: str
    vcpus: int
    memory_mib: int
    volumes: tuple[str, ...] = ()
    """The EBS volumes attached to it, its own disk aside."""
    image_id: str = ""
    """The AMI that it was made of."""
    gpus: tuple[str, ...] = ()
    """The names of its GPUs."""
    root_volume: str = ""
    """The EBS volume that is its own disk."""


def gpu_names(instance_type: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of an instance type's GPUs, as EC2 describes it."""
    gpus = instance_type.get("GpuInfo", {}).get("Gpus", ())
    return tuple(f"{gpu['Manufacturer']} {gpu['Name']}" for gpu in gpus for _ in range(gpu["Count"]))


@dataclass(frozen=True)
class Surroundings:
    """What every instance is told about its cloud."""

    paths: CloudPaths
    aws_endpoint: str
    registry: str


class Machine:
    """One instance. Its methods must be called under ``lock``."""

    kind: Final = "process"

    def __init__(self, instance_id: str, surroundings: Surroundings, ssh: SshServers) -> None:
        self.id = instance_id
        self.lock = threading.Lock()
        self.on = False
        self.problem: str | None = None
        self._surroundings = surroundings
        self._ssh = ssh
        self._folder = surroundings.paths.instances / instance_id
        self.disk = self._folder / "disk"
        self._login: Login | None = None
        self._user = "admin"

    @property
    def address(self) -> str | None:
        """Where its SSH server listens."""
        return self._ssh.find_address(self.id)

    @property
    def root(self) -> Path | None:
        """Its disk."""
        return self.disk

    def tell(self, notice: str) -> None:
        """Have its metadata service tell what EC2 is about to do."""
        self._write(NOTICE, notice)

    def boot(self, wanted: Wanted) -> None:
        """Start the machine: what runs from before is ended, and what is enabled is started.

        Raises:
            OSError, subprocess.SubprocessError, asyncssh.Error: it could not be started.
        """
        began = time.monotonic()
        end_processes(self.disk, grace=0)
        first = not (self.disk / "etc/geusemaker-local.json").exists()
        loopback = self._loopback()
        self._user = default_user(wanted.user_data, system_of(wanted.image_id).login)
        for folder in (*_FOLDERS, f"home/{self._user}/.ssh"):
            (self.disk / folder).mkdir(parents=True, exist_ok=True)
        if first:
            self._install(wanted)
        self._write_settings(wanted, loopback)
        self._forget_run()
        if has_gpu_driver(wanted.image_id):
            devices.plug(self.disk, wanted.gpus)
        volumes.plug(self.disk, self._surroundings.paths.volumes, wanted.volumes)
        if wanted.root_volume:
            volumes.plug_root(self.disk, self._surroundings.paths.volumes, wanted.root_volume)
        environment = self._environment(loopback)
        self._run_systemctl("default", environment, _BOOT_SECONDS)
        for words in commands(wanted.user_data) if first else ():
            self._run(words, environment, _BOOT_SECONDS)
        self._login = Login(
            instance_id=self.id,
            user=self._user,
            host_keys=[asyncssh.read_private_key(file) for file in sorted((self.disk / "etc/ssh").glob("*_key"))],
            authorized_keys=self.disk / f"home/{self._user}/.ssh/authorized_keys",
            deaf=self.disk / "run/sshd.deaf",
            environment=environment,
            loopback=loopback,
            home=self.disk / f"home/{self._user}",
            log=self._log,
        )
        self.on = True
        self.problem = None
        self._log(f"booted in {time.monotonic() - began:.3f} s")

    def listen(self, address: str | None) -> None:
        """Serve SSH on the address, or on none."""
        if address is None or self._login is None:
            self._ssh.close(self.id)
        else:
            self._ssh.listen(self._login, address)

    def attach(self, attached: tuple[str, ...]) -> None:
        """Have a block device for each of these volumes, while it runs."""
        volumes.plug(self.disk, self._surroundings.paths.volumes, attached)

    def shut_down(self) -> None:
        """Stop the machine as ``poweroff`` does: sessions end, services stop in their time, the rest is killed.

        Raises:
            OSError, subprocess.SubprocessError: it could not be stopped in an orderly way.
        """
        began = time.monotonic()
        self._ssh.close(self.id)
        for session in list(self._login.sessions) if self._login else []:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(session, signal.SIGTERM)
        try:
            if self.disk.exists():
                self._run_systemctl("poweroff", self._environment(self._loopback()), _SHUTDOWN_SECONDS)
        finally:
            end_processes(self.disk, grace=_SESSION_GRACE_SECONDS)
            self._login = None
            self.on = False
        self._log(f"shut down in {time.monotonic() - began:.3f} s")

    def remove(self) -> None:
        """Remove the disk. The file systems it had mounted are elsewhere and stay."""
        if self._folder.exists():
            shutil.rmtree(self._folder)

    # ---- the disk --------------------------------------------------------------------------------------------

    def _loopback(self) -> str:
        """The instance's own loopback address, drawn once."""
        record = self._folder / "loopback"
        if not record.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            record.write_text(free_loopback_address(random.randint(20000, 60000)))
        return record.read_text()

    def _install(self, wanted: Wanted) -> None:
        """The image's content, and cloud-init's work at the first boot."""
        system = system_of(wanted.image_id)
        told = f'PRETTY_NAME="{system.pretty}"\nID={system.id}\nVERSION_ID="{system.release}"\n'
        self._write("etc/os-release", told)
        self._write("etc/hostname", f"{self.id}\n")
        self._write("var/lib/dpkg/status.json", json.dumps({"python3": "3.13.5-1", "unattended-upgrades": "2.12"}))
        if has_gpu_driver(wanted.image_id):
            gpu_image.install(self.disk)
        keys_file = f"home/{self._user}/.ssh/authorized_keys"
        self._write(keys_file, authorized_keys(wanted.user_data, wanted.authorized_key), 0o600)
        keys = dict(host_keys(wanted.user_data).private)
        if not keys:
            keys = {"ed25519": asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()}
        for kind, key in keys.items():
            self._write(f"etc/ssh/ssh_host_{kind}_key", key.rstrip() + "\n", 0o600)

    def _write_settings(self, wanted: Wanted, loopback: str) -> None:
        settings = {
            "instance_id": self.id,
            "loopback": loopback,
            "local_dir": str(self._surroundings.paths.root),
            "registry": self._surroundings.registry,
            "aws_endpoint": self._surroundings.aws_endpoint,
            "region": wanted.region,
            "availability_zone": wanted.zone,
        }
        self._write("etc/geusemaker-local.json", json.dumps(settings, indent=1))
        # At each boot, since the programs may be elsewhere by now.
        for name in PROGRAMS.keys() - _NO_COMMANDS:
            if name not in _LATER or (self.disk / "usr/bin" / name).exists():
                self._write(f"usr/bin/{name}", script(name), 0o755)

    def _forget_run(self) -> None:
        """What does not survive a reboot: ``/run``, ``/tmp``, and what was mounted (also after a power loss)."""
        for folder in ("run", "tmp"):
            shutil.rmtree(self.disk / folder)
            (self.disk / folder).mkdir()
        for covered in self.disk.glob("mnt/.*.covered"):
            point = covered.with_name(covered.name[1 : -len(".covered")])
            if point.is_symlink():
                point.unlink()
            if not point.exists():
                covered.rename(point)
        shutil.rmtree(self.disk / devices.DRIVER, ignore_errors=True)
        self._write("proc/self/mountinfo", "1 0 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw,discard\n")

    def _write(self, path: str, content: str, mode: int = 0o644) -> None:
        write(self.disk / path, content, mode)

    # ---- running ---------------------------------------------------------------------------------------------

    def _environment(self, loopback: str) -> dict[str, str]:
        """All that a command on the instance gets; nothing of the daemon's own environment."""
        interpreter = Path(sys.executable).parent
        return {
            "PATH": f"{self.disk}/usr/bin:{interpreter}:/usr/bin:/bin",
            "HOME": f"{self.disk}/home/{self._user}",
            "USER": self._user,
            "LOGNAME": self._user,
            INSTANCE_VARIABLE: str(self.disk),
            "GEUSEMAKER_LOOPBACK": loopback,
            # The variable of AWS's SDKs: a process has no 169.254.169.254 of its own.
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{self._surroundings.aws_endpoint}{METADATA}{self.id}",
            # Likewise of theirs: the region's buckets of AWS's own.
            "AWS_ENDPOINT_URL_S3": self._surroundings.aws_endpoint,
            "LANG": "C.UTF-8",
        }

    def _run_systemctl(self, verb: str, environment: dict[str, str], timeout: float) -> None:
        self._run([str(self.disk / "usr/bin/systemctl"), verb], environment, timeout)

    def _run(self, words: list[str], environment: dict[str, str], timeout: float) -> None:
        done = subprocess.run(
            words,
            env=environment,
            cwd=self.disk,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            start_new_session=True,
        )
        if done.stderr or done.returncode:
            told = " ".join([Path(words[0]).name, *words[1:2]])[:40]
            self._log(f"{told}: exit {done.returncode}: {done.stderr.strip()}")

    def _log(self, text: str) -> None:
        _LOG.info("%s: %s", self.id, text)
        with contextlib.suppress(FileNotFoundError), (self.disk / "var/log/syslog").open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} kernel: {text}\n")


def loopback_only(address: str | None) -> str | None:
    """A private address if this machine has a way to it, as over a VPN: that of a VPC with loopback addresses."""
    return address if address is not None and address.startswith("127.") else None
