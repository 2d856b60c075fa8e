"""How what is open to the internet is: what the instance is asked, and what its answers mean. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from geusemaker.agent.protocol.looks import DomainLook
from geusemaker.catalog import SERVICES
from geusemaker.models.inspection import DomainState, InstanceState, ServiceState
from geusemaker.models.site import Site
from geusemaker.models.state import DeploymentState
from geusemaker.program.proxy import holes

_SOON: Final = timedelta(days=14)
"""Certificates of 90 days are renewed when 30 are left (caddyserver.com/docs/automatic-https)."""


def asked_of(site: Site | None) -> dict[str, Any] | None:
    """What the agent is asked of the domains."""
    return None if site is None else site.asked


def domain_states(site: Site | None, looks: Mapping[str, DomainLook]) -> dict[str, DomainState]:
    """Host → how it is."""
    if site is None:
        return {}
    return {
        host: DomainState(
            service=name,
            url=site.url(name),
            certificate_until=looks.get(host, DomainLook()).certificate_until,
            problem=looks[host].problem if host in looks else "it was not looked at",
            status=looks.get(host, DomainLook()).status,
        )
        for name, host in sorted(site.domains.items())
    }


def domain_notes(
    state: DeploymentState,
    looks: Mapping[str, DomainLook],
    services: Mapping[str, ServiceState],
    instance: InstanceState | None,
    now: datetime,
) -> Iterator[str]:
    """What a person has to know of the domains. None of it makes the deployment unhealthy."""
    site, deployment = state.target.site if state.target is not None else None, state.name
    if site is None or state.active is None or instance is None:
        return
    config = state.active.config
    closed = holes(config, site)
    for service, host in sorted(site.domains.items()):
        look = looks.get(host)
        if look is None:
            continue
        if not look.certificate_until:
            dns = (
                ""
                if site.internal_ca
                else f"; its DNS record (A) has to lead to {instance.address}, then Caddy gets one"
            )
            yield f"{host} has no certificate: {look.problem}{dns}."
            continue
        ends = datetime.fromisoformat(look.certificate_until)
        if ends - now < _SOON and not site.internal_ca:
            yield (
                f"The certificate of {host} ends on {ends:%Y-%m-%d} and was not renewed; `geusemaker logs {deployment} "
                "caddy` tells why."
            )
        found = services.get(service)
        if service in closed:
            yield f"{host} is closed: {config.services[service].image.tagged} has a known hole ({closed[service]})."
        elif (
            look.status == 503 and found is not None and found.healthy and SERVICES[service].owned_by_its_first_visitor
        ):
            yield (
                f"{host} answers 503 until {SERVICES[service].title} has an owner: "
                f"`geusemaker open {deployment} {service}` leads to where one is set up."
            )
        elif look.problem:
            yield f"{host}: {look.problem}."
