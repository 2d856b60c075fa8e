"""DeployService: brings a deployment into being."""

from __future__ import annotations

from typing import Final

from geusemaker.engine.versions import read_state
from geusemaker.errors import InvalidInputError, RefusedError, ValidationFailedError
from geusemaker.models.history import StackTags
from geusemaker.models.ownership import Tagged
from geusemaker.models.request import DeployRequest
from geusemaker.models.result import DataVolumeState, OperationResult
from geusemaker.models.stack import (
    DATA_VOLUME_LIMIT_GIB,
    DEFAULT_ROOT_VOLUME_GIB,
    DEPLOYMENT_NAME,
    LEAST_ROOT_VOLUME_GIB,
    LOCAL_SETTLE_SECONDS,
    SETTLE_SECONDS,
    Secrets,
    Target,
)
from geusemaker.models.state import DeploymentState
from geusemaker.services import adopt, secrets
from geusemaker.services.bookkeeping import attempt
from geusemaker.services.change import Change, ChangeService
from geusemaker.services.collaborators import Collaborators, Confirm
from geusemaker.services.configure import changed_config, complete_config, first_config, service_name
from geusemaker.services.identity import require_account
from geusemaker.services.settling import settle_seconds, with_settle_time
from geusemaker.services.states import load_state, require_idle, require_readable, require_settled

LOCAL_SSH_PORT = 2222
"""Without root rights there is no port 22."""

DATA_VOLUME_GIB: Final = 20
"""What a first deploy makes for Qdrant's data where nothing else is asked for."""


class DeployService:
    """Deploys a new name, or one that was destroyed or whose first deploy failed."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._with = collaborators

    def deploy(self, request: DeployRequest, confirm: Confirm) -> OperationResult:
        """Deploy.

        Raises:
            InvalidInputError: a value cannot be used.
            RefusedError: the deployment is there already, or validation failed; nothing was changed.
        """
        name = self._with.deployment
        if not DEPLOYMENT_NAME.fullmatch(name):
            raise InvalidInputError(
                f"{name!r} is no deployment name: use lower-case letters, digits and hyphens, at most 40, "
                "beginning with a letter.",
                state="Nothing was changed.",
            )
        exists = self._with.engine.exists()
        state = load_state(self._with) if exists else read_state(name, (), StackTags())
        require_readable(state)
        killed = state.intent if state.interrupted else None
        if killed is not None and (state.last_healthy is None or (killed.kind == "deploy" and state.active is None)):
            # A deploy that was killed is done again, on what it left; `recover` goes on with it as well.
            require_idle(self._with, state)
        else:
            require_settled(self._with, state)
        if state.active is not None and not _redeploy_failed(state):
            raise RefusedError(
                f"{name} is deployed already: v{state.active.number} is active.",
                state="Nothing was changed.",
                next_step=f"`geusemaker update {name}` changes it.",
            )
        base = state.last_healthy
        config = changed_config(request, base.config, state.versions) if base else first_config(request)
        target = self._target(request, state)
        if state.target is not None:
            target = require_account(self._with, target)
        elif exists:
            # What a killed first deploy made is to be found with these credentials.
            require_account(self._with, target.model_copy(update={"account_id": ""}))
        config, checks = complete_config(
            config,
            base.config if base else None,
            request.ami,
            self._with.cloud(target.region),
            self._with.registry,
            resolve={service_name(text) for text in request.images},
        )
        new_secrets: Secrets | None = None
        if state.target is None:
            new_secrets = self._secrets(state, target, exists, request)
            login_key, host_key = secrets.public_keys(new_secrets or self._with.engine.load_secrets())
            target = target.model_copy(update={"ssh_public_key": login_key, "host_public_key": host_key})
        came_of_it = False
        try:
            if not exists:
                self._with.engine.create()
            change = Change(
                kind="deploy",
                config=config,
                target=target,
                checks=tuple(checks),
                new_secrets=new_secrets,
                n8n_key=request.n8n_key,
                new_n8n_key=request.new_n8n_key,
                repair=state.unsettled,
            )
            result = ChangeService(self._with, state, request).run(change, confirm)
            came_of_it = not result.dry_run
            return result
        finally:
            if not exists and not came_of_it:
                attempt(self._with.on_event, f"An empty stack {name} was left", self._forget_if_nothing_came_of_it)

    def _target(self, request: DeployRequest, state: DeploymentState) -> Target:
        known = state.target
        if known is None and state.interrupted and (begun := self._with.engine.accepted()) is not None:
            known = begun[1]  # what a killed first deploy made is there
        if known is not None:
            if request.adopt_data not in (None, known.adopting):
                raise InvalidInputError(
                    f"{state.name} has data of its own: --adopt-data is for a first deploy.",
                    state="Nothing was changed.",
                    next_step="Leave --adopt-data out, or deploy under another name.",
                )
            if request.target is not None and request.target != known.kind:
                raise InvalidInputError(
                    f"{state.name} is on {known.kind}; its target is chosen at the first deploy and stays.",
                    state="Nothing was changed.",
                    next_step="Leave --target out, or deploy under another name.",
                )
            if request.data_volume_gib not in (None, known.data_volume_gib):
                size = f"has {known.data_volume_gib} GiB" if known.has_data_volume else "does not exist"
                raise InvalidInputError(
                    f"{state.name}'s data volume {size}; that is chosen at the first deploy.",
                    state="Nothing was changed.",
                    next_step="Leave --data-volume out; `geusemaker update` can enlarge one.",
                )
            if request.root_volume_gib is not None:
                if request.root_volume_gib < known.root_volume_gib:
                    raise InvalidInputError(
                        f"The disk of {state.name}'s instance has {known.root_volume_gib} GiB, and it only grows.",
                        state="Nothing was changed.",
                        next_step="Give a larger size, or leave --root-volume out.",
                    )
                known = known.model_copy(update={"root_volume_gib": _root_size(request.root_volume_gib)})
            return with_settle_time(known, request.settle_seconds)
        kind = request.target or "local"  # of a new one; see geusemaker.deployment for one that exists
        if kind == "aws" and not request.ssh_cidrs:
            raise InvalidInputError(
                "No address may reach the instance over SSH, which is how it is set up.",
                state="Nothing was changed.",
                next_step="Give yours: --ssh-cidr 203.0.113.7/32 (repeat it for more).",
            )
        region = request.region or ("us-east-1" if kind == "local" else _environment_region())
        cloud = self._with.cloud(region)
        caller = cloud.identity()
        data: tuple[Tagged, DataVolumeState | None] | None = None
        subnet_id = request.subnet_id
        if request.adopt_data is not None:
            data = adopt.find_data(self._with, region, request.adopt_data)
            # Its mount target stays where it is, and the instance is to be beside it.
            subnet_id = subnet_id or cloud.mount_target_subnet(request.adopt_data)
        subnet = cloud.find_subnet(request.vpc_id, subnet_id)
        if subnet is None:
            raise ValidationFailedError(
                f"There is no subnet to deploy into in {region}.",
                state="Nothing was changed.",
                next_step="Give one with --subnet (and --region), or create the account's default VPC.",
            )
        volume = DATA_VOLUME_GIB if request.data_volume_gib is None else request.data_volume_gib
        if not 1 <= volume <= DATA_VOLUME_LIMIT_GIB:
            raise InvalidInputError(
                f"A data volume has 1 to {DATA_VOLUME_LIMIT_GIB} GiB, not {volume}.", state="Nothing was changed."
            )
        target = Target(
            kind=kind,
            region=region,
            account_id=caller.account_id,
            partition=caller.partition,
            availability_zone=subnet["AvailabilityZone"],
            vpc_id=subnet["VpcId"],
            subnet_id=subnet["SubnetId"],
            ssh_port=LOCAL_SSH_PORT if kind == "local" else 22,
            ssh_cidrs=request.ssh_cidrs or (("127.0.0.0/8",) if kind == "local" else ()),
            become=self._with.become,
            data_volume_gib=volume,
            root_volume_gib=_root_size(request.root_volume_gib),
            settle_seconds=settle_seconds(
                request.settle_seconds, LOCAL_SETTLE_SECONDS if kind == "local" else SETTLE_SECONDS
            ),
        )
        return target if data is None else adopt.with_data(target, *data)

    def _secrets(self, state: DeploymentState, target: Target, exists: bool, request: DeployRequest) -> Secrets | None:
        """New secrets; None where the deployment has some.

        Raises:
            RefusedError: something says that there are some, and they are not to be had: new ones would not open what
                the old ones closed.
        """
        engine, name = self._with.engine, state.name
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
        cloud = self._with.cloud(target.region)
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

    def _forget_if_nothing_came_of_it(self) -> None:
        """A declined or refused first deploy leaves no stack behind."""
        engine = self._with.engine
        if engine.exists() and not engine.history(1) and not engine.resources():
            engine.remove()


def _adoption_command(name: str, target: Target, file_system_id: str) -> str:
    """The command that takes up data that is there."""
    if target.kind == "local":
        return f"`geusemaker deploy {name} --target local --adopt-data {file_system_id}`"
    cidrs = " ".join(f"--ssh-cidr {cidr}" for cidr in target.ssh_cidrs)
    where = f"--target {target.kind} --region {target.region}"
    return f"`geusemaker deploy {name} {where} {cidrs} --adopt-data {file_system_id}`"


def _root_size(wanted: int | None) -> int:
    """How large the disk of a new instance is made.

    Raises:
        InvalidInputError: the system and its images do not fit on so little, or EBS has no such volume.
    """
    size = DEFAULT_ROOT_VOLUME_GIB if wanted is None else wanted
    if not LEAST_ROOT_VOLUME_GIB <= size <= DATA_VOLUME_LIMIT_GIB:
        raise InvalidInputError(
            f"The instance's own disk has {LEAST_ROOT_VOLUME_GIB} to {DATA_VOLUME_LIMIT_GIB} GiB, not {size}.",
            state="Nothing was changed.",
            next_step="Give another --root-volume, or leave it out.",
        )
    return size


def _redeploy_failed(state: DeploymentState) -> bool:
    """Whether the latest operation was a deploy, after a destroy, that failed: it may be tried again."""
    return state.last_failed and state.versions[-1].provenance.kind == "deploy"


def _environment_region() -> str:
    import os

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not region:
        raise InvalidInputError(
            "No AWS region is given.", state="Nothing was changed.", next_step="Give --region, or set AWS_REGION."
        )
    return region
