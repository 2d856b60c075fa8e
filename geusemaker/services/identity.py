"""Whether the credentials at hand are those of the world that a deployment is in. Every verb asks this first."""

from __future__ import annotations

from typing import Any, Final

from geusemaker.errors import RefusedError
from geusemaker.models import resource_types
from geusemaker.models.identity import Caller
from geusemaker.models.stack import Target
from geusemaker.services.collaborators import Collaborators

IDENTIFYING: Final = (
    resource_types.FILE_SYSTEM,
    resource_types.DATA_VOLUME,
    resource_types.INSTANCE,
    resource_types.ADDRESS,
    resource_types.SECURITY_GROUP,
)
"""What a state's ids are looked up of, to tell whether this is the account that they are in."""


def require_account(collaborators: Collaborators, target: Target) -> Target:
    """Refuse to look at, or to act on, another account than the deployment's.

    AWS's security token service decides, not the provider: it is asked before anything else. A deployment from before
    accounts were written down is known by what its Pulumi state names: some of it has to be there.

    Returns:
        The target, with the account where that was not written down and the state's own file system was found in it.

    Raises:
        RefusedError: it is another account; both are named.
        EnvironmentProblemError: AWS cannot be asked.
    """
    caller = collaborators.cloud(target.region).identity()
    if target.account_id:
        if (caller.account_id, caller.partition) != (target.account_id, target.partition or caller.partition):
            raise _refusal(collaborators.deployment, target, account_text(caller.account_id, caller.partition, target))
        return target
    return _learned(collaborators, target, caller)


def account_text(account_id: str, partition: str, target: Target) -> str:
    """An account in words; the partition only where that is not the one of nearly everybody."""
    return f"{account_id} ({partition})" if {partition, target.partition} - {"", "aws"} else account_id


def _learned(collaborators: Collaborators, target: Target, caller: Caller) -> Target:
    known = {**target.model_dump(), "account_id": caller.account_id, "partition": caller.partition}
    resources = [each for each in collaborators.engine.resources().values() if each["type"] in IDENTIFYING]
    if not resources:
        return Target.model_validate(known) if not collaborators.engine.history(1) else target
    # The file system first: it is what no other account may have in its place.
    resources.sort(key=lambda each: IDENTIFYING.index(each["type"]))
    cloud = collaborators.cloud(target.region)
    for resource in resources:
        if cloud.find_state(resource["type"], resource["id"]) is not None:
            is_data = resource["type"] == resource_types.FILE_SYSTEM
            return Target.model_validate(known) if is_data else target
    raise _unfound(collaborators.deployment, target, caller, resources)


def _refusal(name: str, target: Target, found: str) -> RefusedError:
    own = account_text(target.account_id, target.partition, target)
    return RefusedError(
        f"{name} is in the AWS account {own}; the credentials here are of the account {found}.",
        state="Nothing was looked at there, and nothing was changed.",
        next_step=_next_step(target),
    )


def _unfound(name: str, target: Target, caller: Caller, resources: list[dict[str, Any]]) -> RefusedError:
    ids = ", ".join(resource["id"] for resource in resources)
    return RefusedError(
        f"Nothing that Pulumi's state has of {name} ({ids}) is in the AWS account {caller.account_id} in "
        f"{target.region}, so this is not its account, or all of it is gone at once.",
        state="Nothing was changed.",
        next_step=_next_step(target),
    )


def _next_step(target: Target) -> str:
    if target.kind == "local":
        return (
            "This is another local cloud than the one it was deployed to, or that one was reset: GEUSEMAKER_LOCAL_DIR "
            "says which one is used."
        )
    return "Use the credentials of its account (`aws sts get-caller-identity` shows whose those here are)."
