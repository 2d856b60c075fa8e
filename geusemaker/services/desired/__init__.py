"""From a stack file to what is asked for: the config, and the facts of the deployment. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from geusemaker.errors import InvalidInputError
from geusemaker.models.base import Model
from geusemaker.models.fields import told
from geusemaker.models.plan import ConfigChange
from geusemaker.models.request import ChangeOptions, ConfigRequest
from geusemaker.models.secrets import Secrets
from geusemaker.models.site import Site
from geusemaker.models.stack import StackConfig, Target
from geusemaker.models.stack_file import StackFile
from geusemaker.models.stack_file.parts import StackFileFacts
from geusemaker.models.version import Version
from geusemaker.services.configure import changed_config, first_config
from geusemaker.services.desired.config import config_of
from geusemaker.services.secret_values import from_environment, require_value

_BESIDE: Final = frozenset({"desired", "prune", "again", "secret_values", "ssh_user", "rendering", "connect"})
"""What no file has."""

Asked = TypeVar("Asked", bound=ConfigRequest)


def wished_config(
    request: ConfigRequest, base: StackConfig | None, versions: Sequence[Version] = (), site: Site | None = None
) -> StackConfig:
    """The config that is asked for, by a file or by options.

    Args:
        request: what is asked for.
        base: the config it starts from; None for a first deploy.
        versions: those there were, oldest first.
        site: the deployment's domains.

    Raises:
        InvalidInputError: a value cannot be used.
    """
    if request.desired is not None:
        return config_of(request.desired, base, versions, site, request)
    if request.prune or request.again:
        raise InvalidInputError(
            "--prune and --again are said of a stack file, and none is given.",
            next_step="Leave them out, or give a file with -f.",
        )
    return changed_config(request, base, versions, site) if base is not None else first_config(request, site)


def with_facts(request: Asked, base: StackConfig | None) -> Asked:
    """The request with what its file has beside services and settings.

    Raises:
        InvalidInputError: something is asked for beside the file that the file has.
    """
    file = request.desired
    if file is None:
        return request
    facts = {
        name: value for name in StackFileFacts.model_fields if (value := getattr(file.deployment, name)) is not None
    }
    for name, field in type(request).model_fields.items():
        its = "domains" if name == "no_domain" else name
        fact = its in StackFileFacts.model_fields
        if name in ChangeOptions.model_fields or name in _BESIDE or (fact and its not in facts):
            continue
        if (fact or name in ConfigRequest.model_fields) and getattr(request, name) != field.get_default(
            call_default_factory=True
        ):
            raise InvalidInputError(
                f"{_flag(name)} is given beside {file.source}, which is the whole desired state"
                + (f" and has {its}" if fact else "")
                + ".",
                next_step="Change the file, or leave the option out.",
            )
    known = {name: value for name, value in facts.items() if name in type(request).model_fields}
    if "domains" in facts:
        known["no_domain"] = True  # of those that the file does not have
    known["ami"] = file.ami if base is None or file.ami != base.ami else None
    return request.model_copy(update=known)


def with_secret_values(
    request: Asked, config: StackConfig, load: Callable[[], Secrets] | None, environ: Mapping[str, str]
) -> Asked:
    """The request with values for the secrets that its file refers to and the deployment does not have yet.

    Args:
        request: what is asked for.
        config: what comes of it.
        load: gets the deployment's secrets; None: it has none yet.
        environ: the environment of whoever runs this.

    Raises:
        InvalidInputError: a value there cannot be one of a secret.
    """
    names = {name for service in config.services.values() for name in service.secret_environment.values()}
    if request.desired is None or not names:
        return request
    known = load() if load is not None else None
    has = {name for name in names if known is not None and known.find(name) is not None}
    found = from_environment(names, has, environ)
    for name, value in found.items():
        require_value(name, value.get_secret_value())
    return request.model_copy(update={"secret_values": {**found, **request.secret_values}})


def fact_changes(
    file: StackFile, target: Target, config: StackConfig, labels: Mapping[str, str]
) -> tuple[ConfigChange, ...]:
    """How what a file has of the deployment, and no version has, differs from what the deployment has."""
    has = StackFile.of(config, target, labels=labels).deployment
    found = []
    for name in StackFileFacts.model_fields:
        old, new = getattr(has, name), getattr(file.deployment, name)
        if name == "domains":
            continue
        if isinstance(new, dict):
            old, new = (", ".join(f"{key}={one}" for key, one in sorted((value or {}).items())) for value in (old, new))
        if isinstance(new, tuple):
            old, new = (", ".join(sorted(value or ())) for value in (old, new))
        if getattr(file.deployment, name) is not None and old != new:
            found.append(ConfigChange(path=name, old=None if old is None else str(old), new=str(new)))
    return tuple(found)


def _flag(name: str) -> str:
    """The option of the command line that a field of a request has its value from."""
    flags = {
        "images": "--image",
        "services": "--service",
        "without": "--without",
        "environment": "--env",
        "secret_environment": "--secret-env",
        "own_services": "A service of one's own",
        "ami": "--ami",
        "ssh_user": "--ssh-user",
    }
    models: list[type[Model]] = [StackConfig, *_inner(StackConfig), StackFileFacts]
    for model in models:
        for field in model.model_fields.values():
            option = told(field.metadata).option
            if option is not None and option.request:
                flags.setdefault(option.request, option.flags.partition("/")[0])
    return flags.get(name, name)


def _inner(model: type[Model]) -> list[type[Model]]:
    inner = [field.annotation for field in model.model_fields.values()]
    return [one for one in inner if isinstance(one, type) and issubclass(one, Model)]
