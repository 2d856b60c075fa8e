"""The parts of a stack file, and what each of its values has to be. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema

from geusemaker.models import fields
from geusemaker.models.base import Model
from geusemaker.models.image import ImageReference
from geusemaker.models.network import address_range
from geusemaker.models.own import OwnService
from geusemaker.models.stack import (
    DATA_VOLUME_LIMIT_GIB,
    LEAST_ROOT_VOLUME_GIB,
    SETTLE_LIMIT_SECONDS,
    BakeSeconds,
    DeadlineMinutes,
    HealthDeadline,
    Retention,
    Successes,
)


def _given(value: Any) -> Any:
    if value is None:
        raise ValueError("has no value: leave the line out to keep what the deployment has")
    return value


def _whole(value: Any) -> Any:
    # 022 is 18 to YAML 1.1 and 22 to YAML 1.2, 1_000 and 0x10 are numbers to some.
    if isinstance(_given(value), str) and not re.fullmatch(r"0|-?[1-9][0-9]{0,8}", value):
        raise ValueError("is to be a whole number, in digits without a leading zero")
    return value


def _truth(value: Any) -> Any:
    if isinstance(_given(value), str) and value.lower() not in ("true", "false"):
        raise ValueError("is to be true or false")
    return value


def whole_map(value: Any) -> Any:
    """A map with nothing in it is as good as none at all."""
    return {} if value is None else value


def not_newest(value: str | None) -> str | None:
    """An AMI by its id.

    Raises:
        ValueError: it is to be looked up.
    """
    if value == "newest":
        raise ValueError(
            "is to be an AMI's id: with newest, each new image of Debian's would replace the instance. Leave the line "
            "out to keep the deployment's; a first deploy takes the newest by itself"
        )
    return value


def _variables(value: Mapping[str, str]) -> Mapping[str, str]:
    for key in value:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            raise ValueError(f"{key!r} is not an environment variable name")
    return value


Text = Annotated[str | None, BeforeValidator(_given)]
Bought = Annotated[fields.Purchase | None, BeforeValidator(_given)]
_Value = Annotated[str, WithJsonSchema({"type": ["string", "number", "boolean"]})]


class Part(Model):
    """A part of a stack file."""

    # What a file does not have is None, whatever else the field may hold.
    model_config = ConfigDict(validate_default=False)


class StackFileService(Part, OwnService):
    """A service of a stack file. All but image and environment is for services that geusemaker does not know."""

    model_config = Part.model_config

    image: Annotated[
        ImageReference | None, BeforeValidator(_given), WithJsonSchema({"type": "string"}), fields.IMAGE
    ] = None
    """None: the deployment's; of a service that is new there, as it last ran, or as this release has it."""
    environment: Annotated[
        dict[str, _Value], BeforeValidator(whole_map), AfterValidator(_variables), fields.ENVIRONMENT
    ] = Field(default_factory=dict)
    """All of its variables: variable → value, or ``${secret:NAME}``."""

    @property
    def described(self) -> OwnService | None:
        """What it is, as a service of one's own; None where the file says nothing of that."""
        said = {name: getattr(self, name) for name in OwnService.model_fields if name in self.model_fields_set}
        return OwnService(**said) if said else None


class StackFileSettings(Part):
    """The settings of a stack file; None: as the deployment has it."""

    health_deadline_seconds: Annotated[HealthDeadline | None, BeforeValidator(_whole), fields.HEALTH_DEADLINE] = None
    """So long a service may take to become healthy."""
    consecutive_successes: Annotated[Successes | None, BeforeValidator(_whole), fields.SUCCESSES] = None
    """So often in a row its probe has to succeed."""
    auto_rollback_on_failure: Annotated[bool | None, BeforeValidator(_truth), fields.AUTO_ROLLBACK] = None
    """Whether a change that fails goes back by itself."""
    deadline_minutes: Annotated[DeadlineMinutes | None, BeforeValidator(_whole), fields.DEADLINE] = None
    """So long a change may take."""
    retention: Annotated[Retention | None, BeforeValidator(_whole), fields.RETENTION] = None
    """So many versions are kept ready to go back to."""
    on_interruption: Annotated[fields.OnInterruption | None, BeforeValidator(_given), fields.ON_INTERRUPTION] = None
    """What ``recover`` does when a spot instance was taken back."""
    bake_seconds: Annotated[BakeSeconds | None, BeforeValidator(_whole), fields.BAKE] = None
    """So long each update is watched once its gate has passed."""


class StackFileFacts(Part):
    """What a stack file has of the deployment that no version has; None: as the deployment has it."""

    ssh_cidrs: Annotated[
        tuple[Annotated[str, AfterValidator(address_range)], ...] | None, BeforeValidator(_given), fields.SSH_CIDRS
    ] = None
    """Addresses that may connect by SSH."""
    domains: Annotated[dict[str, str] | None, BeforeValidator(_given), fields.DOMAINS] = None
    """Service → the host name under which it is open to the internet: all of them; without any, none is."""
    root_volume_gib: Annotated[
        Annotated[int, Field(ge=LEAST_ROOT_VOLUME_GIB, le=DATA_VOLUME_LIMIT_GIB)] | None,
        BeforeValidator(_whole),
        fields.ROOT_VOLUME,
    ] = None
    """Size of the instance's own disk."""
    data_volume_gib: Annotated[
        Annotated[int, Field(ge=1, le=DATA_VOLUME_LIMIT_GIB)] | None, BeforeValidator(_whole), fields.DATA_VOLUME
    ] = None
    """Size of the volume for Qdrant's data."""
    tags: Annotated[dict[str, _Value] | None, BeforeValidator(_given), fields.TAGS] = None
    """Tags of the operator's own: all of them; {}: none."""
    labels: Annotated[dict[str, _Value] | None, BeforeValidator(_given), fields.LABELS] = None
    """Labels of the deployment: all of them; {}: none."""
    permissions_boundary: Annotated[Text, fields.PERMISSIONS_BOUNDARY] = None
    """ARN of the policy that bounds the instance's role."""
    models_on: Annotated[fields.ModelsOn | None, BeforeValidator(_given), fields.MODELS_ON] = None
    """Where Ollama's models lie; it stays as the first deploy says."""
    settle_seconds: Annotated[
        Annotated[int, Field(ge=0, le=SETTLE_LIMIT_SECONDS)] | None, BeforeValidator(_whole), fields.SETTLE_SECONDS
    ] = None
    """How long all services have to stay ready before a change is called healthy."""
