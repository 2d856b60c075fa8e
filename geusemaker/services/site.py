"""The deployment's domains: what is asked for, and what that means. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from geusemaker.catalog import SERVICES
from geusemaker.errors import InvalidInputError, RefusedError
from geusemaker.models.plan import ConfigChange
from geusemaker.models.request import ConfigRequest
from geusemaker.models.site import HTTP_PORT, HTTPS_PORT, Site
from geusemaker.models.stack import ServiceName, StackConfig, Target
from geusemaker.program.proxy import holes
from geusemaker.services.configure import service_name

LOCAL_HTTP_PORT: Final = 10080
LOCAL_HTTPS_PORT: Final = 10443
"""Without root rights there is no port 443."""

EXPOSE: Final = "--expose-known-hole"

# RFC 1123, 2.1; the last part is no number, so that it is no address.
_HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")


def wished_site(request: ConfigRequest, known: Site | None, kind: str) -> Site | None:
    """The domains with what was asked for.

    Args:
        known: those there are.
        kind: where the deployment is.

    Raises:
        InvalidInputError: it is no host name, or the service must not be open.
    """
    domains = {} if request.no_domain or known is None else dict(known.domains)
    for text, host in request.domains.items():
        name = service_name(text)
        if not host.strip():
            domains.pop(name, None)
            continue
        _require_authentication(name)
        domains[name] = _host_name(host)
    if len(set(domains.values())) != len(domains):
        raise InvalidInputError("Each service needs a domain of its own.")
    if not domains:
        return None
    if known is not None:
        return known.model_copy(update={"domains": domains})
    local = kind == "local"
    return Site(
        domains=domains,
        http_port=LOCAL_HTTP_PORT if local else HTTP_PORT,
        https_port=LOCAL_HTTPS_PORT if local else HTTPS_PORT,
        internal_ca=local,
    )


def _require_authentication(name: ServiceName) -> None:
    service = SERVICES[name]
    if service.authenticates:
        return
    raise InvalidInputError(
        f"{service.title} gets no domain: "
        + (
            "it is what answers under the domains of others."
            if service.serves_domains
            else "it asks nobody who they are, so whoever finds it could use it."
        ),
        next_step="It stays on the instance's loopback, and is reached through a tunnel."
        if not service.serves_domains
        else "",
    )


def _host_name(text: str) -> str:
    host = text.strip().lower().rstrip(".")
    if not _HOST.fullmatch(host):
        raise InvalidInputError(
            f"{text!r} is no domain: it is a host name alone, without https:// and without a path.",
            next_step="Write it as n8n.example.com.",
        )
    return host


def require_fit(config: StackConfig, site: Site | None) -> None:
    """Refuse a config that does not work under the domains.

    Raises:
        InvalidInputError
    """
    if site is None:
        return
    for name, own in config.own_services.items():
        published = own.own.published if own.own is not None else ()
        taken = sorted({port for port, _ in published} & {*site.ports})
        if taken:
            raise InvalidInputError(
                f"{name} publishes port {taken[0]}, on which the domains are answered.",
                next_step=f"Publish it at another port, as {taken[0] + 20000}:{taken[0]}.",
            )
    for name in site.domains:
        known, service = SERVICES[name], config.services.get(name)
        if service is None:
            raise InvalidInputError(
                f"{name} has a domain and does not run.",
                next_step=f"Enable it with --service {name}, or take the domain away with --domain {name}=",
            )
        if unfit := known.domain_misfits(service.environment):
            raise InvalidInputError(f"{known.title} cannot have a domain: {'; '.join(unfit)}.")


def exposed(target: Target, config: StackConfig, *, asked: bool) -> Target:
    """The target with what a person exposes (``--expose-known-hole``), of what the config runs.

    An image of before is forgotten: to go back to it is to be asked for again.

    Raises:
        RefusedError: it is asked for, and there is nothing to expose.
    """
    site = target.site
    if site is None:
        if asked:
            raise RefusedError(
                f"There is no domain, so {EXPOSE} exposes nothing.", state="Nothing was changed.", next_step=""
            )
        return target
    runs = {config.services[name].image.tagged for name in site.domains if name in config.services}
    kept = {image for image in site.exposed if image in runs}
    added = {config.services[name].image.tagged for name in holes(config, site)} if asked else set()
    return target.model_copy(update={"site": site.model_copy(update={"exposed": tuple(sorted(kept | added))})})


def dns_records(target: Target, address: str) -> list[str]:
    """The DNS records that the domains take: nobody but their owner can make them. The local cloud needs none."""
    if target.site is None or target.kind == "local" or not address:
        return []
    return [f"{host}  A  {address}" for host in sorted(target.site.domains.values())]


def dns_notice(name: str, before: Target | None, after: Target) -> str:
    """What is still to be done for domains that are new, or whose instance has a new address."""
    known = before.site.domains.values() if before is not None and before.site is not None else ()
    new = [host for host in sorted(after.site.domains.values()) if host not in known] if after.site is not None else []
    if not new or after.kind == "local":
        return ""
    return f"{' and '.join(new)}: make the DNS record that `geusemaker info {name}` shows; then there is a certificate."


def site_changes(before: Target | None, after: Target) -> Iterator[ConfigChange]:
    """The lines of a plan that say which domains there are, and are not any more."""
    old = before.site if before is not None else None
    new = after.site
    was, now = old.domains if old is not None else {}, new.domains if new is not None else {}
    for name in sorted({*was, *now}):
        if was.get(name) != now.get(name):
            yield ConfigChange(path=f"domain.{name}", old=was.get(name), new=now.get(name))
    if (old.ports if old else ()) != (new.ports if new else ()):
        yield ConfigChange(path="open_ports", old=_ports(old) if old else None, new=_ports(new) if new else None)


def exposure(before: Target | None, after: Target, config: StackConfig) -> tuple[str, ...]:
    """What a plan says of what is open to the internet, one phrase each."""
    old = before.site if before is not None else None
    new = after.site
    if new is None:
        return () if old is None else (f"closes {_ports(old)}; {_hosts(old.domains)} answers no more",)
    told = [] if old is not None else [f"opens {_ports(new)} to the whole internet"]
    closed = holes(config, new)
    for name, host in sorted(new.domains.items()):
        service = config.services.get(name)
        if name in closed:
            image = config.services[name].image.tagged
            told.append(f"{host} is closed: {image} has a known hole ({closed[name]}); {EXPOSE} opens it all the same")
        elif service is None:
            told.append(f"{host} answers 503: {name} does not run")
        elif service.image.tagged in new.exposed:
            why = SERVICES[name].hole(service.image)
            told.append(f"{host} is open although {service.image.tagged} has a known hole ({why})")
        elif old is None or old.domains.get(name) != host:
            told.append(_opening(name, host, new))
        if service is not None and (set_twice := _set_twice(name, new, service.environment)):
            told.append(f"{', '.join(set_twice)}: the domain decides it, not what was given with --env")
    return tuple(told)


def _opening(name: ServiceName, host: str, site: Site) -> str:
    owner = "; it answers 503 until n8n has an owner" if SERVICES[name].owned_by_its_first_visitor else ""
    own = ", with a certificate that no browser knows (local cloud)" if site.internal_ca else ""
    return f"{site.url(name)} leads to {name}{own}{owner}"


def _set_twice(name: ServiceName, site: Site, environment: Mapping[str, str]) -> list[str]:
    ours = SERVICES[name].domain_environment(site.url(name))
    return sorted(f"{name}.{key}" for key in environment if key in ours)


def _ports(site: Site) -> str:
    return " and ".join(str(port) for port in site.ports)


def _hosts(domains: Mapping[ServiceName, str]) -> str:
    return ", ".join(sorted(domains.values()))
