"""Containers: records on disk, one real process each, restart policies.

States, fields and texts are those of moby (container/state.go, restartmanager, daemon/monitor.go).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any, Final

from geusemaker.local_cloud.containers import devices, labels
from geusemaker.local_cloud.containers.api import DockerError
from geusemaker.local_cloud.containers.images import ImageStore
from geusemaker.local_cloud.containers.networks import NetworkStore
from geusemaker.local_cloud.containers.record import capabilities, new_record, now
from geusemaker.local_cloud.files import read_json, write_json
from geusemaker.local_cloud.processes import is_same_process, start_time, wait_until_gone
from geusemaker.local_cloud.program import command

_FIRST_BACKOFF: Final = 0.1
_LONGEST_BACKOFF: Final = 60.0
_RESET_AFTER_SECONDS: Final = 10.0


def next_backoff(last: float, ran_seconds: float) -> float:
    """Seconds to wait before the next restart; ``last`` is 0 at first."""
    if last == 0 or ran_seconds >= _RESET_AFTER_SECONDS:
        return _FIRST_BACKOFF
    return min(last * 2, _LONGEST_BACKOFF)


class Container:
    """One container: its record (what ``inspect`` shows, and a few private keys), its folder, its process."""

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self.folder = folder
        self.record = record
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.process: subprocess.Popen[bytes] | None = None
        self.supervisor: threading.Thread | None = None
        # Set when the container shall end: no restart, and none of a wait for one.
        self.ending = threading.Event()
        self.backoff = 0.0

    @property
    def id(self) -> str:
        return str(self.record["Id"])

    @property
    def name(self) -> str:
        return str(self.record["Name"]).lstrip("/")

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.record["State"]
        return state

    @property
    def restarts(self) -> bool:
        """Whether it comes back by itself when it ends, unless it was stopped by hand."""
        return bool(self.record["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped")

    @property
    def log_file(self) -> Path:
        return self.folder / f"{self.id}-json.log"

    def save(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile, with its folder
            write_json(self.folder / "config.v2.json", self.record)


class ContainerEngine:
    """All containers of one instance.

    Args:
        root: the instance's disk.
        loopback: the address that stands for the instance's own 0.0.0.0 and 127.0.0.1.
        lifeline: a pipe's read end that containers inherit; it reports the engine's death to them.
    """

    def __init__(self, root: Path, images: ImageStore, networks: NetworkStore, loopback: str, lifeline: int) -> None:
        self._images = images
        self._devices = devices.Devices(root)
        self._networks = networks
        self._loopback = loopback
        self._lifeline = lifeline
        self._folder = root / "var/lib/docker/containers"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._containers: dict[str, Container] = {}
        self._shutting_down = False

    # Life of the engine

    def restore(self) -> None:
        """Take up what an earlier engine left: end stray processes, then bring back what its policy brings back."""
        for folder in self._folder.iterdir():
            record = read_json(folder / "config.v2.json", None)
            if record is None:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self._join_default(record)
            self._containers[record["Id"]] = Container(folder, record)
        wanted = []
        for container in self._containers.values():
            _end_stray(container.record.pop("Process", None))
            state = container.state
            was_running = bool(state["Running"])
            if was_running:
                # Nobody saw how it ended; Docker says 255 then.
                code = state["ExitCode"] if state["Restarting"] else 255
                self._set_stopped(container, code)
            container.save()
            if state["Status"] == "exited" and container.restarts and not container.record.get("StoppedByHand"):
                wanted.append(container)
        # Compose's order of dependencies is unknown to the engine, as it is to Docker's.
        for container in sorted(wanted, key=lambda c: str(c.record["Created"])):
            with contextlib.suppress(DockerError):
                self.start(container.id)

    def _join_default(self, record: dict[str, Any]) -> None:
        """Have a container that was made before there were networks in that of its project."""
        held = record["Config"]["Labels"]
        if "Networks" in record["NetworkSettings"] or labels.PROJECT not in held:
            record["NetworkSettings"].setdefault("Networks", {})
            return
        name = f"{held[labels.PROJECT]}_default"
        if name not in [one["Name"] for one in self._networks.all()]:
            self._networks.create(name, {labels.PROJECT: held[labels.PROJECT], labels.NETWORK: "default"})
        names = [record["Name"].lstrip("/"), held[labels.COMPOSE_SERVICE], record["Id"][:12]]
        record["NetworkSettings"]["Networks"] = {name: {"Aliases": names, "NetworkID": self._networks.get(name)["Id"]}}

    def shut_down(self) -> None:
        """Stop every container gracefully, all at once, remembering that they ran."""
        self._shutting_down = True
        living = list(self._containers.values())
        threads = [threading.Thread(target=self._stop, args=(container, None)) for container in living]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    # Looking up

    def get(self, name: str) -> Container:
        """By id, an id's beginning, or name.

        Raises:
            DockerError: no such container (404).
        """
        with self._lock:
            if name in self._containers:
                return self._containers[name]
            for container in self._containers.values():
                if container.name == name.lstrip("/"):
                    return container
            matches = [c for i, c in self._containers.items() if name and i.startswith(name)]
            if len(matches) == 1:
                return matches[0]
            raise DockerError(f"No such container: {name}", 404)

    def inspect(self, name: str) -> dict[str, Any]:
        """As ``docker inspect`` shows it."""
        container = self.get(name)
        with container.lock:
            shown: dict[str, Any] = json.loads(json.dumps(container.record))
        for private in ("Process", "StoppedByHand"):
            shown.pop(private, None)
        return shown

    def listed(self, everything: bool, wanted_labels: list[str], name: str) -> list[dict[str, Any]]:
        """Inspect documents, newest first; only running ones unless ``everything``.

        Args:
            wanted_labels: ``key`` or ``key=value``, all of which must hold.
            name: a pattern that the name matches somewhere; empty for any.
        """
        with self._lock:
            containers = list(self._containers.values())
        found = []
        for container in containers:
            with contextlib.suppress(DockerError):
                shown = self.inspect(container.id)
                held = shown["Config"]["Labels"]
                if (
                    (everything or shown["State"]["Running"])
                    and all(_has_label(held, wanted) for wanted in wanted_labels)
                    and any(re.search(name, text) for text in (shown["Name"], shown["Name"].lstrip("/")))
                ):
                    found.append(shown)
        return sorted(found, key=lambda shown: str(shown["Created"]), reverse=True)

    def used_networks(self) -> set[str]:
        """The networks that containers are in, stopped ones as well."""
        with self._lock:
            return {name for one in self._containers.values() for name in one.record["NetworkSettings"]["Networks"]}

    def users(self, image_id: str) -> list[tuple[str, bool]]:
        """Containers of an image, as (id, running)."""
        with self._lock:
            return [
                (c.id, bool(c.state["Running"])) for c in self._containers.values() if c.record["Image"] == image_id
            ]

    # Making and removing

    def create(
        self, name: str, config: dict[str, Any], host: dict[str, Any], networks: dict[str, list[str]] | None = None
    ) -> str:
        """Make a container; its id.

        Args:
            config, host: see ``record.new_record``.
            networks: those that it is in → its names there.

        Raises:
            DockerError: no such image or network (404), or the name is taken (409).
        """
        image = self._images.get(config["Image"])
        container_id = secrets.token_hex(32)
        folder = self._folder / container_id
        joined = {
            network: {"Aliases": [*aliases, container_id[:12]], "NetworkID": self._networks.get(network)["Id"]}
            for network, aliases in (networks or {}).items()
        }
        record = new_record(container_id, name, folder, image, config, host, joined)
        with self._lock:
            for other in self._containers.values():
                if other.name == name:
                    raise DockerError(_name_taken(name, other.id), 409)
            folder.mkdir(mode=0o700)
            container = Container(folder, record)
            container.log_file.touch(0o600)
            container.save()
            self._containers[container_id] = container
        return container_id

    def rename(self, name: str, new: str) -> None:
        """Give a container another name.

        Raises:
            DockerError: no such container (404), or the new name is taken (409).
        """
        with self._lock:
            container = self.get(name)
            for other in self._containers.values():
                if other.name == new and other is not container:
                    raise DockerError(_name_taken(new, other.id), 409)
            with container.lock:
                container.record["Name"] = f"/{new}"
                container.save()

    def remove(self, name: str, force: bool) -> None:
        """Remove a container and its writable layer.

        Raises:
            DockerError: no such container (404), or it runs and ``force`` is not given (409).
        """
        container = self.get(name)
        if container.state["Running"]:
            if not force:
                raise DockerError(
                    f'cannot remove container "/{container.name}": container is running: '
                    "stop the container before removing or force remove",
                    409,
                )
            self._stop(container, 0)
        with self._lock, container.lock:
            self._containers.pop(container.id, None)
            # Without this file the folder is no container any more, also when the rest of it cannot go.
            (container.folder / "config.v2.json").unlink(missing_ok=True)
            shutil.rmtree(container.folder, ignore_errors=True)

    # Starting and stopping

    def start(self, name: str) -> bool:
        """Start a container and return once its process runs; False: it ran already.

        Raises:
            DockerError: no such container (404), or it cannot be started (500).
        """
        container = self.get(name)
        with container.lock:
            if container.state["Running"] or self._shutting_down:
                return False
            previous = container.supervisor
        if previous is not None:
            previous.join()
        started: Future[None] = Future()
        with container.lock:
            if container.state["Running"]:
                return False
            container.ending.clear()
            container.backoff = 0.0
            container.record["RestartCount"] = 0
            container.record["StoppedByHand"] = False
            container.supervisor = threading.Thread(
                target=self._supervise, args=(container, started), name=container.name, daemon=True
            )
            container.supervisor.start()
        started.result()
        return True

    def stop(self, name: str, seconds: int | None) -> bool:
        """Stop gracefully: the stop signal, then SIGKILL after ``seconds``; False: it did not run.

        Raises:
            DockerError: no such container (404).
        """
        return self._stop(self.get(name), seconds)

    def _stop(self, container: Container, seconds: int | None) -> bool:
        with container.lock:
            if not self._shutting_down:
                container.record["StoppedByHand"] = True
                container.save()
            if self._shutting_down:
                container.ending.set()  # also for one that is just being started
            if not container.state["Running"]:
                return False
            container.ending.set()
            if container.process is not None:
                container.process.send_signal(signal.Signals[container.record["Config"]["StopSignal"]])
        grace = container.record["Config"]["StopTimeout"] if seconds is None else seconds
        if not self._wait_until_stopped(container, None if grace < 0 else grace):
            with container.lock:
                if container.process is not None:
                    container.process.kill()
            self._wait_until_stopped(container, 10)
        return True

    def _wait_until_stopped(self, container: Container, timeout: float | None) -> bool:
        with container.lock:
            return container.changed.wait_for(lambda: not container.state["Running"], timeout)

    # One container's process

    def _supervise(self, container: Container, started: Future[None]) -> None:
        try:
            readers = self._spawn(container)
        except DockerError as error:
            with container.lock:
                container.state.update(ExitCode=128, Error=error.message)
                container.save()
            started.set_exception(error)
            return
        started.set_result(None)
        while True:
            code = self._wait_for_end(container, readers)
            with container.lock:
                ran = time.monotonic() - container.record["Process"]["monotonic"]
                container.record.pop("Process", None)
                container.process = None
                if container.ending.is_set() or not container.restarts:
                    self._set_stopped(container, code)
                    return
                container.backoff = next_backoff(container.backoff, ran)
                container.record["RestartCount"] += 1
                container.state.update(
                    Status="restarting", Restarting=True, Running=True, Pid=0, ExitCode=code, FinishedAt=now()
                )
                container.record["NetworkSettings"]["Ports"] = {}
                container.save()
            container.ending.wait(container.backoff)
            try:
                with container.lock:
                    if container.ending.is_set():
                        self._set_stopped(container, code)
                        return
                    readers = self._spawn(container)
            except DockerError as error:
                # Not tried again; the exit code stays that of the process that ended.
                with container.lock:
                    container.state["Error"] = error.message
                    self._set_stopped(container, code)
                return

    def _spawn(self, container: Container) -> list[threading.Thread]:
        record = container.record
        sockets: dict[str, socket.socket] = {}
        try:
            for network in record["NetworkSettings"]["Networks"]:
                self._networks.get(network)
            for port, bindings in record["HostConfig"]["PortBindings"].items():
                for binding in bindings:
                    sockets[port] = self._listen(container, binding["HostIp"], int(binding["HostPort"]))
            image = self._images.get(record["Image"])
            image_labels = image["Config"].get("Labels", {})
            cmd = record["Config"].get("Cmd")
            specification = {
                "id": container.id,
                "service": image_labels.get(labels.SERVICE, ""),
                "tag": image_labels.get(labels.TAG, ""),
                "loopback": self._loopback,
                "command": [] if cmd == image["Config"].get("Cmd") else cmd or [],
                "lifeline": self._lifeline,
                "gpus": self._devices.given(record["HostConfig"].get("DeviceRequests", [])),
                "capabilities": capabilities(record["HostConfig"]),
                "read_only": record["HostConfig"].get("ReadonlyRootfs", False),
                "sockets": {port: opened.fileno() for port, opened in sockets.items()},
                # Resolved now: a running container keeps seeing the directory it was started on.
                "mounts": {m["Destination"]: str(Path(m["Source"]).resolve()) for m in record["Mounts"]},
                "memory": sorted(record["HostConfig"].get("Tmpfs") or {}),
            }
            write_json(container.folder / "service.json", specification)
            process = subprocess.Popen(
                command("service", "run", str(container.folder)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(entry.split("=", 1) for entry in record["Config"]["Env"]),
                cwd=container.folder,
                pass_fds=(self._lifeline, *(opened.fileno() for opened in sockets.values())),
                start_new_session=True,
            )
        except OSError as error:
            raise DockerError(f"failed to create task for container: {error}") from None
        finally:
            for opened in sockets.values():
                opened.close()
        with container.lock:
            container.process = process
            record["Process"] = {"pid": process.pid, "start": start_time(process.pid), "monotonic": time.monotonic()}
            record["NetworkSettings"]["Ports"] = record["HostConfig"]["PortBindings"]
            container.state.update(
                Status="running",
                Running=True,
                Restarting=False,
                OOMKilled=False,
                Pid=process.pid,
                ExitCode=0,
                Error="",
                StartedAt=now(),
            )
            container.save()
            if container.ending.is_set() and self._shutting_down:
                process.terminate()
        readers = []
        for stream, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
            assert pipe is not None
            reader = threading.Thread(target=_keep_log, args=(container, stream, pipe), daemon=True)
            reader.start()
            readers.append(reader)
        return readers

    def _wait_for_end(self, container: Container, readers: list[threading.Thread]) -> int:
        process = container.process
        assert process is not None
        code = process.wait()
        for reader in readers:
            reader.join(2)  # a process that escaped its container may hold the pipe
        if code == -signal.SIGKILL and self._misbehaves(container, "-oom"):
            with container.lock:
                container.state["OOMKilled"] = True
        return code if code >= 0 else 128 - code

    def _misbehaves(self, container: Container, ending: str) -> bool:
        return str(container.record["Config"]["Labels"].get(labels.TAG, "")).endswith(ending)

    def _set_stopped(self, container: Container, code: int) -> None:
        with container.lock:
            container.state.update(
                Status="exited", Running=False, Restarting=False, Pid=0, ExitCode=code, FinishedAt=now()
            )
            container.record["NetworkSettings"]["Ports"] = {}
            container.save()
            container.changed.notify_all()

    def _listen(self, container: Container, host: str, port: int) -> socket.socket:
        # The instance shares the machine's network: its own "every address" is its own loopback address.
        address = self._loopback if host in ("", "0.0.0.0") else host
        opened = socket.socket()
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((address, port))
            opened.listen(128)
        except OSError as error:
            opened.close()
            start = (
                f"driver failed programming external connectivity on endpoint {container.name} "
                f"({secrets.token_hex(32)}): "
            )
            with self._lock:
                taken = any(
                    binding["HostPort"] == str(port) and (binding["HostIp"] or "0.0.0.0") == (host or "0.0.0.0")
                    for other in self._containers.values()
                    if other is not container and other.process is not None
                    for bindings in other.record["HostConfig"]["PortBindings"].values()
                    for binding in bindings
                )
            if taken:
                raise DockerError(
                    f"{start}Bind for {host or '0.0.0.0'}:{port} failed: port is already allocated"
                ) from None
            reason = os.strerror(error.errno or 0).lower()
            raise DockerError(
                f"{start}Error starting userland proxy: listen tcp4 {address}:{port}: bind: {reason}"
            ) from None
        return opened


def _keep_log(container: Container, stream: str, pipe: IO[bytes]) -> None:
    # The json-file driver's format; one open file for both streams would need a lock, appending does not.
    try:
        with pipe, container.log_file.open("a") as file:
            for line in pipe:
                entry = {"log": line.decode(errors="replace"), "stream": stream, "time": now()}
                file.write(json.dumps(entry) + "\n")
                file.flush()
    except FileNotFoundError:
        return  # removed meanwhile


def read_log(container: Container, tail: int | None) -> list[dict[str, str]]:
    """The log's entries, the last ``tail`` only where given."""
    try:
        lines = container.log_file.read_text().splitlines()
    except FileNotFoundError:
        return []
    entries = []
    for line in lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]:
        # The last line may be half written, by a writer at work or one that was killed.
        with contextlib.suppress(json.JSONDecodeError):
            entries.append(json.loads(line))
    return entries


def _end_stray(process: dict[str, Any] | None) -> None:
    if process is None or not is_same_process(process["pid"], process["start"]):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(process["pid"], signal.SIGKILL)
    wait_until_gone({process["pid"]: process["start"]}, 10)


def _has_label(held: dict[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in held and (not equals or held[key] == value)


def _name_taken(name: str, owner: str) -> str:
    return (
        f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )
