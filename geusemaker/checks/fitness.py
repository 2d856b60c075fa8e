"""What would only look as if it worked: too little memory, GPUs that nobody drives, services that lack a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from geusemaker.catalog import SERVICES
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import InstanceFacts, ServiceName, StackConfig
from geusemaker.program.compose import memory_limits

_SIZES: Final = ("nano", "micro", "small", "medium", "large", "xlarge", "2xlarge", "4xlarge", "8xlarge")

_BESIDE_SETTLING_SECONDS: Final = 120

TypeFinder = Callable[[str], InstanceFacts | None]


def check_memory(
    config: StackConfig, running: StackConfig | None, find_type: TypeFinder, *, proven: bool
) -> CheckResult:
    """The instance type leaves each service what it needs.

    Args:
        running: the active version's config: what runs with as little already is no reason to refuse.
        find_type: asked for other types, to name one that does.
        proven: this config ran healthy once.
    """
    short = dict(_short(config, config.instance))
    if not short:
        return CheckResult(name="memory", status="pass", detail=f"{config.instance_type} holds these services")
    limits = memory_limits(config.instance.memory_mib, config.rendering)
    words = [
        f"{config.instance_type} leaves {name} {limits[name]} MiB, and "
        f"{config.services[name].image.tagged} needs {least}"
        for name, least in short.items()
    ]
    same = running is not None and running.instance.memory_mib == config.instance.memory_mib
    known = dict(_short(running, running.instance)) if running is not None and same else {}
    if proven or short.items() <= known.items():
        return CheckResult(name="memory", status="warn", detail="; ".join(words))
    fitting = _smallest(config, find_type)
    words.append(f"--instance-type {fitting} is the smallest of its family that holds them" if fitting else "none fits")
    return CheckResult(name="memory", status="fail", detail="; ".join(words))


def _short(config: StackConfig, instance: InstanceFacts) -> Iterator[tuple[ServiceName, int]]:
    limits = memory_limits(instance.memory_mib, config.rendering)
    for name, service in config.services.items():
        least = SERVICES[name].least_memory(service.image)
        if limits[name] < least:
            yield name, least


def _smallest(config: StackConfig, find_type: TypeFinder) -> str:
    family = config.instance_type.partition(".")[0]
    for candidate in (f"{family}.{size}" for size in _SIZES):
        facts = find_type(candidate)
        if facts is not None and not list(_short(config, facts)):
            return candidate
    return ""


def uses_gpu(config: StackConfig) -> bool:
    """Whether a service is given the instance's GPUs."""
    return config.instance.gpus > 0 and any(SERVICES[name].uses_gpu for name in config.services)


def check_gpu(config: StackConfig, is_plain_debian: Callable[[], bool], *, proven: bool) -> CheckResult:
    """Whoever has GPUs reserved has an AMI that can have driver and container toolkit: Debian's has neither."""
    if proven or not is_plain_debian():
        detail = f"{config.ami} has to bring NVIDIA's driver and container toolkit; it was not looked into"
        return CheckResult(name="GPU", status="warn", detail=detail)
    return CheckResult(
        name="GPU",
        status="fail",
        detail=f"{config.instance_type} has a GPU, and {config.ami}, Debian's AMI, has neither NVIDIA's driver nor the "
        "container toolkit, so Ollama would not start: choose a type without one, or give --ami one that has both "
        "(a login named admin, Debian's packages)",
    )


def check_environment(config: StackConfig, running: StackConfig | None = None, *, proven: bool = False) -> CheckResult:
    """No service's environment moves its data or its secrets, or asks for what is not there.

    A version may be older than a rule of today: what it ran with, it may run with again, where the rule is a late one.
    """
    refused: list[str] = []
    told: list[str] = []
    for name, service in config.services.items():
        before = running.services[name].environment if running is not None and name in running.services else {}
        for key in SERVICES[name].reserved_among(service.environment):
            late = (key in SERVICES[name].lately_reserved or key.endswith("_FILE") or not key.isupper()) and (
                proven or before.get(key) == service.environment[key]
            )
            (told if late else refused).append(
                f"{name}.{key} decides where data is or how it is reached: only geusemaker sets that"
            )
        (told if proven else refused).extend(SERVICES[name].misfits(service.environment))
    if refused:
        return CheckResult(name="environment", status="fail", detail="; ".join([*refused, *told]))
    if told:
        return CheckResult(name="environment", status="warn", detail="; ".join(told))
    return CheckResult(name="environment", status="pass", detail="leaves data and secrets where they are")


def check_settling(config: StackConfig, settle_seconds: int, *, proven: bool) -> list[CheckResult]:
    """Nothing, unless the time in which services have to stay ready leaves a change no time for anything else."""
    deadline = config.rollback.deadline_minutes * 60
    if settle_seconds + _BESIDE_SETTLING_SECONDS <= deadline:
        return []
    detail = (
        f"services have to stay ready for {settle_seconds} s, and the whole change has {deadline} s: it would end at "
        f"its deadline, and so would the way back; --settle-seconds {deadline - _BESIDE_SETTLING_SECONDS} fits, or a "
        "longer --deadline"
    )
    return [CheckResult(name="settle time", status="warn" if proven else "fail", detail=detail)]


def check_callers(config: StackConfig, running: StackConfig | None) -> list[CheckResult]:
    """What a change of an image means for those who call its service, as warnings."""
    found = []
    for name, after in config.services.items():
        before = running.services.get(name) if running is not None else None
        if before is None or before.image.by_digest == after.image.by_digest:
            continue
        if (notice := SERVICES[name].image_notice(before.image, after.image)) is not None:
            title = f"{SERVICES[name].title} {notice.about}"
            found.append(CheckResult(name=title, status=notice.status, detail=notice.detail))
    return found
