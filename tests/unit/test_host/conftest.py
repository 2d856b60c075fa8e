from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from geusemaker.host import agent as program

from tests.unit.test_host.fakes import FILE_SYSTEM, Machine, by_digest, pinned

Json = dict[str, Any]
Run = Callable[..., tuple[int, list[Json]]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


@pytest.fixture
def agent(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> program.Agent:
    """An agent in this process, with what it wrote in ``agent.reporter.lines``."""
    monkeypatch.setenv("PATH", machine.environment["PATH"])
    reporter = RecordingReporter()
    return program.Agent(machine.root, reporter, machine.environment)


class RecordingReporter(program.Reporter):
    def __init__(self) -> None:
        self.text: list[str] = []
        super().__init__(self.text.append)

    @property
    def lines(self) -> list[Json]:
        return [json.loads(line) for line in self.text]

    def states(self, service: str) -> list[str]:
        return [line["state"] for line in self.lines if line["event"] == "service" and line["service"] == service]


@pytest.fixture
def run(machine: Machine) -> Iterator[Run]:
    """Run the agent as the program it is; returns its exit status and its lines."""
    started: list[subprocess.Popen[str]] = []

    def call(verb: str, document: Json | None = None, *, wait: bool = True) -> Any:
        process = subprocess.Popen(
            [sys.executable, "-I", program.__file__, "--root", str(machine.root), verb],
            env=machine.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdin is not None
        process.stdin.write(json.dumps(document or {}))
        process.stdin.close()
        process.stdin = None
        if not wait:
            return process
        out, _ = process.communicate(timeout=60)
        return process.returncode, [json.loads(line) for line in out.splitlines()]

    yield call
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def mounted(machine: Machine, agent: program.Agent) -> Machine:
    """A machine on which ``mount`` has been."""
    answer = program.mount(agent, program.Document(mount_document()))
    assert answer["mounted"]
    return machine


def mount_document(**changes: Any) -> Json:
    return {
        "deployment": "prod",
        "instance_id": "i-1",
        "file_system_id": FILE_SYSTEM,
        "source": f"{FILE_SYSTEM}.efs.us-east-1.amazonaws.com:/",
        "options": "nfsvers=4.1,hard,_netdev",
        "packages": ["docker.io", "docker-compose", "nfs-common"],
        "deadline_seconds": 0,
        **changes,
    }


def apply_document(operation: str, images: dict[str, str], **changes: Any) -> Json:
    services = {
        name: {"image": by_digest(tagged), "labels": {"io.geusemaker.image": tagged}} for name, tagged in images.items()
    }
    return {
        "operation": operation,
        "expects": None,
        "kind": "deploy",
        "deployment": "prod",
        "instance_id": "i-1",
        "file_system_id": FILE_SYSTEM,
        "compose": {"name": "geusemaker", "services": services},
        "environment": {"qdrant": {"API_KEY": "a-very-secret-word"}},
        "directories": [{"path": "qdrant", "uid": os.geteuid(), "gid": os.getegid(), "mode": 0o750}],
        **changes,
    }


def gate_document(operation: str, images: dict[str, str], ports: dict[str, int], **changes: Any) -> Json:
    return {
        "operation": operation,
        "file_system_id": FILE_SYSTEM,
        "services": {
            name: {
                "image": pinned(tagged),
                "probe": {"kind": "postgresql" if name == "postgresql" else "http", "path": "/", "port": ports[name]},
                "deadline_seconds": 2,
            }
            for name, tagged in images.items()
        },
        "consecutive_successes": 2,
        "deadline_seconds": 5,
        **changes,
    }
