from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from geusemaker.engine import processes
from geusemaker.engine.processes import started, wait_until_ended


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
