"""Files that are read leniently where they may be, and written whole or not at all."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError


def write_atomic(path: Path, text: str, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Replace a file so that a reader, or a machine that loses power, sees the old text or the new one.

    ``owner``: user and group of the new file, where root writes what is another's.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            if owner is not None and os.geteuid() == 0:
                os.fchown(file.fileno(), *owner)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_text(path: Path) -> str | None:
    """The file's text; None where there is none. Bytes that are no text become characters that nothing else has."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_json(path: Path) -> Json | None:
    """The object in a JSON file; None where there is no file. A file that is not one is an error, not a None."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:  # bytes that are no text included
        raise AgentError("bad_state", f"{path} cannot be read as JSON ({error}).", path=str(path)) from error
    if not isinstance(value, dict):
        raise AgentError("bad_state", f"{path} does not hold an object.", path=str(path))
    return value


def read_leniently(path: Path) -> Json:
    """The object in a file that holds detail, which others know as well; empty where it cannot be read."""
    try:
        return read_json(path) or {}
    except (AgentError, OSError):
        return {}


def file_name(name: str, ending: str) -> str:
    """A file name of its own for a database or a collection, whatever that is called."""
    import hashlib
    from urllib.parse import quote

    safe = re.sub(r"^\.", "%2E", quote(name, safe=""))
    if len(safe) > 200:
        safe = f"{safe[:180]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return safe + ending


def digest_of(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def create_file(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


class Summed:
    """A file that is written through its digest."""

    def __init__(self, file: Any) -> None:
        import hashlib

        self._file = file
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return int(self._file.write(data))

    def flush(self) -> None:
        self._file.flush()

    def sum(self) -> str:
        """The digest, once all of it is on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()
