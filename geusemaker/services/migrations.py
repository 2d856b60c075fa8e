"""Whether what migrates its data may be stopped in the middle of its migrations. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from geusemaker.agent.protocol.looks import ServiceHealth
from geusemaker.catalog import MIGRATED
from geusemaker.models.stack import StackConfig


def must_go_on(config: StackConfig, services: Mapping[str, ServiceHealth]) -> str:
    """What it is at when it must not be stopped now; else empty."""
    service = config.services.get(MIGRATED.name)
    migration = services[MIGRATED.name].migration if MIGRATED.name in services else None
    if service is None or migration is None or migration.state != "working":
        return ""
    if MIGRATED.is_all_or_nothing(service.image):
        return ""
    return (
        f"{MIGRATED.title} is still {migration.detail or 'migrating its database'}. It was left running: "
        f"{service.image.tagged} commits each migration by itself, so stopping it would leave the database between two "
        "releases."
    )
