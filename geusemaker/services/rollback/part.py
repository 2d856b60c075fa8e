"""A rollback of some services alone: their config of one version, and all else as the active version has it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from geusemaker.catalog import PROXY
from geusemaker.errors import InvalidInputError, RefusedError
from geusemaker.models.request import RollbackRequest
from geusemaker.models.stack import ServiceName, StackConfig
from geusemaker.models.state import DeploymentState
from geusemaker.models.version import Version
from geusemaker.services.configure import carry, service_name
from geusemaker.services.differences import same_system
from geusemaker.services.own_services import in_order
from geusemaker.services.rollback.target import known_version, require_allowed, require_other, unchanged


def require_version(request: RollbackRequest, deployment: str) -> None:
    """Refuse to guess from which version services are to come: what is newest and differs may differ elsewhere.

    Raises:
        InvalidInputError: services were named, and no version.
    """
    if request.services and request.to_version is None:
        raise InvalidInputError(
            f"{' and '.join(request.services)} alone can go back to a version only if that is named.",
            next_step=f"Add --to-version; `geusemaker history {deployment}` lists the versions.",
        )


def mixed_config(state: DeploymentState, request: RollbackRequest) -> tuple[StackConfig, tuple[ServiceName, ...]]:
    """What is to run, and the services that go back in it.

    A service that the version had and that does not run now is added. One that the version did not have is refused:
    to take a service out is an update's to do, as is anything else that is no service's own.

    Raises:
        InvalidInputError: there is no such service.
        RefusedError: there is no such version, something speaks against it or against what comes of it, it does not
            have the service, that needs one which does not run, or nothing would change.
    """
    active, number = state.active, request.to_version
    assert active is not None and number is not None
    source = known_version(state, number)
    require_other(state, source, active)
    require_allowed(state, request, source)
    own = {name for version in state.versions for name in version.config.own_services}
    names = tuple(dict.fromkeys(service_name(text, sorted(own)) for text in request.services))
    services: dict[ServiceName, Any] = dict(active.config.to_json()["services"])
    for name in names:
        if name not in source.config.services:
            raise _not_there(state, source, name)
        services[name] = _as_in(active.config.rendering, source.config, name)
    for name in names:
        if lacking := [other for other in source.config.needs(name) if other not in services]:
            raise _needed(state, source, name, lacking[0])
    config = _validated(state, source, names, services)
    if not state.unsettled and same_system(config, active.config):
        raise RefusedError(
            f"v{active.number} of {state.name}, which is active, has {_told(names)} as v{number} had: there is nothing "
            "to change.",
            state=unchanged(state),
            next_step=f"`geusemaker diff {state.name} v{number} v{active.number}` shows what differs.",
        )
    _require_good(state, request, config)
    return config, names


def _as_in(rendering: int, config: StackConfig, name: ServiceName) -> dict[str, Any]:
    """A service's document, so that it means the same where the compose file is made in another way."""
    service: dict[str, Any] = config.to_json()["services"][name]
    if config.rendering == 1 < rendering:
        carry({name: service})
    elif rendering == 1 < config.rendering and "own" not in service:
        # There Compose expands what follows a $.
        service["environment"] = {key: value.replace("$", "$$") for key, value in service["environment"].items()}
    return service


def _validated(
    state: DeploymentState, source: Version, names: Sequence[ServiceName], services: dict[ServiceName, Any]
) -> StackConfig:
    assert state.active is not None
    try:
        return StackConfig.model_validate({**state.active.config.to_json(), "services": in_order(services)})
    except ValidationError as error:
        why = str(error.errors(include_input=False)[0]["msg"]).removeprefix("Value error, ")
        raise RefusedError(
            f"{_told(names)} as v{source.number} had cannot run beside what v{state.active.number} has: {why}.",
            state=unchanged(state),
            next_step=f"`geusemaker rollback {state.name} v{source.number}` brings all of that version back.",
        ) from error


def _require_good(state: DeploymentState, request: RollbackRequest, config: StackConfig) -> None:
    """What comes of it may be a config that was tried before: then what that one is, this one is."""
    same = [version for version in state.versions if same_system(version.config, config)]
    if not same:
        return
    makes = f"That makes the config of v{same[-1].number} of {state.name}, which"
    if same[-1].bad and not request.allow_bad:
        raise RefusedError(
            f"{makes} is marked bad, or has the config of a version that is.",
            state=unchanged(state),
            next_step="Choose another version, or add --allow-bad to do it all the same.",
        )
    if not any(version.healthy for version in same) and not request.allow_unhealthy:
        raise RefusedError(
            f"{makes} never became healthy.",
            state=unchanged(state),
            next_step="Choose another version, or add --allow-unhealthy to do it all the same.",
        )


def _not_there(state: DeploymentState, source: Version, service: ServiceName) -> RefusedError:
    assert state.active is not None
    runs = service in state.active.config.services
    next_step = f"`geusemaker inspect {state.name} v{source.number}` shows what it had."
    if service == PROXY.name:
        next_step = "It comes and goes with the deployment's domains, which no rollback changes."
    elif runs:
        next_step = f"`geusemaker update {state.name} --without {service}` takes it out."
    return RefusedError(
        f"v{source.number} of {state.name} had no {service}, so there is none to bring back.",
        state=unchanged(state),
        next_step=next_step,
    )


def _needed(state: DeploymentState, source: Version, name: ServiceName, other: ServiceName) -> RefusedError:
    return RefusedError(
        f"{name} as v{source.number} of {state.name} had it needs {other}, which does not run now.",
        state=unchanged(state),
        next_step=f"Add --service {other}, which brings that back as well.",
    )


def _told(names: Sequence[ServiceName]) -> str:
    return " and ".join(names)
