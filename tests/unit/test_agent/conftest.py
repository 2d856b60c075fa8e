from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import geusemaker
from geusemaker.agent.clock import wait_until
from geusemaker.host import commands
from tests.unit.test_agent.fakes import Machine
from tests.unit.test_agent.support import DirectAgent, Json, RecordingReporter, do, mount_document


@pytest.fixture(scope="module", autouse=True)
def no_power_loss() -> Iterator[None]:
    """Without fsync in this process: it guards against power loss, which no test has, and costs milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "root")


@pytest.fixture
def agent(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> DirectAgent:
    """An agent in this process, on a machine where nothing has been done yet."""
    monkeypatch.setenv("PATH", machine.environment["PATH"])
    for module in ("data.password", "data.postgresql", "gate", "verbs.load"):
        monkeypatch.setattr(f"geusemaker.agent.{module}.POLL_INTERVAL", 0.01)
    return DirectAgent(machine.root, RecordingReporter(), machine.environment)


@pytest.fixture
def mounted(agent: DirectAgent) -> DirectAgent:
    """The agent, on a machine on which ``mount`` has been."""
    assert do(agent, "mount", **mount_document())["first"]
    return agent


class Program:
    """Runs the agent as the program it is, in the way the instance's command line does."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.started: list[subprocess.Popen[str]] = []

    def start(self, verb: str, document: Json | None = None, *options: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", "-c", commands._RUN, str(Path(geusemaker.__file__).parent.parent)),
                *("--root", str(self.machine.root), *options, verb),
            ],
            env=self.machine.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        assert process.stdin is not None
        process.stdin.write(json.dumps(document or {}))
        process.stdin.close()
        process.stdin = None
        return process

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, list[Json]]:
        """(exit status, lines)"""
        out, _ = process.communicate(timeout=60)
        return process.returncode, [json.loads(line) for line in out.splitlines()]

    def __call__(self, verb: str, document: Json | None = None, *options: str) -> tuple[int, list[Json]]:
        return self.finish(self.start(verb, document, *options))


@pytest.fixture
def run(machine: Machine) -> Iterator[Program]:
    made = Program(machine)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], None]:
    """Wait until something is true, at most 20 s."""

    def wait(condition: Callable[[], Any]) -> None:
        assert wait_until(lambda: bool(condition()), 20)

    return wait
