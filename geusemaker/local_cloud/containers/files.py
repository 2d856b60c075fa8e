"""Small file helpers: whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any, mode: int = 0o600) -> None:
    """Replace a file atomically; a kill at any time leaves the old or the new text."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{id(value):x}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        json.dump(value, file)
    temporary.replace(path)


def read_json(path: Path, default: Any) -> Any:
    """The file's value, or ``default`` where there is no file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return default
