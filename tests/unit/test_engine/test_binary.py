from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.engine import getting, go_build, version
from geusemaker.engine.binary import find_engine, unusable_engines
from geusemaker.engine.getting import prepare_engine
from geusemaker.engine.version import OLDEST_SUPPORTED, EngineVersion, engines_folder, is_supported, parse_version
from geusemaker.errors import EngineNotFoundError
from geusemaker.models.doctor import EngineInfo
from geusemaker.models.plan import Event
from tests.unit.test_engine.conftest import BUILDS_AN_ENGINE, Machine, installer_runs

NUMBERS = st.integers(min_value=0, max_value=99_999)


def ignore(event: Event) -> None:
    """For tests that look at the outcome only."""


# Versions


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v3.259.0", EngineVersion(3, 259, 0)),
        ("3.259.0\n", EngineVersion(3, 259, 0)),
        ("v3.260.0-alpha.x1b2c3", EngineVersion(3, 260, 0, "-alpha.x1b2c3")),
        ("v3.259.0+dirty", EngineVersion(3, 259, 0, "+dirty")),
        ("", None),
        ("v3.259", None),
        ("v03.259.0", None),
        ("Pulumi v3.259.0", None),
        ("v3.259.0 (linux)", None),
        ("v٣.259.0", None),
    ],
)
def test_parse_version(text: str, version: EngineVersion | None) -> None:
    assert parse_version(text) == version


@given(NUMBERS, NUMBERS, NUMBERS, st.from_regex(r"([-+][0-9A-Za-z.+-]{1,12})?", fullmatch=True))
def test_a_printed_version_is_parsed_back(major: int, minor: int, patch: int, suffix: str) -> None:
    version = EngineVersion(major, minor, patch, suffix)

    assert parse_version(f"v{version}\n") == version
    assert parse_version(str(version)) == version


@given(st.text())
def test_any_text_is_a_version_or_none(text: str) -> None:
    version = parse_version(text)

    assert version is None or str(version) == text.strip().removeprefix("v")


@pytest.mark.parametrize(
    ("text", "supported"),
    [
        (str(OLDEST_SUPPORTED), True),
        (f"{OLDEST_SUPPORTED}-rc.1", False),
        (f"{OLDEST_SUPPORTED}+build", True),
        ("3.231.1-rc.1", True),
        ("3.230.9", False),
        ("3.9999.0", True),
        ("4.0.0", False),
        ("4.0.0-alpha.1", False),
        ("2.999.999", False),
    ],
)
def test_supported_versions(text: str, supported: bool) -> None:
    version = parse_version(text)

    assert version is not None
    assert is_supported(version) is supported


@given(NUMBERS, NUMBERS, NUMBERS)
def test_only_one_major_version_is_supported_and_from_a_minor_on(major: int, minor: int, patch: int) -> None:
    assert is_supported(EngineVersion(major, minor, patch)) is (major == 3 and minor >= OLDEST_SUPPORTED.minor)


# Finding


def test_nothing_is_found_on_an_empty_machine(machine: Machine) -> None:
    assert find_engine() is None
    assert unusable_engines() == []
    assert not machine.cache.exists()


def test_the_variable_comes_before_path_and_cache(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.pulumi("v3.300.0")
    machine.cached("3.301.0")
    named = machine.pulumi("v3.259.0", tmp_path / "elsewhere" / "pulumi-3.259")
    monkeypatch.setenv("GEUSEMAKER_PULUMI", str(named))

    assert find_engine() == EngineInfo(path=str(named), version="3.259.0", source="environment")


def test_the_variable_may_be_relative_or_in_the_home_folder(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = machine.pulumi("v3.259.0", tmp_path / "home" / "tools" / "pulumi")
    expected = EngineInfo(path=str(named), version="3.259.0", source="environment")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GEUSEMAKER_PULUMI", "~/tools/pulumi")
    assert find_engine() == expected

    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("GEUSEMAKER_PULUMI", "tools/pulumi")
    assert find_engine() == expected


def test_an_empty_variable_is_no_variable(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = machine.pulumi("v3.259.0")
    monkeypatch.setenv("GEUSEMAKER_PULUMI", "")

    assert find_engine() == EngineInfo(path=str(path), version="3.259.0", source="path")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo v3.100.0", "is version 3.100.0, and 3.231.0 or newer (below 4) is needed"),
        ("echo v4.0.0", "is version 4.0.0"),
        ("echo hello", "does not tell its version (exit code 0: hello)"),
        ("echo v3.259.0; echo 'no such plan' >&2; exit 3", "does not tell its version (exit code 3: no such plan)"),
        ("exit 0", "does not tell its version (exit code 0: nothing)"),
        ("while :; do :; done", "did not tell its version within"),
    ],
)
def test_an_unusable_engine_named_by_the_variable_is_an_error(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    machine.pulumi("v3.300.0")
    named = machine.program(tmp_path / "named", script)
    monkeypatch.setenv("GEUSEMAKER_PULUMI", str(named))
    monkeypatch.setattr(version, "_VERSION_SECONDS", 0.5)

    with pytest.raises(EngineNotFoundError) as caught:
        find_engine()

    assert f"GEUSEMAKER_PULUMI is set to {named}, which {why}" in caught.value.message
    assert "unset it" in caught.value.next_step


@pytest.mark.parametrize("named", ["/nowhere/pulumi", "~nobody-of-that-name/pulumi", "/"])
def test_a_variable_that_names_no_program_is_an_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("GEUSEMAKER_PULUMI", named)

    with pytest.raises(EngineNotFoundError, match="GEUSEMAKER_PULUMI is set to"):
        prepare_engine(ignore)


def test_a_program_of_another_architecture_is_unusable(machine: Machine) -> None:
    path = machine.bin / "pulumi"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)

    assert find_engine() is None
    assert unusable_engines() == [f"pulumi on PATH ({path}) cannot be run: Exec format error."]


def test_path_comes_before_the_cache(machine: Machine) -> None:
    path = machine.pulumi("v3.259.0")
    machine.cached("3.301.0")

    assert find_engine() == EngineInfo(path=str(path), version="3.259.0", source="path")


def test_an_unsupported_engine_on_path_is_passed_over_and_named(machine: Machine) -> None:
    old = machine.pulumi("v3.100.0")
    cached = machine.cached("3.259.0")

    assert find_engine() == EngineInfo(path=str(cached), version="3.259.0", source="cache")
    assert unusable_engines() == [
        f"pulumi on PATH ({old}) is version 3.100.0, and 3.231.0 or newer (below 4) is needed."
    ]


def test_the_newest_usable_engine_of_the_cache_is_taken(machine: Machine) -> None:
    machine.cached("3.259.0")
    newest = machine.cached("3.1000.0")
    machine.cached("3.999.0")
    machine.cached("4.1.0")
    machine.program(machine.engines / "v3.2000.0" / "bin" / "pulumi", "exit 1")
    machine.pulumi("v3.3000.0", machine.engines / ".new-killed" / "bin" / "pulumi")
    machine.pulumi("v3.3000.0", machine.engines / "vault" / "bin" / "pulumi")

    found = find_engine()

    assert found == EngineInfo(path=str(newest), version="3.1000.0", source="cache")


def test_a_dangling_link_in_the_cache_is_passed_over(machine: Machine) -> None:
    link = machine.engines / "v3.259.0" / "bin" / "pulumi"
    link.parent.mkdir(parents=True)
    link.symlink_to("nothing")

    assert find_engine() is None


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/somebody")
    assert engines_folder() == Path("/var/cache/somebody/geusemaker/engine")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/to/be/ignored")
    assert engines_folder() == Path("/home/somebody/.cache/geusemaker/engine")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert engines_folder() == Path("/home/somebody/.cache/geusemaker/engine")


# Remembering versions


def counting_pulumi(machine: Machine, version: str = "v3.259.0") -> Path:
    return machine.program(machine.bin / "pulumi", f"echo asked >> {machine.bin}/asked; echo {version}")


def times_asked(machine: Machine) -> int:
    return len((machine.bin / "asked").read_text().splitlines())


def test_a_binary_is_asked_for_its_version_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "_SHIM_BYTES", 1)
    counting_pulumi(machine)

    first, second = find_engine(), find_engine()

    assert first == second
    assert first is not None
    assert times_asked(machine) == 1


def test_a_changed_binary_is_asked_again(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "_SHIM_BYTES", 1)
    path = counting_pulumi(machine)
    find_engine()
    counting_pulumi(machine, "v3.260.0")
    os.utime(path, ns=(1, 1))

    found = find_engine()

    assert found is not None
    assert found.version == "3.260.0"
    assert times_asked(machine) == 2


def test_a_small_program_is_asked_each_time_since_it_may_be_a_version_managers_shim(machine: Machine) -> None:
    counting_pulumi(machine)

    find_engine(), find_engine()

    assert times_asked(machine) == 2


def test_a_link_to_another_program_is_asked_each_time(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "_SHIM_BYTES", 1)
    manager = counting_pulumi(machine).rename(machine.bin / "manager")
    (machine.bin / "pulumi").symlink_to(manager)

    find_engine(), find_engine()

    assert times_asked(machine) == 2


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[1]",
        '{"PATH": 1}',
        '{"PATH": [MTIME, SIZE]}',
        '{"PATH": [MTIME, SIZE, "hello"]}',
        '{"PATH": [0, 0, "3.300.0"]}',
    ],
)
def test_a_spoilt_memory_is_not_believed(machine: Machine, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr(version, "_SHIM_BYTES", 1)
    path = counting_pulumi(machine)
    status = path.stat()
    machine.engines.mkdir(parents=True)
    text = (
        content.replace("PATH", str(path))
        .replace("MTIME", str(status.st_mtime_ns))
        .replace("SIZE", str(status.st_size))
    )
    (machine.engines / "versions.json").write_text(text)

    found = find_engine()

    assert found is not None
    assert found.version == "3.259.0"
    assert json.loads((machine.engines / "versions.json").read_text())[str(path)][2] == "3.259.0"


def test_a_cache_folder_that_cannot_be_written_costs_speed_only(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "_SHIM_BYTES", 1)
    machine.cache.write_text("a file where the folder should be")
    counting_pulumi(machine)

    assert find_engine() is not None
    assert find_engine() is not None
    assert times_asked(machine) == 2


# Preparing


def left_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} - {"versions.json"}


def test_an_engine_that_is_there_is_taken_without_a_word(machine: Machine) -> None:
    path = machine.pulumi("v3.259.0")
    events: list[Event] = []

    assert prepare_engine(events.append) == EngineInfo(path=str(path), version="3.259.0", source="path")
    assert events == []
    assert not machine.cache.exists()


def test_the_installer_is_tried_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    installer_runs(monkeypatch, 'echo reached; /bin/mkdir -p "$1/bin"; out="$1/bin/pulumi"; ' + BUILDS_AN_ENGINE)
    machine.go("exit 1")
    events: list[Event] = []

    info = prepare_engine(events.append)

    place = machine.engines / "v3.259.0" / "bin" / "pulumi"
    assert info == EngineInfo(path=str(place), version="3.259.0", source="installer")
    assert find_engine() == EngineInfo(path=str(place), version="3.259.0", source="cache")
    assert [(event.kind, event.name, event.state) for event in events] == [
        ("phase", "engine", "started"),
        ("resource", "Pulumi", "downloading"),
        ("phase", "engine", "done"),
    ]
    assert left_in(machine.engines) == {"lock", "v3.259.0"}


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 7", "Pulumi's installer ended with exit code 7"),
        ("echo reached; echo 'no such release' >&2; exit 1", "Pulumi's installer no such release"),
        ("echo reached; exit 0", "Pulumi's installer gave a program that cannot be read"),
        (
            'echo reached; out="$1/bin/pulumi"; /bin/mkdir "$1/bin"; ' + BUILDS_AN_ENGINE.replace("3.259.0", "4.0.0"),
            "Pulumi's installer gave a program that is version 4.0.0",
        ),
    ],
)
def test_where_the_installer_fails_the_engine_is_built(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    installer_runs(monkeypatch, script)
    machine.go(BUILDS_AN_ENGINE)
    events: list[Event] = []

    info = prepare_engine(events.append)

    assert info.source == "built"
    (estimate,) = [event.message for event in events if event.state == "building"]
    assert why in estimate
    assert "4 to 6 min on 2 idle cores" in estimate
    assert [event.state for event in events][-2:] == ["compiling", "done"]
    assert left_in(machine.engines) == {"lock", "build.log", "v3.259.0"}


def test_an_unusable_engine_in_the_cache_is_replaced(machine: Machine) -> None:
    machine.program(machine.engines / "v3.259.0" / "bin" / "pulumi", "exit 1")
    machine.go(BUILDS_AN_ENGINE)

    assert prepare_engine(ignore).source == "built"
    found = find_engine()
    assert found is not None
    assert found.source == "cache"


def test_without_internet_and_go_the_error_tells_all_ways_out(machine: Machine) -> None:
    old = machine.pulumi("v3.100.0")
    events: list[Event] = []

    with pytest.raises(EngineNotFoundError) as caught:
        prepare_engine(events.append)

    assert "Pulumi's installer cannot be reached (no network here)" in caught.value.message
    assert f"Go is not installed (Go {go_build.required_go()} or newer is needed)" in caught.value.message
    assert f"pulumi on PATH ({old}) is version 3.100.0" in caught.value.message
    for way in ("https://www.pulumi.com/docs/install/", "GEUSEMAKER_PULUMI", f"Go {go_build.required_go()}"):
        assert way in caught.value.next_step
    assert (events[-1].kind, events[-1].name, events[-1].state) == ("phase", "engine", "failed")
    assert left_in(machine.engines) == {"lock"}


def test_go_that_is_too_old_is_said_to_be(machine: Machine) -> None:
    machine.go("exit 1", version="go1.19.4")

    with pytest.raises(EngineNotFoundError, match=r"Go 1\.19\.4 is too old \(Go 1\.\d+\.\d+ or newer is needed\)"):
        prepare_engine(ignore)


def test_a_failed_build_shows_the_end_of_its_log_and_leaves_nothing(machine: Machine) -> None:
    machine.go("echo fmt >&2; echo 'x.go:1: no space left on device' >&2; echo broken > \"$out\"; exit 2")

    with pytest.raises(EngineNotFoundError) as caught:
        prepare_engine(ignore)

    assert "`go build` ended with exit code 2.\n  x.go:1: no space left on device" in caught.value.message
    log = machine.engines / "build.log"
    assert str(log) in caught.value.state
    assert "no space left" in log.read_text()
    assert left_in(machine.engines) == {"lock", "build.log"}
    assert find_engine() is None


def test_a_build_that_gives_no_engine_is_an_error(machine: Machine) -> None:
    machine.go('echo "not a program" > "$out"')

    with pytest.raises(EngineNotFoundError, match="gave a program that cannot be run"):
        prepare_engine(ignore)

    assert left_in(machine.engines) == {"lock", "build.log"}


def test_leftovers_of_killed_processes_are_removed(machine: Machine) -> None:
    machine.pulumi("v3.259.0", machine.engines / ".new-killed" / "bin" / "pulumi")
    machine.go(BUILDS_AN_ENGINE)

    prepare_engine(ignore)

    assert left_in(machine.engines) == {"lock", "build.log", "v3.259.0"}


def test_a_cache_folder_that_cannot_be_made_is_an_error(machine: Machine) -> None:
    machine.cache.write_text("a file where the folder should be")

    with pytest.raises(EngineNotFoundError) as caught:
        prepare_engine(ignore)

    assert str(machine.engines) in caught.value.message
    assert "XDG_CACHE_HOME" in caught.value.next_step


def test_an_operating_system_error_on_the_way_is_reported_as_what_it_is(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    events: list[Event] = []

    with pytest.raises(EngineNotFoundError, match=r"could not be put into .*: No space left on device"):
        prepare_engine(events.append)

    assert events[-1].state == "failed"


def test_two_at_a_time_build_once(machine: Machine) -> None:
    machine.go(f"echo built >> {machine.bin}/builds; /bin/sleep 0.5; {BUILDS_AN_ENGINE}")
    results: list[EngineInfo] = []
    events: list[Event] = []
    threads = [threading.Thread(target=lambda: results.append(prepare_engine(events.append))) for _ in range(2)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)

    assert sorted(info.source for info in results) == ["built", "cache"]
    assert len({info.path for info in results}) == 1
    assert (machine.bin / "builds").read_text() == "built\n"
    assert any(event.state == "waiting" for event in events)


def test_waiting_for_another_process_has_an_end(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getting, "_LOCK_SECONDS", 0.05)
    machine.engines.mkdir(parents=True)

    with (machine.engines / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EngineNotFoundError, match="Another process has been getting the Pulumi engine"):
            prepare_engine(ignore)


def process_is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: object, timeout: float = 10.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


def test_an_interrupted_build_is_ended_and_leaves_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go_build, "_REPORT_SECONDS", 0.05)
    machine.go(f'echo $$ > {machine.bin}/pid; echo half > "$out"; /bin/sleep 60')

    def interrupt(event: Event) -> None:
        if event.state == "compiling" and (machine.bin / "pid").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_engine(interrupt)

    assert not process_is_alive(int((machine.bin / "pid").read_text()))
    assert left_in(machine.engines) == {"lock", "build.log"}
    assert find_engine() is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_when_killed_the_lock_is_held_until_go_has_ended_as_well(machine: Machine) -> None:
    machine.go(f"echo $$ > {machine.bin}/pid; exec /bin/sleep 60")
    script = (
        "from geusemaker.engine import getting, installer\n"
        "installer._command = lambda folder: ['/bin/sh', '-c', 'exit 1']\n"
        "getting.prepare_engine(lambda event: None)\n"
    )
    root = str(Path(getting.__file__).parents[2])
    victim = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": root})
    pid_file = machine.bin / "pid"
    wait_until(lambda: pid_file.exists() and pid_file.read_text().strip())
    go = int(pid_file.read_text())
    victim.kill()
    victim.wait()

    with (machine.engines / "lock").open("a") as lock:
        assert process_is_alive(go)
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert any(name.startswith(".new-") for name in left_in(machine.engines))
    os.kill(go, signal.SIGKILL)
    machine.go(BUILDS_AN_ENGINE)

    assert prepare_engine(ignore).source == "built"
    assert left_in(machine.engines) == {"lock", "build.log", "v3.259.0"}
