"""The SSH client that talks to an instance's agent. Importing this module is cheap: SSH is loaded on first use."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from geusemaker.agent.protocol.reading import read_line
from geusemaker.errors import HostError
from geusemaker.host.bundle import agent_version, packed_agent
from geusemaker.host.commands import agent_command, install_command
from geusemaker.host.connection import LOST, Login, host_error, why

if TYPE_CHECKING:
    import asyncssh

    from geusemaker.host.forwarding import Forwarding

T = TypeVar("T")


@dataclass
class _Run:
    """One command on the instance and what it has said so far."""

    lines: queue.Queue[str | None] = field(default_factory=queue.Queue)
    stderr: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    status: int | None = None
    signal: str = ""


class AgentClient:
    """A connection to one instance, made when first needed and kept.

    Args:
        address, port, user: where the instance's SSH server is and whom to log in as.
        private_key: the login key itself (OpenSSH or PEM text), not a path.
        host_key: the instance's public host key as in ``ssh-ed25519 AAAA…``; any other key is refused.
        become: what turns the login into root (``sudo -n``), or nothing.
        connect_timeout: seconds to wait for a connection, log-in included.
        through: what leads to the address, where that does not by itself.

    Not for use by several threads at once, ``close`` and ``is_reachable`` aside.
    """

    def __init__(
        self,
        address: str,
        port: int,
        user: str,
        private_key: str,
        host_key: str,
        become: str = "",
        *,
        connect_timeout: float = 15.0,
        through: Forwarding | None = None,
    ) -> None:
        self.become = become
        self._login = Login(address, port, user, private_key, host_key, connect_timeout, through)
        self._connection: asyncssh.SSHClientConnection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()

    def __enter__(self) -> AgentClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        verb: str,
        document: Mapping[str, Any] | None = None,
        on_line: Callable[[dict[str, Any]], None] | None = None,
        timeout: float = 900.0,
    ) -> dict[str, Any]:
        """Run a verb of the agent and return its answer. An agent that is missing or another version is replaced.

        Args:
            verb, document: what the agent is to do; the document travels on stdin, so it may hold secrets.
            on_line: called in this thread with each event (phase, service, note, log) as it arrives.
            timeout: seconds for all of it. The agent has deadlines of its own and goes on after ours: cancel it.

        Raises:
            HostError: with the agent's own code and detail, or ``unreachable``, ``host_key_mismatch``, ``auth_failed``,
                ``timeout``, ``agent_died``, ``install_failed``
        """
        deadline = time.monotonic() + timeout
        text = json.dumps(dict(document or {}))
        for attempt in (1, 2):
            command = agent_command(self.become, verb, expect=agent_version())
            run, last, silent = self._run_agent(verb, command, text, on_line, deadline)
            if last is not None and last.get("event") == "result":
                return {key: value for key, value in last.items() if key not in ("event", "ok")}
            code = str(last.get("code", "")) if last else ""
            # Python says 1 for a module that is not there; a killed agent has no such status, or has spoken before.
            missing = last is None and silent and run.status in (1, 2)
            if attempt == 1 and (missing or code == "outdated"):
                self._install(deadline)
                continue
            if last is not None:
                message = str(last.get("message", "The agent failed."))
                raise host_error(code, message, last.get("detail"))
            raise self._died(verb, run)
        raise AssertionError("unreachable")

    def is_reachable(self, timeout: float | None = None) -> bool:
        """Whether the instance accepts our log-in under its known host key. Raises on a wrong host key or login."""
        try:
            self._await(self._connected(), timeout or self._login.connect_timeout + 5)
        except HostError as error:
            if error.code == "unreachable":
                return False
            raise
        return True

    def seen_from(self) -> str:
        """The address that this machine connects from, as the instance sees it; empty where it does not tell.

        sshd sets SSH_CONNECTION for every session (sshd(8)).
        """
        said: list[str] = []
        patience = time.monotonic() + self._login.connect_timeout + 5
        self._execute("printf '%s\\n' \"$SSH_CONNECTION\"", "", said.append, patience, "question")
        told = [line for line in said if line.strip()]  # the last line: a login's start-up files may print before it
        return told[-1].partition(" ")[0] if told else ""

    def close(self) -> None:
        """End the connection. What runs on the instance goes on."""
        with self._starting:
            loop, self._loop = self._loop, None
        self._login.release()
        if loop is None:
            return
        connection, self._connection = self._connection, None
        if connection is not None:
            loop.call_soon_threadsafe(connection.abort)
        loop.call_soon_threadsafe(loop.stop)

    # -- running

    def _run_agent(
        self,
        verb: str,
        command: str,
        text: str,
        on_line: Callable[[dict[str, Any]], None] | None,
        deadline: float,
    ) -> tuple[_Run, dict[str, Any] | None, bool]:
        """(the run, its last line if it is a result or an error, whether the agent said nothing at all)"""
        last: dict[str, Any] | None = None
        pieces: list[str] = []
        silent = True

        def take(line: str) -> None:
            nonlocal last, silent
            event = read_line(line)
            if event is None:
                return
            silent = False
            if event["event"] == "part":
                pieces.append(str(event.get("text", "")))
            elif event["event"] in ("result", "error"):
                last = event
            elif on_line is not None:
                on_line(event)

        run = self._execute(command, text, take, deadline, f"agent verb {verb}")
        if last is not None and pieces and last.get("parts") == len(pieces):
            last = {"event": "result", **json.loads("".join(pieces))}
        return run, last, silent

    def _install(self, deadline: float) -> None:
        output: list[str] = []
        run = self._execute(install_command(self.become), packed_agent(), output.append, deadline, "installation")
        if run.status != 0 or agent_version() not in "".join(output):
            words = " ".join(run.stderr) or f"exit status {run.status}"
            raise host_error("install_failed", f"The agent could not be installed on the instance: {words}.")

    def _execute(self, command: str, stdin: str, on_line: Callable[[str], None], deadline: float, what: str) -> _Run:
        run = _Run()
        running = asyncio.run_coroutine_threadsafe(self._remote(command, stdin, run), self._running_loop())
        try:
            while (line := self._next_line(run, deadline, what)) is not None:
                on_line(line)
        except BaseException:  # ours, the caller's own, or Ctrl-C: stop listening
            running.cancel()
            raise
        running.result(5)
        return run

    def _next_line(self, run: _Run, deadline: float, what: str) -> str | None:
        try:
            return run.lines.get(timeout=max(deadline - time.monotonic(), 0.001))
        except queue.Empty:
            raise host_error("timeout", f"The {what} did not end in time; it may still be running.") from None

    async def _remote(self, command: str, stdin: str, run: _Run) -> None:
        import asyncssh

        process: asyncssh.SSHClientProcess[str] | None = None
        try:
            process = await self._open(command)
            with contextlib.suppress(BrokenPipeError, ConnectionError):
                process.stdin.write(stdin)
                process.stdin.write_eof()
            async with asyncio.TaskGroup() as streams:
                streams.create_task(_collect(process.stderr, run.stderr.append))
                streams.create_task(_collect(process.stdout, run.lines.put))
            await process.wait_closed()
            run.status = process.exit_status
            run.signal = process.exit_signal[0] if process.exit_signal else ""
            if process.exit_status is None and not process.exit_signal:
                raise self._login.unreachable(LOST)
        except* (OSError, asyncssh.Error) as errors:
            self._connection = None
            raise self._login.unreachable(LOST if process else why(errors.exceptions[0])) from errors
        finally:
            if process is not None:
                process.close()
            run.lines.put(None)

    async def _open(self, command: str) -> asyncssh.SSHClientProcess[str]:
        """Start the command, on a new connection if the one that was kept turns out to be dead."""
        import asyncssh

        kept = self._connection is not None
        connection = await self._connected()
        try:
            return await connection.create_process(command, encoding="utf-8", errors="replace")
        except (OSError, asyncssh.Error):
            # Opening a channel failed, so the command was not started: safe to ask once more.
            self._connection = None
            if not kept:
                raise
        return await (await self._connected()).create_process(command, encoding="utf-8", errors="replace")

    async def _connected(self) -> asyncssh.SSHClientConnection:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        self._connection = await self._login.connect()
        return self._connection

    # -- the private loop

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=_serve, args=(loop,), name="geusemaker-ssh", daemon=True).start()
                self._loop = loop
            return self._loop

    def _await(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._running_loop())
        try:
            return future.result(timeout)
        except TimeoutError as error:
            raise self._login.unreachable(f"no answer within {timeout:g} seconds") from error
        finally:
            future.cancel()

    # -- errors

    def _died(self, verb: str, run: _Run) -> HostError:
        how = f"signal {run.signal}" if run.signal else f"exit status {run.status}"
        words = " ".join(line.strip() for line in run.stderr)[-500:]
        return host_error(
            "agent_died", f"The agent ended without an answer to {verb} ({how}){': ' + words if words else ''}."
        )


async def _collect(reader: asyncssh.SSHReader[str], take: Callable[[str], None]) -> None:
    async for line in reader:
        take(line.rstrip("\r\n"))


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()
