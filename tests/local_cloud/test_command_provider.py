"""The command stand-in under the real engine, with a real SSH server at the other end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pulumi
import pulumi_command as command
import pytest
from pulumi.automation import CommandError

from geusemaker.local_cloud.providers import ProviderServer, serve_command
from geusemaker.models.doctor import EngineInfo
from tests.local_cloud.engine_stack import EngineStack
from tests.local_cloud.ssh_host import SshHost

pytestmark = pytest.mark.slow  # many runs of the engine; `make test` has the end-to-end stories


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderServer]:
    server = serve_command()
    yield server
    server.close()


@pytest.fixture
def stack(tmp_path: Path, pulumi_command: EngineInfo, provider: ProviderServer) -> Iterator[EngineStack]:
    running = EngineStack(tmp_path, pulumi_command, {"command": provider.port})
    yield running
    running.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SshHost]:
    folder = tmp_path / "host"
    folder.mkdir()
    running = SshHost(folder)
    yield running
    running.close()


def run(connection: dict[str, Any], **inputs: Any) -> Callable[[], None]:
    """A program with one remote command called ``job``."""

    def program() -> None:
        job = command.remote.Command("job", connection=command.remote.ConnectionArgs(**connection), **inputs)
        pulumi.export("stdout", job.stdout)
        pulumi.export("stderr", job.stderr)

    return program


def test_a_command_gets_its_stdin_and_gives_its_output(stack: EngineStack, host: SshHost) -> None:
    done = stack.up(run(host.connection, create="cat; echo; echo bad >&2", stdin="one\ntwo", logging="none"))
    assert done.operations() == {"job": "create"}
    assert done.result.outputs["stdout"].value == "one\ntwo"
    assert done.result.outputs["stderr"].value == "bad"
    assert done.messages() == []


def test_lines_arrive_as_they_appear(stack: EngineStack, host: SshHost) -> None:
    arrived: dict[str, float] = {}

    def note(event: Any) -> None:
        diagnostic = event.diagnostic_event
        if diagnostic and diagnostic.message.startswith("line"):
            assert diagnostic.severity == "info"
            assert diagnostic.urn.endswith("::job")
            arrived.setdefault(diagnostic.message.strip(), time.monotonic())

    stack._program = run(
        host.connection, create="echo line 1; echo hidden >&2; sleep 1.5; printf 'line 2'", logging="stdout"
    )
    stack.stack.up(on_event=note)
    assert list(arrived) == ["line 1", "line 2"]
    assert arrived["line 2"] - arrived["line 1"] > 1.0


def test_a_failed_update_keeps_the_old_state_and_the_way_back_needs_a_new_stdin(
    stack: EngineStack, host: SshHost
) -> None:
    def version(text: str, operation: str) -> Callable[[], None]:
        return run(
            host.connection, create=f"cat > operation; echo {text} > version; test {text} != v2", stdin=operation
        )

    stack.up(version("v1", "one"))
    with pytest.raises(CommandError, match=r"(?s)Process exited with status 1: running \"cat > operation"):
        stack.up(version("v2", "two"))
    assert stack.up(version("v1", "one")).operations() == {}
    assert (host.folder / "version").read_text() == "v2\n"
    assert stack.up(version("v1", "three")).operations() == {"job": "update"}
    assert (host.folder / "version").read_text() == "v1\n"


def test_changed_triggers_replace_and_the_old_delete_runs_after_the_new_create(
    stack: EngineStack, host: SshHost
) -> None:
    def program(number: int) -> Callable[[], None]:
        return run(
            host.connection,
            create=f"echo create {number} >> log",
            update=f"echo update {number} >> log",
            delete=f"echo delete {number} >> log",
            triggers=[number],
        )

    stack.up(program(1))
    changed = stack.up(program(2))
    assert changed.operations()["job"] in ("create-replacement", "replace")
    stack.destroy()
    assert (host.folder / "log").read_text().splitlines() == ["create 1", "create 2", "delete 1", "delete 2"]


def test_a_changed_input_runs_update_where_there_is_one(stack: EngineStack, host: SshHost) -> None:
    stack.up(run(host.connection, create="echo create", update="echo update", stdin="a"))
    previewed = stack.preview(run(host.connection, create="echo create", update="echo update", stdin="b"))
    assert previewed.operations() == {"job": "update"}
    assert previewed.detailed_diff("job") == {"stdin": "update"}
    changed = stack.up(run(host.connection, create="echo create", update="echo update", stdin="b"))
    assert changed.result.outputs["stdout"].value == "update"


def test_the_connection_is_a_secret_in_the_state(stack: EngineStack, host: SshHost, tmp_path: Path) -> None:
    stack.up(lambda: run(host.connection, create="cat > given", stdin=pulumi.Output.secret("hush"))())
    stored = "".join(path.read_text() for path in (tmp_path / "backend").rglob("*.json"))
    assert "PRIVATE KEY" not in stored
    assert "hush" not in stored
    assert (host.folder / "given").read_text() == "hush"


def test_another_host_key_is_refused_after_all_attempts(stack: EngineStack, host: SshHost) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    connection = {**host.connection, "host_key": other, "dial_error_limit": 2}
    with pytest.raises(CommandError, match="after 2 failed attempts: ssh: handshake failed: ssh: host key mismatch"):
        stack.up(run(connection, create="touch ran"))
    assert not (host.folder / "ran").exists()


def test_a_host_that_is_not_up_yet_is_dialled_until_it_is(stack: EngineStack, host: SshHost, tmp_path: Path) -> None:
    connection = host.connection
    host.close()
    with pytest.raises(
        CommandError, match=r"after 3 failed attempts: dial tcp 127\.0\.0\.1:\d+: connect: connection refused"
    ):
        stack.up(run({**connection, "dial_error_limit": 3}, create="true"))


def test_environment_is_refused_as_a_stock_sshd_does(stack: EngineStack, host: SshHost) -> None:
    with pytest.raises(CommandError, match='could not set environment variable "TOKEN": ssh: setenv failed'):
        stack.up(run(host.connection, create="true", environment={"TOKEN": "x"}))


def test_a_failure_is_told_with_all_its_output_however_long(stack: EngineStack, host: SshHost) -> None:
    with pytest.raises(CommandError, match=r"(?s)Process exited with status 7: running .*line 1\n.*line 20000\n"):
        stack.up(run(host.connection, create="seq -f 'line %g' 20000; exit 7", logging="none"))
