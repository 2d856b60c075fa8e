"""Which versions of the Pulumi engine can be used, and which one a program is."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

_VERSION_SECONDS = 20.0
_SHIM_BYTES = 10_000_000


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


def version_of(path: Path) -> EngineVersion:
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
