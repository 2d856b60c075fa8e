"""The walls inside, from the third rendering on: who reaches whom, and what containers may do. Pure.

Each service has a network of its own, and in it are, beside the service, those that call it: n8n, since workflows call
what they like; Caddy, where the service has a domain; and whoever names it among its needs. Containers find and reach
each other in a network that both are in, and in no other (docs.docker.com/engine/network/drivers/bridge: names are
resolved, and packets passed on, within one). So what keeps data and calls nobody is reached by its callers alone.

A container is replaced when its networks become others, and n8n is not to restart whenever another service comes or
goes. So it is in the networks of all that the catalogue has, whether they run or not, and services of an operator's own
come into n8n's network, in which they reach one another as well.

A network is not one-way: what is called reaches its callers as well, so n8n is reached by everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from geusemaker.catalog import SERVICES
from geusemaker.catalog.hosts import named_hosts
from geusemaker.models.site import Site
from geusemaker.models.stack import ServiceName, StackConfig, describe

SINCE: Final = 3
"""The rendering from which on there are walls."""


def has_walls(config: StackConfig) -> bool:
    """Whether a config's services are apart."""
    return config.rendering >= SINCE


def networks(config: StackConfig, site: Site | None = None) -> dict[ServiceName, tuple[ServiceName, ...]]:
    """Network, which is named after a service → those in it: that service first, if it runs, then its callers."""
    running = [name for name in config.services if site is not None or not describe(config, name).serves_domains]
    known = [name for name, service in SERVICES.items() if not service.serves_domains]
    found = {}
    for name in dict.fromkeys((*running, *known)):
        members = tuple(one for one in running if one != name and _is_beside(config, one, name, site))
        if name in running or members:
            found[name] = (name, *members) if name in running else members
    return found


def _is_beside(config: StackConfig, name: ServiceName, network: ServiceName, site: Site | None) -> bool:
    """Whether a service is in another's network."""
    known, service = describe(config, name), config.services[name]
    if known.serves_domains:
        return site is not None and network in site.domains
    if network in SERVICES and SERVICES[network].serves_domains:
        return False
    if service.own is not None:
        return network in known.needs or (network in {*config.services} & {*SERVICES} and SERVICES[network].calls_all)
    if known.calls_all:
        return network in SERVICES
    return network in (*config.needs(name), *known.calls(service.environment))


def reached(config: StackConfig, name: ServiceName, site: Site | None = None) -> tuple[ServiceName, ...]:
    """The services that one reaches."""
    found = {one for members in networks(config, site).values() if name in members for one in members}
    return tuple(one for one in config.services if one in found and one != name)


def confine(definition: dict[str, Any], config: StackConfig, name: ServiceName, site: Site | None) -> dict[str, Any]:
    """A service's definition with its networks, and without the privileges that it does not need."""
    service = config.services[name]
    confined = {**definition, "networks": sorted(one for one, those in networks(config, site).items() if name in those)}
    keeps = describe(config, name).confinement(service.image)
    if keeps is None:
        return confined
    confined |= {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    if keeps.capabilities:
        confined["cap_add"] = [*keeps.capabilities]
    if keeps.read_only:
        confined["read_only"] = True
    if keeps.writable:
        confined["tmpfs"] = [*keeps.writable]
    if keeps.processes:
        confined["pids_limit"] = keeps.processes
    return confined


def cut_off(config: StackConfig, site: Site | None = None) -> list[str]:
    """What own services are told to call and do not reach, one sentence each; nothing without walls."""
    return [
        f"{name}.{variable} names {host}, which {name} does not reach: add {host} to its needs"
        for name, variable, host in _told(config)
        if has_walls(config) and host not in reached(config, name, site)
    ]


def _told(config: StackConfig) -> Iterator[tuple[ServiceName, str, ServiceName]]:
    """(own service, variable, service that it names as a host), as far as a variable's name and value tell it."""
    for name, service in config.own_services.items():
        for variable, value in service.environment.items():
            named = named_hosts([value])
            if variable.upper().endswith(("HOST", "HOSTNAME", "ADDR", "ADDRESS", "SERVER")):
                named = (*named, value.strip().partition(":")[0])
            yield from ((name, variable, one) for one in dict.fromkeys(named) if one in config.services and one != name)
