"""Whether instance and data are there to be judged by, and what to do where they are not."""

from __future__ import annotations

from typing import Final

from geusemaker.checks.host import sentinel_problem
from geusemaker.services.interruption import EC2_STARTS_IT, waits_for_capacity
from geusemaker.services.judgement.facts import Facts, Judgement
from geusemaker.services.rest.at_rest import told
from geusemaker.services.rollback.target import mending

_SILENT: Final = frozenset({"unreachable", "timeout", "agent_died"})
"""Codes of an instance that does not answer, or not to the end: only there a reboot may help."""


def judge_lost_data(facts: Facts) -> Judgement | None:
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


def judge_rest(facts: Facts) -> Judgement | None:
    """An instance that somebody stopped on purpose is as it should be."""
    state = facts.state
    if facts.rest is None or state.active is None:
        return None
    stays = f" What it keeps stays, and {facts.stays}." if facts.stays else ""
    return Judgement(
        "stopped",
        f"v{state.active.number} is active, and {told(facts.rest)}.{stays} `geusemaker start {state.name}` starts it "
        "again.",
    )


def judge_sight(facts: Facts) -> Judgement | None:
    """Why the instance was not seen, where it was not; the advice fits the cause."""
    state, trouble, instance = facts.state, facts.trouble, facts.instance
    assert state.active is not None
    name, should = state.name, f"v{state.active.number} should run, but"
    if trouble is not None and trouble.code == "aws":
        said = f"{trouble.message} {trouble.next_step}".strip()
        return Judgement("unreachable", f"{should} it could not be looked at: {said}")
    if instance is None or instance.state != "running":
        what = f"the instance is {instance.state}" if instance else "there is no instance"
        if facts.ended is not None and facts.ended.why:
            what += f" ({facts.ended.why})"
        if waits_for_capacity(state.active.config, instance):
            way = f"{EC2_STARTS_IT} `geusemaker recover {name} --on-demand` brings it back at once."
        else:
            way = mending(state, "repairs")
        return Judgement("unreachable", f"{should} {what}. {way}", (what,))
    if facts.ended is not None and facts.ended.cause == "ending":
        what = facts.ended.why
        return Judgement("unhealthy", f"{should} {what}. When it is gone, {mending(state, 'repairs')}", (what,))
    if not instance.address:
        what = f"{instance.id} has no Elastic IP any more"
        return Judgement("unreachable", f"{should} {what}. {mending(state, 'gives it one')}", (what,))
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


def judge_data(facts: Facts) -> Judgement | None:
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
