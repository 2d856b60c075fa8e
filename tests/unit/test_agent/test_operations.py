"""Cancelling, taking over, and being told to end: the agent as a program among others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from geusemaker.agent.__main__ import _SIGNALS, perform
from geusemaker.agent.agent import Agent
from geusemaker.agent.deadlines import DEADLINES
from geusemaker.agent.document import Document
from geusemaker.agent.errors import AgentError
from geusemaker.agent.processes import descendants, end_processes, environment_of, find_process, living_processes
from geusemaker.agent.verbs import lease as verbs_lease
from tests.unit.test_agent.conftest import Program
from tests.unit.test_agent.fakes import Machine, by_digest
from tests.unit.test_agent.support import QDRANT, DirectAgent, apply_document, compose_of, do, gate_document

Until = Callable[[Callable[[], Any]], None]


@pytest.fixture
def pulling(mounted: DirectAgent, machine: Machine, run: Program, until: Until) -> subprocess.Popen[str]:
    """op-1 in the middle of a pull that does not end."""
    machine.publish(QDRANT)
    machine.update(hang={"docker pull": 60})
    do(mounted, "begin", operation="op-1")
    process = run.start("prefetch", {"operation": "op-1", "compose": compose_of({"qdrant": by_digest(QDRANT)})})
    until(lambda: machine.calls("docker", "pull"))
    return process


def pulls(machine: Machine) -> list[int]:
    """The pids of pulls that still run."""
    found = []
    for pid in living_processes():
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - a process may be gone at any time
                words = file.read().decode().split("\0")
        except OSError:
            continue
        if str(machine.root) in words and "pull" in words:
            found.append(pid)
    return found


def test_a_running_operation_is_shown(pulling: subprocess.Popen[str], mounted: DirectAgent) -> None:
    running = do(mounted, "lease")["operations_running"]
    assert running == [{"operation": "op-1", "verb": "prefetch", "pid": pulling.pid}]


def test_cancel_ends_the_agent_and_what_it_started(
    pulling: subprocess.Popen[str], mounted: DirectAgent, machine: Machine, run: Program
) -> None:
    assert pulling.pid in do(mounted, "cancel", operation="op-1")["ended"]
    status, lines = run.finish(pulling)
    assert (status, lines[-1]["code"]) == (1, "cancelled")
    assert pulls(machine) == []
    assert do(mounted, "lease")["operations_running"] == []


def test_after_a_cancel_the_operation_starts_nothing_more_until_it_begins_again(
    mounted: DirectAgent, machine: Machine
) -> None:
    machine.publish(QDRANT)
    compose = compose_of({"qdrant": by_digest(QDRANT)})
    do(mounted, "begin", operation="op-1")
    assert do(mounted, "cancel", operation="op-1") == {"ended": []}
    with pytest.raises(AgentError) as caught:
        do(mounted, "prefetch", operation="op-1", compose=compose)
    assert caught.value.code == "cancelled"
    do(mounted, "begin", operation="op-1")
    assert do(mounted, "prefetch", operation="op-1", compose=compose) == {"pulled": ["qdrant"], "present": []}


def test_cancel_works_while_the_file_system_is_away(machine: Machine, agent: DirectAgent) -> None:
    assert do(agent, "cancel", operation="op-1") == {"ended": []}


def test_a_takeover_ends_what_the_old_operation_still_runs(
    pulling: subprocess.Popen[str], mounted: DirectAgent, machine: Machine
) -> None:
    do(mounted, "begin", operation="op-2", takeover="op-1")
    assert pulling.wait(10) == 1
    assert pulls(machine) == []


def test_an_orphan_of_a_killed_agent_is_found_by_its_mark(
    pulling: subprocess.Popen[str], mounted: DirectAgent, machine: Machine, until: Until
) -> None:
    pulling.kill()
    pulling.wait()
    assert pulls(machine)
    do(mounted, "begin", operation="op-2", takeover="op-1")
    until(lambda: not pulls(machine))


def test_every_change_of_another_operation_ends_stragglers(
    pulling: subprocess.Popen[str], mounted: DirectAgent, machine: Machine
) -> None:
    mounted.store.end("op-1", "interrupted")
    mounted.store.begin("op-2", None, None, {})
    machine.update(hang={})
    do(mounted, "apply", **apply_document("op-2", {"qdrant": QDRANT}))
    assert pulling.wait(10) == 1
    assert "op-1" in mounted.reporter.notes()[0]


def test_told_to_end_it_ends_its_children_first(pulling: subprocess.Popen[str], machine: Machine, run: Program) -> None:
    pulling.send_signal(signal.SIGTERM)
    status, lines = run.finish(pulling)
    assert (status, lines[-1]["event"], lines[-1]["code"]) == (1, "error", "cancelled")
    assert pulls(machine) == []


def test_an_apply_that_is_killed_anywhere_can_be_run_again(
    mounted: DirectAgent, machine: Machine, run: Program, until: Until
) -> None:
    def reached(words: list[str], before: int) -> bool:
        return any(call[: len(words)] == words for call in machine.calls()[before:])

    machine.publish(QDRANT)
    for moment in ("docker version", "docker image inspect", "docker pull", "docker ps", "docker compose"):
        machine.update(hang={moment: 60}, images={}, containers={})
        before = len(machine.calls())
        process = run.start("apply", apply_document("op-1", {"qdrant": QDRANT}))
        words = moment.split()
        until(partial(reached, words, before))
        process.kill()
        process.wait()
        machine.update(hang={})
        status, lines = run("apply", apply_document("op-1", {"qdrant": QDRANT}))
        assert (status, lines[-1]["changed"]) == (0, ["qdrant"]), moment
        assert json.loads(mounted.compose_file.read_text())["services"]
        assert not list(mounted.home.glob(".*.new"))


def test_a_verb_is_given_up_at_its_deadline(agent: DirectAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(agent: Agent, document: Document) -> dict[str, Any]:
        agent.run(("sleep", "60"), 60)
        return {}

    monkeypatch.setattr(verbs_lease, "lease", stuck)
    monkeypatch.setitem(DEADLINES, "lease", 0.3)
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    started = time.monotonic()
    assert perform(agent, "lease", lambda: "{}") == 1
    assert time.monotonic() - started < 45
    assert agent.reporter.lines[-1]["code"] == "deadline"
    assert {number: signal.getsignal(number) for number in _SIGNALS} == before


def test_a_process_that_ignores_the_request_is_killed() -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()

        def left() -> set[int]:
            process.poll()
            return {process.pid} if find_process(process.pid) else set()

        assert end_processes(left, grace=0.2) == {process.pid}
        assert process.returncode == -signal.SIGKILL


def test_what_cannot_be_ended_is_said(mounted: DirectAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(find: Any, grace: float = 0) -> set[int]:
        raise TimeoutError("processes [1] cannot be ended")

    monkeypatch.setattr("geusemaker.agent.operations.end_processes", never)
    with pytest.raises(AgentError) as caught:
        do(mounted, "cancel", operation="op-1")
    assert caught.value.code == "cannot_cancel"


def test_processes_that_will_not_go_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geusemaker.agent.processes.wait_until", lambda *arguments: arguments[0]() and False)
    monkeypatch.setattr(os, "kill", lambda pid, number: None)
    with pytest.raises(TimeoutError, match="cannot be ended"):
        end_processes(lambda: {1})


def test_a_number_that_another_process_got_since_is_left_alone(mounted: DirectAgent) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as bystander:
        folder = mounted.operations / "op-1"
        folder.mkdir(parents=True)
        facts = {"pid": bystander.pid, "start": "1", "group": bystander.pid, "verb": "apply"}
        (folder / str(bystander.pid)).write_text(json.dumps(facts))
        assert do(mounted, "lease")["operations_running"] == []
        assert do(mounted, "cancel", operation="op-1") == {"ended": []}
        assert bystander.poll() is None
        bystander.kill()


def test_services_with_a_session_of_their_own_are_not_among_the_children() -> None:
    with (
        subprocess.Popen(["sleep", "60"], start_new_session=True) as service,
        subprocess.Popen(["sleep", "60"]) as child,
    ):
        assert child.pid in descendants(os.getpid())
        assert service.pid not in descendants(os.getpid())
        for process in (service, child):
            process.kill()


def test_the_gate_of_a_program_passes_like_any_other(mounted: DirectAgent, machine: Machine, run: Program) -> None:
    machine.publish(QDRANT)
    assert run("apply", apply_document("op-1", {"qdrant": QDRANT}))[0] == 0
    document = gate_document("op-1", {"qdrant": QDRANT}, {"qdrant": 9})
    document["services"]["qdrant"]["deadline_seconds"] = 0.3
    status, lines = run("gate", document)
    assert (status, lines[-1]["code"]) == (1, "unhealthy")
    assert lines[-1]["detail"]["services"]["qdrant"]["reason"].endswith("connection refused")


@pytest.mark.parametrize("written_first", ["environ", "cmdline"])
def test_the_variables_of_a_process_that_becomes_another_program_are_waited_for(
    tmp_path: Path, written_first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {"environ": b"A=b\0C=d\0", "cmdline": b"sleep\x00600\0"}
    to_write = sorted(contents, key=lambda name: name == written_first)
    for name in contents:
        (tmp_path / name).touch()
    (tmp_path / "exe").symlink_to("/bin/sleep")

    def write_next(_: float) -> None:
        name = to_write.pop()
        (tmp_path / name).write_bytes(contents[name])

    monkeypatch.setattr(time, "sleep", write_next)
    assert b"C=d" in environment_of(tmp_path)


def test_a_process_without_variables_is_believed_and_one_without_a_program_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    (tmp_path / "environ").touch()
    (tmp_path / "cmdline").touch()
    with pytest.raises(FileNotFoundError):
        environment_of(tmp_path)
    assert waits == []
    (tmp_path / "exe").symlink_to("/bin/sleep")
    (tmp_path / "cmdline").write_bytes(b"sleep\x00600\0")
    assert environment_of(tmp_path) == [b""]
    assert len(waits) == 1
