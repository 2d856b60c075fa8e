"""Writing files: whole or not at all. Standard library only: an instance's programs use it too."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any


def write(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    """Replace a file by one with this content and mode; a kill at any time leaves the old or the new one."""
    # Nobody else's name: two processes, or threads, may write the same file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident():x}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """The same with a value as JSON."""
    write(path, json.dumps(value))


def read_json(path: Path, default: Any) -> Any:
    """The file's value, or ``default`` where there is no file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return default


def remove_tree(folder: Path) -> None:
    """Remove a folder also where a program on an instance took its own write permission away."""
    for directory, _, _ in os.walk(folder):
        path = Path(directory)
        if not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder)
