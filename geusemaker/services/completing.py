"""What AWS and the registries know of a config that is asked for: facts of the instance type, an AMI, digests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from geusemaker.checks.gpu import uses_gpu
from geusemaker.cloud.registry import ImageNotFoundError
from geusemaker.errors import EnvironmentProblemError, InvalidInputError, ValidationFailedError
from geusemaker.models.image import ImageReference
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import ServiceName, StackConfig
from geusemaker.services.collaborators import Cloud, Registry
from geusemaker.services.machine_image import choose_ami, image_login


def complete_config(
    config: StackConfig,
    base: StackConfig | None,
    ami: str | None,
    cloud: Cloud,
    registry: Registry,
    resolve: set[str],
    ssh_user: str | None = None,
) -> tuple[StackConfig, list[CheckResult]]:
    """Fill in what AWS and the registries know: the instance type's facts, the AMI, digests.

    Args:
        config: what is asked for.
        base: the config it starts from; None for a first deploy.
        ami: an AMI the operator chose, or ``newest``; None: the one there is, else the newest.
        resolve: services whose tag is looked up again although a digest is known.
        ssh_user: the login that an AMI has which is not known by its name.

    Raises:
        InvalidInputError: that is no login.
        ValidationFailedError: the instance type, an AMI for it or an image does not exist, or it is an AMI that cannot
            be set up.
    """
    if base is not None and config.instance_type == base.instance_type:
        facts = base.instance
    else:
        found = cloud.find_instance_type(config.instance_type)
        if found is None:
            raise ValidationFailedError(
                f"AWS has no instance type {config.instance_type}.",
                state="Nothing was changed.",
                next_step="Choose another --instance-type, for example t3.large or g5.xlarge.",
            )
        facts = found
    config = config.model_copy(update={"instance": facts})
    chosen = choose_ami(config, base, ami, cloud)
    if not chosen:
        what = "Deep Learning AMI of AWS, which has a GPU's driver," if uses_gpu(config) else "Debian 13 AMI"
        raise ValidationFailedError(
            f"There is no {what} for {facts.architecture} in this region.",
            state="Nothing was changed.",
            next_step="Give one with --ami.",
        )
    login, known = base.image_login if base is not None else "", None
    if base is None or chosen != base.ami:
        login, known = image_login(chosen, cloud, ssh_user)
    elif ssh_user is not None:
        raise InvalidInputError(
            "--ssh-user is said of a new instance, by a first deploy or with another --ami.",
            next_step="Leave --ssh-user out: the login stays as it is.",
        )
    images = {
        name: service.image
        for name, service in config.services.items()
        if service.image.digest is None or name in resolve
    }
    digests, checks = _resolve(images, registry)
    services = {
        name: service.model_copy(update={"image": service.image.pinned(digests[name])}) if name in digests else service
        for name, service in config.services.items()
    }
    completed = {"ami": chosen, "image_login": login, "services": services}
    return config.model_copy(update=completed), [*([known] if known is not None else []), *checks]


def _resolve(
    images: dict[ServiceName, ImageReference], registry: Registry
) -> tuple[dict[ServiceName, str], list[CheckResult]]:
    def look_up(image: ImageReference) -> str | Exception:
        try:
            return registry.digest(image)
        except (ImageNotFoundError, EnvironmentProblemError) as error:
            return error

    if not images:
        return {}, []
    with ThreadPoolExecutor(max_workers=len(images)) as pool:
        answers = dict(zip(images, pool.map(look_up, images.values()), strict=True))
    # One registry that is away is one problem, however many images were to come from it.
    problems = list(
        dict.fromkeys(str(answer).rstrip(".") for answer in answers.values() if isinstance(answer, Exception))
    )
    if problems:
        away = any(isinstance(answer, EnvironmentProblemError) for answer in answers.values())
        raise ValidationFailedError(
            "; ".join(problems) + ".",
            state="Nothing was changed.",
            next_step="Run the command again once the registry answers." if away else "Check the name and the tag.",
            checks=(CheckResult(name="images", status="fail", detail="; ".join(problems)),),
        )
    resolved = {name: str(answer) for name, answer in answers.items()}
    detail = ", ".join(f"{images[name].tagged} is {digest[:19]}" for name, digest in resolved.items())
    return resolved, [CheckResult(name="digests", status="pass", detail=detail)]
