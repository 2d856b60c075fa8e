"""The local cloud's daemon: ``python -m geusemaker.local_cloud.daemon --dir DIR``.

One process holds the AWS API, the image registry, both Pulumi providers and the instances' SSH servers.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import logging
import os
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import geusemaker
from geusemaker.errors import LocalCloudError
from geusemaker.local_cloud import account, client, files, moto_backends, state
from geusemaker.local_cloud.access import AccessKey, require_own_folder
from geusemaker.local_cloud.paths import CloudPaths
from geusemaker.local_cloud.processes import end_processes, start_time
from geusemaker.local_cloud.program import script
from geusemaker.local_cloud.runtime import Runtime

if TYPE_CHECKING:
    from geusemaker.local_cloud.instances import Fleet

_LOG = logging.getLogger("geusemaker.local_cloud.daemon")


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Exit codes: 0 ended, 1 could not start, 75 another daemon holds the folder."""
    parser = argparse.ArgumentParser(prog="geusemaker.local_cloud.daemon")
    parser.add_argument("--dir", type=Path, required=True, help="the local cloud's folder")
    paths = CloudPaths(parser.parse_args(arguments).dir.absolute())
    paths.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = paths.lock.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return client.ALREADY_RUNNING
    lock.truncate(0)
    lock.write(f"{os.getpid()} {start_time(os.getpid())}\n")
    lock.flush()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    for noisy in ("asyncssh", "werkzeug", "botocore", "boto3", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    # Closing its terminal must not end it, whoever started it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ExitStack() as parts:
            _start(paths, parts)
            ended.wait()
            _LOG.info("ending")
            paths.daemon.unlink(missing_ok=True)
    except LocalCloudError as error:
        _LOG.error("%s", error)
        return 1
    finally:
        _close(lock)
    return 0


def _close(lock: IO[str]) -> None:
    lock.close()


def _start(paths: CloudPaths, parts: ExitStack) -> None:
    """Start every part; ``parts`` ends them in reverse order."""
    # After a kill -9 nothing has told the instances' processes to end: a power loss, as far as they can tell.
    end_processes(paths.instances, grace=0)
    for folder in (paths.registry, paths.file_systems, paths.instances, paths.programs):
        folder.mkdir(parents=True, exist_ok=True)
    require_own_folder(paths.root)
    files.write(paths.programs / "session-manager-plugin", script("session-manager-plugin"), 0o755)
    key = AccessKey.make(paths.access)
    account.adopt_account(paths)
    moto_backends.load(paths.images)
    restored = state.restore(paths.aws_state)
    _LOG.info("AWS state %s", "restored" if restored else "is new")

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    from geusemaker.local_cloud import providers
    from geusemaker.local_cloud.aws_api import AwsApi

    ports = _Ports(paths.ports)

    def answer_later(environ: dict[str, Any], start_response: Any) -> Any:
        return api(environ, start_response)

    server = ports.serve(
        "aws",
        lambda port: make_server("127.0.0.1", port, answer_later, threaded=True, request_handler=MotoRequestHandler),
        lambda made: int(made.server_port),
    )
    endpoint = f"http://127.0.0.1:{server.server_port}"
    runtime = Runtime.read(paths)
    prepare = _docker_fleet if runtime.kind == "docker" else _process_fleet
    registry, fleet = prepare(paths, runtime, ports, endpoint, parts)
    parts.callback(fleet.shut_down)
    api = AwsApi(paths, DomainDispatcherApplication(create_backend_app), fleet, key)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="aws", daemon=True)
    thread.start()
    parts.callback(server.server_close)
    parts.callback(server.shutdown)

    aws = ports.serve("aws_provider", lambda port: providers.serve_aws(endpoint, key, client.REGION, port), _own_port)
    parts.callback(aws.close)
    command = ports.serve("command_provider", providers.serve_command, _own_port)
    parts.callback(command.close)
    ports.save()

    record = {
        "pid": os.getpid(),
        "aws_endpoint": endpoint,
        "runtime": runtime.kind,
        "registry": registry,
        "aws_provider_port": aws.port,
        "command_provider_port": command.port,
    }
    api.describe = lambda: {"running": True, **record}
    api.bring_back()
    document = {
        **record,
        "started": _now(),
        "started_ticks": start_time(os.getpid()),
        "version": getattr(geusemaker, "__version__", ""),
        "programs": client.PROGRAMS,
    }
    files.write(paths.daemon, json.dumps(document, indent=1))
    _LOG.info("ready at %s", endpoint)


def _process_fleet(
    paths: CloudPaths, runtime: Runtime, ports: _Ports, endpoint: str, parts: ExitStack
) -> tuple[str, Fleet]:
    """The registry's URL, and instances that are processes."""
    from geusemaker.local_cloud import registry
    from geusemaker.local_cloud.instances import Fleet
    from geusemaker.local_cloud.machines import Machine, Surroundings
    from geusemaker.local_cloud.ssh_server import SshServers

    images = ports.serve("registry", lambda port: registry.serve(paths.registry, port), lambda made: _port_of(made.url))
    parts.callback(images.close)
    ssh = SshServers()
    parts.callback(ssh.stop)
    surroundings = Surroundings(paths, endpoint, images.url)
    return images.url, Fleet(runtime.kind, lambda name: Machine(name, surroundings, ssh))


def _docker_fleet(
    paths: CloudPaths, runtime: Runtime, ports: _Ports, endpoint: str, parts: ExitStack
) -> tuple[str, Fleet]:
    """The registry's URL, and instances that are containers."""
    from geusemaker.local_cloud.docker.command import Docker
    from geusemaker.local_cloud.docker.forward import Forwards
    from geusemaker.local_cloud.docker.machine import DockerMachine
    from geusemaker.local_cloud.docker.parts import DockerParts
    from geusemaker.local_cloud.instances import Fleet

    docker_parts = DockerParts(Docker(runtime.docker_host), paths.root)
    url = docker_parts.start()
    parts.callback(docker_parts.stop)
    forwards = Forwards()
    parts.callback(forwards.stop)
    return url, Fleet(runtime.kind, lambda name: DockerMachine(name, paths, docker_parts, forwards))


def _own_port(server: Any) -> int:
    return int(server.port)


def _port_of(url: str) -> int:
    return int(url.rpartition(":")[2].strip("/"))


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="seconds")


class _Ports:
    """The ports used last time, taken again where they are free: a deployment's variables stay valid."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._known: dict[str, int] = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            self._known = {}

    def serve(self, name: str, start: Any, port_of: Any) -> Any:
        """Start a server on its port of last time, else on a free one."""
        try:
            server = start(self._known.get(name, 0))
        except (OSError, SystemExit):  # werkzeug exits when a port is taken
            server = start(0)
        self._known[name] = port_of(server)
        return server

    def save(self) -> None:
        files.write_json(self._path, self._known)


if __name__ == "__main__":
    sys.exit(main())
