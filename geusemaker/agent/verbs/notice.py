"""``notice``: waits for EC2's word that it takes the instance back, and stops the services in the two minutes left.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html: ``instance-action`` is not
there (404) until EC2 has marked the instance, and then tells what it does, and when; to look every five seconds is what
AWS recommends.
"""

from __future__ import annotations

import json
import time
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.clock import now
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.metadata import Metadata
from geusemaker.agent.project import compose_up
from geusemaker.agent.reboot import boot_id
from geusemaker.agent.store.sentinel import check_sentinel
from geusemaker.agent.verbs.hold import stop_containers
from geusemaker.agent.verbs.watch import send
from geusemaker.agent.watching import watched

PATH: Final = "/latest/meta-data/spot/instance-action"
EVERY_SECONDS: Final = 5.0
_LIFE_SECONDS: Final = 3300.0
"""So long one process looks; then systemd starts the next one, which is of the agent that is installed by then."""
_EFS_SECONDS: Final = 5.0
"""The file system is told in so many seconds, or not at all: services have to be stopped."""


def notice(agent: Agent, document: Document) -> Json:
    """Look for the notice again and again, for an hour or so; what is to be done about one is done at each look."""
    metadata = Metadata(agent.environment)
    ends = time.monotonic() + document.number("seconds", _LIFE_SECONDS)
    is_back, noticed, said = False, False, set[str]()
    while True:
        try:
            found = _find(metadata)
            if found is not None:
                noticed = True
                heed(agent, found)
            elif not is_back:
                _bring_back(agent)
                is_back = True
        except AgentError as error:  # the next look may be luckier
            if error.message not in said:
                said.add(error.message)
                agent.reporter.note(error.message)
        if time.monotonic() >= ends:
            return {"noticed": noticed}
        time.sleep(EVERY_SECONDS)


def parse(text: str) -> Json | None:
    """What EC2 is about to do (``stop``, ``terminate``, ``hibernate``), and when; None: it is no notice. Pure."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("action"), str):
        return None
    return {"action": value["action"], "at": str(value.get("time") or "")}


def heed(agent: Agent, found: Json) -> None:
    """Write the notice beside the data, stop what runs in its order, and tell of it.

    Whatever operation is under way: in two minutes there is no instance that it could go on with.

    Raises:
        AgentError: docker_failed
    """
    boot = boot_id(agent.root)
    there = agent.containers()
    running = sorted(name for name, one in there.items() if one.running)
    before = _read(agent)
    if before.get("boot") != boot:
        before = {}
    if before and not running:
        return
    note = {
        **found,
        "instance_id": agent.host().get("instance_id"),
        "boot": boot,
        "noticed_at": before.get("noticed_at") or now(),
        "stopped": sorted({*before.get("stopped", ()), *running}),
    }
    _write(agent, note)  # first: what happens then may be cut off
    stop_containers(agent, there.values())
    _write(agent, {**note, "stopped_at": now()})
    if not before:
        _tell(agent, note)


def sentence(deployment: str, note: Json) -> str:
    """What is told of a notice. Pure."""
    services = ", ".join(note["stopped"]) or "nothing"
    at = f" at {note['at']}" if note["at"] else ""
    return (
        f"{deployment}: EC2 takes the spot instance {note['instance_id']} back ({note['action']}{at}). Stopped in "
        f"order: {services}; the data is on its disks. `geusemaker recover {deployment}` brings it back."
    )


def _find(metadata: Metadata) -> Json | None:
    text = metadata.read(PATH)
    return None if text is None else parse(text)


def _bring_back(agent: Agent) -> None:
    """Start what was stopped for the end of an earlier boot: EC2 starts an instance again when it has capacity.

    An operation that has the deployment starts what it wants; so does whoever serves the data meanwhile.

    Raises:
        AgentError: the data is not there (yet), or Docker does not do it
    """
    note = agent.on_efs(agent.store.interruption)
    mine = agent.host().get("instance_id")
    if note.get("instance_id") != mine or note.get("boot") == boot_id(agent.root) or note.get("returned_at"):
        return
    lease = agent.on_efs(agent.store.lease) or {}
    if lease.get("state") == "held" or lease.get("serving") not in (None, mine):
        return
    agent.require_volume(agent.data_volume_id())
    deployment, file_system_id = agent.host().get("deployment"), agent.require_mount()
    agent.on_efs(lambda: check_sentinel(agent.store.sentinel(), deployment, file_system_id))
    agent.ensure_docker()
    resting = agent.on_efs(agent.store.stopped)
    names = [name for name in note.get("stopped") or () if name not in resting]
    with agent.registered(f"return-{boot_id(agent.root)}", "notice"):
        compose_up(agent, names, names)
    agent.on_efs(lambda: agent.store.note_interruption({**note, "returned_at": now()}))


def _read(agent: Agent) -> Json:
    try:
        return agent.on_efs(agent.store.interruption, _EFS_SECONDS)
    except AgentError:
        return {}


def _write(agent: Agent, note: Json) -> None:
    try:
        agent.on_efs(lambda: agent.store.note_interruption(note), _EFS_SECONDS)
    except AgentError as error:
        agent.reporter.note(f"The notice could not be written beside the data: {error.message}")


def _tell(agent: Agent, note: Json) -> None:
    addresses = [str(address) for address in watched(agent).get("addresses") or ()]
    if not addresses:
        return
    agent.reporter.hide(addresses)
    name = agent.host().get("deployment") or "a deployment"
    record = {"event": "spot-notice", "text": sentence(name, note), "deployment": name, "at": now()}
    for failure in send(agent, addresses, agent.reporter.redact(record)):
        agent.reporter.note(f"Not told: {failure}")
