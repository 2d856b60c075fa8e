"""From what an operator asks for to a StackConfig: defaults, differences, facts and digests filled in."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from typing import Any, Final
from zoneinfo import available_timezones

from pydantic import ValidationError

from geusemaker.catalog import SERVICE_ALIASES, SERVICE_NAMES, SERVICES
from geusemaker.cloud.registry import ImageNotFoundError
from geusemaker.errors import EnvironmentProblemError, InvalidInputError, ValidationFailedError
from geusemaker.models.base import Model
from geusemaker.models.fields import told
from geusemaker.models.image import ImageReference
from geusemaker.models.plan import CheckResult
from geusemaker.models.request import ConfigRequest
from geusemaker.models.stack import NEWEST_RENDERING, ServiceName, StackConfig
from geusemaker.models.version import Version
from geusemaker.program.compose import carried
from geusemaker.services.collaborators import Cloud, Registry

NEWEST: Final = "newest"
"""Given as AMI: today's Debian 13."""

UTC: Final = "UTC"


def service_name(text: str) -> ServiceName:
    """The service a person means.

    Raises:
        InvalidInputError: there is no such service.
    """
    name = SERVICE_ALIASES.get(text, text)
    if name in SERVICE_NAMES:
        return name
    near = get_close_matches(text, SERVICE_NAMES, n=1)
    raise InvalidInputError(
        f"There is no service {text!r}; the services are {', '.join(SERVICE_NAMES)}.",
        state="Nothing was changed.",
        next_step=f"Did you mean {near[0]}?" if near else "",
    )


def first_config(request: ConfigRequest) -> StackConfig:
    """The config of a first deploy: the defaults, with what was asked for."""
    names = {service_name(text) for text in request.services} or set(SERVICE_NAMES)
    names -= {service_name(text) for text in request.without}
    services = {name: _new_service(name) for name in SERVICE_NAMES if name in names}
    return _apply(request, {"services": services, "rendering": NEWEST_RENDERING})


def changed_config(request: ConfigRequest, base: StackConfig, versions: Sequence[Version] = ()) -> StackConfig:
    """An existing config with what was asked for, for the newest rendering.

    Args:
        versions: those there were, oldest first. A service that is enabled again comes back as it last ran healthy,
            image and environment, on its data; one that never did, as this release has it.
    """
    document = base.to_json()
    services: dict[ServiceName, Any] = document["services"]
    if base.rendering == 1:
        _carry(services)
    document["rendering"] = NEWEST_RENDERING
    for text in request.services:
        name = service_name(text)
        services.setdefault(name, _last_healthy(name, versions) or _new_service(name))
    for text in request.without:
        if services.pop(service_name(text), None) is None:
            raise InvalidInputError(f"{text} is not enabled, so it cannot be taken out.", state="Nothing was changed.")
    document["services"] = {name: services[name] for name in SERVICE_NAMES if name in services}
    return _apply(request, document)


def _last_healthy(name: ServiceName, versions: Sequence[Version]) -> dict[str, Any] | None:
    for version in reversed(versions):
        if version.healthy and not version.bad and name in version.config.services:
            found: dict[str, Any] = version.config.to_json()["services"][name]
            if version.config.rendering == 1:
                _carry({name: found})
            return found
    return None


def _new_service(name: ServiceName) -> dict[str, Any]:
    return {"image": SERVICES[name].image, "environment": dict.fromkeys(SERVICES[name].time_zones, UTC)}


def _carry(services: dict[ServiceName, Any]) -> None:
    """Write a config of the first rendering so that it means the same in a later one."""
    for name, service in services.items():
        kept = {key: carried(value) for key, value in service["environment"].items()}
        service["environment"] = {**SERVICES[name].time_zones, **kept}


def _check_values(name: ServiceName, variables: dict[str, str]) -> None:
    for key, value in variables.items():
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise InvalidInputError(
                f"{name}.{key} holds what is no text: a zero byte, or bytes that are not UTF-8.",
                state="Nothing was changed.",
            )
        is_zone = key in SERVICES[name].time_zones and bool(value)
        if is_zone and value not in (known := available_timezones()) and known:
            near = get_close_matches(value, known, n=1)
            raise InvalidInputError(
                f"There is no time zone {value!r}: {SERVICES[name].title} would take another without a word.",
                state="Nothing was changed.",
                next_step=f"Did you mean {near[0]}?" if near else "Write it as Europe/Berlin.",
            )


def _time_zone(name: ServiceName, variables: dict[str, str], asked: dict[str, str]) -> dict[str, str]:
    """A service's variables with its time zone, and its system's, which goes with it unless it is asked for."""
    if not SERVICES[name].time_zones:
        return variables
    own, system = SERVICES[name].time_zones
    zone = variables.get(own, UTC)
    follows = asked.get(own) and system not in asked
    return {**variables, own: zone, system: zone if follows else variables.get(system, zone)}


def _apply(request: ConfigRequest, document: dict[str, Any]) -> StackConfig:
    services: dict[str, Any] = document["services"]
    for text, reference in request.images.items():
        services[_enabled(text, services)]["image"] = reference
    for text, variables in request.environment.items():
        name = _enabled(text, services)
        for key in SERVICES[name].reserved_among(key for key, value in variables.items() if value):  # an empty one goes
            raise InvalidInputError(
                f"{name}.{key} is set by geusemaker: it decides where the data is or how it is reached.",
                state="Nothing was changed.",
            )
        _check_values(name, variables)
        service = services[name]
        merged = {**service.get("environment", {}), **variables}
        kept = {key: value for key, value in merged.items() if value}
        service["environment"] = _time_zone(name, kept, variables)
    _set(request, document, StackConfig)
    try:
        return StackConfig.model_validate(document)
    except ValidationError as error:
        raise _invalid(error) from error


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
    name = service_name(text)
    if name not in services:
        raise InvalidInputError(
            f"{name} is not enabled in this deployment.",
            state="Nothing was changed.",
            next_step=f"Add --service {name} to enable it.",
        )
    return name


def _invalid(error: ValidationError) -> InvalidInputError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "function-before")
    message = str(first["msg"]).removeprefix("Value error, ")
    return InvalidInputError(f"{place}: {message}." if place else f"{message}.", state="Nothing was changed.")


def complete_config(
    config: StackConfig, base: StackConfig | None, ami: str | None, cloud: Cloud, registry: Registry, resolve: set[str]
) -> tuple[StackConfig, list[CheckResult]]:
    """Fill in what AWS and the registries know: the instance type's facts, the AMI, digests.

    Args:
        config: what is asked for.
        base: the config it starts from; None for a first deploy.
        ami: an AMI the operator chose, or ``newest``; None: the one there is, else the newest.
        resolve: services whose tag is looked up again although a digest is known.

    Raises:
        ValidationFailedError: the instance type, an AMI for it or an image does not exist.
    """
    if base is not None and config.instance_type == base.instance_type:
        facts = base.instance
    else:
        found = cloud.find_instance_type(config.instance_type)
        if found is None:
            raise ValidationFailedError(
                f"AWS has no instance type {config.instance_type}.",
                state="Nothing was changed.",
                next_step="Choose another --instance-type, for example t3.large or g5.xlarge.",
            )
        facts = found
    kept = base.ami if base is not None and ami is None else ""
    chosen = kept or (ami if ami != NEWEST else None) or cloud.find_debian_image(facts.architecture) or ""
    if not chosen:
        raise ValidationFailedError(
            f"There is no Debian 13 AMI for {facts.architecture} in this region.",
            state="Nothing was changed.",
            next_step="Give one with --ami.",
        )
    images = {
        name: service.image
        for name, service in config.services.items()
        if service.image.digest is None or name in resolve
    }
    digests, checks = _resolve(images, registry)
    services = {
        name: service.model_copy(update={"image": service.image.pinned(digests[name])}) if name in digests else service
        for name, service in config.services.items()
    }
    return config.model_copy(update={"instance": facts, "ami": chosen, "services": services}), checks


def _resolve(
    images: dict[ServiceName, ImageReference], registry: Registry
) -> tuple[dict[ServiceName, str], list[CheckResult]]:
    def look_up(image: ImageReference) -> str | Exception:
        try:
            return registry.digest(image)
        except (ImageNotFoundError, EnvironmentProblemError) as error:
            return error

    if not images:
        return {}, []
    with ThreadPoolExecutor(max_workers=len(images)) as pool:
        answers = dict(zip(images, pool.map(look_up, images.values()), strict=True))
    # One registry that is away is one problem, however many images were to come from it.
    problems = list(
        dict.fromkeys(str(answer).rstrip(".") for answer in answers.values() if isinstance(answer, Exception))
    )
    if problems:
        away = any(isinstance(answer, EnvironmentProblemError) for answer in answers.values())
        raise ValidationFailedError(
            "; ".join(problems) + ".",
            state="Nothing was changed.",
            next_step="Run the command again once the registry answers." if away else "Check the name and the tag.",
            checks=(CheckResult(name="images", status="fail", detail="; ".join(problems)),),
        )
    resolved = {name: str(answer) for name, answer in answers.items()}
    detail = ", ".join(f"{images[name].tagged} is {digest[:19]}" for name, digest in resolved.items())
    return resolved, [CheckResult(name="digests", status="pass", detail=detail)]
