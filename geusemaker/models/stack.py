"""StackConfig, the desired state of a deployment, and Target, where the deployment is."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from geusemaker.catalog import SERVICE_NAMES, SERVICES
from geusemaker.catalog.service import ServiceName as ServiceName
from geusemaker.models import fields
from geusemaker.models.base import Model
from geusemaker.models.fields import told
from geusemaker.models.image import ImageReference

DEFAULT_INSTANCE_TYPE: Final = "t3.large"

NEWEST_RENDERING: Final = 2
"""The way in which today's configs become a compose file (``program/compose.py`` says what each number means)."""

DEPLOYMENT_NAME = re.compile(r"[a-z][a-z0-9-]{0,38}[a-z0-9]|[a-z]")
_INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")
_ENVIRONMENT_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ServiceConfig(Model):
    """One enabled service: its image and the environment the operator added."""

    image: Annotated[ImageReference, fields.IMAGE]
    """What runs, pinned to a digest in a version."""
    environment: Annotated[dict[str, str], fields.ENVIRONMENT] = Field(default_factory=dict)
    """What the operator added: variable → value."""

    @field_validator("environment")
    @classmethod
    def _keys_are_names(cls, value: dict[str, str]) -> dict[str, str]:
        for key in value:
            if not _ENVIRONMENT_KEY.fullmatch(key):
                raise ValueError(f"{key!r} is not an environment variable name")
        return value


class HealthSettings(Model):
    """How long services may take to become healthy, in seconds."""

    deadline_seconds: Annotated[int, Field(ge=5, le=1800), fields.HEALTH_DEADLINE] = 180
    """So long a service may take to become healthy."""
    consecutive_successes: Annotated[int, Field(ge=1, le=10)] = 2
    """So often in a row its probe has to succeed."""


class RollbackSettings(Model):
    """What happens when a change fails, and how many versions are kept ready."""

    auto_rollback_on_failure: Annotated[bool, fields.AUTO_ROLLBACK] = True
    """Whether a change that fails goes back by itself."""
    deadline_minutes: Annotated[int, Field(ge=5, le=60), fields.DEADLINE] = 15
    """So long a change may take."""
    retention: Annotated[int, Field(ge=1, le=50), fields.RETENTION] = 5
    """So many versions are kept ready to go back to."""


class InstanceFacts(Model):
    """What AWS says of the instance type, pinned with the version so that rendering needs no look-up."""

    memory_mib: Annotated[int, Field(ge=256)] = 8192
    """Its memory."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """How many GPUs it has."""
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
    ami: Annotated[str, fields.AMI] = ""
    """The instance's machine image, pinned at the first deploy."""
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
        for name in self.services:
            if not self.services.keys() >= set(SERVICES[name].needs):
                raise ValueError(SERVICES[name].needs_why)
        return self

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


DATA_VOLUME_LIMIT_GIB: Final = 16384
"""docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html"""


SETTLE_SECONDS: Final = 15
LOCAL_SETTLE_SECONDS: Final = 10
"""That of a new deployment on the local cloud, whose services start in a moment."""
SETTLE_LIMIT_SECONDS: Final = 300


class Target(Model):
    """Where a deployment is and how to reach it: remembered at its first deploy, never versioned.

    ``become`` is what turns the login into root on the instance. A local one that is a process has none to give.
    """

    kind: Literal["local", "aws"]
    """The local cloud, or AWS."""
    region: str
    """The AWS region."""
    account_id: str = ""
    """The AWS account's twelve digits; empty: a deployment from before it was written down, which learns it."""
    partition: str = ""
    """AWS's partition (aws, aws-cn …), known with the account."""
    stack_id: str = ""
    """What all of this stack carries as a tag, beside the name; empty: a deployment from before, whose next change
    gives it one."""
    availability_zone: str = ""
    """Where subnet and instance are."""
    vpc_id: str = ""
    """The network it is in."""
    subnet_id: str = ""
    """The part of it."""
    ssh_user: str = "admin"
    """The login on the instance."""
    ssh_port: Annotated[int, Field(ge=1, le=65535)] = 22
    """Its SSH server's."""
    ssh_cidrs: tuple[str, ...] = ()
    """Addresses that may connect by SSH."""
    become: str = "sudo -n"
    data_volume_gib: Annotated[int, Field(ge=0, le=DATA_VOLUME_LIMIT_GIB)] = 0
    """Size of the volume that Qdrant's data is on; 0: a deployment from before there was one, all of it on EFS."""
    settle_seconds: Annotated[int, Field(ge=0, le=SETTLE_LIMIT_SECONDS)] = SETTLE_SECONDS
    """How long all services have to stay ready, in one life of their containers, before a change is called healthy."""
    root_volume_gib: Annotated[int, Field(ge=0, le=DATA_VOLUME_LIMIT_GIB)] = 0
    """Size of the instance's own disk; 0: a deployment from before it was kept here, the version's config tells."""
    adopting: str = ""
    """The file system, with data of before, that the first deploy takes up; of no meaning once a version is healthy."""
    protect: bool = True
    """Whether Pulumi protects the resources with data; not while they are to be deleted."""
    ssh_public_key: str = ""
    """The key that logs in."""
    host_public_key: str = ""
    """The key that the instance shows."""

    @property
    def has_data_volume(self) -> bool:
        """Whether there is a data volume beside EFS."""
        return self.data_volume_gib > 0


def root_volume_gib(target: Target, config: StackConfig) -> int:
    """How large the instance's own disk is to be, as far as it is remembered."""
    return target.root_volume_gib or config.root_volume_gib


class Secrets(Model):
    """Generated once per deployment; never part of a version, never printed."""

    ssh_private_key: str
    host_private_key: str
    postgresql_password: str
    n8n_encryption_key: str
    crawl4ai_token: str

    def __repr__(self) -> str:
        return "Secrets(…)"

    __str__ = __repr__
