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
from typing import TYPE_CHECKING, Any, Final, TypeVar

from geusemaker.errors import HostError
from geusemaker.host.bundle import agent_version, packed_agent
from geusemaker.host.commands import agent_command, install_command

if TYPE_CHECKING:
    import asyncssh

T = TypeVar("T")

_LOST: Final = "the connection was lost while a command was running; it may still go on there"

# What to do next, for those of the agent's codes that have one answer.
_NEXT_STEPS: Final[dict[str, str]] = {
    "unreachable": "Check that the instance runs and that your address may connect to it, then try again.",
    "host_key_mismatch": "Do not connect. Find out who answers on that address; nothing was sent to it.",
    "auth_failed": "The key in this deployment's secrets is not the one the instance knows.",
    "lease_held": "Wait for that operation to end. If its owner is gone, run `geusemaker recover`.",
    "lease_lost": "Run `geusemaker status` to see what the deployment is doing.",
    "not_mounted": "Run `geusemaker recover`: it mounts the file system before anything is started.",
    "mount_failed": "Check the file system, its mount target and the instance's network in AWS, then run `geusemaker "
    "recover`. Nothing is started without its data.",
    "efs_hung": "Check the file system and its mount target in AWS; services are not touched until it answers.",
    "data_loss": "Start nothing by hand. Look at the file system and its backups first.",
    "foreign_data": "Deploy under the name the data belongs to, or give this deployment a file system of its own.",
    "no_space": "Enlarge the instance's disk with an update that does only that (--root-volume), then try again.",
    "image_missing": "Check the image reference: its tag or digest is not in the registry.",
}


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
    ) -> None:
        self.address = address
        self.port = port
        self.user = user
        self.become = become
        self.connect_timeout = connect_timeout
        self._private_key = private_key
        self._host_key = host_key
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
                raise _error(code, message, last.get("detail"))
            raise self._died(verb, run)
        raise AssertionError("unreachable")

    def is_reachable(self, timeout: float | None = None) -> bool:
        """Whether the instance accepts our log-in under its known host key. Raises on a wrong host key or login."""
        try:
            self._await(self._connected(), timeout or self.connect_timeout + 5)
        except HostError as error:
            if error.code == "unreachable":
                return False
            raise
        return True

    def close(self) -> None:
        """End the connection. What runs on the instance goes on."""
        with self._starting:
            loop, self._loop = self._loop, None
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
            event = _parse_event(line)
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
            raise _error("install_failed", f"The agent could not be installed on the instance: {words}.")

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
            raise _error("timeout", f"The {what} did not end in time; it may still be running.") from None

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
                raise self._unreachable(_LOST)
        except* (OSError, asyncssh.Error) as errors:
            self._connection = None
            raise self._unreachable(_LOST if process else _why(errors.exceptions[0])) from errors
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
        import asyncssh

        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        try:
            host_key = asyncssh.import_public_key(self._host_key)
            login_key = asyncssh.import_private_key(self._private_key)
        except asyncssh.KeyImportError as error:
            raise HostError(f"A key of the deployment cannot be read: {error}.", code="auth_failed") from None
        try:
            async with asyncio.timeout(self.connect_timeout):
                self._connection = await asyncssh.connect(
                    self.address,
                    self.port,
                    username=self.user,
                    client_keys=[login_key],
                    known_hosts=([host_key], [], []),
                    config=None,  # the operator's own SSH configuration has no say here
                    agent_path=None,
                    preferred_auth="publickey",
                    keepalive_interval=15,
                    keepalive_count_max=3,
                )
        except asyncssh.HostKeyNotVerifiable as error:
            raise self._failed("host_key_mismatch", "is not the instance: it shows another host key") from error
        except asyncssh.KeyExchangeFailed as error:
            # It offers no key of the known key's kind.
            raise self._failed("host_key_mismatch", "is not the instance: it has no such host key") from error
        except asyncssh.ConnectionLost as error:
            # The same, where it hangs up so quickly that its reason is lost with the connection.
            shown = await self._shown_host_key()
            if shown is not None and shown.public_data != host_key.public_data:
                raise self._failed("host_key_mismatch", "is not the instance: it shows another host key") from error
            raise self._unreachable(_why(error)) from error
        except asyncssh.PermissionDenied as error:
            raise self._failed("auth_failed", f"refused the login of {self.user}") from error
        except TimeoutError as error:
            raise self._unreachable(f"no answer within {self.connect_timeout:g} seconds") from error
        except (OSError, asyncssh.Error) as error:
            raise self._unreachable(_why(error)) from error
        return self._connection

    async def _shown_host_key(self) -> asyncssh.SSHKey | None:
        """The host key that the server shows to anyone; None where it shows none. Nothing is sent to it."""
        import asyncssh

        try:
            async with asyncio.timeout(self.connect_timeout):
                return await asyncssh.get_server_host_key(self.address, self.port, config=None)
        except (OSError, asyncssh.Error):  # a timeout is an OSError
            return None

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
            raise self._unreachable(f"no answer within {timeout:g} seconds") from error
        finally:
            future.cancel()

    # -- errors

    def _failed(self, code: str, what: str) -> HostError:
        return _error(code, f"{self.address}:{self.port} {what}.")

    def _unreachable(self, why: str) -> HostError:
        return self._failed("unreachable", f"cannot be reached: {why}")

    def _died(self, verb: str, run: _Run) -> HostError:
        how = f"signal {run.signal}" if run.signal else f"exit status {run.status}"
        words = " ".join(line.strip() for line in run.stderr)[-500:]
        return _error(
            "agent_died", f"The agent ended without an answer to {verb} ({how}){': ' + words if words else ''}."
        )


def _error(code: str, message: str, detail: dict[str, Any] | None = None) -> HostError:
    return HostError(message, code=code, detail=detail, next_step=_NEXT_STEPS.get(code, ""))


def _parse_event(line: str) -> dict[str, Any] | None:
    """The event in a line; None for what a login's start-up files may print."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("event"), str) else None


def _why(error: BaseException) -> str:
    """An SSH or socket error in few words."""
    reason = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error)
    return str(reason).strip().rstrip(".").lower() or type(error).__name__


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
