from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from geusemaker.engine import processes
from geusemaker.engine.processes import (
    end_plugins,
    is_alive,
    process_birth,
    runs_program,
    started,
    wait_until_ended,
)


def test_a_program_that_ignores_the_request_to_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_TERM_SECONDS", 0.1)
    ready = tmp_path / "ready"
    script = f"trap '' TERM; : > {ready}; while :; do :; done"

    with started(["/bin/sh", "-c", script], output=subprocess.DEVNULL, errors=subprocess.DEVNULL) as process:
        while not ready.exists():
            assert process.poll() is None
            time.sleep(0.01)

    assert process.returncode == -9


def test_children_of_the_program_end_with_it(tmp_path: Path) -> None:
    held = tmp_path / "held"
    script = "/bin/sleep 60 & echo started; wait"

    with (
        held.open("wb") as errors,
        started(["/bin/sh", "-c", script], output=subprocess.PIPE, errors=errors) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"

    with process.stdout:
        # The child holds the pipe too: it reads as ended only when both are gone.
        assert process.stdout.read() == b""


def test_waiting_tells_whether_the_program_ended_by_itself() -> None:
    ticks: list[float] = []
    with started(["/bin/sh", "-c", "exit 3"], output=subprocess.DEVNULL, errors=subprocess.DEVNULL) as process:
        assert wait_until_ended(process, 10, ticks.append, every=10)
    assert process.returncode == 3
    assert ticks == []

    with started(["/bin/sleep", "60"], output=subprocess.DEVNULL, errors=subprocess.DEVNULL) as process:
        assert not wait_until_ended(process, 0.2, ticks.append, every=0.05)
    assert process.returncode == -15
    assert len(ticks) >= 2


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_is_known_by_its_number_and_its_birth() -> None:
    with started(["/bin/sleep", "60"], output=subprocess.DEVNULL, errors=subprocess.DEVNULL) as process:
        born = process_birth(process.pid)
        assert born.isdigit() and born == process_birth(process.pid)
        assert is_alive(process.pid) and is_alive(process.pid, born)
        assert not is_alive(process.pid, str(int(born) - 1)), "after a reboot the number is another's"
        assert runs_program(process.pid, "sleep") and not runs_program(process.pid, "pulumi")

        process.kill()
        wait_for(lambda: not is_alive(process.pid))  # a zombie still: nobody has waited for it
        assert not runs_program(process.pid, "sleep")
    assert not is_alive(process.pid) and process_birth(process.pid) == ""


def test_a_process_that_has_just_begun_is_known_by_its_program() -> None:
    for _ in range(20):  # for a moment it has no command line
        with started(["/bin/sleep", "60"], output=subprocess.DEVNULL, errors=subprocess.DEVNULL) as process:
            assert runs_program(process.pid, "sleep")


def test_the_plugins_of_a_killed_engine_are_ended_and_nobody_else(tmp_path: Path) -> None:
    plugin, other = tmp_path / "pulumi-resource-x", tmp_path / "other"
    for program in (plugin, other):
        shutil.copy("/bin/sleep", program)
    pids = tmp_path / "pids"
    script = f"{plugin} 60 & echo $! > {pids}; {other} 60 & echo $! >> {pids}; wait"
    engine = subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True)
    elsewhere = subprocess.Popen([plugin, "60"], start_new_session=True)
    try:
        wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        of_plugin, of_other = map(int, pids.read_text().split())
        wait_for(lambda: runs_program(of_plugin, plugin.name))  # until then it is the shell that became it
        engine.kill()
        engine.wait()

        assert end_plugins(engine.pid) == [of_plugin]
        wait_for(lambda: not is_alive(of_plugin))
        assert is_alive(of_other) and is_alive(elsewhere.pid)
        os.kill(of_other, signal.SIGKILL)
    finally:
        elsewhere.kill()
        elsewhere.wait()
