"""From a stack file to the config that it asks for. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from geusemaker.catalog import PROXY, SERVICE_NAMES, SERVICES
from geusemaker.errors import InvalidInputError
from geusemaker.models.base import Model
from geusemaker.models.fields import SETTINGS, told
from geusemaker.models.image import ImageReference
from geusemaker.models.own import OwnService
from geusemaker.models.request import ConfigRequest
from geusemaker.models.site import Site
from geusemaker.models.stack import NEWEST_RENDERING, ServiceConfig, ServiceName, StackConfig
from geusemaker.models.stack_file import StackFile, hidden_command, plain_value, secret_reference
from geusemaker.models.version import Version
from geusemaker.services import own_services
from geusemaker.services.configure import add_proxy, changed_config, last_healthy, new_service
from geusemaker.services.variables import check_domain_values, check_values, set_secret_variables, time_zone


def config_of(
    file: StackFile,
    base: StackConfig | None,
    versions: Sequence[Version],
    site: Site | None = None,
    beside: ConfigRequest | None = None,
) -> StackConfig:
    """The config that a file asks for.

    Args:
        file: the file.
        beside: what is asked for that no file has.
        base: the config it starts from, which has what the file does not have; None for a first deploy.
        versions: those there were, oldest first.
        site: the deployment's domains.

    Raises:
        InvalidInputError: a value cannot be used; the message has its line.
    """
    asked = ConfigRequest(rendering=beside.rendering if beside is not None else None)
    unchanged = changed_config(asked, base, versions, site) if base is not None else None
    document: dict[str, Any] = unchanged.to_json() if unchanged is not None else {"rendering": NEWEST_RENDERING}
    before: dict[ServiceName, Any] = document.get("services", {})
    services = {name: _service(file, name, before.get(name), versions, site) for name in file.services}
    # What no operator chooses is not in a file: it comes and goes with the domains.
    services |= {name: one for name, one in before.items() if name == PROXY.name}
    add_proxy(services, site)
    document["services"] = own_services.in_order(services)
    for name in ("instance_type", "purchase", "ami"):
        if (value := getattr(file, name)) is not None:
            document[name] = value
    _set_settings(file, document)
    try:
        wished = StackConfig.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = file.place(*(str(part) for part in first["loc"] or ("services",)))
        message = str(first["msg"]).removeprefix("Value error, ")
        raise InvalidInputError(f"{place}: {message}.") from None
    # What asks for nothing new asks for no other rendering either, unless somebody said so.
    same = base is not None and wished == unchanged and wished.services.keys() == base.services.keys()
    return base if base is not None and same and not asked.rendering else wished


def _set_settings(file: StackFile, document: dict[str, Any]) -> None:
    for name, field in StackConfig.model_fields.items():
        inner = field.annotation
        if told(field.metadata).path == SETTINGS.path and isinstance(inner, type) and issubclass(inner, Model):
            for key, one in inner.model_fields.items():
                value = getattr(file.settings, told(one.metadata).path or key)
                if value is not None:
                    document.setdefault(name, {})[key] = value


def _service(
    file: StackFile,
    name: ServiceName,
    before: dict[str, Any] | None,
    versions: Sequence[Version],
    site: Site | None,
) -> dict[str, Any]:
    asked = file.services[name]
    known = _known(file, name, before or last_healthy(name, versions))
    image = known["image"]
    if asked.image is not None:
        same_tag = asked.image.digest is None and asked.image.tagged == ImageReference.parse(image).tagged
        image = image if same_tag else str(asked.image)
    had: dict[str, str] = before["environment"] if before is not None else {}
    had_secret: dict[str, str] = before.get("secret_environment", {}) if before is not None else {}
    plain, secret = _variables(name, asked.environment, had)
    for key, value in plain.items():
        if value != had.get(key):
            _check(file, name, key, value, had_secret)
            with _told_at(file.place("services", name, "environment", key)):
                check_domain_values(name, {key: value}, site)
    if before is None or plain != had:
        plain = time_zone(name, plain, plain)
    service = {**known, "image": image, "environment": plain, "secret_environment": {}}
    for key, reference in secret.items():
        if had_secret.get(key) == reference:
            service["secret_environment"][key] = reference
        else:
            with _told_at(file.place("services", name, "environment", key)):
                set_secret_variables(name, service, {key: reference})
    if name not in SERVICES:
        with _told_at(file.place("services", name)):
            own = _told_commands(name, asked.described or OwnService(), ServiceConfig.model_validate(known).own)
            service["own"] = own.model_dump(mode="json")
            own_services.check(name, ServiceConfig.model_validate(service))
    return service


def _known(file: StackFile, name: ServiceName, before: dict[str, Any] | None) -> dict[str, Any]:
    """A service as the deployment has or had it, or as this release has it; of one's own, as the file has it."""
    if before is not None or name in SERVICES:
        return before or new_service(name)
    image = file.services[name].image
    if image is None:
        near = get_close_matches(name, SERVICE_NAMES, n=1)
        raise InvalidInputError(
            f"{file.place('services', name)}: there is no service {name!r}, and of one's own the file has to say which "
            "image it runs.",
            next_step=f"Did you mean {near[0]}?" if near else "Add its image.",
        )
    return {"image": str(image), "environment": {}, "own": OwnService().model_dump(mode="json")}


def _told_commands(name: ServiceName, asked: OwnService, had: OwnService | None) -> OwnService:
    """The commands that the file did not tell, as the deployment has them.

    Raises:
        InvalidInputError: it has none.
    """
    for what, hidden in (("command", asked.command), ("probe.command", asked.probe.command if asked.probe else ())):
        if hidden != hidden_command(name, what):
            continue
        its = had if what == "command" else had.probe if had is not None else None
        if its is None or not its.command:
            raise InvalidInputError(
                f"the {what} of {name} is not told, and the deployment has none that could stay.",
                next_step="Write the command; what is secret in it is better a variable.",
            )
        if what == "command":
            asked = asked.model_copy(update={"command": its.command})
        elif asked.probe is not None:
            asked = asked.model_copy(update={"probe": asked.probe.model_copy(update={"command": its.command})})
    return asked


def _variables(
    service: ServiceName, asked: Mapping[str, str], had: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """(plain variables, secret ones by the secret's name)"""
    plain: dict[str, str] = {}
    secret: dict[str, str] = {}
    for key, value in asked.items():
        reference = secret_reference(value)
        if reference is None:
            plain[key] = plain_value(value)
        elif reference == f"{service}.{key}" and key in had:
            plain[key] = had[key]  # one that looks like a secret, as it was exported: the file does not tell it
        else:
            secret[key] = reference
    return plain, secret


def _check(file: StackFile, service: ServiceName, variable: str, value: str, secret: Mapping[str, str]) -> None:
    place = file.place("services", service, "environment", variable)
    if service in SERVICES and SERVICES[service].reserved_among([variable]):
        raise InvalidInputError(
            f"{place}: {service}.{variable} is set by geusemaker: it decides where the data is or how it is reached.",
            next_step="Leave the line out.",
        )
    if variable in secret:
        raise InvalidInputError(
            f"{place}: {service}.{variable} is a secret variable, and this would put its value into the history.",
            next_step=f"Write ${{secret:{secret[variable]}}}; `geusemaker secrets --help` shows what else there is.",
        )
    with _told_at(place):
        check_values(service, {variable: value})


@contextmanager
def _told_at(place: str) -> Iterator[None]:
    """Tell mistakes with the line that they stand on."""
    try:
        yield
    except InvalidInputError as error:
        raise InvalidInputError(f"{place}: {error.message}", state=error.state, next_step=error.next_step) from None
