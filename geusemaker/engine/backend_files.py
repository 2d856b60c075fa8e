"""The files of a folder backend, looked at without the engine: which are damaged, and which good copies there are.

The engine keeps a stack's state in ``stacks/PROJECT/NAME.json``, the one before it in ``NAME.json.bak``, a copy with
every update in ``history`` and with every write in ``backups``, all below ``.pulumi`` (pkg/backend/diy/state.go).
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from geusemaker.engine.project import PROJECT

DamageKind = Literal["state", "history", "tags", "store", "lock"]

_COMPRESSED: Final = ("", ".gz")
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_STORE_VERSION: Final = 1
"""What the engine writes into ``meta.yaml`` (pkg/backend/diy/meta.go)."""


@dataclass(frozen=True)
class DamagedFile:
    """A file that is there and cannot be read, or that is missing and has to be there."""

    kind: DamageKind
    path: Path
    reason: str


@dataclass(frozen=True)
class StateCopy:
    """A copy of the stack's state that can be read."""

    path: Path
    written: datetime
    """When the engine made that state, by the clock of the machine it ran on."""
    resources: int


class BackendFiles:
    """One deployment's files in a folder backend.

    Args:
        folder: the folder that the backend's URL names.
        deployment: the deployment's name.
    """

    def __init__(self, folder: Path, deployment: str) -> None:
        self._root = folder / ".pulumi"
        self._deployment = deployment

    @property
    def state_file(self) -> Path:
        """The stack's state; where it is missing, what it would be called."""
        plain = self._root / "stacks" / PROJECT / f"{self._deployment}.json"
        there = (plain.with_name(plain.name + suffix) for suffix in _COMPRESSED)
        return next((file for file in there if file.exists()), plain)

    @property
    def is_known(self) -> bool:
        """Whether there is anything of the deployment."""
        return self.state_file.exists() or self.has_history

    @property
    def has_history(self) -> bool:
        """Whether anything was ever done to the deployment, or tried."""
        return next(self._history("history"), None) is not None

    def damage(self) -> list[DamagedFile]:
        """Every file of the deployment, and of the backend itself, that the engine would stop at."""
        found: list[DamagedFile] = []
        if not self.is_known:
            return found
        meta = self._root / "meta.yaml"
        if reason := _meta_problem(meta):
            found.append(DamagedFile("store", meta, reason))
        if reason := _state_problem(self.state_file):
            found.append(DamagedFile("state", self.state_file, reason))
        tags = self._root / "stacks" / PROJECT / f"{self._deployment}.pulumi-tags"
        if tags.exists() and (reason := _tags_problem(tags)):
            found.append(DamagedFile("tags", tags, reason))
        found += [
            DamagedFile("history", file, reason) for file in self._history("history") if (reason := _problem(file))
        ]
        return [*found, *(DamagedFile("lock", file, reason) for file in self._locks() if (reason := _problem(file)))]

    def copies(self) -> list[StateCopy]:
        """The copies of the state that can be read, newest first."""
        backups = self._root / "backups" / PROJECT / self._deployment
        places = (
            (self._root / "stacks" / PROJECT).glob(f"{self._deployment}.json*.bak"),
            self._history("checkpoint"),
            backups.glob(f"{self._deployment}.*.json*"),
        )
        found = [copy for files in places for file in files if (copy := _state_copy(file)) is not None]
        # A state that was imported keeps the time at which the engine made it: then the file's own decides.
        return sorted(found, key=lambda copy: (copy.written, copy.path.stat().st_mtime_ns), reverse=True)

    def set_aside(self, file: Path, stamp: str) -> Path:
        """Move a damaged file out of the engine's sight; returns where it is kept."""
        kept = self._root / "damaged" / stamp / file.relative_to(self._root)
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.move(file, kept)
        return kept

    def make_place(self) -> None:
        """Let the engine find the stack, so that a state can be imported: a file without content is enough."""
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self.state_file, os.O_WRONLY | os.O_CREAT, 0o600))

    def mend_store(self) -> None:
        """Write the backend's own file, which says how the others are laid out."""
        (self._root / "meta.yaml").write_text(f"version: {_STORE_VERSION}\n", encoding="utf-8")

    def _history(self, kind: str) -> Iterator[Path]:
        folder = self._root / "history" / PROJECT / self._deployment
        names = f"{self._deployment}-*.{kind}.json"
        return (file for suffix in _COMPRESSED for file in sorted(folder.glob(names + suffix)))

    def _locks(self) -> Iterable[Path]:
        return sorted((self._root / "locks").glob(f"*/{PROJECT}/{self._deployment}/*.json"))


def deployments(folder: Path) -> list[str]:
    """The names of the deployments in a folder backend, those included whose state is damaged or missing."""
    states = (folder / ".pulumi" / "stacks" / PROJECT).glob("*.json*")
    names = {file.name.removesuffix(".gz").removesuffix(".json") for file in states if not file.name.endswith(".bak")}
    histories = (folder / ".pulumi" / "history" / PROJECT).glob("*/*.history.json*")
    return sorted(names | {file.parent.name for file in histories})


def read_state(file: Path) -> dict[str, Any]:
    """A state as ``pulumi stack import`` takes it, from a file as the backend keeps it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no state; the text says why.
    """
    document = _read(file)
    latest = (document.get("checkpoint") or {}).get("latest") if isinstance(document, dict) else None
    if not isinstance(latest, dict) or not isinstance(latest.get("manifest"), dict):
        raise ValueError("it holds no state")
    state = {"version": document["version"], "deployment": latest}
    return state | ({"features": document["features"]} if document.get("features") else {})


def _state_copy(file: Path) -> StateCopy | None:
    try:
        latest = read_state(file)["deployment"]
        written = datetime.fromisoformat(str(latest["manifest"]["time"]))
    except (OSError, ValueError, KeyError, RecursionError):
        return None
    written = written if written.tzinfo is not None else written.replace(tzinfo=UTC)
    resources = latest.get("resources") or []
    return StateCopy(file, written, len(resources)) if resources else None


def _state_problem(file: Path) -> str:
    if not file.exists():
        return "it is missing"
    try:
        document = _read(file)
        # The state of a stack on which nothing was done yet holds no resources, and nothing else either.
        if isinstance(document, dict) and isinstance(document.get("checkpoint"), dict):
            return ""
    except (OSError, ValueError, RecursionError) as error:
        return _reason(error)
    return "it holds no state"


def _meta_problem(file: Path) -> str:
    if not file.exists():
        return ""  # the engine makes one
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return _reason(error)
    return "" if isinstance(document, dict) and document.get("version") else "it names no version"


def _tags_problem(file: Path) -> str:
    if reason := _problem(file):
        return reason
    # pkg/backend/diy/stack_tags.go of the engine: it does not read a file of another version, or with other values.
    document = _read(file)
    tags = document.get("tags") or {}
    if document.get("version") != 1:
        return "it is of another version"
    return "" if isinstance(tags, dict) and all(isinstance(one, str) for one in tags.values()) else "it holds no texts"


def _problem(file: Path) -> str:
    try:
        return "" if isinstance(_read(file), dict) else "it does not hold an object"
    except FileNotFoundError:
        return ""  # a lock that was given back just now
    except (OSError, ValueError, RecursionError) as error:
        return _reason(error)


def _read(file: Path) -> Any:
    content = file.read_bytes()
    if not content:
        raise ValueError("it is empty")
    if content.startswith(_ZSTD):
        return {"checkpoint": {}}  # nothing here unpacks it; the engine does
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except EOFError as error:
            raise ValueError("it is cut short") from error
    return json.loads(content)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
