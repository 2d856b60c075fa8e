"""The Pulumi CLI built from Go modules, pinned by the module beside this file (``go/go.mod``, ``go/go.sum``).

The operator's Go settings (GOPROXY, GOFLAGS, GONOSUMDB …) hold. Go verifies each module against ``go.sum`` whatever the
proxy sends. ``go install package@version`` cannot do it: Pulumi's own go.mod replaces a module.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from geusemaker.engine.processes import started, wait_until_ended

_MODULE: Final = Path(__file__).parent / "go"
_PACKAGE: Final = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
_VERSION_SYMBOL: Final = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"

_GO_SECONDS = 20.0
_DOWNLOAD_SECONDS = 900.0
_COMPILE_SECONDS = 3600.0
_REPORT_SECONDS = 10.0
_TAIL_LINES = 12

# `go build -v` names each package as it compiles it; a module being downloaded is named with its version.
_PACKAGE_LINE = re.compile(r"[\w.~/+-]+", re.ASCII)
_DOWNLOAD_LINE = re.compile(r"go: downloading \S+ \S+", re.ASCII)


class EngineBuildError(Exception):
    """The build failed; the text says how, with the last lines of its log."""


@dataclass(frozen=True)
class BuildProgress:
    """How far the build is: stage ``downloading`` or ``compiling``, what is done of it, seconds since the start."""

    stage: str
    detail: str
    seconds: float


@cache
def required_go() -> str:
    """The oldest Go that can build the engine, e.g. ``1.25.11``: what the pinned module asks for."""
    return _from_module(r"^go ([0-9.]+)$")


@cache
def engine_version() -> str:
    """The version of the pinned engine, e.g. ``v3.259.0``."""
    return _from_module(r"^\s+github\.com/pulumi/pulumi/pkg/v3 (\S+)")


def go_problem() -> str | None:
    """Why nothing can be built here (no Go, or too old a Go), as part of a sentence; None when it can."""
    go = shutil.which("go")
    if go is None:
        return f"Go is not installed (Go {required_go()} or newer is needed)"
    try:
        answer = subprocess.run(
            [go, "env", "GOVERSION"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GO_SECONDS,
            env=_environment(),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{go} cannot be run: {error}"
    found = parse_go_version(answer.stdout)
    if answer.returncode != 0 or found is None:
        return f"{go} does not tell its version: {(answer.stderr.strip() or answer.stdout.strip())[:200]}"
    if found < tuple(int(part) for part in required_go().split(".")):
        return f"Go {answer.stdout.strip().removeprefix('go')} is too old (Go {required_go()} or newer is needed)"
    return None


def parse_go_version(text: str) -> tuple[int, int, int] | None:
    """The numbers of a Go version such as ``go1.25.11``, ``go1.26rc1`` or ``go1.26.8 X:foo``; None for other texts.

    A release candidate counts as older than every release of its line: its patch number is -1.
    """
    match = re.match(r"go(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4})|(rc|beta)\d+)?(?![\w.])", text.strip(), re.ASCII)
    if match is None:
        return None
    major, minor, patch, candidate = match.groups()
    return int(major), int(minor), -1 if candidate else int(patch or 0)


def build(target: Path, log: Path, on_progress: Callable[[BuildProgress], None], keep_open: int) -> None:
    """Build the engine as the file ``target``; what Go writes goes to ``log``. Takes minutes.

    Args:
        keep_open: a descriptor (the lock's) that Go inherits, so that the lock outlives us if we are killed.

    Raises:
        EngineBuildError: with the last lines of the log.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    log.write_bytes(b"")
    list_log = log.with_name(f"{log.stem}-packages.log")
    try:
        # Downloads the modules, and tells how many packages there are to compile.
        _run_go(
            ["list", "-deps", "-mod=readonly", _PACKAGE],
            log,
            _DOWNLOAD_SECONDS,
            lambda lines: on_progress(
                BuildProgress("downloading", f"{_count(_DOWNLOAD_LINE, lines)} modules", time.monotonic() - begin)
            ),
            keep_open,
            output=list_log,
        )
        packages = len(list_log.read_text(encoding="utf-8").splitlines())
    finally:
        list_log.unlink(missing_ok=True)
    flags = f"-s -w -X {_VERSION_SYMBOL}={engine_version()}"
    _run_go(
        ["build", "-v", "-mod=readonly", "-trimpath", "-ldflags", flags, "-o", str(target), _PACKAGE],
        log,
        _COMPILE_SECONDS,
        lambda lines: on_progress(
            BuildProgress(
                "compiling", f"{_count(_PACKAGE_LINE, lines)} of up to {packages} packages", time.monotonic() - begin
            )
        ),
        keep_open,
    )


def _run_go(
    arguments: Sequence[str],
    log: Path,
    timeout: float,
    on_lines: Callable[[list[str]], None],
    keep_open: int,
    output: Path | None = None,
) -> None:
    def report(_: float = 0.0) -> None:
        on_lines(_lines(log))

    go = shutil.which("go")
    if go is None:
        raise EngineBuildError("Go is gone from PATH.")
    with log.open("ab") as errors, (output or log).open("ab") as listing:
        report()
        with started(
            [go, *arguments],
            output=listing,
            errors=errors,
            environment=_environment(),
            folder=_MODULE,
            keep_open=[keep_open],
        ) as process:
            ended = wait_until_ended(process, timeout, report, _REPORT_SECONDS)
    if not ended:
        raise EngineBuildError(f"`go {arguments[0]}` was not done within {timeout / 60:.0f} min.{_tail(log)}")
    if process.returncode != 0:
        raise EngineBuildError(f"`go {arguments[0]}` ended with exit code {process.returncode}.{_tail(log)}")


def _environment() -> dict[str, str]:
    """Ours, with what the pinned build needs."""
    return {
        "HOME": str(Path.home()),  # Go finds no place for its caches without it
        # The compilers collect garbage less often: a fifth less processor time, with a limit where memory gets large.
        "GOGC": "400",
        "GOMEMLIMIT": "1500MiB",
        **os.environ,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",  # never download another Go behind the operator's back
        "GOWORK": "off",  # a go.work of a folder above must not change what is built
    }


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()


def _count(pattern: re.Pattern[str], lines: list[str]) -> int:
    return sum(1 for line in lines if pattern.fullmatch(line))


def _tail(log: Path) -> str:
    """The log's last lines, progress left out, each on a line of its own."""
    telling = [line for line in _lines(log) if not (_PACKAGE_LINE.fullmatch(line) or _DOWNLOAD_LINE.fullmatch(line))]
    return "".join(f"\n  {line}" for line in telling[-_TAIL_LINES:])


def _from_module(pattern: str) -> str:
    match = re.search(pattern, (_MODULE / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise LookupError(f"{_MODULE / 'go.mod'} has no line like {pattern}")
    return match.group(1)
