"""Whether what migrates its data may be stopped in the middle of its migrations. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geusemaker.catalog import MIGRATED
from geusemaker.models.stack import StackConfig


def must_go_on(config: StackConfig, services: Mapping[str, Any]) -> str:
    """What it is at when it must not be stopped now, as the agent's health answer tells it; else empty."""
    service = config.services.get(MIGRATED.name)
    migration = (services.get(MIGRATED.name) or {}).get("migration") or {}
    if service is None or migration.get("state") != "working" or MIGRATED.is_all_or_nothing(service.image):
        return ""
    return (
        f"{MIGRATED.title} is still {migration.get('detail') or 'migrating its database'}. It was left running: "
        f"{service.image.tagged} commits each migration by itself, so stopping it would leave the database between two "
        "releases."
    )
