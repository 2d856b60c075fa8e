"""From what an operator asks for to a StackConfig: defaults, differences, facts and digests filled in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from geusemaker.catalog import PROXY, SERVICE_ALIASES, SERVICE_NAMES, SERVICES
from geusemaker.errors import InvalidInputError
from geusemaker.models.base import Model
from geusemaker.models.fields import told
from geusemaker.models.request import ConfigRequest
from geusemaker.models.site import Site
from geusemaker.models.stack import NEWEST_RENDERING, TAKEN_BY_ITSELF, ServiceName, StackConfig
from geusemaker.models.version import Version
from geusemaker.program.compose import carried
from geusemaker.services import own_services
from geusemaker.services.secret_values import require_own_name, require_value, users
from geusemaker.services.variables import UTC, check_domain_values, check_values, set_secret_variables, time_zone


def service_name(text: str, own: Iterable[ServiceName] = ()) -> ServiceName:
    """The service a person means; ``own`` are those beside the catalogue's.

    Raises:
        InvalidInputError: there is no such service.
    """
    names = tuple(dict.fromkeys((*SERVICE_NAMES, *own)))
    name = SERVICE_ALIASES.get(text, text)
    if name in names or name == PROXY.name:
        return name
    near = get_close_matches(text, names, n=1)
    raise InvalidInputError(
        f"There is no service {text!r}; the services are {', '.join(names)}.",
        next_step=f"Did you mean {near[0]}?" if near else "",
    )


def chosen_name(text: str, own: Iterable[str] = ()) -> ServiceName:
    """The service a person means that is to run, or not to.

    Raises:
        InvalidInputError: there is no such service, or it is not chosen by name.
    """
    name = service_name(text, own)
    if name == PROXY.name:
        raise InvalidInputError(
            f"{name} comes and goes with the deployment's domains.",
            next_step="Give one with --domain, or take them away with --no-domain.",
        )
    return name


def first_config(request: ConfigRequest, site: Site | None = None) -> StackConfig:
    """The config of a first deploy: the defaults, with what was asked for."""
    own = request.own_services
    names = {chosen_name(text, own) for text in request.services} or set(SERVICE_NAMES)
    names -= {chosen_name(text, own) for text in request.without}
    services = {name: new_service(name) for name in SERVICE_NAMES if name in names}
    own_services.put(services, own)
    add_proxy(services, site)
    return _apply(request, {"services": services, "rendering": NEWEST_RENDERING}, site)


def add_proxy(services: dict[ServiceName, Any], site: Site | None) -> None:
    """Have what answers under the domains among the services, just if there are domains."""
    if site is None:
        services.pop(PROXY.name, None)
    else:
        services.setdefault(PROXY.name, new_service(PROXY.name))


def changed_config(
    request: ConfigRequest, base: StackConfig, versions: Sequence[Version] = (), site: Site | None = None
) -> StackConfig:
    """An existing config with what was asked for, in its own rendering; the first one is left, as nobody misses it.

    Args:
        site: what is to be open to the internet.
        versions: those there were, oldest first. A service that is enabled again comes back as it last ran healthy,
            image and environment, on its data; one that never did, as this release has it.
    """
    document = base.to_json()
    services: dict[ServiceName, Any] = document["services"]
    if base.rendering == 1:
        carry(services)
    document["rendering"] = NEWEST_RENDERING if request.rendering else max(base.rendering, TAKEN_BY_ITSELF)
    known = own_services.names(request, base, versions)
    for text in request.services:
        name = chosen_name(text, known)
        if name not in services and name not in request.own_services:
            services[name] = last_healthy(name, versions) or new_service(name)
    for text in request.without:
        if services.pop(chosen_name(text, known), None) is None:
            raise InvalidInputError(f"{text} is not enabled, so it cannot be taken out.")
    own_services.put(services, request.own_services)
    add_proxy(services, site)
    document["services"] = own_services.in_order(services)
    return _apply(request, document, site)


def last_healthy(name: ServiceName, versions: Sequence[Version]) -> dict[str, Any] | None:
    """A service as it last ran healthy, for a rendering of today; None: it never did."""
    for version in reversed(versions):
        if version.healthy and not version.bad and name in version.config.services:
            found: dict[str, Any] = version.config.to_json()["services"][name]
            if version.config.rendering == 1:
                carry({name: found})
            return found
    return None


def new_service(name: ServiceName) -> dict[str, Any]:
    """A service as this release has it."""
    if name not in SERVICES:
        raise InvalidInputError(
            f"{name} never ran healthy here, so nothing says what it is.",
            next_step="Describe it in a file, with image and all, as the examples do.",
        )
    return {"image": SERVICES[name].image, "environment": dict.fromkeys(SERVICES[name].time_zones, UTC)}


def carry(services: dict[ServiceName, Any]) -> None:
    """Write a config of the first rendering so that it means the same in a later one."""
    for name, service in services.items():
        if "own" in service:
            continue  # an own service means the same in each
        kept = {key: carried(value) for key, value in service["environment"].items()}
        service["environment"] = {**SERVICES[name].time_zones, **kept}


def _apply(request: ConfigRequest, document: dict[str, Any], site: Site | None) -> StackConfig:
    services: dict[str, Any] = document["services"]
    for text, reference in request.images.items():
        services[_enabled(text, services)]["image"] = reference
    for text, variables in request.environment.items():
        name = _enabled(text, services)
        known = SERVICES.get(name)
        wanted = [key for key, value in variables.items() if value]  # an empty one goes
        for key in known.reserved_among(wanted) if known is not None else ():
            raise InvalidInputError(
                f"{name}.{key} is set by geusemaker: it decides where the data is or how it is reached.",
            )
        check_domain_values(name, variables, site)
        check_values(name, variables)
        service = services[name]
        taken_out = [key for key, secret in request.secret_environment.get(text, {}).items() if not secret]
        for key, value in variables.items():
            if value and key in service.get("secret_environment", {}) and key not in taken_out:
                raise InvalidInputError(
                    f"{name}.{key} is a secret variable, and this would put its value into the history.",
                    next_step=f"`--secret-env {name}.{key}` gives it another value; `--secret-env {name}.{key}=` takes "
                    "it out.",
                )
        merged = {**service.get("environment", {}), **variables}
        kept = {key: value for key, value in merged.items() if value}
        service["environment"] = time_zone(name, kept, variables)
    for text, variables in request.secret_environment.items():
        name = _enabled(text, services)
        set_secret_variables(name, services[name], variables)
    _set(request, document, StackConfig)
    try:
        config = StackConfig.model_validate(document)
    except ValidationError as error:
        raise _invalid(error) from error
    for secret, given in request.secret_values.items():
        require_own_name(secret)
        require_value(secret, given.get_secret_value())
        if not users(config, secret):
            raise InvalidInputError(f"No variable of a service has the secret {secret}.")
    return config


def _set(request: ConfigRequest, document: dict[str, Any], model: type[Model]) -> None:
    """Put what a request has for the fields of a model into its document, as the fields say where it has it."""
    for name, field in model.model_fields.items():
        option = told(field.metadata).option
        if option is not None and option.request:
            value = getattr(request, option.request)
            if value is not None:
                document[name] = value
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Model):
            _set(request, document.setdefault(name, {}), field.annotation)


def _enabled(text: str, services: dict[str, Any]) -> ServiceName:
    name = service_name(text, services)
    if name not in services:
        raise InvalidInputError(
            f"{name} is not enabled in this deployment.",
            next_step=f"Add --service {name} to enable it.",
        )
    return name


def _invalid(error: ValidationError) -> InvalidInputError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "function-before")
    message = str(first["msg"]).removeprefix("Value error, ")
    return InvalidInputError(f"{place}: {message}." if place else f"{message}.")
