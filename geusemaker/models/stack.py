"""StackConfig, the desired state of a deployment."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_serializer, model_validator

from geusemaker.catalog import SERVICE_NAMES, SERVICES
from geusemaker.catalog.rules import Beside
from geusemaker.catalog.service import Service
from geusemaker.catalog.service import ServiceName as ServiceName
from geusemaker.models import fields
from geusemaker.models.base import Model
from geusemaker.models.fields import told
from geusemaker.models.image import ImageReference
from geusemaker.models.own import OwnService, check_needs, describe_own
from geusemaker.models.secrets import SECRET_NAME
from geusemaker.models.secrets import Secrets as Secrets
from geusemaker.models.settings import BakeSeconds as BakeSeconds
from geusemaker.models.settings import DeadlineMinutes as DeadlineMinutes
from geusemaker.models.settings import HealthDeadline as HealthDeadline
from geusemaker.models.settings import HealthSettings as HealthSettings
from geusemaker.models.settings import Retention as Retention
from geusemaker.models.settings import RollbackSettings as RollbackSettings
from geusemaker.models.settings import Successes as Successes
from geusemaker.models.target import DATA_VOLUME_LIMIT_GIB as DATA_VOLUME_LIMIT_GIB
from geusemaker.models.target import LOCAL_SETTLE_SECONDS as LOCAL_SETTLE_SECONDS
from geusemaker.models.target import SETTLE_LIMIT_SECONDS as SETTLE_LIMIT_SECONDS
from geusemaker.models.target import SETTLE_SECONDS as SETTLE_SECONDS
from geusemaker.models.target import Target as Target

DEFAULT_INSTANCE_TYPE: Final = "t3.large"

NEWEST_RENDERING: Final = 3
"""The way in which today's configs become a compose file (``program/compose.py`` says what each number means)."""

TAKEN_BY_ITSELF: Final = 2
"""The rendering that an update takes at the least. A newer one parts services that may call each other, and closes what
was open, so whoever has a deployment asks for it."""

DEPLOYMENT_NAME = re.compile(r"[a-z][a-z0-9-]{0,38}[a-z0-9]|[a-z]")
_INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")
LOGIN = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
"""useradd(8)."""
_ENVIRONMENT_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ServiceConfig(Model):
    """One enabled service: its image and the environment the operator added."""

    image: Annotated[ImageReference, fields.IMAGE]
    """What runs, pinned to a digest in a version."""
    environment: Annotated[dict[str, str], fields.ENVIRONMENT] = Field(default_factory=dict)
    """What the operator added: variable → value."""
    secret_environment: Annotated[dict[str, str], fields.SECRET_ENVIRONMENT] = Field(default_factory=dict)
    """Variable → the name of the secret that it has. The value is no part of a version: today's counts."""
    own: Annotated[OwnService | None, fields.OWN] = None
    """What it is, where it is a service of the operator's own; None: one of the catalogue."""

    @field_validator("environment", "secret_environment")
    @classmethod
    def _keys_are_names(cls, value: dict[str, str]) -> dict[str, str]:
        for key in value:
            if not _ENVIRONMENT_KEY.fullmatch(key):
                raise ValueError(f"{key!r} is not an environment variable name")
        return value

    @model_validator(mode="after")
    def _secrets_have_names(self) -> ServiceConfig:
        for key, name in self.secret_environment.items():
            if not SECRET_NAME.fullmatch(name):
                raise ValueError(f"{key} refers to {name!r}, which is no name of a secret")
            if key in self.environment:
                raise ValueError(f"{key} is among the plain variables and among the secret ones")
        return self

    @model_serializer(mode="wrap")
    def _said(self, handler: Any) -> dict[str, Any]:
        # Nothing is said of what a service of the catalogue has not.
        return {key: value for key, value in handler(self).items() if key != "own" or value is not None}


class InstanceFacts(Model):
    """What AWS says of the instance type, pinned with the version so that rendering needs no look-up."""

    memory_mib: Annotated[int, Field(ge=256)] = 8192
    """Its memory."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """How many of NVIDIA's GPUs it has."""
    gpu_memory_mib: Annotated[int, Field(ge=0)] = 0
    """Their memory, all together; 0: there is none, or a version of before does not tell."""
    architecture: Literal["amd64", "arm64"] = "amd64"
    """Its processor's, as images name it."""


DEFAULT_ROOT_VOLUME_GIB: Final = 40
LEAST_ROOT_VOLUME_GIB: Final = 20


class StackConfig(Model):
    """The desired state of a deployment. A version of the deployment is one stored StackConfig.

    Secrets and the deployment's whereabouts are not part of it: a rollback must not bring those back.
    """

    schema_version: Annotated[Literal[1], fields.SCHEMA_VERSION] = 1
    """How the other fields are to be read."""
    instance_type: Annotated[str, fields.INSTANCE_TYPE] = DEFAULT_INSTANCE_TYPE
    """EC2's name for it, as ``t3.large``."""
    instance: Annotated[InstanceFacts, fields.INSTANCE_FACTS] = InstanceFacts()
    """What AWS says of that type."""
    purchase: Annotated[fields.Purchase, fields.PURCHASE] = "on-demand"
    """How the instance is bought: AWS may take a spot instance back with two minutes' notice."""
    ami: Annotated[str, fields.AMI] = ""
    """The instance's machine image, pinned at the first deploy."""
    image_login: Annotated[str, fields.IMAGE_LOGIN] = ""
    """The login that image has by itself; empty: admin, as Debian's have. ``Target.ssh_user`` is the one in use, which
    no version changes: where they differ, the instance is told to make that one."""
    root_volume_gib: Annotated[int, Field(ge=20, le=16384), fields.ROOT_VOLUME] = DEFAULT_ROOT_VOLUME_GIB
    """Of versions of before: EBS volumes only grow, so ``Target.root_volume_gib`` counts, and this where that is 0."""
    services: Annotated[dict[ServiceName, ServiceConfig], fields.SERVICES]
    """Those that run."""
    health: Annotated[HealthSettings, fields.SETTINGS] = HealthSettings()
    """How long services may take."""
    rollback: Annotated[RollbackSettings, fields.SETTINGS] = RollbackSettings()
    """What happens when a change fails."""
    rendering: Annotated[int, Field(ge=1, le=NEWEST_RENDERING), fields.RENDERING] = 1
    """How the compose file is made of this config. A version keeps its own; one stored without has the first."""

    @model_serializer(mode="wrap")
    def _said(self, handler: Any) -> dict[str, Any]:
        unsaid = {"image_login": "", "purchase": "on-demand"}  # as it was stored before there were such fields
        return {key: value for key, value in handler(self).items() if value != unsaid.get(key)}

    @field_validator("image_login")
    @classmethod
    def _login_is_a_name(cls, value: str) -> str:
        if value and not LOGIN.fullmatch(value):
            raise ValueError(f"{value!r} is not a login; write it as ubuntu")
        return value

    @field_validator("instance_type")
    @classmethod
    def _instance_type_form(cls, value: str) -> str:
        if not _INSTANCE_TYPE.fullmatch(value):
            raise ValueError(f"{value!r} is not an instance type; write it as t3.large")
        return value

    @model_validator(mode="after")
    def _services_fit(self) -> StackConfig:
        if not self.services:
            raise ValueError("no service is enabled; enable at least one of " + ", ".join(SERVICE_NAMES))
        for name, service in self.services.items():
            if service.own is not None:
                continue
            if name not in SERVICES:
                raise ValueError(f"{name} is no service that geusemaker knows, and nothing says what it is")
            if not self.services.keys() >= set(SERVICES[name].needs):
                raise ValueError(SERVICES[name].needs_why)
        check_needs({name: self.needs(name) for name in self.services})
        ports: dict[int, str] = {}
        for name, service in self.own_services.items():
            for published, _ in service.own.published if service.own is not None else ():
                if (other := ports.setdefault(published, name)) != name:
                    raise ValueError(f"{other} and {name} both publish port {published}")
        return self

    def needs(self, name: ServiceName) -> tuple[ServiceName, ...]:
        """The services without which one does not work."""
        service, known = self.services[name], describe(self, name)
        also = () if service.own is not None else known.needs_also(service.environment)
        return (*known.needs, *(one for one in also if one in self.services and one != name))

    @property
    def own_services(self) -> dict[ServiceName, ServiceConfig]:
        """Those that are an operator's own."""
        return {name: service for name, service in self.services.items() if service.own is not None}

    def secrets_of(self, name: ServiceName) -> dict[str, str]:
        """Variable → the generated secret, by its field, that a service gets; not where the operator set a value."""
        service, known = self.services[name], describe(self, name)
        theirs = {*service.environment, *service.secret_environment}
        given = {key.upper() for key in theirs} if known.ignores_case else theirs
        more = known.third_secrets if self.rendering >= 3 else {}
        return {**known.secrets, **{key: field for key, field in more.items() if key not in given}}

    def misfits(self, name: ServiceName) -> list[str]:
        """What of a service's environment would not work here, one sentence each."""
        if self.services[name].own is not None:
            return []
        beside = {
            one: Beside(service.image, service.own.command, service.environment, service.secret_environment)
            for one, service in self.own_services.items()
            if service.own is not None
        }
        return SERVICES[name].misfits(self.services[name].image, self.services[name].environment, beside)

    @property
    def system(self) -> str:
        """What runs under this config, as a text that two configs share just if they ask for the same system.

        Made of every field that is not declared to be no part of it: one added later counts by itself.
        """
        left_out = {name for name, field in type(self).model_fields.items() if not told(field.metadata).system}
        return json.dumps(self.model_dump(mode="json", exclude=left_out), sort_keys=True)

    @property
    def images(self) -> dict[str, str]:
        """Service → image reference, as text."""
        return {name: str(service.image) for name, service in self.services.items()}

    def to_json(self) -> dict[str, Any]:
        """The plain value stored under ``geusemaker:deployment``."""
        return self.model_dump(mode="json")


def describe(config: StackConfig, name: ServiceName) -> Service:
    """What is known of one of a config's services, of the catalogue or an operator's own."""
    service = config.services[name]
    return SERVICES[name] if service.own is None else describe_own(service.own, name, service.image)


def root_volume_gib(target: Target, config: StackConfig) -> int:
    """How large the instance's own disk is to be, as far as it is remembered."""
    return target.root_volume_gib or config.root_volume_gib
