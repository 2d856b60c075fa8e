"""Target: where a deployment is and how it is reached, which no version changes."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_serializer

from geusemaker.models import fields
from geusemaker.models.base import Model
from geusemaker.models.site import Site

DATA_VOLUME_LIMIT_GIB: Final = 16384
"""docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html"""
SETTLE_SECONDS: Final = 15
LOCAL_SETTLE_SECONDS: Final = 10
"""That of a new deployment on the local cloud, whose services start in a moment."""
SETTLE_LIMIT_SECONDS: Final = 300


_LEFT_OUT: Final[dict[str, Any]] = {"connect": "ssh", "forward_port": 0, "mounts_by": "name"}
"""What is not stored at its default."""


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
    ssh_cidrs: Annotated[tuple[str, ...], fields.SSH_CIDRS] = ()
    """Addresses that may connect by SSH."""
    connect: Annotated[fields.Connect, fields.CONNECT] = "ssh"
    """How its SSH server is reached: at its address, or through AWS's Session Manager, with no port open at all."""
    forward_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """The port of whoever's machine it is that leads there through Session Manager; 0: that was never asked for. Chosen
    once, since each of Pulumi's commands runs again when its connection changes."""
    address: Literal["public", "private"] = "public"
    """``public``: an Elastic IP; ``private``: the instance's own address in the VPC, reached by a VPN say."""
    mounts_by: Literal["name", "address"] = "name"
    """By what EFS is mounted, its name or its mount target's address, as the VPC resolved names at the first deploy."""
    become: str = "sudo -n"
    data_volume_gib: Annotated[int, Field(ge=0, le=DATA_VOLUME_LIMIT_GIB), fields.DATA_VOLUME] = 0
    """Size of the volume that Qdrant's data is on; 0: a deployment from before there was one, all of it on EFS."""
    models_on: Annotated[fields.ModelsOn, fields.MODELS_ON] = "efs"
    """Where Ollama's models lie; what the first deploy says, stays."""
    settle_seconds: Annotated[int, Field(ge=0, le=SETTLE_LIMIT_SECONDS), fields.SETTLE_SECONDS] = SETTLE_SECONDS
    """How long all services have to stay ready, in one life of their containers, before a change is called healthy."""
    root_volume_gib: Annotated[int, Field(ge=0, le=DATA_VOLUME_LIMIT_GIB), fields.ROOT_VOLUME] = 0
    """Size of the instance's own disk; 0: a deployment from before it was kept here, the version's config tells."""
    site: Site | None = None
    """What is open to the internet; None: nothing is."""
    adopting: str = ""
    """The file system, with data of before, that the first deploy takes up; of no meaning once a version is healthy."""
    tags: Annotated[dict[str, str], fields.TAGS] = Field(default_factory=dict)
    """Tags of the operator's own, on everything that is made in AWS."""
    root_volume_tagged: bool = False
    """Whether the instance's own disk has tags; False: a deployment from before, until it is given some."""
    permissions_boundary: Annotated[str, fields.PERMISSIONS_BOUNDARY] = ""
    """The policy that bounds what the instance's role may ever do; empty: none does."""
    protect: bool = True
    """Whether Pulumi protects the resources with data; not while they are to be deleted."""
    ssh_public_key: str = ""
    """The key that logs in."""
    host_public_key: str = ""
    """The key that the instance shows."""

    @model_serializer(mode="wrap")
    def _said(self, handler: Any) -> dict[str, Any]:
        # Without what says nothing, as it was stored before there was such a field.
        return {
            name: value for name, value in handler(self).items() if name not in _LEFT_OUT or value != _LEFT_OUT[name]
        }

    @property
    def through_aws(self) -> bool:
        """Whether Session Manager leads to the SSH server, and nothing else."""
        return self.connect == "ssm"

    @property
    def has_data_volume(self) -> bool:
        """Whether there is a data volume beside EFS."""
        return self.data_volume_gib > 0
