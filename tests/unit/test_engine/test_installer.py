from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path

import pulumi.automation
import pytest

from geusemaker.engine import installer
from geusemaker.engine.installer import EngineInstallError, install
from tests.unit.test_engine.conftest import installer_runs


def test_what_is_installed_is_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer_runs(monkeypatch, 'echo reached; echo done > "$1/made"')
    seconds: list[float] = []

    install(tmp_path, seconds.append)

    assert (tmp_path / "made").read_text() == "done\n"
    assert seconds == [0.0]


def test_a_network_that_swallows_everything_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "_REACH_SECONDS", 0.1)
    installer_runs(monkeypatch, "exec /bin/sleep 60")
    begin = time.monotonic()

    with pytest.raises(EngineInstallError, match="cannot be reached"):
        install(tmp_path, lambda seconds: None)

    assert time.monotonic() - begin < 45


def test_a_download_has_a_deadline_and_reports_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "_DOWNLOAD_SECONDS", 0.3)
    monkeypatch.setattr(installer, "_REPORT_SECONDS", 0.1)
    installer_runs(monkeypatch, "echo reached; exec /bin/sleep 60")
    seconds: list[float] = []

    with pytest.raises(EngineInstallError, match="was not done within"):
        install(tmp_path, seconds.append)

    assert len(seconds) >= 2
    assert seconds == sorted(seconds)


@pytest.mark.parametrize(
    "script", ["echo 'cannot be reached (x)' >&2; exit 1", "echo reached; echo 'failed (x)' >&2; exit 1"]
)
def test_the_reason_of_a_failure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    installer_runs(monkeypatch, script)

    with pytest.raises(EngineInstallError, match=r"\(x\)"):
        install(tmp_path, lambda seconds: None)


# The program of the installer's own process


class Reached:
    """urlopen that answers."""

    def __call__(self, url: str, timeout: float) -> nullcontext[BytesIO]:
        return nullcontext(BytesIO(b"#!/bin/sh"))


def test_the_program_tells_that_the_installer_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(url: str, timeout: float) -> object:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)

    assert installer._main(str(tmp_path)) == 1
    assert capsys.readouterr() == ("", "cannot be reached (no route)\n")


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (
            subprocess.CalledProcessError(22, ["install.sh"], output=b"downloading\nno such version\n"),
            "failed with exit code 22 (no such version)\n",
        ),
        (subprocess.CalledProcessError(22, ["install.sh"], output=b""), "failed with exit code 22 (no output)\n"),
        (ValueError("a bad version"), "failed (a bad version)\n"),
        (None, ""),
    ],
)
def test_the_program_runs_the_sdks_installer(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: Exception | None,
    told: str,
) -> None:
    roots: list[str] = []

    def sdk_install(root: str) -> None:
        roots.append(root)
        if failure is not None:
            raise failure

    monkeypatch.setattr(urllib.request, "urlopen", Reached())
    monkeypatch.setattr(pulumi.automation.PulumiCommand, "install", sdk_install)

    assert installer._main(str(tmp_path)) == (0 if failure is None else 1)
    assert roots == [str(tmp_path)]
    assert capsys.readouterr() == ("reached\n", told)


def test_the_real_command_runs_this_file_as_a_program(tmp_path: Path) -> None:
    program, *arguments = installer._command(tmp_path)

    assert program == sys.executable
    assert arguments == ["-P", installer.__file__, str(tmp_path)]
    # Without an argument it ends before it would contact anything: the file is a program that this Python can run.
    ended = subprocess.run([program, *arguments[:-1]], capture_output=True, text=True, check=False)
    assert ended.stderr.rstrip().endswith("IndexError: list index out of range")
