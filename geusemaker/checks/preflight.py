"""The checks every change runs. All of them run; all results are shown, not only the first failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol

from geusemaker.agent.protocol.looks import Health
from geusemaker.agent.protocol.stored import Sentinel
from geusemaker.checks.fitness import (
    check_callers,
    check_environment,
    check_gpu,
    check_memory,
    check_settling,
    uses_gpu,
)
from geusemaker.cloud.registry import ImageNotFoundError
from geusemaker.errors import GeusemakerError
from geusemaker.models import resource_types
from geusemaker.models.identity import Caller
from geusemaker.models.image import ImageReference
from geusemaker.models.plan import CheckResult, ResourceOperation
from geusemaker.models.result import DataVolumeState, FileSystemState, InstanceState
from geusemaker.models.stack import InstanceFacts, StackConfig, Target
from geusemaker.program.compose import render

ROOM_FOR_IMAGES_GIB: Final = 8
"""About what the images of a version take; looked at where the registry does not tell sizes."""
_MOUNTED_FIRST: Final = "not mounted; that is done first, and nothing starts without"
UNPACKED: Final = 2.7
"""How much larger layers are on disk than in the registry, which tells compressed sizes. Measured: 1.5 GB of a Debian
system's /usr as a tar file, by `gzip -6`, the level that Docker and BuildKit use."""


class Cloud(Protocol):
    """What the checks ask AWS."""

    def identity(self) -> Caller: ...
    def find_subnet(self, vpc_id: str | None, subnet_id: str | None) -> dict[str, Any] | None: ...
    def is_offered(self, instance_type: str, availability_zone: str) -> bool: ...
    def find_instance_type(self, instance_type: str) -> InstanceFacts | None: ...
    def find_image_architecture(self, ami: str) -> str | None: ...
    def is_debian_image(self, ami: str) -> bool: ...
    def find_file_system(self, deployment: str, stack_id: str = ...) -> FileSystemState | None: ...
    def mount_target_state(self, file_system_id: str) -> str: ...
    def is_backed_up(self, file_system_id: str) -> bool: ...
    def find_data_volume(self, deployment: str, stack_id: str = ...) -> DataVolumeState | None: ...


class Registry(Protocol):
    """What the checks ask image registries."""

    def architectures(self, image: ImageReference) -> set[str]: ...
    def layers(self, image: ImageReference, architecture: str) -> dict[str, int]: ...


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


@dataclass(frozen=True)
class Published:
    """What an image's registry says of it.

    ``problem`` says why an image is not to be had; ``sure`` whether the registry said that, or could not be asked.
    """

    problem: str = ""
    sure: bool = True


def run_cloud_checks(context: CheckContext, cloud: Cloud) -> list[CheckResult]:
    """Ask AWS, all checks side by side."""
    volume = [lambda: check_data_volume(context, cloud)] if context.target.has_data_volume else []
    ami = context.config.ami
    gpu = [lambda: check_gpu(context.config, lambda: cloud.is_debian_image(ami), proven=context.proven)]
    checks: Sequence[Callable[[], CheckResult]] = (
        lambda: check_credentials(cloud),
        lambda: check_network(context, cloud),
        lambda: check_single_instance(context),
        lambda: check_instance_type(context, cloud),
        lambda: check_file_system(context, cloud),
        *volume,
        lambda: check_environment(context.config, context.running, proven=context.proven),
        lambda: check_memory(context.config, context.running, cloud.find_instance_type, proven=context.proven),
        *(gpu if uses_gpu(context.config) else ()),
    )
    with ThreadPoolExecutor(max_workers=len(checks)) as pool:
        found = list(pool.map(_guarded, checks))
    settling = check_settling(context.config, context.target.settle_seconds, proven=context.proven)
    return [*found, *check_callers(context.config, context.running), *settling]


def run_host_checks(health: Health, config: StackConfig, target: Target, to_pull: int | None = 0) -> list[CheckResult]:
    """Judge how the instance is, with a view to the config that is to be made real.

    ``to_pull``: bytes of the images that are to be pulled, compressed; None where that is not known.
    """
    checks = [check_mount(health)]
    if target.has_data_volume:
        checks.append(check_volume_mount(health))
    return [*checks, check_volumes(health, config, target), check_disk(health, to_pull)]


def failures(checks: Iterable[CheckResult]) -> list[str]:
    """What failed, and why, in words."""
    return [f"{check.name}: {check.detail}" for check in checks if check.status == "fail"]


def bytes_to_pull(health: Health, config: StackConfig, active: StackConfig | None, registry: Registry) -> int | None:
    """What the images that are not on the instance take in the registry; None where that is not known.

    Layers count once, and not at all where the image that runs now has them, too.
    """
    missing = health.missing_images
    if missing is None:
        return None
    architecture = config.instance.architecture
    images = [config.services[name].image for name in missing if name in config.services]
    there = [active.services[name].image for name in missing if active is not None and name in active.services]

    def known(image: ImageReference) -> dict[str, int] | None:
        try:
            return registry.layers(image, architecture)
        except (GeusemakerError, ImageNotFoundError):
            return None

    if not images:
        return 0
    with ThreadPoolExecutor(max_workers=len(images) + len(there)) as pool:
        wanted = list(pool.map(known, images))
        shared = {digest for layers in pool.map(known, there) for digest in layers or ()}
    layers: dict[str, int] = {}
    for found in wanted:
        if found is None:
            return None
        layers |= found
    return sum(size for digest, size in layers.items() if digest not in shared)


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


def check_there(
    context: CheckContext, operations: Sequence[ResourceOperation], addresses: Sequence[str]
) -> list[CheckResult]:
    """The instance and the address that Pulumi's state names are there; only what is wrong is told.

    Else the change would go on until it waits in vain for an answer of what is gone. ``addresses``: the allocation ids
    of the Elastic IPs with the deployment's tag.
    """
    instance = context.instance
    there = {
        resource_types.INSTANCE: ("instance", [instance.id] if instance is not None else []),
        resource_types.ADDRESS: ("Elastic IP", addresses),
    }
    said = []
    for operation in operations:
        what, found = there.get(operation.type, ("", ()))
        if what and operation.provider_id and operation.provider_id not in found:
            now = f"AWS has {found[0]} in its place" if found else "it was removed by other means"
            said.append(f"the {what} {operation.provider_id} is gone: {now}")
    attached = not any(each.type == resource_types.ADDRESS_ASSOCIATION and each.op == "create" for each in operations)
    if not said and instance is not None and addresses and not instance.address and attached:
        said.append(f"the Elastic IP {addresses[0]} is not associated with {instance.id} any more")
    way = f"`geusemaker recover {context.deployment}` puts that right"
    return [CheckResult(name="there", status="fail", detail=f"{text}; {way}") for text in said]


def check_drift(
    context: CheckContext, instance: InstanceState, operations: Sequence[ResourceOperation], *, grows: bool = False
) -> CheckResult:
    """The instance is of the type, and the data volume of the size, that Pulumi's state says.

    Else the plan would leave out a change that it does not see, or make one that was made. ``grows``: whether the data
    volume is to.
    """
    resized = any(each.type == resource_types.DATA_VOLUME and "size" in each.changed for each in operations)
    if resized and not grows:
        return CheckResult(
            name="drift",
            status="fail",
            detail=f"the data volume has {context.target.data_volume_gib} GiB, changed by other means; "
            f"`geusemaker recover {context.deployment}` takes that up",
        )
    if not grows and any(
        each.type == resource_types.INSTANCE and each.op == "update" and "rootBlockDevice" in each.changed
        for each in operations
    ):
        return CheckResult(
            name="drift",
            status="fail",
            detail=f"the instance's own disk has {context.target.root_volume_gib} GiB, changed by other means; "
            f"`geusemaker recover {context.deployment}` takes that up",
        )
    wanted = context.config.instance_type
    changes_type = any(
        operation.type == resource_types.INSTANCE
        and (operation.op not in ("same", "update") or "instanceType" in operation.changed)
        for operation in operations
    )
    if instance.type == wanted or changes_type:
        return CheckResult(name="drift", status="pass", detail=f"{instance.id} is a {instance.type}, as it was left")
    return CheckResult(
        name="drift",
        status="fail",
        detail=f"{instance.id} is a {instance.type}, changed by other means; "
        f"`geusemaker recover {context.deployment}` puts that right",
    )


def ask_ami(config: StackConfig, cloud: Cloud) -> str | GeusemakerError | None:
    """The architecture of the pinned AMI; None where AWS has it no more; the error where it could not be asked."""
    try:
        return cloud.find_image_architecture(config.ami)
    except GeusemakerError as error:
        return error


def check_ami(context: CheckContext, found: str | GeusemakerError | None, *, makes_instance: bool) -> CheckResult:
    """The pinned AMI exists and is of the instance type's architecture, where an instance is to be made of it.

    Debian takes its AMIs back one day. The instance that was made of one goes on, and so can all its changes.
    """
    ami, wanted = context.config.ami, context.config.instance.architecture
    if isinstance(found, GeusemakerError):
        return CheckResult(name="AMI", status="fail", detail=found.message)
    if found is None and not makes_instance:
        detail = f"{ami} is not to be had any more; the instance made of it stays, another one could not be made"
        return CheckResult(name="AMI", status="warn", detail=detail)
    if found is None:
        detail = f"{ami or 'no AMI'} does not exist; `--ami newest` takes today's Debian 13"
        return CheckResult(name="AMI", status="fail", detail=detail)
    if found != wanted:
        detail = f"{ami} is for {found}, but {context.config.instance_type} is {wanted}"
        if context.has_data:
            command = f"geusemaker update {context.deployment} --instance-type {context.config.instance_type}"
            detail += f"; `{command} --ami newest --allow-replace` takes today's Debian 13 for it, on another instance"
        return CheckResult(name="AMI", status="fail", detail=detail)
    return CheckResult(name="AMI", status="pass", detail=f"{ami} ({found})")


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


def ask_registries(config: StackConfig, registry: Registry) -> dict[str, Published]:
    """Whether the registries still give the images for the instance's architecture, by service; asked side by side."""
    wanted = config.instance.architecture

    def ask(image: ImageReference) -> Published:
        try:
            architectures = registry.architectures(image)
        except ImageNotFoundError as error:
            return Published(str(error))
        except GeusemakerError as error:
            return Published(error.message.rstrip("."), sure=False)
        if architectures and wanted not in architectures:
            return Published(f"{image.tagged} is not published for {wanted}")
        return Published()

    images = [service.image for service in config.services.values()]
    with ThreadPoolExecutor(max_workers=max(len(images), 1)) as pool:
        return dict(zip(config.services, pool.map(ask, images), strict=True))


def check_images(
    config: StackConfig,
    published: Mapping[str, Published],
    missing: Iterable[str] | None = None,
    *,
    on_new_instance: bool = False,
) -> CheckResult:
    """Every image is to be had: from its registry, or because the instance keeps it.

    Args:
        config: the config that is to be made real.
        published: what ``ask_registries`` found.
        missing: the services whose image is not on the instance; None where that is not known.
        on_new_instance: the images are pulled when the instance that keeps them is gone already: nothing may be unsure.
    """
    problems = {name: found for name, found in published.items() if found.problem}
    needed = set(published if missing is None else missing)
    gone = {name: each.problem for name, each in problems.items() if name in needed and (each.sure or on_new_instance)}
    # A registry that does not answer now may do so to the instance; the prefetch decides.
    unsure = [found.problem for name, found in problems.items() if name not in gone]
    if gone:
        why = "; another instance has to pull every image anew" if on_new_instance else ""
        return CheckResult(name="images", status="fail", detail="; ".join(dict.fromkeys(gone.values())) + why)
    if unsure:
        kept = "" if needed & problems.keys() else "; kept on the instance, so no registry is needed"
        return CheckResult(name="images", status="warn", detail="; ".join(dict.fromkeys(unsure)) + kept)
    accessible = f"{len(published)} accessible for {config.instance.architecture}"
    return CheckResult(name="images", status="pass", detail=accessible)


def check_mount(health: Health) -> CheckResult:
    """The instance has the data's file system mounted."""
    if not health.mount.mounted:
        return CheckResult(name="EFS mount", status="warn", detail=_MOUNTED_FIRST)
    return CheckResult(name="EFS mount", status="pass", detail=f"{health.mount.file_system_id} is mounted")


def check_data(health: Health, deployment: str) -> CheckResult:
    """The mounted file system answers, and holds the deployment's own data: its sentinel file tells."""
    name = "data"
    mounted = str(health.mount.file_system_id)
    if not health.mount.mounted:
        return CheckResult(name=name, status="warn", detail="looked at when it is mounted")
    if health.data_problem:
        return CheckResult(name=name, status="fail", detail=health.data_problem.rstrip("."))
    known = health.sentinel_known
    if problem := sentinel_problem(health.sentinel, known, deployment, mounted):
        return CheckResult(name=name, status="fail", detail=problem)
    detail = f"{mounted} is the one it was made on" if known else "an agent of before does not tell"
    return CheckResult(name=name, status="pass" if known else "warn", detail=detail)


def sentinel_problem(sentinel: Sentinel | None, known: bool, name: str, file_system_id: str) -> str:
    """What the sentinel file says against the data on the mounted file system; empty when nothing."""
    if not known:
        return ""
    if sentinel is None:
        return (
            f"the sentinel file on {file_system_id} is gone: its data was removed or replaced. Nothing is changed on "
            "it. Bring the file system's content back from its backup (docs/data.md), .geusemaker/sentinel.json "
            "included"
        )
    if (owner := sentinel.deployment) not in (None, name):
        return f"{file_system_id} holds the data of another deployment: {owner}. Nothing is changed on it"
    if (made_on := sentinel.file_system_id) not in (None, file_system_id):
        return f"the data on {file_system_id} is a copy: it was made on {made_on}. Nothing is changed on it"
    return ""


def check_volume_mount(health: Health) -> CheckResult:
    """The instance has the data volume mounted, and there is room on it."""
    volume = health.data_volume
    if volume is None or not volume.mounted:
        return CheckResult(name="volume mount", status="warn", detail=_MOUNTED_FIRST)
    detail = f"{volume.id} is mounted, {_gib(volume.free_bytes)} of {_gib(volume.total_bytes)} free"
    full = volume.free_bytes < volume.total_bytes / 10
    return CheckResult(name="volume mount", status="warn" if full else "pass", detail=detail)


def check_volumes(health: Health, config: StackConfig, target: Target) -> CheckResult:
    """Each service finds its data where it has been: an empty folder in its place would look like a loss."""
    services = render(config, data_volume=target.has_data_volume)["services"]
    there = health.volumes  # an agent of before does not tell
    moved = [
        f"{name} would have {wanted or 'no data'} instead of {there[name] or 'none'}"
        for name, wanted in ((name, list(service.get("volumes", ()))) for name, service in services.items())
        if name in there and there[name] != wanted
    ]
    if moved:
        return CheckResult(name="volumes", status="fail", detail="; ".join(moved))
    return CheckResult(name="volumes", status="pass", detail="each service's data stays where it is")


def check_disk(health: Health, to_pull: int | None) -> CheckResult:
    """The instance's disk has room for the images that are to be pulled.

    It is an estimate; the prefetch, before anything stops, has the last word.
    """
    free = health.disk.free_bytes
    room = f"{_gib(free)} free"
    if to_pull is None:
        enough = free >= ROOM_FOR_IMAGES_GIB * 2**30
        detail = f"{room}; how much the images need is not known"
        return CheckResult(name="disk space", status="pass" if enough else "warn", detail=detail)
    needed = to_pull * UNPACKED
    if not needed:
        return CheckResult(name="disk space", status="pass", detail=f"{room}; every image is there")
    need = f"images to pull take about {_gib(needed)} ({_gib(to_pull)} compressed)"
    if needed <= free:
        return CheckResult(name="disk space", status="pass", detail=f"{room}; {need}")
    larger = -(-int(health.disk.total_bytes + needed - free) // 2**30) // 10 * 10 + 10
    detail = f"{room}, but {need}; a larger disk has to come first, in an update of its own: --root-volume {larger}"
    return CheckResult(name="disk space", status="fail", detail=detail)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def _guarded(check: Callable[[], CheckResult]) -> CheckResult:
    try:
        return check()
    except GeusemakerError as error:
        return CheckResult(name="AWS", status="fail", detail=error.message)
