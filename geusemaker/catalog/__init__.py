"""What a service is: one file each says all that geusemaker knows of it, and everything else loops over them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Final

from geusemaker.catalog import caddy, n8n, postgresql
from geusemaker.catalog.service import Service, ServiceName


def _all() -> Iterator[Service]:
    """What each file of this folder says a service is."""
    for file in iter_modules(__path__):
        service = getattr(import_module(f"{__name__}.{file.name}"), "SERVICE", None)
        if isinstance(service, Service):
            yield service


SERVICES: Final[Mapping[ServiceName, Service]] = {
    service.name: service for service in sorted(_all(), key=lambda service: service.start_order)
}
"""All services, in the order in which they start."""

SERVICE_NAMES: Final[tuple[ServiceName, ...]] = tuple(
    name for name, service in SERVICES.items() if not service.serves_domains
)
"""Those that a person chooses from."""

PROXY: Final = caddy.SERVICE
"""The one that answers under a deployment's domains."""

SERVICE_ALIASES: Final[Mapping[str, ServiceName]] = {
    alias: service.name for service in SERVICES.values() for alias in service.aliases
}

REPOSITORIES: Final = tuple(repository for service in SERVICES.values() for repository in service.repositories)
"""Those whose images nobody else has on the instance: old ones are removed."""

JUDGED: Final = tuple(
    sorted((service for service in SERVICES.values() if service.has_rules), key=lambda service: len(service.needs))
)
"""The services whose data decides which software may run on it: those first that keep it themselves."""

COPIED: Final[tuple[ServiceName, ...]] = tuple(service.name for service in SERVICES.values() if service.copied)
"""The services whose data a checkpoint can hold."""

REHEARSED: Final[tuple[ServiceName, ...]] = tuple(
    service.name for service in SERVICES.values() if service.rehearsed is not None
)
"""The services that a rehearsal starts on a copy of the data."""

MIGRATED: Final = n8n.SERVICE
"""The one whose releases migrate its data and keep a list of that: older software on newer data is told by it."""

DATABASE: Final = postgresql.SERVICE
"""The one whose password `secrets rotate database` changes."""
