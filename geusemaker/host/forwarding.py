"""A port of this machine that leads to an instance's SSH server through AWS's Session Manager.

The session is asked for by boto3, and carried by AWS's own program, ``session-manager-plugin``, called as the AWS CLI
calls it (https://github.com/aws/aws-cli/blob/develop/awscli/customizations/sessionmanager.py): the answer of
StartSession, which holds the session's token, is in an environment variable whose name is the first argument. What the
port leads to is no secret of this machine: who connects there needs the login's key, and is shown the host key.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import socket
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Final, Protocol

from geusemaker.errors import EnvironmentProblemError, GeusemakerError, HostError

DOCUMENT: Final = "AWS-StartPortForwardingSession"
HERE: Final = "127.0.0.1"
PLUGIN: Final = "session-manager-plugin"
INSTALL: Final = (
    "https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html"
    " says how to install it"
)
_VARIABLE: Final = "AWS_SSM_START_SESSION_RESPONSE"
_READY: Final = "Waiting for connections"
"""The plugin's line once its port is open: https://github.com/aws/session-manager-plugin, portsession."""
_READY_SECONDS: Final = 30.0
_END_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 3.0
_PAUSE: Final = 1.0
_FIRST_PORT: Final = 20000
_PORTS: Final = 12000


class Sessions(Protocol):
    """Session Manager, as one deployment needs it; see geusemaker.cloud.sessions."""

    @property
    def region(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    def credentials(self) -> dict[str, str]: ...
    def running_instance(self) -> str | None: ...
    def start(self, instance_id: str, parameters: Mapping[str, list[str]]) -> dict[str, Any]: ...
    def end(self, session_id: str) -> None: ...


@dataclass
class _Session:
    id: str
    instance_id: str
    port: int
    process: subprocess.Popen[str]


class Forwarding:
    """The way to one deployment's instance: ``start`` and ``stop``, or ``keep`` while something works through it.

    Args:
        sessions: whom sessions are asked of.
        ssh_port: the instance's SSH server's.
        plugin: AWS's program, by its name or path.
        tell: is told in a sentence what is waited for.
    """

    def __init__(self, sessions: Sessions, ssh_port: int, plugin: str, tell: Callable[[str], None]) -> None:
        self._sessions = sessions
        self._ssh_port = ssh_port
        self._plugin = plugin
        self._tell = tell
        self._lock = threading.Lock()
        self._session: _Session | None = None

    def start(self, port: int = 0) -> int:
        """The port that leads to the instance; the one that leads there already, where one does.

        Args:
            port: the one to be opened; 0: any that is free.

        Raises:
            EnvironmentProblemError: the plugin is missing, or AWS refuses.
            HostError: ``unreachable``: the instance does not run, or its agent is not connected.
        """
        with self._lock:
            if self._session is not None and self._session.process.poll() is None:
                return self._session.port
            self._stop()
            self._session = self._open(port or _free_port())
            return self._session.port

    def stop(self) -> None:
        """End the session, and the program that carries it. It may be started again."""
        with self._lock:
            self._stop()

    @contextlib.contextmanager
    def keep(self, port: int) -> Iterator[None]:
        """Have the port lead to the instance whenever there is one to lead to: it may be made, or restarted, meanwhile.

        Raises:
            EnvironmentProblemError: the plugin is missing, or another program has the port.
        """
        require_plugin(self._plugin)
        _require_free(port)
        over = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(port, over), name="geusemaker-forwarding", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join(_READY_SECONDS + _END_SECONDS)
            self.stop()

    def _keep(self, port: int, over: threading.Event) -> None:
        told, looked = set[str](), 0.0
        while not over.wait(_PAUSE):
            try:
                if time.monotonic() - looked >= _LOOK_SECONDS:
                    looked = time.monotonic()
                    self._leave_others(self._sessions.running_instance())
                self.start(port)
            except GeusemakerError as error:
                # The engine waits for its own time; who looks on sees what for. A machine that starts has many reasons.
                reason = error.code if isinstance(error, HostError) else error.message
                if reason not in told:
                    told.add(reason)
                    self._tell(f"Waiting for the way to the instance: {error.message}")

    def _leave_others(self, running: str | None) -> None:
        """A session with what does not run any more carries nothing, and need not notice."""
        with self._lock:
            if self._session is not None and self._session.instance_id != running:
                self._stop()

    def _open(self, port: int) -> _Session:
        program = require_plugin(self._plugin)
        instance_id = self._sessions.running_instance()
        if instance_id is None:
            raise HostError("No instance runs that Session Manager could lead to.", code="unreachable")
        parameters = {"portNumber": [str(self._ssh_port)], "localPortNumber": [str(port)]}
        answer = self._sessions.start(instance_id, parameters)
        session_id = str(answer["SessionId"])
        shown = {name: answer[name] for name in ("SessionId", "StreamUrl", "TokenValue")}
        request = {"Target": instance_id, "DocumentName": DOCUMENT, "Parameters": parameters}
        process = subprocess.Popen(
            [
                program,
                _VARIABLE,
                self._sessions.region,
                "StartSession",
                "",
                json.dumps(request),
                self._sessions.endpoint,
            ],
            env={**_environment(), **self._sessions.credentials(), _VARIABLE: json.dumps(shown)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C is for this process, which ends it in its turn
        )
        session = _Session(session_id, instance_id, port, process)
        try:
            _await_ready(process)
        except BaseException:
            self._end(session)
            raise
        return session

    def _stop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            self._end(session)

    def _end(self, session: _Session) -> None:
        session.process.terminate()
        try:
            session.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            session.process.kill()
            session.process.wait()
        with contextlib.suppress(GeusemakerError):  # one that nobody uses ends by itself
            self._sessions.end(session.id)


def _environment() -> dict[str, str]:
    """This process's own, without what would name other credentials than the deployment's."""
    return {name: value for name, value in os.environ.items() if name not in ("AWS_PROFILE", "AWS_SESSION_TOKEN")}


def require_plugin(plugin: str) -> str:
    """Where AWS's program is.

    Raises:
        EnvironmentProblemError: it is not installed.
    """
    found = shutil.which(plugin)
    if found is None:
        raise EnvironmentProblemError(
            f"AWS's program {PLUGIN}, which leads to the instance through Session Manager, is not on this machine.",
            next_step=f"{INSTALL}; `geusemaker doctor` tells whether it is found.",
        )
    return found


def choose_port(deployment: str) -> int:
    """A port for a deployment: free now, below those that systems give out (ip(7)), and each name's is another."""
    first = zlib.crc32(deployment.encode())
    for number in range(_PORTS):
        port = _FIRST_PORT + (first + number) % _PORTS
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HERE, port))
            return port
    raise EnvironmentProblemError(f"No port of this machine from {_FIRST_PORT} on is free.")


def _await_ready(process: subprocess.Popen[str]) -> None:
    """Wait until the plugin's port is open.

    Raises:
        HostError: it ended, or says nothing.
    """
    assert process.stdout is not None
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, lines), name="geusemaker-plugin", daemon=True).start()
    said: list[str] = []
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            line = lines.get(timeout=max(deadline - time.monotonic(), 0.001))
        except queue.Empty:
            raise HostError(f"{PLUGIN} did not open its port in time.", code="unreachable") from None
        if line is None:
            words = " ".join(" ".join(said).split())[-300:] or "it said nothing"
            raise HostError(f"Session Manager leads nowhere: {PLUGIN} ended: {words}", code="unreachable")
        if _READY in line:
            return
        said.append(line)


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    """To the end: a program whose output nobody reads would wait for ever."""
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return int(probe.getsockname()[1])


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HERE, port))
        except OSError as error:
            raise EnvironmentProblemError(
                f"Port {port} of this machine, by which Session Manager is to lead to the instance, is taken.",
                next_step=f"End what has it (`ss -ltnp sport = :{port}` tells), or run this on another machine.",
            ) from error
