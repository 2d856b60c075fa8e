"""How the engine's process is run and stopped; the engine is a script that notes what it gets."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from pulumi.automation.errors import CommandError

from geusemaker.engine import command
from geusemaker.engine.command import DeadlineExceededError, EngineCommand, GaveUpError
from geusemaker.models.doctor import EngineInfo

ENGINE = """\
#!{python} -IS
import os, signal, sys
signals = []
def note(number, frame):
    signals.append(number)
    print("signal", len(signals), flush=True)
    if len(signals) == int(os.environ["ENDS_AT"]):
        sys.exit(7)
signal.signal(signal.SIGINT, note)
print(os.getpid(), os.getsid(0), os.getpgid(0), " ".join(sys.argv[1:]), flush=True)
if "read" in sys.argv:
    print(sys.stdin.read(), flush=True)
if "talk" in sys.argv:  # more than a pipe holds, and not all of it UTF-8
    sys.stdout.buffer.write(b"\\xff a line\\n" * 100_000)
if "fail" in sys.argv:
    print("what went wrong", file=sys.stderr)
    sys.exit(3)
while "wait" in sys.argv:
    signal.pause()
"""


@pytest.fixture
def engine(tmp_path: Path) -> EngineCommand:
    program = tmp_path / "pulumi"
    program.write_text(ENGINE.format(python=sys.executable))
    program.chmod(0o755)
    return EngineCommand(EngineInfo(path=str(program), version="v3.259.0", source="path"))


def run(engine: EngineCommand, *args: str, ends_at: int = 1, lines: list[str] | None = None) -> list[str]:
    collected: list[str] = [] if lines is None else lines
    engine.run(list(args), "/", {"ENDS_AT": str(ends_at)}, on_output=collected.append)
    return collected


def test_the_engine_has_a_session_of_its_own_so_that_ctrl_c_does_not_reach_it(engine: EngineCommand) -> None:
    (line,) = run(engine, "stack", "ls")
    pid, session, group, *words = line.split()
    assert pid == session == group
    assert session != str(os.getsid(0))
    assert words == ["--non-interactive", "stack", "ls"]


def test_what_is_secret_goes_by_stdin(engine: EngineCommand) -> None:
    lines: list[str] = []
    engine.run(["config", "read"], "/", {"ENDS_AT": "1"}, on_output=lines.append, stdin="hunter2")
    assert lines[1] == "hunter2"
    assert "hunter2" not in lines[0]


def test_a_failure_carries_what_the_engine_said(engine: EngineCommand) -> None:
    with pytest.raises(CommandError, match="what went wrong"):
        run(engine, "fail")


def test_at_the_deadline_the_engine_is_interrupted_once_and_the_remote_command_ended(engine: EngineCommand) -> None:
    stopped: list[str] = []
    engine.on_stop = lambda: stopped.append("cancelled")
    engine.deadline = time.monotonic() + 0.5
    lines: list[str] = []
    with pytest.raises(DeadlineExceededError):
        run(engine, "wait", lines=lines)
    assert lines[1:] == ["signal 1"]
    assert stopped == ["cancelled"]


def test_a_run_that_ends_in_time_is_left_alone(engine: EngineCommand) -> None:
    engine.deadline = time.monotonic() + 60
    assert len(run(engine, "up")) == 1


def test_what_is_done_beside_a_run_does_not_count_against_its_deadline(engine: EngineCommand) -> None:
    engine.deadline = time.monotonic() + 0.5
    lines: list[str] = []
    reached = threading.Event()
    aside: list[float] = []

    def work() -> None:
        with engine.beside(60):
            reached.wait(1.5)  # three times what the run has
            aside.append(engine.deadline or 0)

    beside = threading.Thread(target=work)
    beside.start()
    with pytest.raises(DeadlineExceededError):
        run(engine, "wait", lines=lines)
    assert not beside.is_alive() and aside, "the run was stopped after it"
    assert lines[1:] == ["signal 1"]


def test_what_is_done_beside_a_run_has_a_time_of_its_own(engine: EngineCommand) -> None:
    engine.deadline = time.monotonic() + 0.2
    ended = threading.Event()

    def work() -> None:
        with engine.beside(0.2):
            ended.wait(30)

    beside = threading.Thread(target=work)
    beside.start()
    with pytest.raises(DeadlineExceededError):
        run(engine, "wait")
    assert beside.is_alive()
    ended.set()
    beside.join()
    engine.deadline = None
    with engine.beside(60):
        assert engine.deadline is None


def test_an_engine_that_does_not_end_gets_a_second_signal(
    engine: EngineCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_GRACE_SECONDS", 0.3)
    engine.deadline = time.monotonic() + 0.5
    lines: list[str] = []
    with pytest.raises(DeadlineExceededError):
        run(engine, "wait", ends_at=2, lines=lines)
    assert lines[1:] == ["signal 1", "signal 2"]


def test_one_that_ignores_both_is_killed(engine: EngineCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_GRACE_SECONDS", 0.3)
    engine.deadline = time.monotonic() + 0.5
    lines: list[str] = []
    with pytest.raises(DeadlineExceededError):
        run(engine, "wait", ends_at=99, lines=lines)
    assert lines[1:] == ["signal 1", "signal 2"]
    assert not Path(f"/proc/{lines[0].split()[0]}").exists()


def test_ctrl_c_stops_the_engine_in_order_and_goes_on_as_ctrl_c(engine: EngineCommand) -> None:
    lines: list[str] = []

    def interrupt() -> None:
        while not lines:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    # A test runner in the background has Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(engine, "wait", lines=lines)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert lines[1:] == ["signal 1"]


def test_a_reader_that_fails_reads_on_so_that_the_engine_can_end_and_is_heard(engine: EngineCommand) -> None:
    def fail(line: str) -> None:
        raise LookupError(line)

    with pytest.raises(LookupError):
        engine.run(["talk"], "/", {"ENDS_AT": "1"}, on_output=fail)


def test_a_run_that_there_is_no_use_in_waiting_for_is_stopped_in_order(
    engine: EngineCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_LOOK_SECONDS", 0.05)
    engine.deadline = time.monotonic() + 120
    lines: list[str] = []
    # Not before it listens: a signal that comes earlier ends it without a word.
    engine.gives_up = lambda: "AWS has none" if lines else ""
    with pytest.raises(GaveUpError, match="AWS has none"):
        run(engine, "wait", lines=lines)
    assert lines[1:] == ["signal 1"]
    engine.gives_up = lambda: ""
    assert run(engine, "up")[0].endswith(" up"), "one that has use goes on to its end"
