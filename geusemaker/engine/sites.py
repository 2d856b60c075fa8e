"""What of a deployment is open to the internet, by its history, and what that means for its versions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from geusemaker.catalog import PROXY
from geusemaker.models.history import HistoryEntry
from geusemaker.models.site import Site
from geusemaker.models.stack import ServiceConfig
from geusemaker.models.version import Version


def site_of(updates: Sequence[HistoryEntry]) -> Site | None:
    """What is open to the internet: as the newest version that became healthy was made with, or a first one tried.

    A change of it that failed is none, so that the way back, which has the site of then, is one.
    """
    told = [entry for entry in updates if entry.target is not None]
    healthy = [entry for entry in told if entry.result == "succeeded"]
    newest = (healthy or told)[-1:]
    return newest[0].target.site if newest and newest[0].target is not None else None


def opened_otherwise(entries: Iterable[HistoryEntry]) -> set[int]:
    """The numbers of those that failed under other domains than there were: that says nothing against their system."""
    before: Site | None = None
    found = set()
    for entry in entries:
        site = entry.target.site if entry.target is not None else None
        if entry.result == "succeeded":
            before = site
        elif site != before:
            found.add(entry.provenance.number if entry.provenance is not None else 0)
    return found


def fit(versions: Sequence[Version], site: Site | None) -> list[Version]:
    """Versions, each with the proxy just if the deployment has domains now: they are no part of a version.

    One that has none, since there were no domains then, gets that of the next version that has one, or of the last.
    """
    name = PROXY.name
    found: ServiceConfig | None = next(
        (one.config.services[name] for one in reversed(versions) if name in one.config.services), None
    )
    fitted = []
    for version in reversed(versions):
        services = {other: service for other, service in version.config.services.items() if other != name}
        found = version.config.services.get(name, found)
        if site is not None and found is not None:
            services[name] = found
        config = version.config.model_copy(update={"services": services})
        fitted.append(version if config == version.config else version.model_copy(update={"config": config}))
    return fitted[::-1]
