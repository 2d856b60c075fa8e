"""An instance of kind ``docker``: a container with systemd, sshd, and a Docker daemon of its own.

It gets the capabilities it needs instead of ``--privileged``, which also works where that is refused: SYS_ADMIN,
NET_ADMIN and SYS_PTRACE (``docker exec`` joins namespaces of other users' processes), no seccomp or AppArmor profile.
It has control groups of its own, so that what runs inside is held to the instance type's processors and memory.
``/var/lib/docker`` is a volume, since overlay2 cannot stand on overlay2.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
import socket
import tarfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import asyncssh

from geusemaker.local_cloud import metadata
from geusemaker.local_cloud.amis import BARE_AMD64, system_of
from geusemaker.local_cloud.cloud_init import authorized_keys, default_user, host_keys
from geusemaker.local_cloud.docker.command import REMOVAL_SECONDS, DockerError
from geusemaker.local_cloud.docker.forward import Forwards
from geusemaker.local_cloud.docker.image import ensure_bare_image, image_name
from geusemaker.local_cloud.docker.parts import REGISTRY_HOST, REGISTRY_PORT, DockerParts
from geusemaker.local_cloud.machines import Wanted
from geusemaker.local_cloud.paths import CloudPaths

_LOG = logging.getLogger(__name__)
_METADATA: Final = "usr/local/lib/geusemaker-metadata.py"
_BOOT_SECONDS: Final = 120.0
# docker.service may take 90 s to stop, and PostgreSQL's container 60 s.
_SHUTDOWN_SECONDS: Final = 110
_USER: Final = "admin"
_USER_ID: Final = 1000
_NEVER: Final = "0001-01-01T00:00:00Z"


class DockerMachine:
    """One instance. Its methods must be called under ``lock``."""

    kind: Final = "docker"

    def __init__(self, instance_id: str, paths: CloudPaths, parts: DockerParts, forwards: Forwards) -> None:
        self.id = instance_id
        self.lock = threading.Lock()
        self.problem: str | None = None
        self._paths = paths
        self._parts = parts
        self._docker = parts.docker
        self._forwards = forwards
        self._folder = paths.instances / instance_id
        self._name = f"{parts.prefix}-{instance_id}"
        # A container outlives a local cloud that was killed, and is taken up again.
        found = self._docker.find("container", self._name)
        self.on = bool(found and found["State"]["Running"])

    @property
    def address(self) -> str | None:
        """Where its sshd is reached."""
        return self._forwards.find_address(self.id)

    @property
    def root(self) -> Path | None:
        """None: its disk is the container's."""
        return None

    def tell(self, notice: str) -> None:
        """Have its metadata service tell what EC2 is about to do.

        Raises:
            DockerError: the container does not do it.
        """
        self._docker.run("exec", "--interactive", self._name, "tee", f"/{metadata.NOTICE}", stdin=notice.encode())

    def boot(self, wanted: Wanted) -> None:
        """Start the container, made at the first boot; returns when its sshd answers.

        Raises:
            DockerError, OSError: it could not be started, or its sshd does not answer.
        """
        began = time.monotonic()
        self._folder.mkdir(parents=True, exist_ok=True)
        found = self._docker.find("container", self._name)
        if found is None:
            self._create(wanted)
        else:
            self._docker.run("update", *self._limits(wanted), self._name)
        files = {
            "etc/geusemaker-local.json": (0, 0o644, self._settings(wanted)),
            "etc/docker/daemon.json": (0, 0o644, _daemon_settings()),
            _METADATA: (0, 0o644, Path(metadata.__file__).read_bytes()),
            "etc/geusemaker-volumes": (0, 0o644, f"{' '.join(wanted.volumes)}\n".encode()),
        }
        if found is None or found["State"]["StartedAt"] == _NEVER:
            files |= _first_boot_files(wanted)
        self._docker.run("cp", "--archive", "-", f"{self._name}:/", stdin=_archive(files))
        self._docker.run("start", self._name)
        self.on = True
        self._wait_for_sshd()
        self._docker.run("exec", "--detach", self._name, "python3", "-I", f"/{_METADATA}")
        self.problem = None
        _LOG.info("%s: booted in %.1f s", self.id, time.monotonic() - began)

    def attach(self, attached: tuple[str, ...]) -> None:
        """Have a block device for each of these volumes, while it runs.

        Raises:
            DockerError: the container does not do it.
        """
        self._docker.run("exec", self._name, "python3", "-I", "/usr/local/lib/volumes.py", "plug", *attached)

    def listen(self, address: str | None) -> None:
        """Be reached at the address, or at none."""
        if address is None:
            self._forwards.close(self.id)
        else:
            self._forwards.listen(self.id, address, self._sshd_port())

    def shut_down(self) -> None:
        """Stop the container as ``poweroff`` does a machine: services stop in their time, the rest is killed.

        Raises:
            DockerError: it could not be stopped.
        """
        began = time.monotonic()
        self._forwards.close(self.id)
        self._docker.run("stop", "--time", str(_SHUTDOWN_SECONDS), self._name, timeout=_SHUTDOWN_SECONDS + 20)
        self.on = False
        _LOG.info("%s: shut down in %.1f s", self.id, time.monotonic() - began)

    def remove(self) -> None:
        """Remove the container and its image store. The file systems it had mounted are elsewhere and stay.

        Raises:
            DockerError: it could not be removed.
        """
        self._forwards.close(self.id)
        if self._docker.find("container", self._name) is not None:
            self._docker.run("rm", "--force", "--volumes", self._name, timeout=REMOVAL_SECONDS)
        self.on = False
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._folder)

    def _create(self, wanted: Wanted) -> None:
        self._docker.run(
            "create", "--name", self._name, "--hostname", self.id, "--label", self._parts.label,
            "--network", self._parts.network, "--publish", "127.0.0.1::22",
            "--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_PTRACE",
            "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
            "--cgroupns", "private", "--device", "/dev/fuse",
            "--tmpfs", "/run:rw,nosuid,nodev,exec,mode=755", "--tmpfs", "/run/lock",
            "--env", "container=docker", "--stop-signal", "SIGRTMIN+3",
            "--volume", "/var/lib/docker", "--volume", f"{self._paths.file_systems}:/srv/file_systems",
            "--volume", f"{self._paths.volumes}:/srv/volumes",
            *self._limits(wanted), self._image(wanted),
        )  # fmt: skip

    def _image(self, wanted: Wanted) -> str:
        """What the container is made of."""
        system = system_of(wanted.image_id)
        if (system.id, system.release) != ("debian", "13") or default_user(wanted.user_data, system.login) != _USER:
            raise DockerError(
                f"An instance that is a container is Debian 13 with the login {_USER}, and not {system.pretty} with "
                f"{default_user(wanted.user_data, system.login)}."
            )
        return ensure_bare_image(self._docker, _LOG.info) if wanted.image_id == BARE_AMD64 else image_name()

    def _limits(self, wanted: Wanted) -> list[str]:
        """The instance type's processors (as many as there are) and memory, without swap."""
        processors = min(wanted.vcpus, int(self._docker.run("info", "--format", "{{.NCPU}}")))
        memory = f"{wanted.memory_mib}m"
        return ["--cpus", str(processors), "--memory", memory, "--memory-swap", memory]

    def _settings(self, wanted: Wanted) -> bytes:
        settings = {"instance_id": self.id, "region": wanted.region, "availability_zone": wanted.zone}
        return json.dumps(settings, indent=1).encode()

    def _sshd_port(self) -> int:
        return self._parts.published_port(self._name, 22)

    def _wait_for_sshd(self) -> None:
        port = self._sshd_port()
        deadline = time.monotonic() + _BOOT_SECONDS
        while not _greets(port):
            found = self._docker.find("container", self._name)
            if found is None or not found["State"]["Running"]:
                self.on = False
                said = self._docker.run("logs", "--tail", "5", self._name) if found else ""
                raise DockerError(f"The container {self._name} ended while it booted. {said}")
            if time.monotonic() > deadline:
                raise DockerError(f"sshd of {self._name} did not answer within {_BOOT_SECONDS:.0f} s.")
            time.sleep(0.1)


def _greets(port: int) -> bool:
    """Whether an SSH server answers; Docker itself takes connections before there is one."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _daemon_settings() -> bytes:
    """The instance's Docker asks the local cloud's registry first, and Docker Hub for what that does not have."""
    return json.dumps({"registry-mirrors": [f"http://{REGISTRY_HOST}:{REGISTRY_PORT}"]}).encode()


def _first_boot_files(wanted: Wanted) -> dict[str, tuple[int, int, bytes]]:
    """cloud-init's work: path → (user, mode, content)."""
    keys = dict(host_keys(wanted.user_data).private)
    if not keys:
        keys = {"ed25519": asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()}
    files = {f"etc/ssh/ssh_host_{kind}_key": (0, 0o600, f"{key.rstrip()}\n".encode()) for kind, key in keys.items()}
    authorized = authorized_keys(wanted.user_data, wanted.authorized_key).encode()
    return {**files, f"home/{_USER}/.ssh/authorized_keys": (_USER_ID, 0o600, authorized)}


def _archive(files: Mapping[str, tuple[int, int, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, (user, mode, content) in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode, entry.mtime = len(content), mode, int(time.time())
            entry.uid = entry.gid = user
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()
