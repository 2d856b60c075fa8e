"""What AWS is asked before a change, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from geusemaker.checks.fitness import (
    check_callers,
    check_environment,
    check_memory,
    check_settling,
)
from geusemaker.checks.gpu import check_gpu, uses_gpu
from geusemaker.checks.network import (
    check_address_quota,
    check_dns,
    check_network_acl,
    check_public_addresses,
    check_route,
    check_vcpu_quota,
)
from geusemaker.checks.walls import check_walls
from geusemaker.errors import GeusemakerError
from geusemaker.models.identity import Caller
from geusemaker.models.inspection import DataVolumeState, FileSystemState, InstanceState
from geusemaker.models.machine_image import MachineImage
from geusemaker.models.network import NetworkFacts
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import InstanceFacts, StackConfig, Target


class Cloud(Protocol):
    """What the checks ask AWS."""

    def identity(self) -> Caller: ...
    def find_subnet(self, vpc_id: str | None, subnet_id: str | None) -> dict[str, Any] | None: ...
    def is_offered(self, instance_type: str, availability_zone: str) -> bool: ...
    def find_network(self, subnet_id: str) -> NetworkFacts | None: ...
    def find_address_quota(self, deployment: str) -> tuple[int, int] | None: ...
    def find_vcpu_quota(
        self, instance_type: str, deployment: str, *, spot: bool = ...
    ) -> tuple[str, int, int, int] | None: ...
    def find_instance_type(self, instance_type: str) -> InstanceFacts | None: ...
    def find_image_architecture(self, ami: str) -> str | None: ...
    def find_machine_image(self, ami: str) -> MachineImage | None: ...
    def find_file_system(self, deployment: str, stack_id: str = ...) -> FileSystemState | None: ...
    def mount_target_state(self, file_system_id: str) -> str: ...
    def is_backed_up(self, file_system_id: str) -> bool: ...
    def find_data_volume(self, deployment: str, stack_id: str = ...) -> DataVolumeState | None: ...


@dataclass(frozen=True)
class CheckContext:
    """What is about to be made real, and where."""

    deployment: str
    config: StackConfig
    target: Target
    has_data: bool
    instance: InstanceState | None
    running: StackConfig | None = None
    """The active version's config."""
    proven: bool = False
    """Whether it is a config that ran healthy once, and is to be had back."""
    mixed: bool = False
    """Whether its services ran healthy in two versions: each alone is to be had back, and not yet seen together."""


def run_cloud_checks(context: CheckContext, cloud: Cloud) -> list[CheckResult]:
    """Ask AWS, all checks side by side."""
    volume = [lambda: check_data_volume(context, cloud)] if context.target.has_data_volume else []
    config, find_image = context.config, lambda: cloud.find_machine_image(context.config.ami)
    together = context.proven and not context.mixed
    gpu = [lambda: check_gpu(config, find_image, proven=context.proven)]
    checks: Sequence[Callable[[], CheckResult]] = (
        lambda: check_credentials(cloud),
        lambda: check_network(context, cloud),
        lambda: check_single_instance(context),
        lambda: check_instance_type(context, cloud),
        lambda: check_file_system(context, cloud),
        *volume,
        lambda: check_environment(context.config, context.running, proven=context.proven, mixed=context.mixed),
        lambda: check_memory(context.config, context.running, cloud.find_instance_type, proven=together),
        *(gpu if uses_gpu(config) else ()),
    )
    with ThreadPoolExecutor(max_workers=len(checks) + 1) as pool:
        around = pool.submit(_around, context, cloud)
        found = [*pool.map(_guarded, checks), *around.result()]
    settling = check_settling(context.config, context.target.settle_seconds, proven=context.proven)
    apart = check_walls(config, context.running, context.target.site)
    return [*found, *apart, *check_callers(config, context.running), *settling]


def _around(context: CheckContext, cloud: Cloud) -> list[CheckResult]:
    """The network around the instance, and what the account may have more: asked where something of it is new."""
    config, target, instance = context.config, context.target, context.instance
    runs = instance is not None and context.has_data
    found: list[CheckResult] = []
    try:
        facts = cloud.find_network(target.subnet_id)
        if facts is not None:
            found = [
                check_route(target, facts, runs=runs),
                check_public_addresses(target, facts),
                check_dns(target, facts, runs=runs),
                check_network_acl(target, facts, runs=runs),
            ]
        if instance is None and target.address != "private":
            found.append(check_address_quota(cloud.find_address_quota(context.deployment)))
        bought = context.running is None or context.running.purchase == config.purchase
        if instance is None or instance.type != config.instance_type or not bought:
            spot = config.purchase == "spot"
            quota = cloud.find_vcpu_quota(config.instance_type, context.deployment, spot=spot)
            found.append(check_vcpu_quota(config.instance_type, quota))
    except GeusemakerError as error:
        unknown = f"not all of it could be asked, so it is not judged: {error.message.rstrip('.')}"
        found.append(CheckResult(name="network around", status="warn", detail=unknown))
    return found


def check_credentials(cloud: Cloud) -> CheckResult:
    """AWS accepts the credentials."""
    return CheckResult(name="credentials", status="pass", detail=f"account {cloud.identity().account_id}")


def check_network(context: CheckContext, cloud: Cloud) -> CheckResult:
    """The subnet the deployment lives in is there."""
    target = context.target
    if cloud.find_subnet(None, target.subnet_id) is not None:
        return CheckResult(name="network", status="pass", detail=f"{target.subnet_id} in {target.availability_zone}")
    gone = f"there is no subnet {target.subnet_id} in {target.region}"
    if target.kind == "local":
        gone += ": this is another local cloud, or it was reset (GEUSEMAKER_LOCAL_DIR says which one is used)"
    return CheckResult(name="network", status="fail", detail=gone)


def check_single_instance(context: CheckContext) -> CheckResult:
    """No second instance could write the same data."""
    instance = context.instance
    if instance is None or not instance.others:
        return CheckResult(name="single writer", status="pass", detail=instance.id if instance else "no instance yet")
    others = ", ".join(instance.others)
    return CheckResult(
        name="single writer",
        status="fail",
        detail=f"{instance.id} and {others} both carry the tag geusemaker:deployment={context.deployment}: "
        f"terminate the one that is not the deployment's, or take the tag from it",
    )


def check_instance_type(context: CheckContext, cloud: Cloud) -> CheckResult:
    """The zone offers the instance type."""
    wanted, zone = context.config.instance_type, context.target.availability_zone
    if cloud.is_offered(wanted, zone):
        return CheckResult(name="instance type", status="pass", detail=f"{wanted} is offered in {zone}")
    return CheckResult(name="instance type", status="fail", detail=f"{wanted} is not offered in {zone}")


def check_file_system(context: CheckContext, cloud: Cloud) -> CheckResult:
    """The data's file system is there and can be mounted."""
    found = cloud.find_file_system(context.deployment, context.target.stack_id)
    if found is None:
        if context.has_data:
            gone = f"the deployment's file system is gone: none has the tag geusemaker:deployment={context.deployment}"
            return CheckResult(name="file system", status="fail", detail=gone)
        return CheckResult(name="file system", status="pass", detail="a new one is created")
    mount_target = cloud.mount_target_state(found.id)
    if mount_target == "missing" and context.has_data:
        return CheckResult(
            name="file system",
            status="fail",
            detail=f"{found.id} has no mount target any more: make one (`aws efs create-mount-target --file-system-id "
            f'{found.id} --subnet-id {context.target.subnet_id} --security-groups` and the group "geusemaker '
            f'{context.deployment}: NFS from the instance"), then run `geusemaker recover {context.deployment}`',
        )
    # AWS serves a file system while it is updated. Before there is data, a deploy makes what is missing.
    available = found.state in ("available", "updating") and mount_target == "available"
    available = available or (not context.has_data and mount_target in ("missing", "creating", "available"))
    detail = f"{found.id} {found.state}, mount target {mount_target}"
    if available and context.has_data and not cloud.is_backed_up(found.id):
        # Pulumi does not see it: its state still says that they are on.
        on = f"aws efs put-backup-policy --file-system-id {found.id} --backup-policy Status=ENABLED"
        return CheckResult(name="file system", status="warn", detail=f"{detail}, but backups are off: `{on}`")
    return CheckResult(name="file system", status="pass" if available else "fail", detail=detail)


def check_data_volume(context: CheckContext, cloud: Cloud) -> CheckResult:
    """The volume with Qdrant's data is there, and the instance's own or nobody's."""
    name = "data volume"
    found = cloud.find_data_volume(context.deployment, context.target.stack_id)
    if found is None:
        if context.has_data:
            gone = f"the deployment's is gone: none has the tag geusemaker:deployment={context.deployment}"
            return CheckResult(name=name, status="fail", detail=gone)
        return CheckResult(
            name=name, status="pass", detail=f"a new one of {context.target.data_volume_gib} GiB is made"
        )
    own = ("", context.instance.id if context.instance is not None else "")
    if found.attached_to not in own:
        detail = f"{found.id} is attached to {found.attached_to}: detach it there (`aws ec2 detach-volume --volume-id "
        return CheckResult(name=name, status="fail", detail=f"{detail}{found.id}`) once that has unmounted it")
    if found.availability_zone != context.target.availability_zone:
        detail = f"{found.id} is in {found.availability_zone}, the instance in {context.target.availability_zone}"
        return CheckResult(name=name, status="fail", detail=detail)
    detail = f"{found.id} {found.state}, {found.size_gib} GiB"
    if context.target.data_volume_gib > found.size_gib:
        detail += f"; it grows to {context.target.data_volume_gib} GiB"
    usable = found.state in ("available", "in-use") or (not context.has_data and found.state == "creating")
    return CheckResult(name=name, status="pass" if usable else "fail", detail=detail)


def ask_ami(config: StackConfig, cloud: Cloud) -> str | GeusemakerError | None:
    """The architecture of the pinned AMI; None where AWS has it no more; the error where it could not be asked."""
    try:
        return cloud.find_image_architecture(config.ami)
    except GeusemakerError as error:
        return error


def _guarded(check: Callable[[], CheckResult]) -> CheckResult:
    try:
        return check()
    except GeusemakerError as error:
        return CheckResult(name="AWS", status="fail", detail=error.message)
