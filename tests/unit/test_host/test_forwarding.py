"""A port that leads to an instance through Session Manager; the plugin is a small program in AWS's place."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from geusemaker.errors import EnvironmentProblemError, HostError
from geusemaker.host.connection import Login
from geusemaker.host.forwarding import Forwarding, choose_port, require_plugin
from geusemaker.host.session import Command, run
from tests.unit.test_host.conftest import Sshd

PLUGIN = """#!{python} -IS
import json, os, signal, socket, sys, threading
answer = json.loads(os.environ[sys.argv[1]])
json.dump([sys.argv[1:], answer, os.environ.get("AWS_SESSION_TOKEN")], open("{folder}/called", "w"))
request = json.loads(sys.argv[5])
if request["Target"] == "i-silent":
    print("Cannot perform start session: EOF"); sys.exit(1)
here = socket.create_server(("127.0.0.1", int(request["Parameters"]["localPortNumber"][0])))
print("Port 1 opened for sessionId s.\\nWaiting for connections...", flush=True)
def pump(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
while True:
    near, _ = here.accept()
    far = socket.create_connection(tuple(json.loads(answer["StreamUrl"])))
    threading.Thread(target=pump, args=(near, far), daemon=True).start()
    threading.Thread(target=pump, args=(far, near), daemon=True).start()
"""


class FakeSessions:
    """AWS, which leads to a server of this machine."""

    region, endpoint = "eu-central-1", "https://ssm.eu-central-1.amazonaws.com"

    def __init__(self, place: tuple[str, int]) -> None:
        self.place = place
        self.instance: str | None = "i-1"
        self.refusal: Exception | None = None
        self.begun: list[tuple[str, Mapping[str, list[str]]]] = []
        self.ended: list[str] = []
        self.looked = threading.Event()

    def credentials(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": "a", "AWS_SESSION_TOKEN": "its own"}

    def running_instance(self) -> str | None:
        return self.instance

    def start(self, instance_id: str, parameters: Mapping[str, list[str]]) -> dict[str, Any]:
        if self.refusal is not None:
            self.looked.set()
            raise self.refusal
        self.begun.append((instance_id, parameters))
        name = f"s-{len(self.begun)}"
        return {"SessionId": name, "StreamUrl": json.dumps(self.place), "TokenValue": "secret", "ResponseMetadata": {}}

    def end(self, session_id: str) -> None:
        self.ended.append(session_id)
        raise EnvironmentProblemError("Not allowed.")


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    file = tmp_path / "session-manager-plugin"
    file.write_text(PLUGIN.format(python="/usr/bin/env -S python3", folder=tmp_path))
    file.chmod(0o755)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another")
    return str(file)


def told(text: str) -> None:
    raise AssertionError(text)


def test_ssh_goes_through_it_and_it_ends_with_the_connection(sshd: Sshd, plugin: str) -> None:
    sessions = FakeSessions((sshd.login.address, sshd.login.port))
    given = sshd.login
    through = Forwarding(sessions, 22, plugin, told)
    login = Login("203.0.113.7", 22, given.user, given.private_key, given.host_key, through=through)
    assert run(login, Command("echo hello")).out == b"hello\n"
    assert sessions.ended == ["s-1"], "that it may not be ended keeps nobody from anything"
    [(instance, parameters)] = sessions.begun
    assert instance == "i-1" and parameters["portNumber"] == ["22"]
    words, answer, token = json.loads(Path(plugin).with_name("called").read_text())
    assert words[:4] == ["AWS_SSM_START_SESSION_RESPONSE", "eu-central-1", "StartSession", ""]
    assert json.loads(words[4]) == {
        "Target": "i-1", "DocumentName": "AWS-StartPortForwardingSession", "Parameters": dict(parameters),
    }  # fmt: skip
    assert words[5] == sessions.endpoint and "secret" not in " ".join(words)
    assert answer.keys() == {"SessionId", "StreamUrl", "TokenValue"} and token == "its own"
    assert login == Login("203.0.113.7", 22, given.user, given.private_key, given.host_key)
    assert "(through Session Manager)" in login.unreachable("it is not").message


def test_one_that_leads_there_is_used_again(sshd: Sshd, plugin: str) -> None:
    sessions = FakeSessions((sshd.login.address, sshd.login.port))
    forwarding = Forwarding(sessions, 22, plugin, told)
    assert forwarding.start() == forwarding.start()
    forwarding.stop()
    forwarding.stop()
    assert len(sessions.begun) == len(sessions.ended) == 1


def test_what_is_missing_is_told(plugin: str) -> None:
    sessions = FakeSessions(("127.0.0.1", 1))
    with pytest.raises(EnvironmentProblemError, match="not on this machine") as missing:
        Forwarding(sessions, 22, f"{plugin}-not", told).start()
    assert "docs.aws.amazon.com" in missing.value.next_step and "geusemaker doctor" in missing.value.next_step
    sessions.instance = None
    with pytest.raises(HostError, match="No instance runs") as stopped:
        Forwarding(sessions, 22, plugin, told).start()
    assert stopped.value.code == "unreachable"
    sessions.instance = "i-silent"
    with pytest.raises(HostError, match="Cannot perform start session: EOF"):
        Forwarding(sessions, 22, plugin, told).start()
    assert sessions.ended == ["s-1"]
    assert require_plugin(plugin) == plugin


def test_while_the_engine_works_it_follows_the_instance(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LOOK_SECONDS", "_PAUSE"):
        monkeypatch.setattr(f"geusemaker.host.forwarding.{name}", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as there:
        sessions = FakeSessions(there.getsockname())
        sessions.refusal = HostError("It is not connected.", code="unreachable")
        notes: list[str] = []
        port = choose_port("prod")
        with Forwarding(sessions, 22, plugin, notes.append).keep(port):
            assert sessions.looked.wait(30)
            sessions.refusal = None
            _until_open(port)
            assert notes == ["Waiting for the way to the instance: It is not connected."]
            sessions.instance = "i-2"  # the one of before carries nothing any more
            _until(lambda: [one for one, _ in sessions.begun] == ["i-1", "i-2"])
            _until_open(port)
            with pytest.raises(EnvironmentProblemError, match=f"Port {port}.*is taken"):
                Forwarding(sessions, 22, plugin, told).keep(port).__enter__()
        assert sessions.ended == ["s-1", "s-2"]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)


def test_each_deployment_has_a_port_of_its_own_below_those_that_systems_give_out() -> None:
    first = choose_port("prod")
    assert 20000 <= first < 32000 and first == choose_port("prod") != choose_port("staging")
    with socket.create_server(("127.0.0.1", first)):
        assert choose_port("prod") != first


def _until(condition: Any) -> None:
    import time

    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        os.sched_yield()


def _until_open(port: int) -> None:
    def opened() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except OSError:
            return False
        return True

    _until(opened)
