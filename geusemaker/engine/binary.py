"""The Pulumi engine's binary, as far as this machine has one.

Looked for in this order: ``GEUSEMAKER_PULUMI``, ``pulumi`` on PATH, one that was made here earlier. That is quick and
contacts nothing. ``geusemaker.engine.getting`` goes on from there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from geusemaker.engine import go_build
from geusemaker.engine.version import (
    OLDEST_SUPPORTED,
    UnusableEngineError,
    engines_folder,
    is_supported,
    parse_version,
    version_of,
)
from geusemaker.errors import EngineNotFoundError
from geusemaker.models.doctor import EngineInfo

ENGINE_VARIABLE: Final = "GEUSEMAKER_PULUMI"

Source = Literal["environment", "path", "cache", "installer", "built"]


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
            return engine_at(path, source)
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
            engine_at(path, source)
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


def _named_engine(named: str) -> EngineInfo:
    try:
        path = shutil.which(Path(named).expanduser())
        if path is None:
            raise UnusableEngineError("is not an executable file")
        return engine_at(Path(path).absolute(), "environment")
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


def engine_at(path: Path, source: Source) -> EngineInfo:
    """The engine at this path.

    Raises:
        UnusableEngineError: it cannot be run, or is of an unsupported version.
    """
    version = version_of(path)
    if not is_supported(version):
        raise UnusableEngineError(
            f"is version {version}, and {OLDEST_SUPPORTED} or newer (below {OLDEST_SUPPORTED.major + 1}) is needed"
        )
    return EngineInfo(path=str(path), version=str(version), source=source)
