"""The client, against an SSH server on loopback that runs its commands on a scripted machine."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import asyncssh
import pytest

from geusemaker.errors import HostError
from geusemaker.host import client as module
from geusemaker.host.bundle import agent_version
from geusemaker.host.client import AgentClient
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import mount_document


class Server:
    """An SSH server in a thread of its own."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.login_key = asyncssh.generate_private_key("ssh-ed25519")
        self.commands: list[str] = []
        self.logins = 0
        self.script = ""
        """Run instead of what is asked for."""
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self._acceptor: Any = None
        self.open()

    def open(self) -> None:
        self._acceptor = self.call(self._listen())
        self.port = self._acceptor.get_port()

    def close(self) -> None:
        """Close the port and every connection."""

        async def close() -> None:
            self._acceptor.close()
            for connection in self.connections:
                connection.abort()
            await asyncio.gather(*(connection.wait_closed() for connection in self.connections))

        self.call(close())

    def end(self) -> None:
        """Close everything, commands that still run too."""

        async def end() -> None:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        self.close()
        self.call(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(20)
        self.loop.close()

    def call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    async def _listen(self) -> Any:
        self.connections: list[asyncssh.SSHServerConnection] = []
        server = self

        class Login(asyncssh.SSHServer):
            def connection_made(self, connection: asyncssh.SSHServerConnection) -> None:
                server.connections.append(connection)
                server.logins += 1

        return await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_factory=Login,
            server_host_keys=[self.host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(self.login_key.export_public_key().decode()),
            process_factory=self._run,
            encoding=None,
        )

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.commands.append(process.command or "")
        running = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", self.script or process.command or ""),
            env=self.machine.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert running.stdin and running.stdout and running.stderr
        feeding = asyncio.ensure_future(feed(process, running.stdin))
        try:
            await asyncio.gather(pump(running.stdout, process.stdout), pump(running.stderr, process.stderr))
            process.exit(await running.wait())
        except (OSError, asyncssh.Error):
            pass  # the client went away
        finally:
            feeding.cancel()
            if running.returncode is None:
                running.kill()
                await running.wait()

    def client(self, **changes: Any) -> AgentClient:
        facts: dict[str, Any] = {
            "private_key": self.login_key.export_private_key().decode(),
            "host_key": self.host_key.export_public_key().decode(),
            "connect_timeout": 10.0,
        }
        return AgentClient("127.0.0.1", self.port, "admin", **{**facts, **changes})


async def feed(process: asyncssh.SSHServerProcess[bytes], sink: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(OSError, asyncssh.Error):
            sink.write(await process.stdin.read())
            await sink.drain()
    finally:
        sink.close()


async def pump(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    while data := await source.read(65536):
        sink.write(data)


@pytest.fixture
def server(machine: Machine) -> Iterator[Server]:
    made = Server(machine)
    yield made
    made.end()


@pytest.fixture
def client(server: Server) -> Iterator[AgentClient]:
    with server.client() as made:
        yield made


def refused(client: AgentClient, verb: str = "lease", **more: Any) -> HostError:
    with pytest.raises(HostError) as caught:
        client.run(verb, {}, **more)
    return caught.value


def test_a_missing_agent_is_installed_and_asked_again(server: Server, client: AgentClient) -> None:
    events: list[dict[str, Any]] = []
    answer = client.run("mount", mount_document(), on_line=events.append, timeout=60)
    assert answer == {"mounted": True, "first": True, "unchanged": False}
    assert {"phase"} == {event["event"] for event in events}
    assert (server.machine.root / "opt/geusemaker/agent").resolve().name == agent_version()
    assert client.run("lease") == {"lease": None, "lease_damaged": None, "operations_running": []}
    assert (len(server.commands), server.logins) == (4, 1)


def test_another_version_is_replaced(server: Server, client: AgentClient) -> None:
    assert refused(client).code == "not_mounted"
    home = server.machine.root / "opt/geusemaker"
    (home / "agents" / agent_version()).rename(home / "agents/0123456789abcdef")
    (home / "agent").unlink()
    (home / "agent").symlink_to("agents/0123456789abcdef")
    assert refused(client).code == "not_mounted"
    assert (home / "agent").resolve().name == agent_version()
    assert len(server.commands) == 3 + 3, "refused as missing, then as outdated; installed; asked again"


def test_an_instance_with_the_one_file_of_before_is_taken_over(server: Server, client: AgentClient) -> None:
    """Until geusemaker had a package on the instance, its agent was one file there."""
    before = server.machine.root / "opt/geusemaker/agent.py"
    before.write_text('def main(arguments):\n    print(\'{"event": "result", "ok": true, "old": true}\')\n')
    assert refused(client).code == "not_mounted", "not the old one's answer"
    assert before.exists(), "for whoever still works with a geusemaker of before"


def test_the_agents_own_failure_keeps_its_code_and_detail(server: Server, client: AgentClient) -> None:
    client.run("mount", mount_document())
    client.run("begin", {"operation": "op-1"})
    with pytest.raises(HostError) as caught:
        client.run("begin", {"operation": "op-2"})
    assert caught.value.code == "lease_held"
    assert caught.value.detail["holder"]["operation"] == "op-1"
    assert caught.value.next_step


def test_no_document_ever_stands_in_a_command(server: Server, client: AgentClient) -> None:
    client.run("mount", {**mount_document(), "extra": "a-very-secret-word"})
    assert "a-very-secret-word" not in "".join(server.commands)


def test_a_long_answer_is_put_together(server: Server, client: AgentClient) -> None:
    client.run("mount", mount_document())
    entry = {"text": "ü" * 30_000}
    assert client.run("journal", {"append": entry, "tail": 1}) == {"entries": [entry]}


def test_what_a_login_prints_is_passed_over(server: Server, client: AgentClient) -> None:
    line = '{"event": "result", "ok": true, "answer": 1}'
    server.script = f"cat >/dev/null; echo Welcome; echo 3; echo '[1]'; echo '{line}'"
    assert client.run("lease") == {"answer": 1}


def test_an_agent_that_dies_is_not_taken_for_a_missing_one(server: Server, client: AgentClient) -> None:
    server.script = 'cat >/dev/null; echo \'{"event": "note"}\'; echo trouble >&2; exit 1'
    error = refused(client)
    assert (error.code, "trouble" in error.message, len(server.commands)) == ("agent_died", True, 1)


def test_a_machine_on_which_nothing_can_be_installed_says_why(server: Server, client: AgentClient) -> None:
    server.script = "cat >/dev/null; echo 'sudo: a password is required' >&2; exit 1"
    error = refused(client)
    assert (error.code, "a password is required" in error.message) == ("install_failed", True)


def test_a_verb_that_takes_too_long_is_not_waited_for(server: Server, client: AgentClient) -> None:
    server.script = "exec sleep 30"
    started = time.monotonic()
    assert client.is_reachable()
    assert refused(client, timeout=0.3).code == "timeout"
    assert time.monotonic() - started < 25


def test_another_host_key_is_refused_and_nothing_is_sent(server: Server) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    with server.client(host_key=other) as client:
        assert refused(client).code == "host_key_mismatch"
        with pytest.raises(HostError) as caught:
            client.is_reachable()
    assert caught.value.code == "host_key_mismatch"
    assert server.commands == []


def test_a_host_key_of_another_kind_is_a_mismatch_too(server: Server) -> None:
    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key().decode()
    with server.client(host_key=other) as client:
        assert refused(client).code == "host_key_mismatch"


def test_a_login_that_is_refused_is_told_from_an_instance_that_is_away(server: Server) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    with server.client(private_key=other) as client:
        assert refused(client).code == "auth_failed"
    with server.client(private_key="nonsense") as client:
        error = refused(client)
        assert (error.code, "nonsense" in str(error)) == ("auth_failed", False)


def test_an_instance_that_is_away_is_unreachable(server: Server) -> None:
    server.close()
    with server.client() as client:
        assert client.is_reachable(5) is False
        error = refused(client)
    assert (error.code, "127.0.0.1" in error.message) == ("unreachable", True)
    assert error.next_step


def test_a_host_that_accepts_and_says_nothing_is_unreachable() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        key = asyncssh.generate_private_key("ssh-ed25519")
        client = AgentClient(
            "127.0.0.1",
            silent.getsockname()[1],
            "admin",
            key.export_private_key().decode(),
            key.export_public_key().decode(),
            connect_timeout=0.5,
        )
        with client:
            assert client.is_reachable() is False


def test_a_connection_that_was_lost_in_between_is_made_anew(server: Server, client: AgentClient) -> None:
    client.run("mount", mount_document())
    server.close()
    server.open()
    assert client.run("lease")["lease"] is None
    assert client.is_reachable()


def test_a_connection_that_breaks_under_way_says_that_work_may_go_on(server: Server, client: AgentClient) -> None:
    server.script = 'cat >/dev/null; echo \'{"event": "note"}\'; exec sleep 30'
    error = refused(client, on_line=lambda event: server.close())
    assert (error.code, "may still go on" in error.message) == ("unreachable", True)


def test_what_the_listener_raises_comes_through(server: Server, client: AgentClient) -> None:
    def stop(event: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    server.script = 'cat >/dev/null; echo \'{"event": "note"}\'; exec sleep 30'
    with pytest.raises(KeyboardInterrupt):
        client.run("lease", on_line=stop)
    server.script = ""
    assert refused(client).code == "not_mounted"


def test_closing_twice_or_before_the_first_use_is_fine(server: Server) -> None:
    client = server.client()
    client.close()
    assert client.is_reachable()
    client.close()
    client.close()
    assert client.is_reachable()
    client.close()


def test_importing_it_does_not_load_ssh() -> None:
    code = f"import sys, {module.__name__}; sys.exit('asyncssh' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert len(agent_version()) == 16


@pytest.mark.parametrize(
    ("known", "listens", "code"),
    [("same", True, "unreachable"), ("other", True, "host_key_mismatch"), ("other", False, "unreachable")],
)
def test_a_server_that_hangs_up_is_asked_for_its_host_key(
    server: Server, monkeypatch: pytest.MonkeyPatch, known: str, listens: bool, code: str
) -> None:
    """One without a key of the known kind hangs up, and its reason may be lost with the connection."""

    async def hung_up(*arguments: Any, **options: Any) -> None:
        raise asyncssh.ConnectionLost("Connection lost")

    monkeypatch.setattr(asyncssh, "connect", hung_up)
    key = server.host_key if known == "same" else asyncssh.generate_private_key("ssh-ed25519")
    if not listens:
        server.close()
    with server.client(host_key=key.export_public_key().decode()) as client:
        assert refused(client).code == code
    assert server.commands == []


def test_where_this_machine_connects_from_is_what_sshd_tells(server: Server, client: AgentClient) -> None:
    server.script = "echo welcome; echo '203.0.113.7 50000 10.0.0.5 22'; echo"
    assert client.seen_from() == "203.0.113.7"
    assert "$SSH_CONNECTION" in server.commands[-1]
    server.script = "echo"
    assert client.seen_from() == ""
