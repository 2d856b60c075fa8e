"""When the images of new deployments were chosen: ``defaults.json`` beside this, which `make defaults` writes."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple

FILE: Final = Path(__file__).with_name("defaults.json")


class Record(NamedTuple):
    """The images that were chosen, and when."""

    day: date
    images: dict[str, str]
    """Service → ``repository:tag``, as its file of the catalogue has it."""


def read(file: Path = FILE) -> Record:
    """The recorded choice."""
    document = json.loads(file.read_text(encoding="utf-8"))
    return Record(date.fromisoformat(document["day"]), dict(document["images"]))
