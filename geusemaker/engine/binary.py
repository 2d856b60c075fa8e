"""The Pulumi engine's binary: found on this machine, or installed or built into the user's cache folder.

Looked for in this order: ``GEUSEMAKER_PULUMI``, ``pulumi`` on PATH, one that was made here earlier. That is quick and
contacts nothing. ``prepare_engine`` goes on with Pulumi's official installer and, where that cannot be reached, with a
build from pinned Go modules.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from geusemaker.engine import go_build, installer
from geusemaker.engine.go_build import EngineBuildError
from geusemaker.engine.installer import EngineInstallError
from geusemaker.errors import EngineNotFoundError
from geusemaker.models.plan import Event
from geusemaker.models.result import EngineInfo

ENGINE_VARIABLE: Final = "GEUSEMAKER_PULUMI"

OnEvent = Callable[[Event], None]
Source = Literal["environment", "path", "cache", "installer", "built"]

_VERSION_SECONDS = 20.0
_LOCK_SECONDS = 3600.0
_LOCK_POLL_SECONDS = 0.2
_REPORT_SECONDS = 10.0
_SHIM_BYTES = 10_000_000
_TEMPORARY = ".new-"


class EngineVersion(NamedTuple):
    """A Pulumi version, ordered by its three numbers."""

    major: int
    minor: int
    patch: int
    suffix: str = ""
    """Pre-release and build part with its sign, e.g. ``-alpha.1``."""

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}{self.suffix}"


OLDEST_SUPPORTED: Final = EngineVersion(3, 231, 0)
"""CLI and SDK are released together, and pulumi-aws 7.51 asks for SDK 3.231 or newer: an older CLI is one that nobody
has run with it. All the CLI commands used here are older than that; the youngest, ``config set-all --json``, came
between 3.199 and 3.214 (Pulumi's changelog)."""

_NUMBER = r"(0|[1-9][0-9]{0,8})"
_VERSION = re.compile(rf"v?{_NUMBER}\.{_NUMBER}\.{_NUMBER}([-+][0-9A-Za-z.+-]+)?", re.ASCII)


class UnusableEngineError(Exception):
    """A program that is no usable engine; the text says why, as the end of a sentence about it."""


def parse_version(text: str) -> EngineVersion | None:
    """The version in what ``pulumi version`` printed, e.g. ``v3.259.0``; None when it is no version."""
    match = _VERSION.fullmatch(text.strip())
    if match is None:
        return None
    major, minor, patch, suffix = match.groups()
    return EngineVersion(int(major), int(minor), int(patch), suffix or "")


def is_supported(version: EngineVersion) -> bool:
    """Whether an engine of this version can be used: at least OLDEST_SUPPORTED and below 4.

    A pre-release of the oldest one came before it, so it does not count.
    """
    if version[:3] == OLDEST_SUPPORTED[:3] and version.suffix.startswith("-"):
        return False
    return OLDEST_SUPPORTED[:3] <= version[:3] < (OLDEST_SUPPORTED.major + 1, 0, 0)


def engines_folder() -> Path:
    """Where engines made here are kept: ``geusemaker/engine`` in the user's cache folder, one folder a version."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification tells to ignore a relative path.
    return (Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache") / "geusemaker" / "engine"


def find_engine() -> EngineInfo | None:
    """The engine to use, or None when this machine has no usable one. Quick; contacts nothing.

    Raises:
        EngineNotFoundError: ``GEUSEMAKER_PULUMI`` names something that is no usable engine.
    """
    named = os.environ.get(ENGINE_VARIABLE, "")
    if named:
        return _named_engine(named)
    for path, source in _candidates():
        with contextlib.suppress(UnusableEngineError):  # `unusable_engines` tells why
            return _info(path, source)
    return None


def require_engine() -> EngineInfo:
    """The engine to use, for whoever only looks: getting one takes minutes, and is not done unasked.

    Raises:
        EngineNotFoundError: this machine has none; says how to get one.
    """
    found = find_engine()
    if found is not None:
        return found
    raise EngineNotFoundError(
        " ".join(["There is no usable Pulumi engine on this machine, and looking installs none.", *unusable_engines()]),
        state="Nothing was installed.",
        next_step="`geusemaker doctor --get-engine` gets one, once per machine: Pulumi's installer takes seconds, a "
        f"build with Go about 4 minutes. {how_to_get_an_engine()}",
    )


def unusable_engines() -> list[str]:
    """One sentence for each engine on this machine that is passed over, and why."""
    sentences = []
    for path, source in _candidates():
        try:
            _info(path, source)
        except UnusableEngineError as error:
            place = "pulumi on PATH" if source == "path" else "The engine in the cache folder"
            sentences.append(f"{place} ({path}) {error}.")
    return sentences


def how_to_get_an_engine() -> str:
    """What an operator without an engine can do, in one or two sentences."""
    return (
        "Install the Pulumi CLI so that `pulumi` is on PATH (https://www.pulumi.com/docs/install/), or let "
        f"{ENGINE_VARIABLE} name one (version {OLDEST_SUPPORTED} or newer, below {OLDEST_SUPPORTED.major + 1}). "
        f"With Go {go_build.required_go()} or newer on PATH and its modules within reach, geusemaker builds one itself."
    )


def prepare_engine(on_event: OnEvent) -> EngineInfo:
    """The engine to use: found, else installed by Pulumi's installer, else built from pinned Go modules.

    Installing and building report to ``on_event`` as phase ``engine``. Only one process does it at a time; others
    wait and take what it made. What is interrupted leaves nothing that could be taken for an engine.

    Raises:
        EngineNotFoundError: there is none and none could be made; says what was tried and what to do.
    """
    found = find_engine()
    if found is not None:
        return found
    folder = engines_folder()
    started = time.monotonic()
    with _exclusively(folder, on_event) as lock:
        found = find_engine()  # another process may have made one meanwhile
        if found is not None:
            return found
        _remove_leftovers(folder)
        _phase(on_event, "started", "getting the Pulumi engine, once per machine")
        try:
            info = _make_engine(folder, lock, on_event)
        except EngineNotFoundError as error:
            _phase(on_event, "failed", error.message.splitlines()[0])
            raise
        except OSError as error:
            _phase(on_event, "failed", str(error))
            raise EngineNotFoundError(
                f"The Pulumi engine could not be put into {folder}: {error.strerror or error}.",
                next_step=f"Look at the space and the rights there. {how_to_get_an_engine()}",
            ) from error
    how = "installed" if info.source == "installer" else "built"
    _phase(on_event, "done", f"Pulumi {info.version} {how} in {duration(time.monotonic() - started)}")
    return info


def _named_engine(named: str) -> EngineInfo:
    try:
        path = shutil.which(Path(named).expanduser())
        if path is None:
            raise UnusableEngineError("is not an executable file")
        return _info(Path(path).absolute(), "environment")
    except (UnusableEngineError, RuntimeError) as error:  # RuntimeError: a `~name` of nobody
        raise EngineNotFoundError(
            f"{ENGINE_VARIABLE} is set to {named}, which {error}.",
            next_step=f"Let it name a Pulumi CLI of version {OLDEST_SUPPORTED} or newer, or unset it.",
        ) from None


def _candidates() -> Iterator[tuple[Path, Source]]:
    on_path = shutil.which("pulumi")
    if on_path is not None:
        yield Path(on_path).absolute(), "path"
    made = [
        (version, path)
        for path in engines_folder().glob("v*/bin/pulumi")
        if (version := parse_version(path.parent.parent.name)) is not None
    ]
    for _, path in sorted(made, reverse=True):
        yield path, "cache"


def _info(path: Path, source: Source) -> EngineInfo:
    """The engine at this path.

    Raises:
        UnusableEngineError: it cannot be run, or is of an unsupported version.
    """
    version = _version_of(path)
    if not is_supported(version):
        raise UnusableEngineError(
            f"is version {version}, and {OLDEST_SUPPORTED} or newer (below {OLDEST_SUPPORTED.major + 1}) is needed"
        )
    return EngineInfo(path=str(path), version=str(version), source=source)


def _version_of(path: Path) -> EngineVersion:
    """Ask the binary, or remember what it answered: asking costs 0.13 s, and every command needs to know."""
    try:
        real = path.resolve(strict=True)
        status = real.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symbolic links (Python 3.11, 3.12)
        raise UnusableEngineError(f"cannot be read: {error}") from None
    # A version manager's shim answers differently from folder to folder: only the CLI itself is remembered.
    remember = status.st_size >= _SHIM_BYTES and real.name.startswith("pulumi")
    key, state = str(real), [status.st_mtime_ns, status.st_size]
    known = _remembered()
    if remember and known.get(key, [])[:2] == state:
        version = parse_version(str(known[key][2]))
        if version is not None:
            return version
    version = _ask_version(path)
    if remember:
        _remember({**known, key: [*state, str(version)]})
    return version


def _ask_version(path: Path) -> EngineVersion:
    try:
        answer = subprocess.run(
            [path, "version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_SECONDS,
            env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"},
            check=False,
        )
    except OSError as error:
        raise UnusableEngineError(f"cannot be run: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise UnusableEngineError(f"did not tell its version within {_VERSION_SECONDS:.0f} s") from None
    version = parse_version(answer.stdout)
    if answer.returncode != 0 or version is None:
        text = (answer.stderr.strip() or answer.stdout.strip() or "nothing").splitlines()[-1]
        raise UnusableEngineError(f"does not tell its version (exit code {answer.returncode}: {text[:200]})")
    return version


def _versions_file() -> Path:
    return engines_folder() / "versions.json"


def _remembered() -> dict[str, list[int | str]]:
    """Path → [mtime in ns, size, version]; empty when there is no such file or it is not ours."""
    try:
        known = json.loads(_versions_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {path: entry for path, entry in known.items() if isinstance(entry, list) and len(entry) == 3}


def _remember(known: dict[str, list[int | str]]) -> None:
    file = _versions_file()
    there = {path: entry for path, entry in known.items() if Path(path).exists()}
    temporary = file.with_name(f".versions-{os.getpid()}.json")
    with contextlib.suppress(OSError):  # only speed is lost where the cache folder cannot be written
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(there), encoding="utf-8")
        temporary.replace(file)


@contextlib.contextmanager
def _exclusively(folder: Path, on_event: OnEvent) -> Iterator[int]:
    """Hold the lock of the engines' folder; yields its descriptor. The kernel releases it however we end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a")
    except OSError as error:
        raise EngineNotFoundError(
            f"There is no Pulumi engine, and none can be put into {folder}: {error.strerror or error}.",
            next_step=f"Make that folder writable or set XDG_CACHE_HOME to another one. {how_to_get_an_engine()}",
        ) from error
    with lock:
        _wait_for_lock(lock.fileno(), on_event)
        yield lock.fileno()


def _wait_for_lock(descriptor: int, on_event: OnEvent) -> None:
    begin = time.monotonic()
    told = -_REPORT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            waited = time.monotonic() - begin
        if waited > _LOCK_SECONDS:
            raise EngineNotFoundError(
                f"Another process has been getting the Pulumi engine for {duration(waited)}.",
                next_step="Look whether it hangs (a `go build` of this user), end it, and try again.",
            )
        if waited - told >= _REPORT_SECONDS:
            told = waited
            message = f"another process is getting it, {duration(waited)}"
            on_event(Event(kind="resource", name="Pulumi", state="waiting", message=message))
        time.sleep(_LOCK_POLL_SECONDS)


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left; the lock is held, so nobody works there."""
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(leftover)


def _make_engine(folder: Path, lock: int, on_event: OnEvent) -> EngineInfo:
    def report(state: str, message: str) -> None:
        on_event(Event(kind="resource", name="Pulumi", state=state, message=message))

    try:
        with _temporary_folder(folder) as made:
            installer.install(made, lambda seconds: report("downloading", duration(seconds)))
            return _put_in_place(made, folder, "installer")
    except (EngineInstallError, UnusableEngineError) as error:
        not_installed = f"Pulumi's installer {error}"

    problem = go_build.go_problem()
    if problem is not None:
        raise EngineNotFoundError(
            " ".join(
                [
                    f"There is no usable Pulumi engine on this machine: {not_installed}, and {problem}.",
                    *unusable_engines(),
                ]
            ),
            next_step=how_to_get_an_engine(),
        )
    cores = os.cpu_count() or 1
    report(
        "building",
        f"{not_installed}, so from its Go modules: 4 to 6 min on 2 idle cores (here: {cores} in all), then cached",
    )
    log = folder / "build.log"
    try:
        with _temporary_folder(folder) as made:
            go_build.build(
                made / "bin" / "pulumi",
                log,
                lambda progress: report(progress.stage, f"{progress.detail}, {duration(progress.seconds)}"),
                keep_open=lock,
            )
            return _put_in_place(made, folder, "built")
    except (EngineBuildError, UnusableEngineError) as error:
        raise EngineNotFoundError(
            f"Building the Pulumi engine from its Go modules failed: {error}",
            state=f"Nothing was installed; the whole log is {log}.",
            next_step=f"Mend what the log names and try again. {how_to_get_an_engine()}",
        ) from None


@contextlib.contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=parent))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)  # gone already when it became an engine's folder


def _put_in_place(made: Path, folder: Path, source: Source) -> EngineInfo:
    """Check what was made, then rename its folder to what `find_engine` looks for."""
    try:
        version = _info(made / "bin" / "pulumi", source).version
    except UnusableEngineError as error:
        raise UnusableEngineError(f"gave a program that {error}") from None
    place = folder / f"v{version}"
    if place.exists():
        shutil.rmtree(place)  # it was found unusable
    made.rename(place)
    return _info(place / "bin" / "pulumi", source)


def _phase(on_event: OnEvent, state: str, message: str) -> None:
    on_event(Event(kind="phase", name="engine", state=state, message=message))


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
