"""What would only look as if it worked: too little memory, GPUs that nobody drives, services that lack a part."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from geusemaker.models.image import ImageReference
from geusemaker.models.plan import CheckResult
from geusemaker.models.stack import InstanceFacts, ServiceName, StackConfig
from geusemaker.program.compose import LATELY_RESERVED, memory_limits, reserved_among

_SIZES: Final = ("nano", "micro", "small", "medium", "large", "xlarge", "2xlarge", "4xlarge", "8xlarge")

_LEAST_MIB: Final[dict[ServiceName, int]] = {
    "postgresql": 128,
    "n8n": 600,
    "ollama": 256,
    "qdrant": 128,
    "crawl4ai": 512,
}
"""What a service needs to live. n8n was measured: 2.41 dies of its heap at 512 MiB, after it has migrated, and lives
with 600; 1.100 lives in 309. For the others it is what they hardly start with."""
_LEAST_N8N_1_MIB: Final = 300

_TOKEN_COUNTS: Final = (0, 8, 7)
"""The first Crawl4AI that reads its token: its deploy/docker/server.py."""

_WITHOUT_PARTS: Final[dict[tuple[ServiceName, str], tuple[str, str]]] = {
    ("n8n", "EXECUTIONS_MODE"): ("queue", "needs Redis and workers, and no workflow would run without them"),
    ("n8n", "N8N_RUNNERS_MODE"): ("external", "needs a container of runners, and no Code node would run without it"),
}
"""(service, variable) → the value that needs something that is not deployed, and what."""

_WAL_ELSEWHERE: Final = re.compile(r"(?:^|\s)(?:-X|--waldir)")

_BESIDE_SETTLING_SECONDS: Final = 120

TypeFinder = Callable[[str], InstanceFacts | None]


def least_memory(service: ServiceName, image: ImageReference) -> int:
    """The memory in MiB that a service cannot live without; an image whose release is not known counts as a new one."""
    release = image.release
    return _LEAST_N8N_1_MIB if service == "n8n" and release is not None and release < (2,) else _LEAST_MIB[service]


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
    limits = memory_limits(config.instance.memory_mib)
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
    limits = memory_limits(instance.memory_mib)
    for name, service in config.services.items():
        least = least_memory(name, service.image)
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
    return config.instance.gpus > 0 and "ollama" in config.services


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
        for key in reserved_among(name, service.environment):
            late = (key in LATELY_RESERVED or key.endswith("_FILE") or not key.isupper()) and (
                proven or before.get(key) == service.environment[key]
            )
            (told if late else refused).append(
                f"{name}.{key} decides where data is or how it is reached: only geusemaker sets that"
            )
        if name == "postgresql" and _WAL_ELSEWHERE.search(service.environment.get("POSTGRES_INITDB_ARGS", "")):
            words = f"{name}.POSTGRES_INITDB_ARGS puts the write-ahead log where its container ends (--waldir)"
            (told if proven else refused).append(words)
        for (service_name, key), (value, why) in _WITHOUT_PARTS.items():
            if service_name == name and service.environment.get(key, "").strip().lower() == value:
                words = f"{name}.{key}={value} {why}; take it out with --env {name}.{key}="
                (told if proven else refused).append(words)
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


def check_token(config: StackConfig, running: StackConfig | None) -> list[CheckResult]:
    """A warning where a change makes Crawl4AI's token count, which callers may not send yet; else nothing."""
    before = running.services.get("crawl4ai") if running is not None else None
    after = config.services.get("crawl4ai")
    if before is None or after is None or before.image.by_digest == after.image.by_digest:
        return []
    old, new = before.image.release, after.image.release
    if old is None or old >= _TOKEN_COUNTS or (new is not None and new < _TOKEN_COUNTS):
        return []
    detail = (
        f"{after.image.tagged} answers 401 to whoever does not send its token (up to 0.8.6 it was not read): n8n's "
        "nodes that call it need the header `Authorization: Bearer TOKEN`; `geusemaker info` says how to read the token"
    )
    return [CheckResult(name="Crawl4AI token", status="warn", detail=detail)]
