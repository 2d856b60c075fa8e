"""Services of an operator's own in what is asked for. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from geusemaker.catalog import SERVICE_ALIASES, SERVICE_NAMES, SERVICES
from geusemaker.errors import InvalidInputError
from geusemaker.models import fields
from geusemaker.models.own import OWN_NAME
from geusemaker.models.request import ConfigRequest
from geusemaker.models.stack import ServiceConfig, ServiceName, StackConfig, Target
from geusemaker.models.version import Version

_TAKEN: Final = frozenset(
    {"all", "domain", "geusemaker", "host", "localhost", "secrets", str(fields.SETTINGS.path)}
    | StackConfig.model_fields.keys()
    | Target.model_fields.keys()
)
"""Names that mean something else on the instance, on the command line or in a plan, or will."""


def put(services: dict[ServiceName, Any], own: Mapping[ServiceName, ServiceConfig]) -> None:
    """Add own services to a config's document, or put them in the place of what has their names.

    An image that is asked for by the tag that runs keeps its digest.

    Raises:
        InvalidInputError: a service cannot be called so, says not what it is, or takes a port of the catalogue's.
    """
    for name, service in own.items():
        check(name, service)
        found = service.model_dump(mode="json")
        before = ServiceConfig.model_validate(services[name]) if name in services else None
        if before is not None and service.image.digest is None and before.image.tagged == service.image.tagged:
            found["image"] = str(before.image)
        services[name] = found


def check(name: ServiceName, service: ServiceConfig) -> None:
    """Refuse an own service that cannot be.

    Raises:
        InvalidInputError: it cannot be called so, says not what it is, or takes a port of the catalogue's.
    """
    if name in SERVICES or name in SERVICE_ALIASES or name in _TAKEN or not OWN_NAME.fullmatch(name):
        why = "is taken" if OWN_NAME.fullmatch(name) else "has to be of up to 30 lower-case letters, digits and -"
        raise InvalidInputError(f"A service of one's own cannot be called {name!r}: the name {why}.")
    if service.own is None:
        raise InvalidInputError(f"{name} says nothing of what it is.")
    for published, _ in service.own.published:
        for known in SERVICES.values():
            if published == known.port:
                raise InvalidInputError(
                    f"{name} cannot publish port {published}: it is {known.title}'s, also while that does not run.",
                    next_step=f"Publish it at another port, as {published + 10000}:{published}.",
                )


def names(request: ConfigRequest, base: StackConfig, versions: Sequence[Version]) -> tuple[ServiceName, ...]:
    """All that there are beside the catalogue's: asked for now, there, or in a version of before."""
    configs = [base, *(version.config for version in versions)]
    return tuple(dict.fromkeys((*request.own_services, *(name for config in configs for name in config.own_services))))


def in_order(services: Mapping[ServiceName, Any]) -> dict[ServiceName, Any]:
    """The catalogue's in the order in which they start, then the others by name."""
    known = [name for name in SERVICE_NAMES if name in services]
    return {name: services[name] for name in (*known, *sorted(services.keys() - set(known)))}
