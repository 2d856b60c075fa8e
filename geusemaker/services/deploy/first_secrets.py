"""The secrets of a first deploy: made just where nothing says that there are some."""

from __future__ import annotations

from geusemaker.errors import RefusedError
from geusemaker.models.stack import Secrets, Target
from geusemaker.models.state import DeploymentState
from geusemaker.services import secrets
from geusemaker.services.collaborators import Collaborators


def secrets_of_first(
    collaborators: Collaborators, state: DeploymentState, target: Target, *, exists: bool
) -> Secrets | None:
    """New secrets; None where the deployment has some.

    Raises:
        RefusedError: something says that there are some, and they are not to be had: new ones would not open what
            the old ones closed.
    """
    engine, name = collaborators.engine, state.name
    if engine.has_secrets():
        if exists:
            return None  # of a first deploy that was killed
        raise RefusedError(
            f"There are secrets of {name} on this machine (stacks/Pulumi.{name}.yaml), and the backend has no such "
            "deployment: either it is another backend, or the deployment was lost there.",
            state="Nothing was changed.",
            next_step=f"Check PULUMI_BACKEND_URL; `geusemaker doctor {name}` tells which copies there are. If it "
            "and its data are gone for good, move that file away and deploy again.",
        )
    if exists and (engine.resources() or engine.history(1)):
        engine.load_secrets()  # from the backend, or it says why not
        return None
    if target.adopting:
        return secrets.generate()
    cloud = collaborators.cloud(target.region)
    file_system, volume = cloud.find_file_system(name), cloud.find_data_volume(name)
    found = [one.id for one in (file_system, volume) if one is not None]
    if found:
        raise RefusedError(
            f"There is data of a {name} already ({', '.join(found)}), and its secrets are not here: it is another "
            "workspace's, or what is left of a lost one.",
            state="Nothing was changed.",
            next_step="Use the workspace or the backend that it was made with, or deploy under another name."
            + (
                f" If those are lost, {_adoption_command(name, target, file_system.id)} takes it up."
                if file_system
                else ""
            ),
        )
    return secrets.generate()


def _adoption_command(name: str, target: Target, file_system_id: str) -> str:
    """The command that takes up data that is there."""
    if target.kind == "local":
        return f"`geusemaker deploy {name} --target local --adopt-data {file_system_id}`"
    cidrs = " ".join(
        [*(f"--ssh-cidr {cidr}" for cidr in target.ssh_cidrs), *(["--connect ssm"] if target.through_aws else [])]
    )
    where = f"--target {target.kind} --region {target.region}"
    return f"`geusemaker deploy {name} {where} {cidrs} --adopt-data {file_system_id}`"
