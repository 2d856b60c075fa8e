"""The variables of services: what they may be set to, and the time zone among them. Pure."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Final
from zoneinfo import available_timezones

from geusemaker.catalog import SERVICES
from geusemaker.errors import InvalidInputError
from geusemaker.models.secrets import USABLE
from geusemaker.models.site import Site
from geusemaker.models.stack import ServiceName
from geusemaker.services.secret_values import require_own_name

UTC: Final = "UTC"


def check_domain_values(name: ServiceName, variables: dict[str, str], site: Site | None) -> None:
    """Refuse to set what follows from a service's domain.

    Raises:
        InvalidInputError
    """
    if site is None or name not in site.domains:
        return
    ours = SERVICES[name].domain_environment(site.url(name))
    for key in sorted(key for key, value in variables.items() if value and key in ours):
        raise InvalidInputError(
            f"{name}.{key} is set by geusemaker: it follows from the domain {site.domains[name]}.",
        )


def check_values(name: ServiceName, variables: dict[str, str]) -> None:
    """Check what variables are set to.

    Raises:
        InvalidInputError: one is set to what it cannot be.
    """
    for key, value in variables.items():
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise InvalidInputError(
                f"{name}.{key} holds what is no text: a zero byte, or bytes that are not UTF-8.",
            )
        is_zone = name in SERVICES and key in SERVICES[name].time_zones and bool(value)
        if is_zone and value not in (known := available_timezones()) and known:
            near = get_close_matches(value, known, n=1)
            raise InvalidInputError(
                f"There is no time zone {value!r}: {SERVICES[name].title} would take another without a word.",
                next_step=f"Did you mean {near[0]}?" if near else "Write it as Europe/Berlin.",
            )


def time_zone(name: ServiceName, variables: dict[str, str], asked: dict[str, str]) -> dict[str, str]:
    """A service's variables with its time zone, and its system's, which goes with it unless it is asked for."""
    if name not in SERVICES or not SERVICES[name].time_zones:
        return variables
    own, system = SERVICES[name].time_zones
    zone = variables.get(own, UTC)
    follows = asked.get(own) and system not in asked
    return {**variables, own: zone, system: zone if follows else variables.get(system, zone)}


def set_secret_variables(name: ServiceName, service: dict[str, Any], variables: dict[str, str]) -> None:
    """Give variables of a service secrets, by their names; an empty name takes one out.

    Raises:
        InvalidInputError: one cannot have a secret, or not that one.
    """
    known = SERVICES.get(name)
    wanted = [key for key, secret in variables.items() if secret]  # one without a secret goes
    for key in known.reserved_among(wanted) if known is not None else ():
        raise InvalidInputError(
            f"{name}.{key} is set by geusemaker: it decides where the data is or how it is reached.",
        )
    for key in wanted:
        if known is not None and key in known.read:
            raise InvalidInputError(
                f"{name}.{key} cannot be a secret: geusemaker reads it, to know how the service is reached or runs.",
                next_step=f"Set it with --env {name}.{key}=VALUE.",
            )
        if variables[key] not in USABLE:
            require_own_name(variables[key])
        if key in service["environment"]:
            raise InvalidInputError(
                f"{name}.{key} is a plain variable, whose value is in the history.",
                next_step=f"Add --env {name}.{key}= to take that out; what is secret about it should be changed, too.",
            )
    merged = {**service.get("secret_environment", {}), **variables}
    service["secret_environment"] = {key: secret for key, secret in merged.items() if secret}
