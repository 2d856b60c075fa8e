"""Services that geusemaker does not know: how they are asked, what of them is kept, whose their images are."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from geusemaker.agent.errors import AgentError
from geusemaker.agent.exchange import Answer, exchange
from geusemaker.agent.images import Image
from geusemaker.agent.probes import Probe
from geusemaker.agent.processes import Job
from geusemaker.agent.watches import Watch, probe_services
from tests.unit.test_agent.fakes import FILE_SYSTEM, Machine, by_digest, pinned
from tests.unit.test_agent.support import QDRANT, DirectAgent, apply_document, compose_of, do, replying

IMAGES = {"sidecar": QDRANT}


@pytest.fixture
def deployed(mounted: DirectAgent, machine: Machine) -> DirectAgent:
    """A service that is nobody's but the operator's runs."""
    machine.publish(*IMAGES.values())
    do(mounted, "begin", operation="op-1")
    do(mounted, "apply", **apply_document("op-1", IMAGES, environment={}, directories=[]))
    return mounted


def gate(agent: DirectAgent, probe: dict[str, Any]) -> dict[str, Any]:
    service = {"image": pinned(QDRANT), "probe": probe, "deadline_seconds": 1}
    return do(
        agent, "gate", operation="op-1", file_system_id=FILE_SYSTEM, services={"sidecar": service}, settle_seconds=0
    )


@pytest.fixture
def listening() -> Iterator[int]:
    """The port of a service that waits until it is spoken to."""
    with replying(b"", hold=True) as port:
        yield port


def ask(probe: Probe) -> tuple[bool, str]:
    return probe.judge(exchange(probe.requests("127.0.0.1", ""), 30.0))[:2]


def test_a_connection_that_stays_is_enough(listening: int) -> None:
    started = time.monotonic()
    assert ask(Probe("tcp", listening)) == (True, f"port {listening} takes connections")
    assert time.monotonic() - started < 20


def test_who_speaks_first_is_ready() -> None:
    with replying(b"220 ready\r\n", hold=True) as port:
        assert ask(Probe("tcp", port))[0]


def test_a_connection_that_is_ended_at_once_is_dockers_proxy_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=lambda: server.accept()[0].close()).start()
        assert ask(Probe("tcp", port)) == (False, "the connection was closed without an answer")
    assert ask(Probe("tcp", port)) == (False, "connection refused")


def test_a_connection_that_is_reset_is_told_like_one_that_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def reset() -> None:
            connection = server.accept()[0]
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        threading.Thread(target=reset).start()
        probe = Probe("http", server.getsockname()[1])
        assert ask(probe) == (False, "the connection was closed without an answer")


def test_a_silent_one_does_not_end_the_questions_to_the_others(listening: int) -> None:
    with replying(b"", hold=True) as slow:
        requests = {
            "tcp": Probe("tcp", listening).requests("127.0.0.1", "")[""],
            "http": Probe("http", slow).requests("127.0.0.1", "")["/"],
        }
        answers = exchange(requests, 1.0)
    assert answers == {"tcp": Answer(stayed=True), "http": Answer(b"", "no answer within 1 s")}


@pytest.mark.parametrize("probe", [{"kind": "running"}, {"kind": "command", "command": ["true"], "port": 6379}])
def test_one_without_a_port_passes_the_gate(deployed: DirectAgent, probe: dict[str, Any]) -> None:
    assert gate(deployed, probe)["services"]["sidecar"]["healthy"] is True
    seen = do(deployed, "health")["services"]["sidecar"]
    assert seen["healthy"] and seen["address"] == (f"{deployed.address}:6379" if "port" in probe else None)


def test_a_command_that_fails_is_told_with_its_last_words(deployed: DirectAgent, machine: Machine) -> None:
    machine.fail("docker exec geusemaker-sidecar-1 redis-cli ping", "Could not connect to Redis", 2)
    with pytest.raises(AgentError) as caught:
        gate(deployed, {"kind": "command", "command": ["redis-cli", "ping"]})
    assert "its command ended with 2: Could not connect to Redis" in caught.value.message


def test_a_command_without_an_end_is_given_up(deployed: DirectAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geusemaker.agent.watches.COMMAND_TIMEOUT", 0.3)
    monkeypatch.setattr(deployed, "start", lambda *_: Job(["sleep", "30"], os.environ))
    image = Image.parse("a:1")
    watch = Watch("sidecar", image, "a:1", Probe("command", 0, command=("sleep", "30")), 1)
    assert probe_services(deployed, [watch], 2.0)["sidecar"] == (False, "its command did not end within 0.3 s", False)


@pytest.mark.parametrize(
    "probe",
    [
        {"kind": "tcp"}, {"kind": "udp", "port": 1}, {"kind": "command"}, {"kind": "running", "command": ["true"]},
        {"kind": "running", "port": 70000},
    ],
)  # fmt: skip
def test_a_probe_that_is_none_is_refused(probe: dict[str, Any]) -> None:
    with pytest.raises(AgentError, match="probe"):
        Probe.parse(probe)


# what they hold, and their images


def test_their_folders_are_told_wherever_they_are(mounted: DirectAgent) -> None:
    for folder in ("own/redis/data", "own/chat/a", "own/chat/b", "n8n"):
        (mounted.efs / folder).mkdir(parents=True)
    (mounted.efs / "own/redis/file").touch()
    (mounted.efs / "own/file").touch()
    services = do(mounted, "manifest")["services"]
    assert services["redis"] == {"folders": ["efs/data"]} and services["chat"] == {"folders": ["efs/a", "efs/b"]}


def test_only_images_that_versions_had_are_removed(deployed: DirectAgent, machine: Machine) -> None:
    redis, former, foreign = "redis:7", "redis:6", "redis:5"
    machine.publish(redis, former, foreign)
    images = {str(n): by_digest(one) for n, one in enumerate((redis, former, foreign))}
    do(deployed, "prefetch", operation="op-1", compose=compose_of(images))
    asked = {"keep": [by_digest(redis)], "repositories": ["qdrant/qdrant"], "former": [by_digest(former)]}
    assert do(deployed, "gc", operation="op-1", **asked) == {"removed": [by_digest(former)]}
    assert {by_digest(redis), by_digest(foreign)} <= set(machine.state["images"])


def test_who_needs_another_is_stopped_before_it(mounted: DirectAgent, machine: Machine) -> None:
    images = dict.fromkeys(("redis", "worker", "n8n", "postgresql"), QDRANT)
    machine.publish(QDRANT)
    do(mounted, "begin", operation="op-1")
    do(mounted, "apply", **apply_document("op-1", images, environment={}, directories=[]))
    needs = {"worker": ["redis", "n8n"], "n8n": ["postgresql", "redis"]}
    services = {
        name: {"image": pinned(QDRANT), "probe": {"kind": "running"}, "depends_on": needs.get(name, [])}
        for name in images
    }
    do(mounted, "gate", operation="op-1", file_system_id=FILE_SYSTEM, services=services, settle_seconds=0)
    do(mounted, "begin", operation="op-2", takeover="op-1")
    do(mounted, "hold", operation="op-2")
    ids = {container["service"]: name for name, container in machine.state["containers"].items()}
    stopped = [set(call[2:]) for call in machine.calls("docker", "stop")]
    assert stopped == [{ids["worker"]}, {ids["n8n"]}, {ids["redis"], ids["postgresql"]}]
