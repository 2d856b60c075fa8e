"""How the fields of a config are called: on the command line, in a plan's changes, in the history.

Each is declared here once and stands in the annotation of its field in ``models/stack.py``. This module imports nothing
of ours and no pydantic, since the command line reads it for ``--help``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal


@dataclass(frozen=True)
class Option:
    """The option of ``deploy`` and ``update`` that sets a field."""

    flags: str
    help: str
    metavar: str | None = None
    request: str = ""
    """The field of a ConfigRequest that has the value as it is; empty: the services work the value out."""


@dataclass(frozen=True)
class Told:
    """How a field is told to people. One without this is told by its own name."""

    path: str | None = None
    """Its part of the path in a plan's changes; None: the field's name; empty: what is in it stands for itself."""
    history: str = ""
    """What a change of it is called in the history; empty: the old and the new value are shown."""
    system: bool = True
    """Whether it is part of what runs: versions that differ in nothing else are the same system."""
    not_shown: str = ""
    """Why a difference in it is not shown, in a few words; empty: it is."""
    not_in_file: str = ""
    """Why a stack file does not have it, in a few words; empty: it does."""
    about: str = ""
    """What a stack file's schema says of it; empty: what the help of its option says."""
    option: Option | None = None


SCHEMA_VERSION: Final = Told(
    system=False,
    not_shown="tells how the others are written",
    not_in_file="a file is written in the words of the release that reads it",
)
INSTANCE_TYPE: Final = Told(
    option=Option("--instance-type", "EC2 instance type, as t3.large.", "TYPE", request="instance_type")
)
INSTANCE_FACTS: Final = Told(
    system=False, not_shown="follows from the instance type", not_in_file="follows from the instance type"
)
Purchase = Literal["on-demand", "spot"]
PURCHASE: Final = Told(
    about="How the instance is bought: on-demand (the default) or spot, which costs less and AWS may take back with "
    "two minutes' notice; on an update the other one needs --allow-replace.",
    option=Option(
        "--purchase",
        "How the instance is bought; spot costs less, and AWS may take it back with two minutes' notice. on-demand if "
        "it is not given at the first deploy; on an update the other one needs --allow-replace.",
        "on-demand|spot",
        request="purchase",
    ),
)
AMI: Final = Told(
    history="AMI",
    about="The instance's machine image, by its id; on an update another one needs --allow-replace.",
    option=Option(
        "--ami",
        "The instance's machine image; `newest`: today's Debian 13, or with a GPU AWS's Deep Learning AMI. A deploy "
        "pins the newest by itself; "
        "on an update another one needs --allow-replace.",
        "ID",
    ),
)
IMAGE_LOGIN: Final = Told(
    system=False,
    not_shown="follows from the AMI",
    not_in_file="follows from the AMI",
    option=Option(
        "--ssh-user",
        "The login of an --ami that is not known by its name; by this you say that it is a Debian 13, an Ubuntu 24.04 "
        "or a later one. At a first deploy: the login that the instance is to have.",
        "NAME",
    ),
)
ROOT_VOLUME: Final = Told(
    system=False,
    not_shown="of versions of before; disks only grow, so the deployment has the size",
    about="Size of the instance's own disk in GiB; it only grows.",
    option=Option("--root-volume", "Size of the instance's own disk.", "GIB"),
)
SERVICES: Final = Told(path="", about="The services that run: all of them, and no other.")
IMAGE: Final = Told(
    about="repository:tag, with or without a digest. Without one, the deployment's digest of that tag stays.",
    option=Option("--image", "Image of a service; repeatable.", "SERVICE=REF"),
)
ENVIRONMENT: Final = Told(
    path="env",
    history="environment",
    about="Environment variables of the service, all of them; a secret one is ${secret:NAME}.",
    option=Option(
        "--env",
        "Environment variable of a service; an empty value removes it; repeatable. Not for secrets.",
        "SERVICE.KEY=VALUE",
    ),
)
SECRET_ENVIRONMENT: Final = Told(
    path="secret_env",
    history="secret environment",
    about="In a file, a secret variable stands among the others, as ${secret:NAME}.",
    option=Option(
        "--secret-env",
        "Environment variable of a service with a secret value, which is never an argument: asked for without an echo, "
        "or =@FILE, =- (standard input), =env:VARIABLE, =secret:NAME (one there is); = takes it out; repeatable.",
        "SERVICE.KEY[=FROM]",
    ),
)
OWN: Final = Told(
    path="", history="definition", about="In a file, what a service of one's own is stands beside its image."
)
RENDERING: Final = Told(history="compose file", not_in_file="an update keeps it, and --rendering takes the newest")

SETTINGS: Final = Told(
    path="settings", history="settings", system=False, about="Settings of geusemaker's own, kept with each version."
)
SUCCESSES: Final = Told(about="How often in a row a service's probe has to succeed; default 2.")
HEALTH_DEADLINE: Final = Told(
    path="health_deadline_seconds",
    option=Option(
        "--health-deadline",
        "How long a service may take to become healthy; default 180.",
        "SECONDS",
        request="health_deadline_seconds",
    ),
)
AUTO_ROLLBACK: Final = Told(
    option=Option(
        "--auto-rollback-on-failure/--no-auto-rollback-on-failure",
        "Whether a change that fails goes back by itself.",
        request="auto_rollback_on_failure",
    )
)
DEADLINE: Final = Told(
    option=Option("--deadline", "Minutes a change may take, 5 to 60; default 15.", "MIN", request="deadline_minutes")
)
RETENTION: Final = Told(
    option=Option("--retention", "Versions kept ready to go back to, 1 to 50; default 5.", "N", request="retention")
)
BAKE: Final = Told(
    option=Option(
        "--bake-seconds",
        "Seconds for which each update from now on is watched once it is healthy, as by --bake; default 0.",
        "SECONDS",
        request="bake_setting_seconds",
    )
)
OnInterruption = Literal["wait", "on-demand"]
ON_INTERRUPTION: Final = Told(
    option=Option(
        "--on-interruption",
        "What `recover` does when AWS took a spot instance back: wait until there is capacity for it again, which is "
        "the default, or bring the version back on demand.",
        "wait|on-demand",
        request="on_interruption",
    )
)

# Facts of the deployment: no version has them, so no rollback touches them.
SSH_CIDRS: Final = Told(
    option=Option(
        "--ssh-cidr",
        "Addresses that may connect by SSH, all of them; `me`: this machine's; repeatable. An update keeps the one in "
        "use. It stays with the deployment, not with a version.",
        "CIDR",
        request="ssh_cidrs",
    ),
    about="Addresses that may connect by SSH, as 203.0.113.7/32. Yours has to be among them.",
)
Connect = Literal["ssh", "ssm"]
CONNECT: Final = Told(
    not_in_file="how it is reached is said on the command line",
    option=Option(
        "--connect",
        "How this machine gets to the instance's SSH server: ssh, at its address (the default), or ssm, through AWS's "
        "Session Manager with no port open. It stays with the deployment, not with a version.",
        "ssh|ssm",
        request="connect",
    ),
)
DOMAINS: Final = Told(
    about="Service and host name: those that are open to the whole internet by HTTPS, all of them. {} closes all.",
)
DATA_VOLUME: Final = Told(
    option=Option(
        "--data-volume",
        "Size of the volume for Qdrant's data: 20 if it is not given at the first deploy; later it only grows.",
        "GIB",
        request="data_volume_gib",
    ),
    about="Size in GiB of the volume for Qdrant's data; it only grows.",
)
ModelsOn = Literal["efs", "volume"]
MODELS_ON: Final = Told(
    option=Option(
        "--models-on",
        "Where Ollama's models lie: on EFS, or on the data volume, which costs nothing to read and is in no daily "
        "backup. efs if it is not given at the first deploy; then it stays.",
        "efs|volume",
        request="models_on",
    ),
    about="Where Ollama's models lie: efs or volume; it stays as the first deploy says.",
)
SETTLE_SECONDS: Final = Told(
    option=Option(
        "--settle-seconds",
        "How long all services have to stay ready before a change is done, 0 to 300; 15 (local cloud: 10) if it "
        "is not given. It stays with the deployment, not with a version.",
        "SECONDS",
        request="settle_seconds",
    ),
    about="How long all services have to stay ready before a change is done, in seconds.",
)

TAGS: Final = Told(
    option=Option(
        "--tag",
        "Tag of your own, on all of it in AWS; an empty value takes it away; repeatable. It stays with the deployment.",
        "KEY=VALUE",
        request="tags",
    ),
    about="Tags of your own, on everything in AWS: all of them. {} takes them away.",
)
LABELS: Final = Told(
    option=Option(
        "--label",
        "Label of the deployment, to find it by; an empty value takes it away; repeatable. It stays with the "
        "deployment, and a change of labels alone makes no version.",
        "KEY=VALUE",
        request="labels",
    ),
    about="Labels of the deployment, to find it by: all of them. {} takes them away.",
)
PERMISSIONS_BOUNDARY: Final = Told(
    option=Option(
        "--permissions-boundary",
        "Policy that bounds what the instance's role may ever do; `none` takes it away. It stays with the deployment.",
        "ARN",
        request="permissions_boundary",
    ),
    about="ARN of the policy that bounds what the instance's role may ever do.",
)

_PLAIN: Final = Told()


def told(metadata: Sequence[Any]) -> Told:
    """How a field is told, by the metadata that pydantic keeps of its annotation."""
    return next((found for found in metadata if isinstance(found, Told)), _PLAIN)
