"""``hold``, ``stop``, ``start``, ``restart``: services that are to run, or not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from geusemaker.agent.agent import Agent, hold_lease
from geusemaker.agent.clock import now
from geusemaker.agent.containers import Container
from geusemaker.agent.data.password import put_password
from geusemaker.agent.document import Document, Json, check_service_name
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_leniently, write_atomic
from geusemaker.agent.project import compose_up
from geusemaker.agent.store.sentinel import check_sentinel


def hold(agent: Agent, document: Document) -> Json:
    """Stop all services gracefully. ``unless-stopped`` keeps them down over a reboot, until ``apply`` starts them."""
    operation = document.operation()
    with agent.registered(operation, "hold"):
        hold_lease(agent, operation)
        agent.ensure_docker()
        there = agent.containers()
        prepared = read_leniently(agent.prepared_file)
        if prepared.get("operation") == operation:
            write_atomic(agent.prepared_file, json.dumps({**prepared, "held": sorted(there)}))
        stopped = stop_containers(agent, there.values())
        agent.on_efs(lambda: agent.store.change(operation, serving=None))
        return {"stopped": stopped}


def stop(agent: Agent, document: Document) -> Json:
    """Stop services on purpose. The note comes first, so that nothing starts them again, whatever happens to this."""
    operation, services = document.operation(), named_services(document)
    note = {"by": document.text("by"), "since": now(), "reason": document.optional_text("reason") or ""}
    with agent.registered(operation, "stop"):
        hold_lease(agent, operation)
        agent.ensure_docker()
        agent.on_efs(lambda: agent.store.note_stopped(services, note))
        agent.on_efs(lambda: agent.store.change(operation, changed=True))
        there = agent.containers()
        stop_containers(agent, [there[name] for name in services if name in there])
        return {"stopped": agent.on_efs(agent.store.stopped)}


def start(agent: Agent, document: Document) -> Json:
    """Start services that were stopped on purpose, as the compose file has them now, and forget that they were."""
    operation, services = document.operation(), named_services(document)
    with agent.registered(operation, "start"):
        hold_lease(agent, operation)
        agent.require_volume(agent.data_volume_id())
        deployment, file_system_id = agent.host().get("deployment"), agent.require_mount()
        agent.on_efs(lambda: check_sentinel(agent.store.sentinel(), deployment, file_system_id))
        agent.ensure_docker()
        agent.on_efs(lambda: agent.store.forget_stopped(services))
        agent.on_efs(lambda: agent.store.change(operation, changed=True))
        if "postgresql" in services and agent.on_efs(agent.store.password_changes):
            put_password(agent, services)
        compose_up(agent, services, services)
        return {"started": services, "stopped": agent.on_efs(agent.store.stopped)}


def restart(agent: Agent, document: Document) -> Json:
    """Start services once more that run and do not answer; those that do not run are left to ``apply``."""
    operation, services = document.operation(), named_services(document)
    with agent.registered(operation, "restart"):
        hold_lease(agent, operation)
        there = agent.containers()
        hanging = [there[name] for name in services if name in there and there[name].running]
        for container in hanging:
            agent.reporter.service(container.service, "stopping")
        if hanging and (done := agent.docker("restart", *(one.id for one in hanging), timeout=300)).code != 0:
            # Compose may still bring it up, and what does not come up is what the gate is for.
            agent.reporter.note(f"Not all services could be started once more: {done.reason()}")
        return {"restarted": sorted(one.service for one in hanging)}


def stop_containers(agent: Agent, containers: Iterable[Container]) -> list[str]:
    """Stop those of these containers that run; the services they are of.

    Raises:
        AgentError: docker_failed
    """
    running = [one for one in containers if one.status in ("running", "restarting", "paused")]
    # n8n first: it must not lose its database, nor anything else it calls, in the middle of a workflow. By id, not
    # with Compose: a compose file that cannot be read, or names a service no more, must not keep one running.
    for batch in _in_order(agent, running):
        for container in batch:
            agent.reporter.service(container.service, "stopping")
        finished = agent.docker("stop", *(one.id for one in batch), timeout=300)
        if finished.code != 0:
            raise AgentError("docker_failed", f"Not all services could be stopped: {finished.reason()}")
        for container in batch:
            agent.reporter.service(container.service, "exited", "stopped")
    return sorted(one.service for one in running)


def _in_order(agent: Agent, running: Sequence[Container]) -> list[list[Container]]:
    """Those that need others before these, by what the gate was last told; what needs nothing stops last, at once."""
    told = read_leniently(agent.probes_file).get("services") or {}
    needs = {"n8n": {"postgresql"}} | {name: set(one.get("depends_on") or ()) for name, one in told.items()}
    left, batches = list(running), []
    while left:
        needed = {name for one in left for name in needs.get(one.service, ())}
        batch = [one for one in left if needs.get(one.service) and one.service not in needed]
        batches.append(batch or left)
        left = [one for one in left if one not in batches[-1]]
    return batches


def named_services(document: Document) -> list[str]:
    """The services that a document names, at least one.

    Raises:
        AgentError: bad_input
    """
    names = [check_service_name(str(name)) for name in document.items("services")]
    if not names:
        raise AgentError("bad_input", "No service is named.")
    return names
