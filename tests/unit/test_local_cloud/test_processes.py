from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from geusemaker.local_cloud import processes
from geusemaker.local_cloud.processes import (
    INSTANCE_VARIABLE,
    end_processes,
    find_instance_processes,
    is_same_process,
    start_time,
    wait_until_gone,
)

STUBBORN = "import signal,sys,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of an instance whose disk is ``tmp_path/i-1/disk``; it ignores SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, "-IS", "-c", STUBBORN],
        env={INSTANCE_VARIABLE: str(tmp_path / "i-1/disk")},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_process_is_known_by_its_number_and_start(sleeper: subprocess.Popen[str]) -> None:
    started = start_time(sleeper.pid)
    assert started is not None
    assert is_same_process(sleeper.pid, started)
    assert not is_same_process(sleeper.pid, started + 1)
    sleeper.kill()
    sleeper.wait()
    assert start_time(sleeper.pid) is None
    assert not is_same_process(sleeper.pid, None), "what had ended before it was looked at does not run"
    sleeper.kill()
    assert wait_until_gone({sleeper.pid: started}, 10) == {}
    assert start_time(sleeper.pid) is None, "a zombie counts as gone"


def test_the_processes_of_an_instance_are_found_from_its_disk_and_from_above(
    sleeper: subprocess.Popen[str], tmp_path: Path
) -> None:
    for folder in (tmp_path / "i-1/disk", tmp_path / "i-1", tmp_path):
        assert list(find_instance_processes(folder)) == [sleeper.pid]
    for folder in (tmp_path / "i-1/dis", tmp_path / "i-2", tmp_path / "i-1/disk/home"):
        assert find_instance_processes(folder) == {}
    assert os.getpid() not in find_instance_processes(tmp_path)


def test_one_that_ignores_sigterm_is_killed(sleeper: subprocess.Popen[str], tmp_path: Path) -> None:
    end_processes(tmp_path, grace=0.1)
    assert sleeper.wait(10) == -signal.SIGKILL
    assert find_instance_processes(tmp_path) == {}


def test_waiting_ends_at_its_timeout(sleeper: subprocess.Popen[str]) -> None:
    started = start_time(sleeper.pid)
    assert started is not None
    began = time.monotonic()
    assert wait_until_gone({sleeper.pid: started}, 0.1) == {sleeper.pid: started}
    assert 0.1 <= time.monotonic() - began < 5


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A process as /proc shows it at the moment at which it becomes another program: memory, and nothing in it yet."""
    folder = tmp_path / "proc/123"
    folder.mkdir(parents=True)
    (folder / "stat").write_bytes(Path("/proc/self/stat").read_bytes())
    (folder / "exe").symlink_to("/bin/sleep")
    (folder / "environ").touch()
    (folder / "cmdline").touch()
    monkeypatch.setattr(processes, "_PROC", tmp_path / "proc")
    return folder


@pytest.mark.parametrize("written_first", ["environ", "cmdline"])
def test_a_process_that_becomes_another_program_is_not_missed(
    proc: Path, written_first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {"environ": b"A=b\0" + INSTANCE_VARIABLE.encode() + b"=/disk\0", "cmdline": b"sleep\x00600\0"}
    to_write = sorted(contents, key=lambda name: name == written_first)

    def write_next(_: float) -> None:
        name = to_write.pop()
        (proc / name).write_bytes(contents[name])

    monkeypatch.setattr(time, "sleep", write_next)
    assert list(find_instance_processes(Path("/disk"))) == [123]


def test_a_process_with_a_command_alone_is_believed_the_second_time(
    proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (proc / "cmdline").write_bytes(b"sleep\x00600\0")
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    assert find_instance_processes(Path("/disk")) == {}
    assert len(waits) == 1


def test_what_runs_no_program_is_not_waited_for(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (proc / "exe").unlink()
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    assert find_instance_processes(Path("/disk")) == {}
    assert waits == []


def test_waiting_for_another_program_has_an_end(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_BECOMES_ANOTHER", 0.01)
    assert find_instance_processes(Path("/disk")) == {}
    (proc / "environ").write_bytes(INSTANCE_VARIABLE.encode() + b"=/disk\0")
    assert list(find_instance_processes(Path("/disk"))) == [123]
