"""The machine image that a config is to have: one that geusemaker can set up, or none."""

from __future__ import annotations

from typing import Final

from geusemaker.checks.gpu import uses_gpu
from geusemaker.errors import InvalidInputError, ValidationFailedError
from geusemaker.models.machine_image import (
    DEBIAN_LOGIN,
    DEBIAN_OWNER,
    ROOM_GIB,
    WANTED,
    MachineImage,
    Recognised,
    recognise,
)
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import DEFAULT_ROOT_VOLUME_GIB, LOGIN, StackConfig, Target
from geusemaker.services.collaborators import Cloud

NEWEST: Final = "newest"
"""Given as AMI: today's Debian 13, or with a GPU AWS's Deep Learning AMI of today."""

NEXT: Final = f"Give an --ami of {WANTED}; without one it is today's Debian 13."


def choose_ami(config: StackConfig, base: StackConfig | None, ami: str | None, cloud: Cloud) -> str:
    """The AMI that a config is to have; empty: there is none.

    The one there is stays where it does. Debian's does not do for GPUs; AWS's Deep Learning AMI does for any type, so
    it stays when they go.

    Args:
        config: with the facts of its instance type.
        base: the config it starts from; None for a first deploy.
        ami: an AMI the operator chose, or ``newest``; None: nothing was said.
    """
    if ami not in (None, NEWEST):
        return str(ami)
    gpu = uses_gpu(config)
    if base is not None and ami is None and (not gpu or uses_gpu(base) or not _is_debian(base.ami, cloud)):
        return base.ami
    found = cloud.find_gpu_image if gpu else cloud.find_debian_image
    return found(config.instance.architecture) or ""


def _is_debian(ami: str, cloud: Cloud) -> bool:
    image = cloud.find_machine_image(ami)
    return image is None or image.owner == DEBIAN_OWNER


def image_login(ami: str, cloud: Cloud, ssh_user: str | None) -> tuple[str, CheckResult | None]:
    """The login that a newly chosen AMI has by itself, as a config keeps it, and what is known of the AMI.

    One that is not there, or of another architecture, has a check of its own.

    Raises:
        InvalidInputError: ``ssh_user`` is no login.
        ValidationFailedError: geusemaker cannot set up an instance of it, or does not know what it is.
    """
    if ssh_user is not None and not LOGIN.fullmatch(ssh_user):
        raise InvalidInputError(f"--ssh-user: {ssh_user!r} is not a login; write it as ubuntu.")
    image = cloud.find_machine_image(ami)
    if image is None:
        return "", None
    found = recognise(image)
    if found.refused:
        raise _refusal(f"No instance can be made of {_named(image)}: {found.refused}.", NEXT)
    login = found.login or ssh_user
    if not login:
        raise _refusal(
            f"geusemaker does not know what {_named(image)} is.",
            "If it is a Debian 13, an Ubuntu 24.04 or a later one of these, with cloud-init, say so by the login that "
            f"it has: --ssh-user NAME. {NEXT}",
        )
    return "" if login == DEBIAN_LOGIN else login, _check(image, found, login)


def roomy(target: Target, config: StackConfig, cloud: Cloud) -> Target:
    """The target of a first deploy that asks for no size of the instance's disk, with one that holds its image."""
    image = cloud.find_machine_image(config.ami)
    if image is None or image.least_gib + ROOM_GIB <= DEFAULT_ROOT_VOLUME_GIB:
        return target
    return target.model_copy(update={"root_volume_gib": image.comfortable_gib})


def used_login(target: Target, config: StackConfig, ssh_user: str | None) -> Target:
    """The target of a first deploy, with the login that the image has, or the one that is asked for."""
    return target.model_copy(update={"ssh_user": ssh_user or config.image_login or DEBIAN_LOGIN})


def _named(image: MachineImage) -> str:
    return f"{image.id} ({image.name or 'without a name'}, published by {image.owner_alias or image.owner or 'nobody'})"


def _check(image: MachineImage, found: Recognised, login: str) -> CheckResult:
    if found.system:
        detail = f"{image.name}: {found.system}, login {login}"
        return CheckResult(name="machine image", status="pass", detail=detail)
    detail = f"{_named(image)} was not recognised: that it has apt, cloud-init and the login {login} is your word"
    return CheckResult(name="machine image", status="warn", detail=detail)


def _refusal(message: str, next_step: str) -> ValidationFailedError:
    return ValidationFailedError(
        message,
        state="Nothing was changed.",
        next_step=next_step,
        checks=(CheckResult(name="machine image", status="fail", detail=message.rstrip(".")),),
    )
