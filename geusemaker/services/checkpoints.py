"""The checkpoints there are, as the instance tells them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from geusemaker.models.checkpoint import Checkpoint


def read_checkpoints(entries: Iterable[Any]) -> tuple[Checkpoint, ...]:
    """Those that this geusemaker can read, oldest first."""
    found = []
    for entry in entries:
        try:
            found.append(Checkpoint.model_validate(entry))
        except ValidationError:
            continue  # another geusemaker's
    return tuple(sorted(found, key=lambda checkpoint: (checkpoint.taken_at, checkpoint.operation)))
