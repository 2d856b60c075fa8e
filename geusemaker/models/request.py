"""What an operator asks for. Values are texts as typed; the services check them before anything changes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from geusemaker.models.base import Model


class ChangeOptions(Model):
    """Options that every change has."""

    dry_run: bool = False
    reason: str = ""
    auto_rollback: bool | None = None
    """None: as the deployment's setting says."""
    allow_replace: bool = False
    """Allow a plan that replaces the instance (never the data)."""
    allow_data_downgrade: bool = False
    owner_is_gone: bool = False
    """recover: the killed operation's process was on another machine, and is known to be gone."""
    reboot: bool = False
    """recover: stop and start an instance that runs and does not answer over SSH."""
    checkpoint: bool = True
    """Copy the data of PostgreSQL and Qdrant before a change puts other software on it."""


class ConfigRequest(ChangeOptions):
    """A wished-for config, as differences from the defaults (deploy) or from the active version (update)."""

    instance_type: str | None = None
    images: dict[str, str] = Field(default_factory=dict)
    services: tuple[str, ...] = ()
    """deploy: exactly these services (empty: all); update: enable these as well."""
    without: tuple[str, ...] = ()
    environment: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Service → variable → value; an empty value removes the variable."""
    auto_rollback_on_failure: bool | None = None
    deadline_minutes: int | None = None
    retention: int | None = None
    health_deadline_seconds: int | None = None
    root_volume_gib: int | None = None
    data_volume_gib: int | None = None
    """Size of the volume for Qdrant's data. deploy: 20 where it is new; update: it only grows."""
    settle_seconds: int | None = None
    """How long all services have to stay ready before a change is called healthy: of the deployment, no version's."""
    ami: str | None = None
    """An AMI's id, or ``newest``: today's Debian 13 of the instance type's architecture."""


class DeployRequest(ConfigRequest):
    """The first deploy of a name, or a deploy after a destroy."""

    target: Literal["local", "aws"] | None = None
    local_runtime: Literal["process", "docker"] | None = None
    """None: as ``GEUSEMAKER_LOCAL_RUNTIME`` says, or as the local cloud is."""
    region: str | None = None
    vpc_id: str | None = None
    subnet_id: str | None = None
    ssh_cidrs: tuple[str, ...] = ()
    adopt_data: str | None = None
    """``fs-…``: a file system with the data of a lost deployment of this name, which is taken up."""
    n8n_key: SecretStr | None = None
    """With ``adopt_data``: n8n's encryption key, where the file system does not have it."""
    new_n8n_key: bool = False
    """With ``adopt_data``: where nobody has n8n's key, make a new one; n8n's credentials will be unreadable."""


class UpdateRequest(ConfigRequest):
    """A change of a running deployment."""


class RestoreRequest(Model):
    """A return of the data to what a checkpoint holds."""

    checkpoint: str | None = None
    """``vN/OPERATION``, or ``vN``: the newest one of that version; None: the newest that was taken before a change."""
    services: tuple[str, ...] = ()
    """postgresql, qdrant; empty: all that the checkpoint has data of."""
    reason: str = ""


class RestRequest(Model):
    """Services that are to stop on purpose, or to start again."""

    kind: Literal["stop", "start"]
    services: tuple[str, ...] = ()
    """Empty: all of them; of a ``start``, all that do not run."""
    reason: str = ""


class RollbackRequest(ChangeOptions):
    """A return to an earlier version."""

    to_version: int | None = None
    """An absolute version number, never a depth; None: the newest healthy one that differs."""
    allow_unhealthy: bool = False
    allow_bad: bool = False
    allow_archived: bool = False
