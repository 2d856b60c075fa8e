"""Starting, stopping and asking the local cloud. Imports neither moto nor boto3 nor asyncssh."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from geusemaker.errors import LocalCloudError
from geusemaker.local_cloud.access import AccessKey
from geusemaker.local_cloud.files import remove_tree
from geusemaker.local_cloud.interrupting import Action, interrupt
from geusemaker.local_cloud.paths import OWN_PATHS, CloudPaths, default_folder
from geusemaker.local_cloud.processes import end_processes, is_same_process, wait_until_gone
from geusemaker.local_cloud.runtime import Runtime, RuntimeKind
from geusemaker.models.base import Model

if TYPE_CHECKING:
    from geusemaker.local_cloud.docker.parts import DockerParts

__all__ = ["FileSystemStatus", "InstanceStatus", "LocalCloud", "LocalCloudStatus", "default_folder"]

REGION: Final = "us-east-1"
STATUS_PATH: Final = f"{OWN_PATHS}status"
PROGRAMS: Final = 3
"""Counts the ways in which instances find their programs: one that runs since before finds them at its next boot."""
ALREADY_RUNNING: Final = 75
"""Exit code of a daemon that found another one holding the folder."""

_START_SECONDS: Final = 60.0
# Containers get their stop_grace_period (60 s for PostgreSQL) before they are killed.
_STOP_SECONDS: Final = 120.0
_ANSWER_SECONDS: Final = 10.0
_DYING_SECONDS: Final = 2.0


class InstanceStatus(Model):
    """An instance that the local cloud keeps. ``state`` is EC2's, or ``failed`` when it could not boot."""

    id: str
    kind: str
    address: str | None
    ssh_port: int | None
    state: str


class FileSystemStatus(Model):
    """An EFS file system and the folder that holds its files."""

    id: str
    path: str


class LocalCloudStatus(Model):
    """What the local cloud is doing. Addresses and ports are None while it does not run."""

    running: bool
    runtime: RuntimeKind = "process"
    aws_endpoint: str | None = None
    registry: str | None = None
    aws_provider_port: int | None = None
    command_provider_port: int | None = None
    pid: int | None = None
    instances: tuple[InstanceStatus, ...] = ()
    file_systems: tuple[FileSystemStatus, ...] = ()


class LocalCloud:
    """The local cloud in one folder. Any number of processes may hold one; the daemon is the one that acts."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or default_folder()).absolute()
        self._paths = CloudPaths(self.folder)

    def status(self) -> LocalCloudStatus:
        """What runs now. A daemon that was killed counts as not running.

        Raises:
            LocalCloudError: a daemon is there and does not answer.
        """
        record = self._record()
        if record is None:
            return LocalCloudStatus(running=False, runtime=Runtime.read(self._paths).kind)
        try:
            return LocalCloudStatus.model_validate(_get(record["aws_endpoint"], STATUS_PATH, _ANSWER_SECONDS))
        except (OSError, http.client.HTTPException, ValueError) as error:
            # One that was just killed is still in the process table for a moment.
            if not wait_until_gone({int(record["pid"]): int(record["started_ticks"])}, _DYING_SECONDS):
                return LocalCloudStatus(running=False, runtime=Runtime.read(self._paths).kind)
            raise LocalCloudError(
                f"The local cloud (process {record['pid']}) does not answer at {record['aws_endpoint']}: {error}.",
                next_step=f"See {self._paths.log}; `geusemaker local stop` ends it.",
            ) from error

    def start(
        self, runtime: RuntimeKind | None = None, note: Callable[[str], None] = lambda text: None
    ) -> LocalCloudStatus:
        """Start the daemon unless it runs, and wait until everything answers. Idempotent.

        Args:
            runtime: what its instances are to be; None: what they are, processes where nothing was chosen yet.
            note: is told what takes long.

        Raises:
            LocalCloudError: it did not start (the message holds the end of its log), it has instances or data of
                another runtime, or no Docker daemon answers.
        """
        status = self.status()
        if runtime is not None and runtime != status.runtime:
            self._change_runtime(status, runtime, note)
            status = self.status()
        if status.running:
            return status
        self._prepare(Runtime.read(self._paths), note)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            log = self._paths.log.open("ab")
        except OSError as error:
            raise LocalCloudError(
                f"The local cloud's folder {self.folder} cannot be used: {error}.",
                next_step="Set GEUSEMAKER_LOCAL_DIR to a folder you can write to.",
            ) from error
        daemon: subprocess.Popen[bytes] | None = None
        deadline = time.monotonic() + _START_SECONDS
        with log:
            while time.monotonic() < deadline:
                status = self.status()
                if status.running:
                    return status
                code = daemon.poll() if daemon else ALREADY_RUNNING
                if code == ALREADY_RUNNING:
                    # One that another process started is waited for, and one that is just ending is followed.
                    if self._holder() is None:
                        daemon = self._spawn(log)
                elif code == 0:
                    raise LocalCloudError(
                        "The local cloud was stopped while it started.", next_step="Run `geusemaker local start`."
                    )
                elif code is not None:
                    raise LocalCloudError(
                        f"The local cloud did not start (exit code {code}). The end of its log:\n{self._log_tail()}",
                        next_step=f"See {self._paths.log}; `geusemaker local reset` starts afresh, without its data.",
                    )
                time.sleep(0.02)
        raise LocalCloudError(
            f"The local cloud did not answer within {_START_SECONDS:.0f} s. The end of its log:\n{self._log_tail()}",
            next_step=f"See {self._paths.log}.",
        )

    def stop(self) -> None:
        """Shut the instances down and end the daemon. Idempotent; the next start brings everything back.

        Raises:
            LocalCloudError: something could not be ended.
        """
        deadline = time.monotonic() + _STOP_SECONDS
        while holder := self._holder():
            pid, started = holder
            late = time.monotonic() >= deadline
            if is_same_process(pid, started):
                _signal(pid, signal.SIGKILL if late else signal.SIGTERM)
            if wait_until_gone({pid: started}, 10 if late else _STOP_SECONDS) and late:
                raise LocalCloudError(f"The local cloud (process {pid}) cannot be ended.")
        # A killed daemon leaves its instances' processes behind, or their containers.
        try:
            end_processes(self._paths.instances, grace=0)
        except TimeoutError as error:
            raise LocalCloudError(f"The local cloud could not be stopped: {error}.") from error
        if docker := self._docker():
            docker.stop_everything()
        self._paths.daemon.unlink(missing_ok=True)

    def reset(self) -> None:
        """Stop everything it runs and remove the folder, with all data in it.

        Raises:
            LocalCloudError: something could not be ended or removed.
        """
        self.stop()
        if docker := self._docker():
            if os.geteuid() != 0 and self._paths.file_systems.exists():
                docker.empty(self._paths.file_systems)
            docker.remove_everything()
        try:
            if self.folder.exists():
                remove_tree(self.folder)
        except OSError as error:
            raise LocalCloudError(
                f"The local cloud is stopped, but its folder {self.folder} cannot be removed: {error}."
            ) from error

    def environment(self) -> dict[str, str]:
        """The variables with which AWS SDKs, the AWS CLI and the Pulumi engine work on this cloud.

        Raises:
            LocalCloudError: it does not run, or an earlier geusemaker started it.
        """
        record = self._record()
        if record is None:
            raise LocalCloudError("The local cloud does not run.", next_step="Run `geusemaker local start`.")
        if record.get("programs") != PROGRAMS:
            raise LocalCloudError(
                "An earlier geusemaker started the local cloud that runs: its instances' programs are elsewhere now.",
                next_step="Run `geusemaker local stop && geusemaker local start`; its instances and data come back.",
            )
        key = AccessKey.read(self._paths.access)
        return {
            "AWS_ENDPOINT_URL": record["aws_endpoint"],
            "AWS_ACCESS_KEY_ID": key.id,
            "AWS_SECRET_ACCESS_KEY": key.secret,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "PULUMI_DEBUG_PROVIDERS": (f"aws:{record['aws_provider_port']},command:{record['command_provider_port']}"),
        }

    @property
    def session_manager_plugin(self) -> Path:
        """What is here in the place of AWS's program for Session Manager."""
        return self._paths.programs / "session-manager-plugin"

    def interrupt(self, instance: str, action: Action, notice_seconds: float) -> None:
        """Have EC2 take a spot instance's capacity back, or give it again; see geusemaker.local_cloud.interrupting."""
        interrupt(self.environment()["AWS_ENDPOINT_URL"], instance, action, notice_seconds)

    def _docker(self) -> DockerParts | None:
        """What the local cloud has in a Docker daemon."""
        runtime = Runtime.read(self._paths)
        if runtime.kind != "docker":
            return None
        from geusemaker.local_cloud.docker.command import Docker
        from geusemaker.local_cloud.docker.parts import DockerParts

        return DockerParts(Docker(runtime.docker_host), self.folder)

    def _prepare(self, runtime: Runtime, note: Callable[[str], None]) -> None:
        """What takes long, or needs something of this machine, is done here and not in the daemon: people see it."""
        if runtime.kind == "docker":
            from geusemaker.local_cloud.docker.command import Docker
            from geusemaker.local_cloud.docker.image import ensure_image

            docker = Docker(runtime.docker_host)
            docker.check()
            ensure_image(docker, note)

    def _change_runtime(self, status: LocalCloudStatus, wanted: RuntimeKind, note: Callable[[str], None]) -> None:
        folders = [self._paths.file_systems.glob("fs-*"), self._paths.instances.glob("*")]
        if any(True for found in folders for _ in found):
            raise LocalCloudError(
                f"The local cloud in {self.folder} has instances or data, and its runtime is {status.runtime}.",
                state="Nothing was changed.",
                next_step=(
                    f"A second local cloud can have the runtime {wanted}: set GEUSEMAKER_LOCAL_DIR to another folder. "
                    "Or remove this one with all its data: `geusemaker local reset`."
                ),
            )
        runtime = Runtime.chosen(wanted)
        self._prepare(runtime, note)
        self.stop()
        if docker := self._docker():
            docker.remove_everything()
        runtime.write(self._paths)

    def _record(self) -> dict[str, Any] | None:
        """``daemon.json`` of a living daemon."""
        try:
            record: dict[str, Any] = json.loads(self._paths.daemon.read_text())
            alive = is_same_process(int(record["pid"]), int(record["started_ticks"]))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise LocalCloudError(
                f"{self._paths.daemon} cannot be read: {error}.",
                next_step="Run `geusemaker local stop`, and then `geusemaker local start`.",
            ) from error
        return record if alive else None

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "geusemaker.local_cloud.daemon", "--dir", str(self.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.folder,
            env=_daemon_environment(),
            start_new_session=True,
        )

    def _holder(self) -> tuple[int, int] | None:
        """The daemon that holds the folder (process id, start time), also while it starts or ends."""
        try:
            lock = self._paths.lock.open()
        except (FileNotFoundError, NotADirectoryError):
            return None
        deadline = time.monotonic() + _ANSWER_SECONDS
        with lock:
            while time.monotonic() < deadline:
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    lock.seek(0)
                    words = lock.read().split()
                else:
                    return None
                if len(words) == 2:
                    return int(words[0]), int(words[1])
                record = self._record()
                if record is not None:
                    return int(record["pid"]), int(record["started_ticks"])
                time.sleep(0.01)  # it has the lock and is about to write its number
        raise LocalCloudError(
            f"Something holds {self._paths.lock} and does not say what it is.",
            next_step="Find it with: fuser " + str(self._paths.lock),
        )

    def _log_tail(self) -> str:
        try:
            return "\n".join(self._paths.log.read_text(errors="replace").splitlines()[-20:])
        except OSError as error:
            return f"(the log cannot be read: {error})"


def _daemon_environment() -> dict[str, str]:
    """The daemon outlives its caller: it gets none of the caller's credentials, proxies or Pulumi settings."""
    unwanted = ("AWS_", "PULUMI_", "GEUSEMAKER_", "MOTO_")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(unwanted) and not name.lower().endswith("_proxy")
    }
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    # Threads would otherwise each get a malloc arena of their own: 20 MB more, resident, for nothing.
    environment["MALLOC_ARENA_MAX"] = "2"
    return environment


def _get(endpoint: str, path: str, timeout: float) -> Any:
    url = urlsplit(endpoint)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise ValueError(f"HTTP status {response.status}")
        return json.loads(body)
    finally:
        connection.close()


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended by itself in between
