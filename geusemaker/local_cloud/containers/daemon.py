"""The engine's process: takes calls on the Unix socket until SIGTERM, then stops the containers and ends.

    dockerd --root R

One an instance, which the lock on its pid file holds. It is ready once its socket answers; containers that its state
says should run are started before that.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from geusemaker.local_cloud.containers.api import CONFIG, SOCKET, DockerError
from geusemaker.local_cloud.containers.engine import ContainerEngine, read_log
from geusemaker.local_cloud.containers.images import ImageStore, host_architecture
from geusemaker.local_cloud.containers.networks import NetworkStore
from geusemaker.local_cloud.containers.record import now
from geusemaker.local_cloud.files import read_json

VERSION: Final = "26.1.5+dfsg1"
"""Debian 13's docker.io."""


class Api:
    """What the socket offers; each public method is a call, with its arguments by name."""

    def __init__(self, images: ImageStore, networks: NetworkStore, engine: ContainerEngine, architecture: str) -> None:
        self._images = images
        self._networks = networks
        self._engine = engine
        self._architecture = architecture

    def version(self) -> dict[str, Any]:
        return {
            "Version": VERSION,
            "ApiVersion": "1.45",
            "MinAPIVersion": "1.24",
            "Os": "linux",
            "Arch": self._architecture,
        }

    def image_pull(self, name: str) -> dict[str, Any]:
        return self._images.pull(name, now())

    def image_inspect(self, name: str) -> dict[str, Any]:
        return self._images.get(name)

    def image_list(self) -> list[dict[str, Any]]:
        return self._images.all()

    def image_remove(self, name: str) -> list[dict[str, str]]:
        return self._images.remove(name, self._engine.users)

    def network_create(self, name: str, labels: dict[str, str], internal: bool = False) -> str:
        return self._networks.create(name, labels, internal=internal)

    def network_list(self) -> list[dict[str, Any]]:
        return self._networks.all()

    def network_prune(self, label: str) -> list[str]:
        return self._networks.prune(label, self._engine.used_networks())

    def container_create(
        self, name: str, config: dict[str, Any], host: dict[str, Any], networks: dict[str, list[str]] | None = None
    ) -> str:
        return self._engine.create(name, config, host, networks)

    def container_list(self, everything: bool = False, labels: list[str] | None = None, name: str = "") -> Any:
        return self._engine.listed(everything, labels or [], name)

    def container_inspect(self, name: str) -> dict[str, Any]:
        return self._engine.inspect(name)

    def container_start(self, name: str) -> bool:
        return self._engine.start(name)

    def container_stop(self, name: str, seconds: int | None = None) -> bool:
        return self._engine.stop(name, seconds)

    def container_rename(self, name: str, new: str) -> None:
        self._engine.rename(name, new)

    def container_remove(self, name: str, force: bool = False) -> None:
        self._engine.remove(name, force)

    def container_logs(self, name: str, tail: int | None = None) -> list[dict[str, str]]:
        return read_log(self._engine.get(name), tail)

    def container_exec(self, name: str) -> dict[str, Any]:
        """What the caller needs to run a program inside: the container's folder and environment.

        Raises:
            DockerError: it does not run (409).
        """
        container = self._engine.get(name)
        state = container.state
        if state["Restarting"]:
            raise DockerError(f"Container {container.id} is restarting, wait until the container is running", 409)
        if not state["Running"]:
            raise DockerError(f"container {container.id} is not running", 409)
        return {"folder": str(container.folder), "environment": container.record["Config"]["Env"]}


def _serve(connection: socket.socket, api: Api) -> None:
    # Outermost, as closing writes what a caller that went away has not read.
    with contextlib.suppress(OSError), connection, connection.makefile("rwb") as stream:
        for line in stream:
            request = json.loads(line)
            method: Callable[..., Any] | None = getattr(api, request["call"], None)
            try:
                if method is None or request["call"].startswith("_"):
                    raise DockerError("page not found", 404)
                answer = {"result": method(**request["arguments"])}
            except DockerError as error:
                answer = {"error": error.message, "status": error.status}
            except Exception as error:  # the caller gets an answer, the log the reason
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}", "status": 500}
            stream.write(json.dumps(answer).encode() + b"\n")
            stream.flush()


def main(argv: list[str]) -> int:
    """Run the engine until SIGTERM or SIGINT."""
    if len(argv) != 2 or argv[0] != "--root":
        print("usage: dockerd --root R", file=sys.stderr)
        return 2
    root = Path(argv[1]).resolve()
    config = read_json(root / CONFIG, None)
    if config is None:
        print(f"unable to configure the Docker daemon with file {root / CONFIG}: no such file", file=sys.stderr)
        return 1
    run = root / "run"
    run.mkdir(parents=True, exist_ok=True)
    pid_file = (run / "docker.pid").open("a+")
    try:
        fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid_file.seek(0)
        print(
            "failed to start daemon, ensure docker is not running or delete /var/run/docker.pid: "
            f"process with PID {pid_file.read().strip()} is still running",
            file=sys.stderr,
        )
        return 1
    pid_file.truncate(0)
    pid_file.write(str(os.getpid()))
    pid_file.flush()

    # Handlers write here: the one thing that is safe in a handler and wakes the selector.
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(wake_writer, b"x"))
    # The write end is held by this process alone; when it dies, however it dies, containers read the end of the pipe.
    lifeline, _held = os.pipe()

    storage = root / "var/lib/docker"
    storage.mkdir(parents=True, exist_ok=True)
    architecture = config.get("architecture") or host_architecture()
    images = ImageStore(storage, config["registry"], architecture)
    networks = NetworkStore(storage)
    engine = ContainerEngine(root, images, networks, config["loopback"], lifeline)
    engine.restore()
    print(f"{now()} Daemon has completed initialization", file=sys.stderr, flush=True)

    os.chdir(run)  # a socket's path has at most 107 bytes
    Path(SOCKET.name).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(SOCKET.name)
    Path(SOCKET.name).chmod(0o600)
    listener.listen(64)
    api = Api(images, networks, engine, architecture)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(wake_reader, selectors.EVENT_READ)
        while not any(key.fileobj == wake_reader for key, _ in selector.select()):
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection, api), daemon=True).start()
    listener.close()
    Path(SOCKET.name).unlink(missing_ok=True)
    engine.shut_down()
    (run / "docker.pid").unlink(missing_ok=True)
    return 0
