"""``watch``: one look by the instance at itself, which tells what has changed; ``notify``: who is told."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from geusemaker.agent.agent import Agent, hold_lease
from geusemaker.agent.clock import now, seconds_between
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import write_atomic
from geusemaker.agent.machine import VOLUME_POINT
from geusemaker.agent.retention import is_old
from geusemaker.agent.verbs.health import health
from geusemaker.agent.watches import parse_watches
from geusemaker.agent.watching import needs_apprise, read_state, set_watch, watched, write_state
from geusemaker.agent.webhooks import ADDRESS_SECONDS, named, post

LOOKS: Final = 2
"""So many looks, one after the other, have to see something bad before it is told: a blip is none."""
HELD_SECONDS: Final = 7200.0
"""So long a lease that nobody gives back keeps the instance quiet, unless the operation is seen to work here."""
FULL: Final = 0.85
ROOM_AGAIN: Final = 0.80
"""Parts of a disk. Below the one it is no longer full, so that one that hovers is told once."""
CERTIFICATE_DAYS: Final = 14
"""Certificates of 90 days are renewed when 30 are left (caddyserver.com/docs/automatic-https)."""
_KINDS: Final = {
    "unhealthy": "failure",
    "disk-full": "warning",
    "certificate": "warning",
    "backup-old": "warning",
    "healthy-again": "success",
    "spot-notice": "warning",
}
"""Event → its kind as Apprise has it."""


class Found(NamedTuple):
    """What one look came to. What is in neither of both was not seen, or lies between: it stays as it was told."""

    bad: dict[str, tuple[str, str]]
    """What → the event, and the sentence."""
    good: dict[str, str]
    """What → the sentence that is told where it was bad."""
    looked: bool
    """Whether it is known which services are to run."""


def watch(agent: Agent, document: Document) -> Json:
    """Look once, and tell what was bad at the last look and still is, or is good again. Nobody set: nothing is done."""
    wanted = watched(agent)
    addresses = [str(address) for address in wanted.get("addresses") or ()]
    if not addresses:
        return {"silent": "nobody is to be told", "told": [], "failures": []}
    agent.reporter.hide(addresses)
    look = health(agent, Document({"domains": wanted.get("domains")}))
    before = read_state(agent)
    if reason := silent(look):
        write_state(agent, {"seen": [], "told": before.get("told") or {}})
        return {"silent": reason, "told": [], "failures": []}
    found = judge(look, list(parse_watches(agent, Document({}))), agent.root, internal_ca=_is_internal(wanted))
    state, events = compare(found, before)
    told, failures = [], []
    for event, sentences in events.items():
        name = agent.host().get("deployment") or "a deployment"
        record = {"event": event, "text": f"{name}: {' '.join(sentences)}", "deployment": name, "at": now()}
        missed = send(agent, addresses, agent.reporter.redact(record))
        failures += missed
        if len(missed) < len(addresses):
            told.append(event)
        else:  # nobody heard it: the next look tells it again
            state = unsaid(state, before, event)
    write_state(agent, state)
    for failure in failures:
        agent.reporter.note(f"Not told: {failure}")
    return {"silent": "", "told": told, "failures": failures}


def notify(agent: Agent, document: Document) -> Json:
    """Set who is told, or with no ``watch`` that nobody is."""
    operation = document.operation()
    hold_lease(agent, operation)
    with agent.registered(operation, "notify"):
        return {"watches": set_watch(agent, document.values.get("watch"))}


def silent(look: Mapping[str, Any]) -> str:
    """Why nothing is told of a look; empty: it is. Pure."""
    if any(one.get("verb") != "backup" for one in look["operations_running"]):  # that one changes nothing
        return "an operation runs"
    lease = look["lease"] or {}
    if lease.get("state") == "held" and seconds_between(str(lease.get("taken_at")), now()) < HELD_SECONDS:
        return f"operation {lease['operation']} has the deployment"
    return ""


def judge(look: Mapping[str, Any], services: Sequence[str], root: Path, *, internal_ca: bool) -> Found:
    """What is bad of a look, and what is good; services are those that the last gate asked."""
    bad: dict[str, tuple[str, str]] = {}
    good: dict[str, str] = {}
    looked = look["sentinel_known"]
    if not looked:
        why = look["data_problem"] or "it is not mounted"
        bad["data"] = ("unhealthy", f"The data cannot be looked at: {why}.")
    else:
        good["data"] = "The data can be looked at again."
        for name in services:
            service = look["services"].get(name)
            if service is None or name in look["stopped"]:
                continue
            if service["healthy"]:
                good[f"service {name}"] = f"{name} is healthy again."
            elif (service["migration"] or {}).get("state") != "working":
                bad[f"service {name}"] = ("unhealthy", f"{name} is unhealthy: {service['detail']}.")
    for where, space in _disks(look, root).items():
        used = 1 - space["free_bytes"] / max(1, space["total_bytes"])
        if used > FULL:
            bad[f"disk {where}"] = ("disk-full", f"The disk of {where} is {used:.0%} full.")
        elif used < ROOM_AGAIN:
            good[f"disk {where}"] = f"The disk of {where} has room again ({used:.0%} used)."
    if problem := _backup_problem(look.get("backups") or {}):
        bad["backup"] = ("backup-old", problem)
    elif (look.get("backups") or {}).get("plan"):
        good["backup"] = "There is a backup again that is not too old."
    if "service caddy" in good:  # else that is what is told
        for host, domain in (look["domains"] or {}).items():
            problem = _certificate_problem(domain, internal_ca=internal_ca)
            if problem:
                bad[f"certificate {host}"] = ("certificate", f"The certificate of {host} {problem}.")
            else:
                good[f"certificate {host}"] = f"The certificate of {host} is good again."
    return Found(bad, good, looked)


def compare(found: Found, before: Json) -> tuple[Json, dict[str, list[str]]]:
    """The state for the next look, and event → the sentences that are told now. Pure."""
    seen, told = dict(_counted(before)), dict(before.get("told") or {})
    events: dict[str, list[str]] = {}
    counts: Json = {}
    for what, (event, sentence) in found.bad.items():
        counts[what] = min(LOOKS, seen.get(what, 0) + 1)
        if what not in told and counts[what] >= LOOKS:
            told[what] = event
            events.setdefault(event, []).append(sentence)
    for what in sorted(told.keys() - found.bad.keys()):
        if what in found.good:
            del told[what]
            events.setdefault("healthy-again", []).append(found.good[what])
        elif (what == "backup" or what.startswith("service ")) and found.looked:
            del told[what]  # it was stopped on purpose, or is planned, or is a service, no more: that is no news
    return {"seen": counts, "told": told}, events


def unsaid(state: Json, before: Json, event: str) -> Json:
    """The state where an event reached nobody. Pure."""
    was = before.get("told") or {}
    if event == "healthy-again":
        return {**state, "told": {**was, **state["told"]}}
    return {**state, "told": {what: kind for what, kind in state["told"].items() if kind != event or what in was}}


def _counted(before: Json) -> Json:
    seen = before.get("seen")
    return seen if isinstance(seen, dict) else {}


def _is_internal(wanted: Json) -> bool:
    return bool((wanted.get("domains") or {}).get("internal_ca"))


def _disks(look: Mapping[str, Any], root: Path) -> dict[str, Json]:
    """Folder → how full the disk is that it lies on; each disk once."""
    docker = root / "var/lib/docker"
    usage = os.statvfs(root)
    own = {"total_bytes": usage.f_blocks * usage.f_frsize, "free_bytes": usage.f_bavail * usage.f_frsize}
    disks: dict[str, Json] = {"/": own}
    if docker.is_dir() and docker.stat().st_dev != root.stat().st_dev:
        disks["/var/lib/docker"] = look["disk"]
    if (look["data_volume"] or {}).get("mounted"):
        disks[VOLUME_POINT] = look["data_volume"]
    return disks


def _backup_problem(backups: Mapping[str, Any]) -> str:
    """What is told of backups that do not come, where some are planned; empty: they do."""
    plan, done, failed = (backups.get(key) or {} for key in ("plan", "done", "failed"))
    last = done.get("at", "")
    if not plan or not is_old(now(), plan["every_seconds"], plan["since"], last):
        return ""
    said = f"The last backup is of {last[:16]}Z" if last else "There is no backup"
    why = f" The last try failed: {failed['detail']}" if failed.get("detail") else ""
    return f"{said}, and one is planned every {plan['every_seconds'] / 3600:g} h.{why}"


def _certificate_problem(domain: Json, *, internal_ca: bool) -> str:
    if not domain["certificate_until"]:
        return f"is none that a browser takes: {domain['problem']}"
    if internal_ca:  # those of Caddy's own authority live for hours, and are renewed as they go
        return ""
    left = datetime.fromisoformat(domain["certificate_until"]) - datetime.now(UTC)
    return f"ends in {max(0, left.days)} days and was not renewed" if left.days < CERTIFICATE_DAYS else ""


def send(agent: Agent, addresses: Sequence[str], record: Json) -> list[str]:
    """Tell everybody; for each that was not reached a sentence, which names no more of an address than its host."""
    webhooks = [address for address in addresses if not needs_apprise(address)]
    others = [address for address in addresses if needs_apprise(address)]
    failures = [f"{named(address)}: {problem}" for address in webhooks if (problem := post(address, record))]
    return failures + _send_by_apprise(agent, others, record)


def _send_by_apprise(agent: Agent, addresses: Sequence[str], record: Json) -> list[str]:
    """Send by Apprise's program, one after the other; it reads the address from a file, as argv is for all to see."""
    failures = []
    file = agent.operations.parent / "apprise.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    for address in addresses:
        title, kind = f"geusemaker: {record['event']}", _KINDS[record["event"]]
        try:
            write_atomic(file, f"{address}\n", 0o600)
            words = ("apprise", "-c", str(file), "-n", kind, "-t", title, "-b", record["text"])
            done = agent.run(words, 2 * ADDRESS_SECONDS, "not_told")
            problem = "" if done.code == 0 else "did not take it"
        except AgentError as error:
            problem = error.message
        finally:
            file.unlink(missing_ok=True)
        if problem:
            failures.append(f"{named(address)}: {problem}")
    return failures
