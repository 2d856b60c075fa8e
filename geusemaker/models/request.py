"""What an operator asks for. Values are texts as typed; the services check them before anything changes."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError

from geusemaker.errors import InvalidInputError
from geusemaker.models.base import Model


class Request(Model):
    """What all requests are.

    Raises:
        InvalidInputError: there is no such field, or its value is of another type.
    """

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _invalid(type(self), error) from None  # its own text repeats values


def _invalid(model: type[Request], error: ValidationError) -> InvalidInputError:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return InvalidInputError(f"{model.__name__}.{place}: {first['msg']}.", state="Nothing was changed.")
    near = get_close_matches(place, model.model_fields, n=1)
    return InvalidInputError(
        f"{model.__name__} has no field {place!r}.",
        state="Nothing was changed.",
        next_step=f"Did you mean {near[0]}?" if near else f"It has {', '.join(sorted(model.model_fields))}.",
    )


class ChangeOptions(Request):
    """Options that every change has."""

    dry_run: bool = False
    """Look and plan, and change nothing."""
    reason: str = ""
    """Why; kept in the history."""
    auto_rollback: bool | None = None
    """None: as the deployment's setting says."""
    allow_replace: bool = False
    """Allow a plan that replaces the instance (never the data)."""
    allow_data_downgrade: bool = False
    """Go on although older software may not read what newer software wrote."""
    owner_is_gone: bool = False
    """recover: the killed operation's process was on another machine, and is known to be gone."""
    reboot: bool = False
    """recover: stop and start an instance that runs and does not answer over SSH."""
    checkpoint: bool = True
    """Copy the data of PostgreSQL and Qdrant before a change puts other software on it."""


class ConfigRequest(ChangeOptions):
    """A wished-for config, as differences from the defaults (deploy) or from the active version (update)."""

    instance_type: str | None = None
    """EC2's name for it, as ``t3.large``."""
    images: dict[str, str] = Field(default_factory=dict)
    """Service → image reference."""
    services: tuple[str, ...] = ()
    """deploy: exactly these services (empty: all); update: enable these as well."""
    without: tuple[str, ...] = ()
    """Services that are not to run."""
    environment: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Service → variable → value; an empty value removes the variable."""
    auto_rollback_on_failure: bool | None = None
    """Whether a change that fails goes back by itself."""
    deadline_minutes: int | None = None
    """So long a change may take, 5 to 60."""
    retention: int | None = None
    """So many versions are kept ready to go back to, 1 to 50."""
    health_deadline_seconds: int | None = None
    """So long a service may take to become healthy, 5 to 1800."""
    root_volume_gib: int | None = None
    """Size of the instance's own disk; it only grows."""
    data_volume_gib: int | None = None
    """Size of the volume for Qdrant's data. deploy: 20 where it is new; update: it only grows."""
    settle_seconds: int | None = None
    """How long all services have to stay ready before a change is called healthy: of the deployment, no version's."""
    ami: str | None = None
    """An AMI's id, or ``newest``: today's Debian 13 of the instance type's architecture."""


class DeployRequest(ConfigRequest):
    """The first deploy of a name, or a deploy after a destroy."""

    target: Literal["local", "aws"] | None = None
    """None: where the deployment is, or the local cloud for a new one."""
    local_runtime: Literal["process", "docker"] | None = None
    """None: as ``GEUSEMAKER_LOCAL_RUNTIME`` says, or as the local cloud is."""
    region: str | None = None
    """The AWS region."""
    vpc_id: str | None = None
    """None: the default VPC."""
    subnet_id: str | None = None
    """None: one of the VPC's."""
    ssh_cidrs: tuple[str, ...] = ()
    """Addresses that may connect by SSH."""
    adopt_data: str | None = None
    """``fs-…``: a file system with the data of a lost deployment of this name, which is taken up."""
    n8n_key: SecretStr | None = None
    """With ``adopt_data``: n8n's encryption key, where the file system does not have it."""
    new_n8n_key: bool = False
    """With ``adopt_data``: where nobody has n8n's key, make a new one; n8n's credentials will be unreadable."""


class UpdateRequest(ConfigRequest):
    """A change of a running deployment."""


class RestoreRequest(Request):
    """A return of the data to what a checkpoint holds."""

    checkpoint: str | None = None
    """``vN/OPERATION``, or ``vN``: the newest one of that version; None: the newest that was taken before a change."""
    services: tuple[str, ...] = ()
    """postgresql, qdrant; empty: all that the checkpoint has data of."""
    reason: str = ""
    """Why; kept in the history."""


class RestRequest(Request):
    """Services that are to stop on purpose, or to start again."""

    kind: Literal["stop", "start"]
    """What is to be done."""
    services: tuple[str, ...] = ()
    """Empty: all of them; of a ``start``, all that do not run."""
    reason: str = ""
    """Why; ``status`` tells it."""


class RollbackRequest(ChangeOptions):
    """A return to an earlier version."""

    to_version: int | None = None
    """An absolute version number, never a depth; None: the newest healthy one that differs."""
    allow_unhealthy: bool = False
    """Even to a version that was never healthy."""
    allow_bad: bool = False
    """Even to one marked bad."""
    allow_archived: bool = False
    """Even to one past retention, whose images are pulled again."""
