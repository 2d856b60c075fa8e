"""A command on the instance, joined to this process's own input and output, or with both in memory.

All of it goes through the connection of ``geusemaker.host.connection``: no SSH program is needed on this machine, and
no key is ever in a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from geusemaker.errors import GeusemakerError, HostError
from geusemaker.host.connection import LOST, Login, host_error, why

if TYPE_CHECKING:
    import asyncssh

_CHUNK: Final = 65536
_PROJECT: Final = "geusemaker"
"""That of the compose file; see geusemaker.agent.docker."""
_INTERRUPT_SECONDS: Final = 3.0
"""How long a command that got Ctrl-C may take to end, before it is left alone."""


class Finished(NamedTuple):
    """What a command came to: its exit code, 128 and the signal's number where a signal ended it, and its output."""

    code: int
    out: bytes = b""
    err: bytes = b""


class Command(NamedTuple):
    """What is to run: a line for the login's shell (empty: that shell itself) or a program in a service's container."""

    line: str = ""
    service: str = ""
    words: tuple[str, ...] = ()
    become: str = ""
    """What turns the login into root, whom Docker listens to."""


def run(login: Login, command: Command, given: bytes = b"") -> Finished:
    """Run a command with ``given`` on its stdin, and keep what it prints.

    Raises:
        HostError: ``unreachable`` and the other codes of ``Login.connect``; ``not_running``: the service has no
            container that runs; ``docker_failed``.
    """
    try:
        return asyncio.run(_with(login, command, lambda process: _keep(process, given), terminal=False))
    finally:
        login.release()


def attach(login: Login, command: Command) -> int:
    """Run a command on this process's stdin, stdout and stderr; returns its exit code.

    It gets a terminal where both stdin and stdout are one. Raises as ``run``.
    """
    sys.stdout.flush()
    terminal = os.isatty(0) and os.isatty(1)
    try:
        with _raw(0) if terminal else contextlib.nullcontext():
            return asyncio.run(_with(login, command, _join, terminal=terminal)).code
    except _NotWrittenError as error:
        if error.args[0] == errno.EPIPE:
            return 128 + signal.SIGPIPE
        raise GeusemakerError(f"The output could not be written ({error.args[1]}).") from error
    finally:
        login.release()


async def _with(
    login: Login,
    command: Command,
    serve: Callable[[asyncssh.SSHClientProcess[bytes]], Coroutine[Any, Any, tuple[bytes, bytes]]],
    *,
    terminal: bool,
) -> Finished:
    import asyncssh

    connection = await login.connect()
    try:
        line = await _line(connection, command, terminal=terminal)
        more: dict[str, Any] = {"request_pty": False}
        if terminal:
            more = {"term_type": os.environ.get("TERM") or "dumb", "term_size": tuple(os.get_terminal_size(1))}
        process = await connection.create_process(line or None, encoding=None, **more)
        try:
            out, err = await serve(process)
            await process.wait_closed()
        except asyncio.CancelledError:
            await _interrupt(process)
            raise
        return Finished(_code(login, process), out, err)
    except (OSError, asyncssh.Error) as error:
        raise login.unreachable(LOST if connection.is_closed() else why(error)) from error
    finally:
        connection.abort()


async def _line(connection: asyncssh.SSHClientConnection, command: Command, *, terminal: bool) -> str:
    if not command.service:
        return command.line
    docker = f"{command.become} docker".lstrip()
    labels = (f"com.docker.compose.project={_PROJECT}", f"com.docker.compose.service={command.service}")
    filters = " ".join(f"--filter {shlex.quote(f'label={label}')}" for label in labels)
    listed = await connection.run(f"{docker} ps -q --no-trunc {filters}", input="", encoding="utf-8")
    if listed.exit_status != 0:
        said = " ".join(str(listed.stderr or "").split())[-300:] or f"exit status {listed.exit_status}"
        raise host_error("docker_failed", f"The containers cannot be listed: {said}")
    containers = str(listed.stdout or "").split()
    if not containers:
        raise HostError(f"{command.service} has no container that runs.", code="not_running")
    return f"{docker} exec -i{'t' if terminal else ''} {containers[0]} {shlex.join(command.words)}"


def _code(login: Login, process: asyncssh.SSHClientProcess[bytes]) -> int:
    if process.exit_signal:
        number = getattr(signal, f"SIG{process.exit_signal[0]}", None)
        return 128 + int(number) if number is not None else 255
    if process.exit_status is None:
        raise login.unreachable(LOST)
    return process.exit_status


async def _interrupt(process: asyncssh.SSHClientProcess[bytes]) -> None:
    """Ctrl-C, where there is no terminal that would send it: the command is told, and gets a moment to end."""
    import asyncssh

    with contextlib.suppress(OSError, asyncssh.Error, TimeoutError):
        process.send_signal("INT")
        async with asyncio.timeout(_INTERRUPT_SECONDS):
            await process.wait_closed()


# -- both ends in memory


async def _keep(process: asyncssh.SSHClientProcess[bytes], given: bytes) -> tuple[bytes, bytes]:
    async def feed() -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            process.stdin.write(given)
            await process.stdin.drain()
            process.stdin.write_eof()

    _, out, err = await asyncio.gather(feed(), process.stdout.read(), process.stderr.read())
    return out, err


# -- this process's own


async def _join(process: asyncssh.SSHClientProcess[bytes]) -> tuple[bytes, bytes]:
    loop = asyncio.get_running_loop()
    given = _Input(0, loop, process)
    with _resizing(process):
        given.start()
        try:
            await asyncio.gather(_write(process.stdout, 1), _write(process.stderr, 2))
        finally:
            given.stop()
    return b"", b""


class _NotWrittenError(Exception):
    """What the command printed could not be written here."""


async def _write(source: asyncssh.SSHReader[bytes], descriptor: int) -> None:
    def write(data: bytes) -> None:
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError as error:
            raise _NotWrittenError(error.errno, error.strerror) from error

    while data := await source.read(_CHUNK):
        await asyncio.to_thread(write, data)


class _Input:
    """This process's input to the command, read in a thread: a file, a pipe or a terminal, its flags left as they are.

    (A terminal that is set not to block would be so for the shell, too, that it is shared with.)
    """

    def __init__(
        self, descriptor: int, loop: asyncio.AbstractEventLoop, process: asyncssh.SSHClientProcess[bytes]
    ) -> None:
        self._descriptor = descriptor
        self._loop = loop
        self._process = process
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._read, name="geusemaker-input", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        os.close(self._waker)

    def _read(self) -> None:
        try:
            while self._pass_on():
                pass
        finally:
            os.close(self._wake)

    def _pass_on(self) -> bool:
        """Hand on what is typed next; False at the end of it, or of the session."""
        readable, _, _ = select.select([self._descriptor, self._wake], [], [])
        if self._wake in readable:
            return False
        try:
            data = os.read(self._descriptor, _CHUNK)
        except OSError:  # the terminal was closed
            data = b""
        try:
            asyncio.run_coroutine_threadsafe(self._give(data), self._loop).result()
        except (RuntimeError, asyncio.CancelledError):
            return False
        return bool(data)

    async def _give(self, data: bytes) -> None:
        import asyncssh

        # The command may not read, or have ended: its exit code tells.
        with contextlib.suppress(OSError, asyncssh.Error):
            if not data:
                self._process.stdin.write_eof()
                return
            self._process.stdin.write(data)
            await self._process.stdin.drain()


@contextlib.contextmanager
def _resizing(process: asyncssh.SSHClientProcess[bytes]) -> Iterator[None]:
    """Tell the command's terminal when ours changes its size; a no-op where signals cannot be had."""

    def resized() -> None:
        with contextlib.suppress(OSError):
            process.change_terminal_size(*os.get_terminal_size(1))

    loop = asyncio.get_running_loop()
    handled = os.isatty(0) and os.isatty(1) and threading.current_thread() is threading.main_thread()
    if handled:
        loop.add_signal_handler(signal.SIGWINCH, resized)
    try:
        yield
    finally:
        if handled:
            loop.remove_signal_handler(signal.SIGWINCH)


@contextlib.contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    """Hand each key on as it is typed, Ctrl-C included; the terminal is as before afterwards."""
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)  # what was typed ahead is kept
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
