"""How a deployment is, judged from what was looked at. Pure.

One judgement for ``status``, ``recover``, ``update`` and ``rollback``: what ``status`` calls not healthy, ``recover``
repairs or refuses to, and no verb says that there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from geusemaker.agent.protocol.looks import ServiceHealth
from geusemaker.agent.protocol.stored import Sentinel
from geusemaker.checks.host import sentinel_problem
from geusemaker.models.result import (
    STATUS_EXIT_CODES,
    DataVolumeState,
    FileSystemState,
    InstanceState,
    Interruption,
    ServiceState,
    StoppedService,
)
from geusemaker.models.stack import ServiceName
from geusemaker.models.state import DeploymentState
from geusemaker.program.compose import probes
from geusemaker.services.rollback.target import advice, repair_target
from geusemaker.services.states import ROTATIONS, USE_THAT_ONE, spoken, unreadable_notice

AS_IT_SHOULD_BE: Final = frozenset({"healthy", "stopped", "destroyed"})
"""Where there is nothing to repair."""
_SILENT: Final = frozenset({"unreachable", "timeout", "agent_died"})
"""Codes of an instance that does not answer, or not to the end: only there a reboot may help."""


_AGAIN_AND_AGAIN: Final = 3
"""So often Docker has started a service again by itself that starting it once more does not help."""


@dataclass(frozen=True)
class Trouble:
    """Why something could not be looked at.

    ``code``: ``account`` (the credentials are of another), ``aws``, ``secrets`` (what opens them is missing or wrong),
    ``engine`` (it could not read them), or the host's own (see HostError).
    """

    code: str
    message: str
    next_step: str = ""


@dataclass(frozen=True)
class Facts:
    """What was looked at. What could not be is empty, and ``trouble`` says why."""

    state: DeploymentState
    interruption: Interruption | None = None
    left_behind: str = ""
    """What an operation still holds that was killed when it had changed nothing, or all was done."""
    instance: InstanceState | None = None
    file_system: FileSystemState | None = None
    volume: DataVolumeState | None = None
    services: Mapping[str, ServiceState] = field(default_factory=dict)
    stopped: Mapping[str, StoppedService] = field(default_factory=dict)
    """Services that somebody stopped on purpose, as noted on the file system."""
    asked: bool = False
    """Whether the instance answered."""
    sentinel: Sentinel | None = None
    """The file that tells whose data this is; None where there is none."""
    sentinel_known: bool = False
    """Whether the file system could be asked for it."""
    data_trouble: str = ""
    """Why the mounted file system could not be read."""
    lease_damage: str = ""
    """What is said of a lease on it that cannot be read."""
    trouble: Trouble | None = None
    lost: str = ""
    """What the file system knows of a version that the history has lost."""
    settle_seconds: float = 0.0


@dataclass(frozen=True)
class Judgement:
    """What state things are in, in a word and in a sentence or two, and what of it ``recover`` puts right."""

    status: str
    summary: str
    repairs: tuple[str, ...] = ()
    """What is not as it should be, one phrase each."""
    restarts: tuple[ServiceName, ...] = ()
    """Services that run and do not answer: starting them once more may help."""
    failing: tuple[ServiceName, ...] = ()
    """Services that fail by themselves, again and again: what is active cannot be put right as it is."""

    @property
    def exit_code(self) -> int:
        """0 healthy, 7 looked and not healthy, 8 could not be judged."""
        return STATUS_EXIT_CODES.get(self.status, 7)


def judge(facts: Facts) -> Judgement:
    """Judge."""
    state, interruption = facts.state, facts.interruption
    name, active = state.name, state.active
    if notice := unreadable_notice(state):
        return Judgement("unreadable", f"{notice} {USE_THAT_ONE}")
    if facts.trouble is not None and facts.trouble.code == "account" and not state.destroyed:
        why = f"{facts.trouble.message} {facts.trouble.next_step}"
        return Judgement("unreachable", f"It could not be judged how {name} is: {why}")
    if interruption is not None:
        return _interrupted(name, interruption, f"v{active.number}" if active else "")
    if facts.lost:
        return Judgement("drifted", facts.lost, ("the history has lost what runs",))
    if state.destroyed:
        return Judgement("destroyed", f"Destroyed; its data is kept. `geusemaker deploy {name}` takes it up again.")
    if active is None:
        return Judgement("failed", f"No version was ever healthy. Run `geusemaker deploy {name}` again.")
    found = _lost_data(facts) or _out_of_sight(facts)
    if found is None and state.last_failed:
        found = Judgement(
            "failed",
            f"The last change failed and was not taken back; v{active.number} was the last healthy version. "
            f"{advice(state)}",
            ("the last change failed",),
        )
    found = found or _data(facts) or _services(facts)
    if facts.left_behind:
        return Judgement(
            found.status, f"{found.summary} {facts.left_behind}", found.repairs, found.restarts, found.failing
        )
    return found


def _interrupted(name: str, interruption: Interruption, last: str) -> Judgement:
    if interruption.kind in ("restore", "stop", "start", *ROTATIONS) and interruption.running:
        return Judgement(
            "running",
            f"A {spoken(interruption.kind)} by {interruption.actor} is under way: process {interruption.pid} on "
            f"{interruption.host}.",
        )
    if interruption.running:
        return Judgement(
            "running",
            f"The {interruption.kind} to v{interruption.number} by {interruption.actor} is under way: process "
            f"{interruption.pid} on {interruption.host}.",
        )
    killed = (f"a {spoken(interruption.kind)} was killed",)
    if interruption.kind == "restore":
        return Judgement(
            "interrupted",
            f"The restore by {interruption.actor} was killed before it was done. Each database is the old one or the "
            f"restored one; collections may be either, and n8n may be down. Run `geusemaker restore {name}` again as "
            f"before, or `geusemaker recover {name}` to go on with what is there.",
            killed,
        )
    if interruption.kind in ("stop", "start"):
        return Judgement(
            "interrupted",
            f"The {interruption.kind} by {interruption.actor} was killed before it was done. Run `geusemaker recover "
            f"{name}`.",
            killed,
        )
    if interruption.kind in ROTATIONS:
        return Judgement(
            "interrupted",
            f"The {spoken(interruption.kind)} by {interruption.actor} was killed before it was done. Run `geusemaker "
            f"secrets rotate {ROTATIONS[interruption.kind]} {name}` again, or `geusemaker recover {name}` to go on "
            "with the one that is stored.",
            killed,
        )
    was = f"{last} was the last healthy version. " if last else ""
    return Judgement(
        "interrupted",
        f"The {interruption.kind} to v{interruption.number} by {interruption.actor} was killed before it was done. "
        f"{was}Run `geusemaker recover {name}`.",
        killed,
    )


def _lost_data(facts: Facts) -> Judgement | None:
    """What AWS was asked for and has not: no change is made without it."""
    state = facts.state
    if facts.trouble is not None and facts.trouble.code == "aws":
        return None
    gone = ""
    if facts.file_system is None:
        gone = "file system"
    elif state.target is not None and state.target.has_data_volume and facts.volume is None:
        gone = "data volume"
    if not gone or state.active is None:
        return None
    return Judgement(
        "unhealthy",
        f"v{state.active.number} is active, but its {gone} is gone: none has the tag geusemaker:deployment="
        f"{state.name}. No change is made without it.",
        (f"its {gone} is gone",),
    )


def _out_of_sight(facts: Facts) -> Judgement | None:
    """Why the instance was not seen, where it was not; the advice fits the cause."""
    state, trouble, instance = facts.state, facts.trouble, facts.instance
    assert state.active is not None
    name, should = state.name, f"v{state.active.number} should run, but"
    if trouble is not None and trouble.code == "aws":
        said = f"{trouble.message} {trouble.next_step}".strip()
        return Judgement("unreachable", f"{should} it could not be looked at: {said}")
    if instance is None or instance.state != "running":
        what = f"the instance is {instance.state}" if instance else "there is no instance"
        return Judgement("unreachable", f"{should} {what}. {_way(state, 'repairs')}", (what,))
    if not instance.address:
        what = f"{instance.id} has no Elastic IP any more"
        return Judgement("unreachable", f"{should} {what}. {_way(state, 'gives it one')}", (what,))
    if trouble is None:
        return None
    said = trouble.message.rstrip(".")
    if trouble.code in ("secrets", "engine"):
        return Judgement("unreadable", f"{should} it cannot be asked: {said}. {trouble.next_step}".strip())
    if trouble.code in ("host_key_mismatch", "auth_failed"):
        return Judgement("unreachable", f"{should} {said}. {way_in(facts, trouble.code)}")
    if trouble.code in _SILENT:
        return Judgement(
            "unreachable",
            f"{should} it cannot be reached ({said}). Check that your address may connect; if nobody gets in any more, "
            f"`geusemaker recover {name} --reboot` stops and starts the instance.",
            ("the instance does not answer",),
        )
    return Judgement("unreachable", f"{should} its agent does not work: {said}. {trouble.next_step}".strip())


def way_in(facts: Facts, code: str) -> str:
    """The way back into an instance that another one answers for, or that refuses the deployment's login."""
    state, instance = facts.state, facts.instance
    assert instance is not None
    region = state.target.region if state.target is not None else ""
    return new_instance(state.name, instance.id, region, code)


def new_instance(name: str, instance_id: str, region: str, code: str) -> str:
    """How to get an instance in the place of one that nobody gets into, or that cannot be trusted. Its data stays."""
    why = (
        "Nothing was sent to whoever answers there: find out who does."
        if code == "host_key_mismatch"
        else "Its authorized_keys no longer holds the deployment's key, or the key in the stack's config is another."
    )
    return (
        f"{why} If it is the instance and its file cannot be put back, another one takes up the same data: "
        f"`aws ec2 terminate-instances --region {region} --instance-ids {instance_id}`, then `geusemaker recover "
        f"{name}`."
    )


def _data(facts: Facts) -> Judgement | None:
    """What is wrong with the data's file system and volume, as the instance sees them."""
    state, stores = facts.state, (facts.file_system, facts.volume)
    assert state.active is not None
    name, is_active = state.name, f"v{state.active.number} is active, but"
    unmounted = [store.id for store in stores if store is not None and not store.mounted]
    if unmounted:
        what = f"{' and '.join(unmounted)} is not mounted on the instance"
        return Judgement(
            "unhealthy",
            f"{is_active} {what}, and no service starts without. The instance tries again every 10 s; `geusemaker "
            f"recover {name}` tells what is wrong.",
            (what,),
        )
    if facts.file_system is None:  # not seen: AWS could not be asked
        return None
    if facts.data_trouble:
        return Judgement(
            "unhealthy", f"{is_active} its data cannot be read: {facts.data_trouble}", ("its data cannot be read",)
        )
    if problem := sentinel_problem(facts.sentinel, facts.sentinel_known, name, facts.file_system.id):
        return Judgement("unhealthy", f"{is_active} {problem}", (problem.partition(":")[0],))
    if facts.lease_damage:
        return Judgement("unhealthy", facts.lease_damage, ("the lease beside the data cannot be read",))
    return None


def _services(facts: Facts) -> Judgement:
    """How the services are that should run."""
    state = facts.state
    assert state.active is not None
    name, active = state.name, state.active
    resting: dict[str, StoppedService] = {
        service: note
        for service, note in facts.stopped.items()
        if service in active.config.services and not _runs(facts.services.get(service))
    }
    apart = "".join(f" {_resting(service, note)}." for service, note in sorted(resting.items()))
    awake = [service for service in sorted(active.config.services) if service not in resting]
    drifted = drift(facts, resting)
    ill = [service for service in awake if _is_ill(facts, service)]
    repairs = (*drifted, *(f"{service}: {_how(facts.services.get(service))}" for service in ill))
    restarts = _hanging(facts, ill)
    if drifted:
        also = f" Not healthy: {', '.join(ill)}." if ill else ""
        return Judgement(
            "drifted",
            f"v{active.number} is active, but {'; '.join(drifted)}. {_way(state, 'puts it right')}{also}{apart}",
            repairs,
            restarts,
        )
    if ill:
        told = ", ".join(f"{service} ({_how(facts.services.get(service))})" for service in ill)
        failing = _failing(facts, ill)
        way = _way(state, "starts what should run", failing=bool(failing))
        way = f"; {way}" if way.startswith("`") else f". {way}"
        return Judgement(
            "unhealthy",
            f"v{active.number} is active, but not healthy: {told}. See `geusemaker logs {name} {ill[0]}`{way}{apart}",
            repairs,
            restarts,
            failing,
        )
    young = [service for service in awake if _is_young(facts, service)]
    if young:
        return Judgement(
            "settling",
            f"v{active.number} is active and answers; it is called healthy when it has done so for "
            f"{facts.settle_seconds:g} s without a restart: {', '.join(young)} started less than that ago.{apart}",
        )
    if resting:
        only = sorted(resting)[0] if len(resting) == 1 else ""
        start = f"geusemaker start {name} {only}".strip()
        return Judgement("stopped", f"v{active.number} is active.{apart} `{start}` starts it again.")
    return Judgement("healthy", f"v{active.number} is active and healthy.")


def _way(state: DeploymentState, does: str, *, failing: bool = False) -> str:
    """What to type: ``recover`` as it would go, with what it ``does`` where it puts right what is active."""
    target = repair_target(state, failing=failing)
    if target is None:
        return advice(state, failing=failing)
    stays = state.active is not None and target.number == state.active.number
    return f"`geusemaker recover {state.name}` {does if stays else f'goes back to v{target.number}'}."


def drift(facts: Facts, resting: Mapping[str, StoppedService] | None = None) -> list[str]:
    """Where what is there is not what the active version and the target say. A stopped service may be behind."""
    active, target, volume, instance = facts.state.active, facts.state.target, facts.volume, facts.instance
    if active is None:
        return []
    found = []
    if volume is not None and target is not None and volume.size_gib != target.data_volume_gib:
        found.append(f"the data volume has {volume.size_gib} GiB, not {target.data_volume_gib}")
    if instance is not None and instance.type != active.config.instance_type:
        found.append(f"the instance is a {instance.type}, not a {active.config.instance_type}")
    if instance is not None and instance.others:
        found.append(f"{', '.join(instance.others)} carries the deployment's tag as well")
    return found + [
        f"{name} runs {found_service.image}"
        for name, service in active.config.services.items()
        if name not in (resting or {})
        and (found_service := facts.services.get(name)) is not None
        and found_service.image is not None
        and found_service.image.rpartition("@")[2] != service.image.digest
    ]


def _resting(service: str, note: StoppedService) -> str:
    why = f" ({note.reason})" if note.reason else ""
    return f"{service} is stopped on purpose, by {note.by} since {note.since}{why}"


def _runs(service: ServiceState | None) -> bool:
    return service is not None and (service.healthy or service.state in ("running", "restarting", "paused"))


def _is_ill(facts: Facts, service: str) -> bool:
    found = facts.services.get(service)
    return facts.asked and (found is None or not found.healthy)


def _how(service: ServiceState | None) -> str:
    if service is None:
        return "there is no container"
    return service.detail or service.state or "does not answer"


def _hanging(facts: Facts, ill: Sequence[ServiceName]) -> tuple[ServiceName, ...]:
    return tuple(
        service
        for service in ill
        if (found := facts.services.get(service)) is not None and found.state in ("running", "unhealthy")
    )


def _failing(facts: Facts, ill: Sequence[ServiceName]) -> tuple[ServiceName, ...]:
    """Those that end again and again although all that they need is healthy."""
    assert facts.state.active is not None
    needs = {name: one["depends_on"] for name, one in probes(facts.state.active.config).items()}
    return tuple(
        service
        for service in ill
        if (found := facts.services.get(service)) is not None
        and _ends_again_and_again(found.state, found.restarts)
        and not set(needs[service]) & set(ill)
    )


def fails_by_itself(watched: Mapping[str, Any], services: Mapping[str, ServiceHealth]) -> bool:
    """Whether a service ends again and again although all that it needs is healthy.

    Args:
        watched: what was asked for, with what each service depends on.
        services: how they are.
    """
    ill = {name for name, found in services.items() if not found.healthy}
    return any(
        _ends_again_and_again(services[name].state, services[name].restarts)
        and not {*watched[name]["depends_on"]} & ill
        for name in ill & set(watched)
    )


def _ends_again_and_again(state: str, restarts: int) -> bool:
    return state == "restarting" or restarts >= _AGAIN_AND_AGAIN


def _is_young(facts: Facts, service: str) -> bool:
    found = facts.services.get(service)
    return found is not None and found.age_seconds is not None and found.age_seconds < facts.settle_seconds
