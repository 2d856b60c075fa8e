"""What would only look as if it worked: too little memory, services that lack a part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import InstanceFacts, ServiceName, StackConfig, describe
from geusemaker.program.compose import limits
from geusemaker.program.walls import cut_off

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
    given = limits(config)
    words = [
        f"{config.instance_type} leaves {name} {given[name]} MiB, and "
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
    for name, limit in limits(config, instance).items():
        least = describe(config, name).least_memory(config.services[name].image)
        if limit < least:
            yield name, least


def _smallest(config: StackConfig, find_type: TypeFinder) -> str:
    family = config.instance_type.partition(".")[0]
    for candidate in (f"{family}.{size}" for size in _SIZES):
        facts = find_type(candidate)
        if facts is not None and not list(_short(config, facts)):
            return candidate
    return ""


def check_environment(
    config: StackConfig, running: StackConfig | None = None, *, proven: bool = False, mixed: bool = False
) -> CheckResult:
    """No service's environment moves its data or its secrets, or asks for what is not there.

    A version may be older than a rule of today: what it ran with, it may run with again, where the rule is a late one.

    Args:
        running: the active version's config.
        proven: what each service has, it ran healthy with once.
        mixed: but not with the others as they are now, so what it asks of them is judged.
    """
    together = proven and not mixed
    refused: list[str] = []
    told: list[str] = []
    for name, service in config.services.items():
        before = running.services[name].environment if running is not None and name in running.services else {}
        known = describe(config, name)
        for key in known.reserved_among(service.environment):
            late = (key in known.lately_reserved or key.endswith("_FILE") or not key.isupper()) and (
                proven or before.get(key) == service.environment[key]
            )
            (told if late else refused).append(
                f"{name}.{key} decides where data is or how it is reached: only geusemaker sets that"
            )
        (told if together else refused).extend(config.misfits(name))
    (told if together else refused).extend(cut_off(config))
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
        known = describe(config, name)
        if (notice := known.image_notice(before.image, after.image)) is not None:
            title = f"{known.title} {notice.about}"
            found.append(CheckResult(name=title, status=notice.status, detail=notice.detail))
    return found
