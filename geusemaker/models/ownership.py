"""How a thing in AWS says whose it is: tags. Names are not enough, since another workspace may use the same."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from geusemaker.models.base import Model

DEPLOYMENT_TAG: Final = "geusemaker:deployment"
STACK_TAG: Final = "geusemaker:stack"
DISK_TAG: Final = "geusemaker:disk-of"
"""On an instance's own disk, whose name is not to find it among the volumes with data."""
ADDRESS_TAG: Final = "geusemaker:address"
"""``private`` on an instance that is reached at its own address in the VPC; others have no such tag."""


def new_stack_id() -> str:
    """An id for a new stack: what it makes carries it for good."""
    return secrets.token_hex(8)


def own_tags(deployment: str, stack_id: str) -> dict[str, str]:
    """What a deployment's resources carry; one from before there were stack ids has its name alone."""
    return {DEPLOYMENT_TAG: deployment} | ({STACK_TAG: stack_id} if stack_id else {})


def disk_tags(deployment: str, tags: Mapping[str, str]) -> dict[str, str]:
    """What an instance's own disk carries: not the tag by which data is found. ``tags``: the operator's own."""
    return {**tags, "Name": f"geusemaker-{deployment}", DISK_TAG: deployment}


def name_prefix(deployment: str) -> str:
    """How the names of what is made in AWS for a deployment begin, as ``geusemaker-prod``.

    Cut so that the longest still fits: a role's name has at most 64 characters, -instance-1a2b3c4 among them
    (https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html).
    """
    return f"geusemaker-{deployment[:36].rstrip('-')}"


def is_own(found: Mapping[str, str], own: Mapping[str, str]) -> bool:
    """Whether something with the tags ``found`` is of the stack whose resources carry ``own``: name and id agree.

    Nothing with an id is of a stack without one, nor the other way round.
    """
    return all(found.get(tag) == own.get(tag) for tag in (DEPLOYMENT_TAG, STACK_TAG))


class Sought(Model):
    """Something that Pulumi's state says was being made, or should have, and whose id it does not know."""

    type: str
    tags: dict[str, str]
    """Whose it has to be, by ``is_own``."""
    names: dict[str, str] = Field(default_factory=dict)
    """What the engine was about to call it, of ``NAMES``; names are made up, so that no other has the same."""

    @classmethod
    def of_pending(cls, resource: Mapping[str, Any], deployment: str) -> Sought:
        """A pending creation, as an exported state has it."""
        inputs: Mapping[str, Any] = resource.get("inputs") or {}
        tags = {key: value for key, value in (inputs.get("tags") or {}).items() if isinstance(value, str)}
        names = {key: inputs[key] for key in NAMES if isinstance(inputs.get(key), str)}
        return cls(type=resource["type"], tags={DEPLOYMENT_TAG: deployment, **tags}, names=names)


NAMES: Final = ("name", "keyName", "creationToken", "fileSystemId", "subnetId")


class Tagged(Model):
    """Something in AWS that carries a deployment's name."""

    type: str
    id: str
    state: str = ""
    tags: dict[str, str]

    def __str__(self) -> str:
        return f"{self.type.rsplit(':', 1)[-1]} {self.id}" + (f" ({self.state})" if self.state else "")
