"""SSH as pulumi-command's Go client does it: dialling with retries, and one command per connection."""

from __future__ import annotations

import asyncio
import json
import queue
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from geusemaker.local_cloud.providers.command.lines import LineSplitter, LineTooLongError
from geusemaker.local_cloud.providers.server import ProviderError

if TYPE_CHECKING:
    import asyncssh

T = TypeVar("T")

# pulumi/sdk/go/common/util/retry: 100 ms, half as much again each time, at most 5 s.
_FIRST_DELAY: Final = 0.1
_BACKOFF: Final = 1.5
_LONGEST_DELAY: Final = 5.0


@dataclass(frozen=True)
class Connection:
    """Where and how to connect; times in seconds, ``dial_error_limit`` -1 = no limit."""

    host: str
    user: str = "root"
    port: int = 22
    password: str | None = None
    private_key: str | None = None
    private_key_password: str | None = None
    agent_socket_path: str | None = None
    host_key: str | None = None
    dial_error_limit: int = 10
    per_dial_timeout: float = 15.0

    @classmethod
    def from_inputs(cls, inputs: dict[str, Any]) -> Connection:
        """From the ``connection`` input, its defaults filled in."""
        return cls(
            host=inputs["host"],
            user=inputs["user"],
            port=int(inputs["port"]),
            password=inputs.get("password"),
            private_key=inputs.get("privateKey"),
            private_key_password=inputs.get("privateKeyPassword"),
            agent_socket_path=inputs.get("agentSocketPath"),
            host_key=inputs.get("hostKey"),
            dial_error_limit=int(inputs["dialErrorLimit"]),
            per_dial_timeout=float(inputs["perDialTimeout"]),
        )


@dataclass(frozen=True)
class CommandOutput:
    """What a command that exited 0 printed, each without one trailing newline."""

    stdout: str
    stderr: str


@dataclass(frozen=True)
class CommandRequest:
    """A command to run; ``log_stdout``/``log_stderr`` say whose lines are reported as they appear."""

    command: str
    stdin: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    log_stdout: bool = True
    log_stderr: bool = True


def dial_delays(limit: int) -> Iterator[float]:
    """Seconds to wait after each failed attempt; ends when the limit of errors is reached. -1 = never."""
    delay = _FIRST_DELAY
    failures = 0
    while limit < 0 or failures < limit:
        yield delay
        delay = min(delay * _BACKOFF, _LONGEST_DELAY)
        failures += 1


class SshLoop:
    """A private event loop in a thread of its own; asyncssh lives there, callers are ordinary threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="command-provider-ssh", daemon=True).start()

    def close(self) -> None:
        """End the loop; what still runs on it is dropped."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on the loop without waiting."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    @contextmanager
    def connect(
        self, connection: Connection, stop: threading.Event, on_retry: Callable[[str], None]
    ) -> Iterator[asyncssh.SSHClientConnection]:
        """Connect, trying again after any failure as pulumi-command does, a refused host key included.

        Raises:
            ProviderError: a key cannot be read, the limit of attempts is reached, or ``stop`` was set.
        """
        options = _client_options(connection)
        dialled = self._dial(connection, options, stop, on_retry)
        try:
            yield dialled
        finally:
            self.run(_close(dialled))

    def _dial(
        self,
        connection: Connection,
        options: dict[str, Any],
        stop: threading.Event,
        on_retry: Callable[[str], None],
    ) -> asyncssh.SSHClientConnection:
        limit = connection.dial_error_limit
        delays = dial_delays(limit)
        attempt = 0
        while True:
            attempt += 1
            try:
                return self.run(_connect(connection, options))
            except DialError as error:
                delay = next(delays, None)
                if delay is None:
                    raise ProviderError(f"after {attempt - 1} failed attempts: {error}") from error
                on_retry(f"Dial {attempt}/{'inf' if limit < 0 else limit} failed: retrying")
                if stop.wait(delay):
                    raise ProviderError("context canceled") from error

    def execute(
        self,
        dialled: asyncssh.SSHClientConnection,
        request: CommandRequest,
        gone: threading.Event,
        on_line: Callable[[str], None],
    ) -> CommandOutput:
        """Run a command; ``on_line`` is called in the calling thread for each line as it appears.

        When ``gone`` is set by another thread the connection is given up; the remote command goes on.

        Raises:
            ProviderError: exit status other than 0, worded as pulumi-command words it.
        """
        lines: queue.SimpleQueue[str | _Finished] = queue.SimpleQueue()
        self.start(_execute(dialled, request, lines))
        while True:
            try:
                item = lines.get(timeout=0.5)
            except queue.Empty:
                if gone.is_set():
                    raise ProviderError("context canceled") from None
                continue
            if isinstance(item, str):
                on_line(item)
                continue
            if item.failure:
                raise ProviderError(f"{item.failure}: running {_quoted(request.command)}:\n{item.combined}")
            return CommandOutput(_trimmed(item.stdout), _trimmed(item.stderr))


class DialError(Exception):
    """One attempt to connect failed; worded as Go's SSH client words it."""


@dataclass(frozen=True)
class _Finished:
    failure: str
    stdout: str
    stderr: str
    combined: str


def _client_options(connection: Connection) -> dict[str, Any]:
    import asyncssh

    options: dict[str, Any] = {
        "username": connection.user,
        "config": None,
        "known_hosts": None,
        "client_keys": None,
        "agent_path": connection.agent_socket_path,
        "password": connection.password,
        "gss_auth": False,
        "gss_kex": False,
        # Go's client has a limit on the TCP connection only.
        "login_timeout": 0,
        "keepalive_interval": 0,
    }
    if connection.host_key is not None:
        try:
            key = asyncssh.import_public_key(connection.host_key)
        except asyncssh.KeyImportError as error:
            raise ProviderError("failed to parse host key: ssh: no key found") from error
        options["known_hosts"] = ([key], [], [])
        options["server_host_key_algs"] = [name.decode() for name in key.sig_algorithms]
    if connection.private_key is not None:
        try:
            options["client_keys"] = [
                asyncssh.import_private_key(connection.private_key, connection.private_key_password)
            ]
        except asyncssh.KeyEncryptionError as error:
            raise ProviderError("ssh: this private key is passphrase protected") from error
        except asyncssh.KeyImportError as error:
            raise ProviderError("ssh: no key found") from error
    return options


async def _connect(connection: Connection, options: dict[str, Any]) -> asyncssh.SSHClientConnection:
    import asyncssh

    sock = await _open_socket(connection)
    try:
        return await asyncssh.connect(sock=sock, **options)
    except asyncssh.HostKeyNotVerifiable as error:
        raise DialError("ssh: handshake failed: ssh: host key mismatch") from error
    except asyncssh.PermissionDenied as error:
        methods = "publickey" if connection.private_key else "password"
        raise DialError(
            "ssh: handshake failed: ssh: unable to authenticate, "
            f"attempted methods [none {methods}], no supported methods remain"
        ) from error
    except (asyncssh.Error, OSError) as error:
        raise DialError(f"ssh: handshake failed: {error}") from error


async def _open_socket(connection: Connection) -> socket.socket:
    endpoint = f"dial tcp {connection.host}:{connection.port}"
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(connection.host, connection.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise DialError(f"dial tcp: lookup {connection.host}: no such host") from error
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    try:
        # Zero stands for no limit.
        await asyncio.wait_for(loop.sock_connect(sock, address), connection.per_dial_timeout or None)
    except TimeoutError as error:
        sock.close()
        raise DialError(f"{endpoint}: i/o timeout") from error
    except ConnectionRefusedError as error:
        sock.close()
        raise DialError(f"{endpoint}: connect: connection refused") from error
    except OSError as error:
        sock.close()
        raise DialError(f"{endpoint}: connect: {(error.strerror or str(error)).lower()}") from error
    return sock


async def _close(dialled: asyncssh.SSHClientConnection) -> None:
    dialled.abort()


async def _execute(
    dialled: asyncssh.SSHClientConnection, request: CommandRequest, lines: queue.SimpleQueue[str | _Finished]
) -> None:
    import asyncssh

    stdout, stderr, combined = bytearray(), bytearray(), bytearray()
    logged = LineSplitter()

    async def read(stream: Any, own: bytearray, log: bool) -> None:
        while chunk := await stream.read(32 * 1024):
            own.extend(chunk)
            combined.extend(chunk)
            if log:
                for line in logged.feed(chunk):
                    lines.put(line)

    def finished(failure: str) -> _Finished:
        return _Finished(failure, _text(stdout), _text(stderr), _text(combined))

    try:
        process = await dialled.create_process(request.command, env=dict(request.environment), encoding=None)
        # The command may exit, or close its input, before it has read everything: not an error.
        writer = asyncio.ensure_future(_feed(process.stdin, request.stdin.encode()))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(read(process.stdout, stdout, request.log_stdout))
                group.create_task(read(process.stderr, stderr, request.log_stderr))
            await process.wait_closed()
        finally:
            writer.cancel()
        for line in logged.rest():
            lines.put(line)
        lines.put(finished(_failure(process)))
    except* LineTooLongError as group_error:
        lines.put(finished(str(group_error.exceptions[0])))
    except* (asyncssh.Error, OSError) as group_error:
        lines.put(finished(f"ssh: {group_error.exceptions[0]}"))
    except* Exception as group_error:
        lines.put(finished(f"local cloud: {group_error.exceptions[0]!r}"))


async def _feed(stream: Any, data: bytes) -> None:
    try:
        if data:
            stream.write(data)
            await stream.drain()
        stream.write_eof()
    except (BrokenPipeError, ConnectionError):
        return


def _failure(process: asyncssh.SSHClientProcess[bytes]) -> str:
    """How Go's SSH client words the end of a session; empty for exit status 0."""
    if process.exit_signal is not None:
        name = process.exit_signal[0]
        return f"Process exited with status {128 + _SIGNALS.get(name, 0)} from signal {name}"
    if process.exit_status is None:
        return "wait: remote command exited without exit status or exit signal"
    return f"Process exited with status {process.exit_status}" if process.exit_status else ""


# golang.org/x/crypto/ssh/session.go
_SIGNALS: Final = {
    "ABRT": 6,
    "ALRM": 14,
    "FPE": 8,
    "HUP": 1,
    "ILL": 4,
    "INT": 2,
    "KILL": 9,
    "PIPE": 13,
    "QUIT": 3,
    "SEGV": 11,
    "TERM": 15,
}


def _text(data: bytearray) -> str:
    return data.decode(errors="replace")


def _trimmed(text: str) -> str:
    return text.removesuffix("\n")


def _quoted(command: str) -> str:
    return json.dumps(command, ensure_ascii=False)
