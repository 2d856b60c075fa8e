"""What services of an operator's own hold: which folders there are. What is in them is theirs alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from geusemaker.agent.document import Json

OWN_FOLDER: Final = "own"
"""In which, on EFS and on the data volume, each of them has its folder."""


def on_disk(places: Mapping[str, Path]) -> Json:
    """Service → its folders, those of services that run no more as well; ``places``: what a place is called → it."""
    found: dict[str, list[str]] = {}
    for place, root in places.items():
        for service in _folders(root / OWN_FOLDER):
            found.setdefault(service.name, []).extend(f"{place}/{folder.name}" for folder in _folders(service))
    return {name: {"folders": sorted(folders)} for name, folders in sorted(found.items())}


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
