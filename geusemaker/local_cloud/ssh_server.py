"""The instances' SSH servers: commands run as Debian's OpenSSH runs them without a terminal.

One event loop, in a thread of its own, serves all instances.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import asyncssh
from asyncssh import SSHServerChannel, SSHServerConnection, SSHServerProcess
from asyncssh.packet import SSHPacket

from geusemaker.local_cloud.moto_backends import SSH_PORT
from geusemaker.local_cloud.ssh_login import Login, told_connection

__all__ = ["Login", "SshServers"]

_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)
_END_OF_INPUT: Final = b"\x04"  # what Ctrl-D types
_DRAIN_SECONDS: Final = 5
_CHUNK: Final = 64 * 1024
_CALL_SECONDS: Final = 30.0
# Debian's sshd_config: AcceptEnv LANG LC_* COLORTERM NO_COLOR.
_ACCEPTED_VARIABLES: Final = ("LANG", "LC_", "COLORTERM", "NO_COLOR")


class _Channel(SSHServerChannel[bytes]):
    """A session that takes only the variables Debian's sshd takes; a client is told when one is refused."""

    def _process_env_request(self, packet: SSHPacket) -> bool:
        name = packet.get_string().decode(errors="replace")
        packet.get_string()
        return name.startswith(_ACCEPTED_VARIABLES)


class _Server(asyncssh.SSHServer):
    def __init__(self, login: Login, connections: set[SSHServerConnection]) -> None:
        self._login = login
        self._connections = connections

    def connection_made(self, conn: SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)
        if self._login.deaf.exists():
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        if username != self._login.user:
            return False
        try:
            lines = self._login.authorized_keys.read_text().splitlines()
        except OSError:
            return False
        offered = key.public_data
        for line in lines:
            if not line.strip() or line.startswith("#"):
                continue
            with contextlib.suppress(asyncssh.KeyImportError):
                if asyncssh.import_public_key(line).public_data == offered:
                    return True
        return False

    def session_requested(self) -> Any:
        channel = self._connection.create_server_channel(encoding=None)
        channel.__class__ = _Channel
        process: SSHServerProcess[bytes] = SSHServerProcess(self._run, None, 0, False)
        return channel, process

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        """Port forwarding, as sshd allows it; the instance's loopback is its own address, not that of the machine."""
        own = dest_host.casefold() == "localhost" or dest_host.startswith("127.")
        return self._connection.forward_connection(self._login.loopback if own else dest_host, dest_port)

    async def _run(self, process: SSHServerProcess[bytes]) -> None:
        try:
            await _run_command(self._login, process)
        except Exception:
            # The client is told that the session failed; the cause is for whoever looks after the local cloud.
            _LOG.exception("%s: a session failed", self._login.instance_id)
            process.exit(255)


async def _run_command(login: Login, process: SSHServerProcess[bytes]) -> None:
    if process.subsystem:
        process.stderr.write(f"subsystem request failed: {process.subsystem}\n".encode())
        process.exit(127)
        return
    arguments = ["/bin/sh", "-c", process.command] if process.command is not None else ["/bin/sh", "-l"]
    login.log(f"session: {'command' if process.command is not None else 'shell'}")
    environment = {**login.environment, "SSH_CONNECTION": told_connection(process)}
    if (terminal := process.term_type) is not None:  # empty where the client's own TERM is not set
        await _run_on_terminal(login, process, arguments, {**environment, "TERM": terminal or "dumb"})
        return
    command = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=login.home,
        start_new_session=True,
    )
    login.sessions.add(command.pid)
    stdin = asyncio.ensure_future(_feed(process, command))
    try:
        assert command.stdout is not None and command.stderr is not None
        # As sshd: the session lasts until the command ended and nobody holds its output open any more.
        await asyncio.gather(
            _drain(command, 1, command.stdout, process.stdout), _drain(command, 2, command.stderr, process.stderr)
        )
        status = await command.wait()
    finally:
        stdin.cancel()
        login.sessions.discard(command.pid)
    _report_exit(process, status)


def _report_exit(process: SSHServerProcess[bytes], status: int) -> None:
    if status < 0:
        process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
    else:
        process.exit(status)


async def _feed(process: SSHServerProcess[bytes], command: asyncio.subprocess.Process) -> None:
    """The client's input to the command, until either ends it."""
    assert command.stdin is not None
    try:
        while True:
            try:
                data = await process.stdin.read(_CHUNK)
            except asyncssh.SignalReceived as received:
                with contextlib.suppress(ProcessLookupError, AttributeError):
                    os.killpg(command.pid, getattr(signal, f"SIG{received.signal}"))
                continue
            except (asyncssh.TerminalSizeChanged, asyncssh.BreakReceived):
                continue
            if not data:
                break
            command.stdin.write(data)
            await command.stdin.drain()
    except (BrokenPipeError, ConnectionResetError, asyncssh.Error):
        pass  # the command does not read any more, or the client went away: both end the input
    finally:
        command.stdin.close()


async def _drain(
    command: asyncio.subprocess.Process,
    descriptor: int,
    source: asyncio.StreamReader,
    target: asyncssh.SSHWriter[bytes],
) -> None:
    """The command's output to the client. Without a client the pipe is closed, and the command goes on without it."""
    try:
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
    except (BrokenPipeError, ConnectionResetError, asyncssh.Error):
        transport = command._transport.get_pipe_transport(descriptor)  # type: ignore[attr-defined]
        if transport is not None:
            transport.close()


async def _run_on_terminal(
    login: Login, process: SSHServerProcess[bytes], arguments: list[str], environment: dict[str, str]
) -> None:
    """An interactive session: the command gets a terminal of its own and ends with it."""
    import fcntl
    import struct
    import termios

    controller, terminal = os.openpty()

    def resize(width: int, height: int) -> None:
        fcntl.ioctl(controller, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    resize(*process.term_size[:2])
    loop = asyncio.get_running_loop()
    try:
        # setsid --ctty makes the terminal the controlling one; forking a threaded process to do it here is not safe.
        command = await asyncio.create_subprocess_exec(
            "setsid",
            "--ctty",
            *arguments,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=environment,
            cwd=login.home,
        )
    finally:
        os.close(terminal)
    login.sessions.add(command.pid)

    async def keys() -> None:
        while True:
            try:
                data = await process.stdin.read(_CHUNK)
            except asyncssh.TerminalSizeChanged as size:
                resize(size.width, size.height)
                continue
            except asyncssh.Error:
                with contextlib.suppress(ProcessLookupError):
                    command.send_signal(signal.SIGHUP)
                return
            # The end of the client's input is typed: hanging up would end a command that has still something to say.
            os.write(controller, data or _END_OF_INPUT)
            if not data:
                return

    done = asyncio.Event()

    def readable() -> None:
        try:
            data = os.read(controller, _CHUNK)
        except OSError:  # EIO: nobody has the terminal open any more
            data = b""
        if data:
            with contextlib.suppress(BrokenPipeError, asyncssh.Error):
                process.stdout.write(data)
        else:
            loop.remove_reader(controller)
            done.set()

    loop.add_reader(controller, readable)
    typing = asyncio.ensure_future(keys())
    try:
        status = await command.wait()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(done.wait(), _DRAIN_SECONDS)
    finally:
        typing.cancel()
        loop.remove_reader(controller)
        os.close(controller)
        login.sessions.discard(command.pid)
    _report_exit(process, status)


@dataclass
class _Listening:
    address: str
    acceptor: asyncssh.SSHAcceptor
    connections: set[SSHServerConnection]


class SshServers:
    """One server per instance that has an address."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._listening: dict[str, _Listening] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, name="ssh", daemon=True)
        self._thread.start()

    def find_address(self, instance_id: str) -> str | None:
        """Where the instance's server listens."""
        listening = self._listening.get(instance_id)
        return listening.address if listening else None

    def listen(self, login: Login, address: str) -> None:
        """Serve the instance on ``address``; one it served on before is given up, with its connections.

        Raises:
            OSError: the address cannot be had.
        """
        if self.find_address(login.instance_id) != address:
            self.close(login.instance_id)
            self._call(self._listen(login, address))

    def close(self, instance_id: str) -> None:
        """Stop serving the instance and drop its connections. The commands go on."""
        if instance_id in self._listening:
            self._call(self._close(instance_id))

    def stop(self) -> None:
        """Close everything and end the thread."""
        for instance_id in list(self._listening):
            self.close(instance_id)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_SECONDS)

    async def _listen(self, login: Login, address: str) -> None:
        connections: set[SSHServerConnection] = set()
        acceptor = await asyncssh.listen(
            address,
            SSH_PORT,
            server_factory=lambda: cast(asyncssh.SSHServer, _Server(login, connections)),
            server_host_keys=login.host_keys,
            encoding=None,
            reuse_address=True,
            password_auth=False,
            kbdint_auth=False,
            gss_host=None,
            line_editor=False,
            login_timeout=30,
            server_version="OpenSSH_10.0p2_Debian-7",
        )
        self._listening[login.instance_id] = _Listening(address, acceptor, connections)

    async def _close(self, instance_id: str) -> None:
        listening = self._listening.pop(instance_id)
        listening.acceptor.close()
        for connection in list(listening.connections):
            connection.abort()
        await listening.acceptor.wait_closed()
