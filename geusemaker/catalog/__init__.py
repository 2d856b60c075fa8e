"""What a service is: one file each says all that geusemaker knows of it, and everything else loops over them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from geusemaker.catalog import crawl4ai, n8n, ollama, postgresql, qdrant
from geusemaker.catalog.service import Service, ServiceName

SERVICES: Final[Mapping[ServiceName, Service]] = {
    service.name: service
    for service in (postgresql.SERVICE, n8n.SERVICE, ollama.SERVICE, qdrant.SERVICE, crawl4ai.SERVICE)
}
"""All services, in the order in which they start."""

SERVICE_NAMES: Final[tuple[ServiceName, ...]] = tuple(SERVICES)

SERVICE_ALIASES: Final[Mapping[str, ServiceName]] = {
    alias: service.name for service in SERVICES.values() for alias in service.aliases
}

JUDGED: Final = tuple(
    sorted((service for service in SERVICES.values() if service.has_rules), key=lambda service: len(service.needs))
)
"""The services whose data decides which software may run on it: those first that keep it themselves."""

COPIED: Final[tuple[ServiceName, ...]] = tuple(service.name for service in SERVICES.values() if service.copied)
"""The services whose data a checkpoint can hold."""

MIGRATED: Final = n8n.SERVICE
"""The one whose releases migrate its data and keep a list of that: older software on newer data is told by it."""

DATABASE: Final = postgresql.SERVICE
"""The one whose password `secrets rotate database` changes."""
