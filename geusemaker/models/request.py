"""What an operator asks for. Values are texts as typed; the services check them before anything changes."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError

from geusemaker.errors import InvalidInputError
from geusemaker.models.base import Model
from geusemaker.models.fields import OnInterruption, Purchase
from geusemaker.models.stack import ServiceConfig, ServiceName
from geusemaker.models.stack_file import StackFile


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
        return InvalidInputError(f"{model.__name__}.{place}: {first['msg']}.")
    near = get_close_matches(place, model.model_fields, n=1)
    return InvalidInputError(
        f"{model.__name__} has no field {place!r}.",
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
    """recover: stop and start an instance that runs and does not answer over SSH; reboot one that waits for it."""
    on_demand: bool = False
    """recover: a spot instance that does not run comes back on demand, as another instance."""
    unattended: bool = False
    """recover: nobody watches; an interrupted instance is brought back, and nothing else is done."""
    renew_docker: bool = False
    """recover: renew Docker's packages, which are held back from the updates that come by themselves."""
    expose_known_hole: bool = False
    """Leave a domain open although the release behind it is known to let anybody in."""
    no_way_back: bool = False
    """update: go on although there is no way back; else such a plan is refused, whatever ``confirm`` says."""
    advisories: bool = True
    """Ask the database of published holes what an image that comes back has of them."""
    checkpoint: bool = True
    """Copy the data of PostgreSQL and Qdrant before a change puts other software on it."""


class ConfigRequest(ChangeOptions):
    """A wished-for config, as differences from the defaults (deploy) or from the active version (update)."""

    instance_type: str | None = None
    """EC2's name for it, as ``t3.large``."""
    purchase: Purchase | None = None
    """``on-demand`` or ``spot``; None: as the deployment's is, or on demand."""
    images: dict[str, str] = Field(default_factory=dict)
    """Service → image reference."""
    services: tuple[str, ...] = ()
    """deploy: exactly these services (empty: all); update: enable these as well."""
    without: tuple[str, ...] = ()
    """Services that are not to run."""
    own_services: dict[str, ServiceConfig] = Field(default_factory=dict)
    """Name → a service of one's own, whole: it is added, or takes the place of what had its name."""
    environment: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Service → variable → value; an empty value removes the variable."""
    secret_environment: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Service → variable → the name of the secret that it has; an empty name removes the variable."""
    secret_values: dict[str, SecretStr] = Field(default_factory=dict)
    """Name of a secret → its value, set with this change; for such as a variable of the new config has."""
    auto_rollback_on_failure: bool | None = None
    """Whether a change that fails goes back by itself."""
    deadline_minutes: int | None = None
    """So long a change may take, 5 to 60."""
    retention: int | None = None
    """So many versions are kept ready to go back to, 1 to 50."""
    on_interruption: OnInterruption | None = None
    """``wait`` or ``on-demand``: what ``recover`` does when a spot instance was taken back."""
    bake_setting_seconds: int | None = None
    """So long each update from now on is watched, 0 to 86400; an update's own ``bake_seconds`` goes first."""
    health_deadline_seconds: int | None = None
    """So long a service may take to become healthy, 5 to 1800."""
    root_volume_gib: int | None = None
    """Size of the instance's own disk; it only grows."""
    data_volume_gib: int | None = None
    """Size of the volume for Qdrant's data. deploy: 20 where it is new; update: it only grows."""
    models_on: str | None = None
    """``efs`` or ``volume``: where Ollama's models lie; None: on EFS, or where they are. Of the deployment, no
    version's; it stays as the first deploy says."""
    settle_seconds: int | None = None
    """How long all services have to stay ready before a change is called healthy: of the deployment, no version's."""
    ssh_cidrs: tuple[str, ...] | None = None
    """Addresses that may connect by SSH, all of them; ``me`` is this machine's. None: as the deployment has it; of the
    deployment, no version's."""
    connect: Literal["ssh", "ssm"] | None = None
    """How its SSH server is reached: at its address, or through AWS's Session Manager. None: as the deployment is; of
    the deployment, no version's."""
    domains: dict[str, str] = Field(default_factory=dict)
    """Service → the host name under which the whole internet reaches it; empty: no more. Of the deployment, no
    version's."""
    no_domain: bool = False
    """Take all domains away that are not among ``domains``."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Tags of one's own, on everything in AWS; an empty value takes one away. Of the deployment, no version's."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the deployment, to find it by; an empty value takes one away. Of the deployment, no version's."""
    permissions_boundary: str | None = None
    """ARN of the policy that bounds the instance's role; ``none``: no more. Of the deployment, no version's."""
    rendering: Literal["newest"] | None = None
    """update: make the compose file in today's way; None: as the version has it, if not in the first one."""
    ami: str | None = None
    """An AMI's id, or ``newest``: today's Debian 13 of the instance type's architecture."""
    ssh_user: str | None = None
    """The login of an ``ami`` that is not known by its name. Of a first deploy: the login of the instance."""
    desired: StackFile | None = None
    """The whole desired state, from a file. Nothing that a file may have can be asked for beside it, but for what no
    version has and this file does not have either."""
    prune: bool = False
    """With ``desired``: services that run and that the file does not have are taken out; without this it is refused."""
    again: bool = False
    """With ``desired``: make it so although it is the config of a version that failed, is marked bad or was left by a
    rollback."""


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
    address: Literal["public", "private"] | None = None
    """Where it is reached: at an Elastic IP, or at its own address in the VPC. None: public."""
    adopt_data: str | None = None
    """``fs-…``: a file system with the data of a lost deployment of this name, which is taken up."""
    n8n_key: SecretStr | None = None
    """With ``adopt_data``: n8n's encryption key, where the file system does not have it."""
    new_n8n_key: bool = False
    """With ``adopt_data``: where nobody has n8n's key, make a new one; n8n's credentials will be unreadable."""


class UpdateRequest(ConfigRequest):
    """A change of a running deployment."""

    bake_seconds: float | None = None
    """So long the new version is watched once its gate has passed; it goes back by itself where it does worse than the
    one before. 0: not at all; None: as the deployment's setting says."""
    tests: tuple[str, ...] = ()
    """Lines for the shell of this machine, run again and again meanwhile (once without a bake); any exit code
    but 0 is a failure, and the version goes back. They learn the services' local addresses from
    ``GEUSEMAKER_ADDRESS_SERVICE``."""
    test_urls: tuple[str, ...] = ()
    """Likewise addresses that have to answer below 400: ``https://…``, or ``SERVICE/PATH`` through a tunnel."""

    @property
    def asks_nobody(self) -> bool:
        """Whether labels alone are to change, which touches nothing that runs."""
        beside = {"labels": {}, "reason": "", "no_way_back": False, "advisories": True}
        return bool(self.labels) and self.model_copy(update=beside) == UpdateRequest()


class RestoreRequest(Request):
    """A return of the data to what a checkpoint holds."""

    checkpoint: str | None = None
    """``vN/OPERATION``, or ``vN``: the newest one of that version; None: the newest that was taken before a change."""
    backup: str | None = None
    """A backup's id, or ``latest``, in the place of ``checkpoint``."""
    services: tuple[str, ...] = ()
    """postgresql, qdrant; empty: all that the checkpoint has data of."""
    reason: str = ""
    """Why; kept in the history."""


class RehearseRequest(Request):
    """Other images that are tried on a copy of the data."""

    images: dict[ServiceName, str] = Field(default_factory=dict)
    """Service → image: n8n's, PostgreSQL's."""
    reason: str = ""
    """Why; kept in the journal."""


class RestRequest(Request):
    """Services that are to stop on purpose, or to start again; a ``start`` starts the instance too if need be."""

    kind: Literal["stop", "start"]
    """What is to be done."""
    services: tuple[str, ...] = ()
    """Empty: all of them; of a ``start``, all that do not run."""
    instance: bool = False
    """stop: the instance as well, once its services are; it is not paid for then."""
    reason: str = ""
    """Why; ``status`` tells it."""


class RollbackRequest(ChangeOptions):
    """A return to an earlier version."""

    to_version: int | None = None
    """An absolute version number, never a depth; None: the newest healthy one that differs."""
    services: tuple[str, ...] = ()
    """These alone go back to ``to_version``, which has to be given; all else stays as the active version has it. One
    that does not run now is added as that version had it. Empty: all of the version comes back."""
    allow_unhealthy: bool = False
    """Even to a version that was never healthy."""
    allow_bad: bool = False
    """Even to one marked bad."""
    allow_archived: bool = False
    """Even to one past retention, whose images are pulled again."""
    with_data: bool = False
    """Back to the data as well that n8n left, as a checkpoint holds it; what is there now is kept under other names."""
