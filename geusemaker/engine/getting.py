"""Getting a Pulumi engine where there is none: by Pulumi's official installer or, where that cannot be reached, by a
build from pinned Go modules.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from geusemaker.engine import go_build, installer
from geusemaker.engine.binary import Source, engine_at, find_engine, how_to_get_an_engine, unusable_engines
from geusemaker.engine.go_build import EngineBuildError
from geusemaker.engine.installer import EngineInstallError
from geusemaker.engine.version import UnusableEngineError, engines_folder
from geusemaker.errors import EngineNotFoundError
from geusemaker.models.doctor import EngineInfo
from geusemaker.models.plan import Event

OnEvent = Callable[[Event], None]

_LOCK_SECONDS = 3600.0
_LOCK_POLL_SECONDS = 0.2
_REPORT_SECONDS = 10.0
_TEMPORARY: Final = ".new-"


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
        version = engine_at(made / "bin" / "pulumi", source).version
    except UnusableEngineError as error:
        raise UnusableEngineError(f"gave a program that {error}") from None
    place = folder / f"v{version}"
    if place.exists():
        shutil.rmtree(place)  # it was found unusable
    made.rename(place)
    return engine_at(place / "bin" / "pulumi", source)


def _phase(on_event: OnEvent, state: str, message: str) -> None:
    on_event(Event(kind="phase", name="engine", state=state, message=message))


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
