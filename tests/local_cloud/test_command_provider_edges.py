"""The command stand-in at its edges: big and odd output, ends of commands, engines that go away."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pulumi_command as command
import pytest
from pulumi.automation import CommandError
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

from geusemaker.local_cloud.providers import ProviderServer, serve_command
from geusemaker.models.doctor import EngineInfo
from tests.local_cloud.engine_stack import EngineStack
from tests.local_cloud.provider_caller import Known, ProviderCaller
from tests.local_cloud.ssh_host import SshHost

pytestmark = pytest.mark.slow  # many runs of the engine; `make test` has the end-to-end stories

COMMAND = "command:remote:Command"


class EngineLog(engine_pb2_grpc.EngineServicer):
    """An engine that only listens to logs."""

    def __init__(self) -> None:
        self.received: list[engine_pb2.LogRequest] = []
        self._server = grpc.server(ThreadPoolExecutor(4))
        engine_pb2_grpc.add_EngineServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Log(self, request: engine_pb2.LogRequest, context: grpc.ServicerContext) -> Any:
        from google.protobuf import empty_pb2

        self.received.append(request)
        return empty_pb2.Empty()

    def close(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    running = serve_command()
    yield running
    running.close()


@pytest.fixture
def engine() -> Iterator[EngineLog]:
    running = EngineLog()
    yield running
    running.close()


@pytest.fixture
def caller(server: ProviderServer, engine: EngineLog) -> Iterator[ProviderCaller]:
    running = ProviderCaller(server.port, engine_address=engine.address)
    yield running
    running.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SshHost]:
    folder = tmp_path / "host"
    folder.mkdir()
    running = SshHost(folder)
    yield running
    running.close()


def inputs(host: SshHost, create: str, **more: Any) -> dict[str, Any]:
    names = {"private_key": "privateKey", "host_key": "hostKey"}
    connection = {names.get(name, name): value for name, value in host.connection.items()}
    return {"connection": {**connection, "dialErrorLimit": 0}, "create": create, **more}


def failure_of(action: Callable[[], Any]) -> str:
    with pytest.raises(grpc.RpcError) as failure:
        action()
    assert failure.value.code() is grpc.StatusCode.UNKNOWN
    return failure.value.details() or ""


def test_lines_are_logged_in_order_as_status_messages_of_the_resource(
    caller: ProviderCaller, host: SshHost, engine: EngineLog
) -> None:
    caller.create(COMMAND, inputs(host, "seq 1 200; printf last; echo no >&2", logging="stdout"))
    assert [item.message for item in engine.received] == [*(str(number) for number in range(1, 201)), "last"]
    assert all(item.severity == engine_pb2.INFO and item.ephemeral for item in engine.received)
    assert {item.urn for item in engine.received} == {f"urn:pulumi:test::test::{COMMAND}::thing"}


@pytest.mark.parametrize(
    ("logging", "expected"),
    [
        ("stdout", {"out"}),
        ("stderr", {"err"}),
        ("none", set()),
        ("stdoutAndStderr", {"out", "err"}),
        (None, {"out", "err"}),
    ],
)
def test_what_is_logged(
    caller: ProviderCaller, host: SshHost, engine: EngineLog, logging: str | None, expected: set[str]
) -> None:
    given = inputs(host, "echo out; echo err >&2", **({"logging": logging} if logging else {}))
    known = caller.create(COMMAND, given)
    assert {item.message for item in engine.received} == expected
    assert (known.outputs["stdout"], known.outputs["stderr"]) == ("out", "err")


def test_big_inputs_and_outputs_pass(caller: ProviderCaller, host: SshHost) -> None:
    text = "".join(f"line {number}\n" for number in range(100_000))
    known = caller.create(COMMAND, inputs(host, "cat", stdin=text, logging="none"))
    assert known.outputs["stdout"] == text.removesuffix("\n")


def test_input_that_nobody_reads_is_no_error(caller: ProviderCaller, host: SshHost) -> None:
    known = caller.create(COMMAND, inputs(host, "exec true", stdin="x" * 5_000_000))
    assert known.outputs["stdout"] == ""


def test_a_line_on_which_the_real_provider_hangs_is_an_error(caller: ProviderCaller, host: SshHost) -> None:
    long_line = "head -c 70000 /dev/zero | tr '\\0' x"
    assert "longer than 64 KiB" in failure_of(lambda: caller.create(COMMAND, inputs(host, long_line)))
    known = caller.create(COMMAND, inputs(host, long_line, logging="none"))
    assert len(known.outputs["stdout"]) == 70000


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("echo some; exit 3", "Process exited with status 3"),
        ("echo some; kill -TERM $$", "Process exited with status 143 from signal TERM"),
    ],
)
def test_how_a_command_ended_is_told_with_its_output(
    caller: ProviderCaller, host: SshHost, script: str, end: str
) -> None:
    assert failure_of(lambda: caller.create(COMMAND, inputs(host, script))) == f'{end}: running "{script}":\nsome\n'


def test_bytes_that_are_no_text_are_replaced(caller: ProviderCaller, host: SshHost) -> None:
    assert caller.create(COMMAND, inputs(host, "printf 'a\\377b'")).outputs["stdout"] == "a\ufffdb"


def test_keys_that_cannot_be_read(caller: ProviderCaller, host: SshHost) -> None:
    broken = inputs(host, "true")
    broken["connection"]["privateKey"] = "no key"
    assert failure_of(lambda: caller.create(COMMAND, broken)) == "ssh: no key found"
    broken = inputs(host, "true")
    broken["connection"]["hostKey"] = "no key"
    assert failure_of(lambda: caller.create(COMMAND, broken)) == "failed to parse host key: ssh: no key found"


def test_another_user_key_is_refused(caller: ProviderCaller, host: SshHost) -> None:
    import asyncssh

    stranger = inputs(host, "true")
    stranger["connection"]["privateKey"] = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    message = failure_of(lambda: caller.create(COMMAND, stranger))
    assert message.startswith("after 0 failed attempts: ssh: handshake failed: ssh: unable to authenticate")


def test_the_previous_output_is_refused_with_a_warning(
    caller: ProviderCaller, host: SshHost, engine: EngineLog
) -> None:
    known = caller.create(COMMAND, inputs(host, "echo one", logging="none"))
    caller.update(known, inputs(host, "echo two", logging="none"))
    assert [item.severity for item in engine.received] == [engine_pb2.WARNING]
    assert "PULUMI_COMMAND_STDOUT" in engine.received[0].message
    engine.received.clear()
    caller.update(known, inputs(host, "echo two", logging="none", addPreviousOutputInEnv=False))
    assert engine.received == []


def test_a_preview_runs_nothing_and_leaves_only_the_output_open(caller: ProviderCaller, host: SshHost) -> None:
    from geusemaker.local_cloud.providers.wire import UNKNOWN

    known = caller.create(COMMAND, inputs(host, "echo one >> ran", stdin="a"))
    same = caller.update(known, inputs(host, "echo one >> ran", stdin="a"), preview=True)
    assert (same.outputs["stdout"], same.outputs["stdin"]) == ("", "a")
    other = caller.update(known, inputs(host, "echo one >> ran", stdin="b"), preview=True)
    assert (other.outputs["stdout"], other.outputs["stderr"], other.outputs["stdin"]) == (UNKNOWN, UNKNOWN, "b")
    assert (host.folder / "ran").read_text() == "one\n"


def test_deleting_without_a_delete_command_contacts_nobody(caller: ProviderCaller, host: SshHost) -> None:
    known = caller.create(COMMAND, inputs(host, "true"))
    with_delete = caller.create(COMMAND, inputs(host, "true", delete="true"))
    host.close()
    caller.delete(known)
    assert "connection refused" in failure_of(lambda: caller.delete(with_delete))


def test_refused_connections_are_tried_with_growing_pauses(caller: ProviderCaller, host: SshHost) -> None:
    given = inputs(host, "true")
    given["connection"]["dialErrorLimit"] = 4
    host.close()
    start = time.monotonic()
    assert "after 4 failed attempts" in failure_of(lambda: caller.create(COMMAND, given))
    assert time.monotonic() - start > 0.8


def test_cancel_ends_dialling_but_no_command(caller: ProviderCaller, host: SshHost) -> None:
    from google.protobuf import empty_pb2

    given = inputs(host, "touch started; sleep 1; touch done")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(caller.create, COMMAND, given)
        wait_for(host.folder / "started")
        caller.stub.Cancel(empty_pb2.Empty())
        assert running.result(20).id
    assert (host.folder / "done").exists()


def test_cancel_ends_dialling(caller: ProviderCaller, host: SshHost, engine: EngineLog) -> None:
    from google.protobuf import empty_pb2

    given = inputs(host, "true")
    given["connection"]["dialErrorLimit"] = -1
    host.close()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(failure_of, lambda: caller.create(COMMAND, given))
        deadline = time.monotonic() + 20
        while not engine.received and time.monotonic() < deadline:
            time.sleep(0.02)
        caller.stub.Cancel(empty_pb2.Empty())
        assert running.result(20) == "context canceled"
    assert engine.received[0].message == "Dial 1/inf failed: retrying"


@pytest.fixture
def stack(tmp_path: Path, pulumi_command: EngineInfo, server: ProviderServer) -> Iterator[EngineStack]:
    running = EngineStack(tmp_path, pulumi_command, {"command": server.port})
    yield running
    running.close()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def engine_processes() -> list[int]:
    """Process ids of the engines that this process started and that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = stat.read_text().split("(", 1)[1].rsplit(")", 1)
        except FileNotFoundError:
            continue
        if name == "pulumi" and int(rest.split()[1]) == os.getpid():
            found.append(int(stat.parent.name))
    return found


def run_until_started(stack: EngineStack, host: SshHost, script: str, deed: Callable[[], None]) -> list[BaseException]:
    """Run an ``up`` in a thread, do something once the command has started, and return how it ended."""

    def program() -> None:
        command.remote.Command(
            "job", connection=command.remote.ConnectionArgs(**host.connection), create=script, stdin="a"
        )

    ended: list[BaseException] = []

    def up() -> None:
        try:
            stack.up(program)
        except CommandError as error:
            ended.append(error)

    thread = threading.Thread(target=up)
    thread.start()
    wait_for(host.folder / "started")
    deed()
    thread.join(60)
    assert not thread.is_alive()
    return ended


def test_a_killed_engine_leaves_the_remote_command_running_and_the_provider_usable(
    stack: EngineStack, server: ProviderServer, host: SshHost
) -> None:
    def kill() -> None:
        for process in engine_processes():
            os.kill(process, signal.SIGKILL)

    assert run_until_started(stack, host, "touch started; sleep 2; touch done", kill)
    wait_for(host.folder / "done")
    caller = ProviderCaller(server.port)
    assert isinstance(caller.create(COMMAND, inputs(host, "true")), Known)
    caller.close()


def test_an_interrupted_engine_waits_for_the_remote_command(stack: EngineStack, host: SshHost) -> None:
    def interrupt() -> None:
        for process in engine_processes():
            os.kill(process, signal.SIGINT)

    run_until_started(stack, host, "touch started; sleep 2; touch done", interrupt)
    assert (host.folder / "done").exists()
    assert stack.resource("job")["outputs"]["stdin"] == "a"
