"""Whether n8n may be stopped in the middle of its migrations. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from geusemaker.models.image import ImageReference
from geusemaker.models.stack import StackConfig

_IN_ONE_TRANSACTION: Final = (2, 41)
"""From here on n8n was seen to run all pending migrations in one transaction; 1.x and 2.0 commit each by itself."""


def is_all_or_nothing(image: ImageReference) -> bool:
    """Whether stopping this n8n in mid-migration leaves the database as it was. What cannot be told is a no."""
    match = re.match(r"(\d+)\.(\d+)", image.tag or "")
    return match is not None and (int(match[1]), int(match[2])) >= _IN_ONE_TRANSACTION


def must_go_on(config: StackConfig, services: Mapping[str, Any]) -> str:
    """What n8n is at when it must not be stopped now, as the agent's health answer tells it; else empty."""
    n8n = config.services.get("n8n")
    migration = (services.get("n8n") or {}).get("migration") or {}
    if n8n is None or migration.get("state") != "working" or is_all_or_nothing(n8n.image):
        return ""
    return (
        f"n8n is still {migration.get('detail') or 'migrating its database'}. It was left running: {n8n.image.tagged} "
        "commits each migration by itself, so stopping it would leave the database between two releases."
    )
