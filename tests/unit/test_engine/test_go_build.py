from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.engine import go_build
from geusemaker.engine.go_build import BuildProgress, EngineBuildError, build, go_problem, parse_go_version
from geusemaker.engine.version import is_supported, parse_version
from tests.unit.test_engine.conftest import BUILDS_AN_ENGINE, Machine

PARTS = st.integers(min_value=0, max_value=9999)


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    with (tmp_path / "held").open("w") as held:
        yield held.fileno()


def test_the_pinned_module_names_a_supported_engine_and_a_go() -> None:
    version = parse_version(go_build.engine_version())

    assert version is not None
    assert is_supported(version)
    assert parse_go_version(f"go{go_build.required_go()}") is not None


def test_the_pinned_module_is_whole() -> None:
    folder = Path(go_build.__file__).parent / "go"
    version = go_build.engine_version()

    module, sums = (folder / "go.mod").read_text(), (folder / "go.sum").read_text()

    assert "tool github.com/pulumi/pulumi/pkg/v3/cmd/pulumi" in module
    for name in ("pkg", "sdk"):
        assert f"github.com/pulumi/pulumi/{name}/v3 {version} h1:" in sums


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go1.25.11", (1, 25, 11)),
        ("go1.26", (1, 26, 0)),
        ("go1.26rc1\n", (1, 26, -1)),
        ("go1.26beta2", (1, 26, -1)),
        ("go1.25.11 X:boringcrypto", (1, 25, 11)),
        ("go1.25.11-custom", (1, 25, 11)),
        ("devel go1.27-abcdef", None),
        ("1.25.11", None),
        ("go1", None),
        ("", None),
    ],
)
def test_parse_go_version(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse_go_version(text) == version


@given(PARTS, PARTS, PARTS)
def test_a_go_release_is_parsed_and_newer_than_its_candidates(major: int, minor: int, patch: int) -> None:
    release = parse_go_version(f"go{major}.{minor}.{patch}")
    candidate = parse_go_version(f"go{major}.{minor}rc1")

    assert release == (major, minor, patch)
    assert candidate is not None
    assert candidate < release


@given(st.text())
def test_any_text_is_a_go_version_or_none(text: str) -> None:
    version = parse_go_version(text)

    assert version is None or text.strip().startswith(f"go{text.strip()[2:].split('.')[0]}.")


def test_go_is_there_and_new_enough(machine: Machine) -> None:
    machine.go("", version=f"go{go_build.required_go()}")

    assert go_problem() is None


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (None, "Go is not installed"),
        ("echo go1.20", "Go 1.20 is too old"),
        ("echo what; exit 0", "does not tell its version: what"),
        ("echo 'no such thing' >&2; exit 2", "does not tell its version: no such thing"),
        ("while :; do :; done", "cannot be run: "),
    ],
)
def test_why_nothing_can_be_built(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, script: str | None, problem: str
) -> None:
    monkeypatch.setattr(go_build, "_GO_SECONDS", 0.5)
    if script is not None:
        machine.program(machine.bin / "go", script)

    assert problem in (go_problem() or "")


def test_the_build_is_pinned_and_keeps_the_operators_go_settings(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, descriptor: int
) -> None:
    given = {"GOPROXY": "their-proxy", "GOFLAGS": "-p=1", "GOGC": "50", "GOTOOLCHAIN": "auto", "GOWORK": "x"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    machine.program(
        machine.bin / "go",
        f"""echo "$PWD $*" >> {tmp_path}/calls
        echo "$CGO_ENABLED $GOTOOLCHAIN $GOWORK $GOPROXY $GOFLAGS $GOGC $GONOSUMDB$GOSUMDB" >> {tmp_path}/settings""",
    )
    for name in ("GONOSUMDB", "GOSUMDB"):
        monkeypatch.delenv(name, raising=False)

    build(tmp_path / "new" / "pulumi", tmp_path / "log", lambda progress: None, descriptor)

    folder = Path(go_build.__file__).parent / "go"
    package = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
    version = f"github.com/pulumi/pulumi/sdk/v3/go/common/version.Version={go_build.engine_version()}"
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"{folder} list -deps -mod=readonly {package}",
        f"{folder} build -v -mod=readonly -trimpath -ldflags -s -w -X {version} -o {tmp_path}/new/pulumi {package}",
    ]
    assert set((tmp_path / "settings").read_text().splitlines()) == {"0 local off their-proxy -p=1 50 "}


def test_a_home_folder_is_given_to_go_even_where_the_variable_is_missing(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, descriptor: int
) -> None:
    monkeypatch.delenv("HOME")
    machine.program(machine.bin / "go", f'echo "$HOME" >> {tmp_path}/homes')

    build(tmp_path / "pulumi", tmp_path / "log", lambda progress: None, descriptor)

    assert set((tmp_path / "homes").read_text().splitlines()) == {str(Path.home())}


def test_progress_counts_modules_and_packages(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, descriptor: int
) -> None:
    monkeypatch.setattr(go_build, "_REPORT_SECONDS", 0.1)
    machine.go(
        f"echo github.com/x/y >&2; echo internal/abi >&2; echo '# a warning' >&2; /bin/sleep 0.4; {BUILDS_AN_ENGINE}",
        listing="echo 'go: downloading github.com/x/y v1.0.0' >&2; echo a; echo b; echo c; /bin/sleep 0.4",
    )
    seen: list[BuildProgress] = []

    build(tmp_path / "pulumi", tmp_path / "log", seen.append, descriptor)

    assert ("downloading", "1 modules") in {(progress.stage, progress.detail) for progress in seen}
    assert (seen[-1].stage, seen[-1].detail) == ("compiling", "2 of up to 3 packages")
    assert [progress.seconds for progress in seen] == sorted(progress.seconds for progress in seen)
    assert os.access(tmp_path / "pulumi", os.X_OK)


def test_modules_that_cannot_be_downloaded_are_an_error(machine: Machine, tmp_path: Path, descriptor: int) -> None:
    machine.go("", listing="echo 'go: github.com/x/y@v1: dial tcp: no route to host' >&2; exit 1")

    with pytest.raises(EngineBuildError, match=r"`go list` ended with exit code 1\.\n  go: .*no route to host"):
        build(tmp_path / "pulumi", tmp_path / "log", lambda progress: None, descriptor)

    assert not (tmp_path / "log-packages.log").exists()


def test_only_the_end_of_a_long_log_is_shown(machine: Machine, tmp_path: Path, descriptor: int) -> None:
    machine.go('i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo "error number $i" >&2; echo fmt >&2; done; exit 1')

    with pytest.raises(EngineBuildError) as caught:
        build(tmp_path / "pulumi", tmp_path / "log", lambda progress: None, descriptor)

    lines = str(caught.value).splitlines()
    assert lines[1:] == [f"  error number {number}" for number in range(29, 41)]


def test_a_build_has_a_deadline(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, descriptor: int
) -> None:
    monkeypatch.setattr(go_build, "_COMPILE_SECONDS", 0.3)
    machine.go(f"echo $$ > {tmp_path}/pid; exec /bin/sleep 60")

    with pytest.raises(EngineBuildError, match="`go build` was not done within"):
        build(tmp_path / "pulumi", tmp_path / "log", lambda progress: None, descriptor)

    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
