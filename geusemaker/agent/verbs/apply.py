"""``apply``: the compose project becomes the given one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from geusemaker.agent.agent import Agent
from geusemaker.agent.containers import Container
from geusemaker.agent.data.n8n_key import put_key
from geusemaker.agent.data.password import put_password
from geusemaker.agent.document import Document, Json
from geusemaker.agent.env_files import env_file
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_text, write_atomic
from geusemaker.agent.mounting import mount_again
from geusemaker.agent.planned import follow_plan_or_note
from geusemaker.agent.project import begin_check, compose_up, end_check, held_services, put_project, services_of
from geusemaker.agent.pulls import pull_images
from geusemaker.agent.store.sentinel import check_sentinel
from geusemaker.agent.watching import set_watch

MOUNT_PATIENCE: Final = 60.0  # seconds for what a boot could not mount; the services are down then


class Directory(NamedTuple):
    """A folder on EFS, or on the data volume, that a service needs, with the owner its image runs as."""

    path: str
    uid: int
    gid: int
    mode: int
    on_volume: bool

    @classmethod
    def parse(cls, value: Any) -> Directory:
        document = Document(value if isinstance(value, dict) else {})
        path = document.text("path")
        if path.startswith(("/", ".")) or any(part in ("", ".", "..") for part in path.split("/")):
            raise AgentError("bad_input", "A directory has to be a plain path below the mount point.")
        return cls(
            path,
            int(document.number("uid", 0)),
            int(document.number("gid", 0)),
            int(document.number("mode", 0o755)),
            document.values.get("on") == "volume",
        )


def apply(agent: Agent, document: Document) -> Json:
    """Make the compose project on the instance the given one, restarting only what differs."""
    operation, deployment = document.operation(), document.text("deployment")
    file_system_id, volume_id = document.text("file_system_id"), document.optional_text("data_volume_id")
    project = document.mapping("compose")
    services, images = services_of(project)
    environment = document.service_map("environment")
    env_files = {name: env_file(variables) for name, variables in environment.items()}
    agent.reporter.hide(value for variables in environment.values() for value in variables.values())
    directories = [Directory.parse(value) for value in document.items("directories")]
    with agent.registered(operation, "apply"):
        facts = {"kind": document.optional_text("kind"), "instance_id": document.text("instance_id")}
        mount_again(agent, MOUNT_PATIENCE)
        agent.require_volume(volume_id)
        stopped: Json
        older: Json
        stopped, password_changes, key_changes, older = agent.on_efs(
            lambda: _prepare_data(agent, document, operation, facts, services, directories),
            file_system_id=file_system_id,
        )
        only = [name for name in services if name not in stopped] if stopped else None
        password_changes = password_changes and "postgresql" in (services if only is None else only)
        older = older if "postgresql" in services else {}
        data: Json = {}
        agent.end_stragglers(operation)
        checking = begin_check(agent, project)

        def bring_up() -> None:
            if older:
                data.update(_exchange_data(agent, operation, older, there))
            if password_changes:
                # The database first, so that nobody uses the old password.
                put_password(agent, there)
            compose_up(agent, there, only)

        def put() -> None:
            put_project(agent, project, env_files)
            # Pulling may have taken minutes: look again, right before the first container is touched.
            agent.on_efs(lambda: agent.store.require(operation, held=True), file_system_id=file_system_id)
            agent.require_volume(volume_id)
            agent.reporter.phase("apply", "started", "Replacing what differs")

        held = held_services(agent, operation, images) if checking is None else None
        there, before = {*services, *(held or ())}, dict[str, Container]()
        if held is not None:
            put()
        if held is None or not _comes_up(agent, bring_up):
            agent.ensure_docker()
            pull_images(agent, images, document.number("deadline_seconds", 1800))
            found = agent.containers()
            there |= found.keys()
            if held is None:  # else all was down, and what runs by now is new
                before = found
            end_check(agent, checking)
            put()
            bring_up()
        if password_changes:
            agent.on_efs(agent.store.forget_password)
        if key_changes:
            agent.on_efs(agent.store.forget_key)
        agent.on_efs(agent.store.forget_interruption)
        agent.prepared_file.unlink(missing_ok=True)
        set_watch(agent, document.values.get("watch"))
        follow_plan_or_note(agent)
        for name in sorted(stopped):
            agent.reporter.service(name, "exited", f"stays stopped, as {stopped[name].get('by')} wanted")
        answer = _report_apply(agent, operation, services if only is None else only, before, there - services.keys())
        agent.reporter.phase("apply", "done", f"{len(answer['changed'])} of {len(services)} services changed")
        return {**answer, **data, "stopped": sorted(stopped), "deployment": deployment}


def _exchange_data(agent: Agent, operation: str, note: Json, there: Collection[str]) -> Json:
    """Put the older data in place that this operation has loaded; or back what another one took out of its place."""
    from geusemaker.agent.verbs.load import exchange_data

    return exchange_data(agent, operation, note, there)


def _comes_up(agent: Agent, bring_up: Callable[[], None]) -> bool:
    """Start the services on an instance that was stopped for this and boots, with all of them down.

    Docker is asked nothing that is known, so Compose is at work when Docker begins to answer. False: it failed, and has
    to be done with a look at Docker first.
    """
    try:
        bring_up()
    except AgentError as error:
        agent.reporter.note(f"Once more, with a look at Docker first: {error.message}")
        return False
    return True


def _prepare_data(
    agent: Agent,
    document: Document,
    operation: str,
    facts: Json,
    services: Json,
    directories: Sequence[Directory],
) -> tuple[Json, bool, bool, Json]:
    """Everything about the data that has to hold before containers may start (runs in the child).

    Returns:
        Those of the services that are stopped on purpose (whoever deploys wants all of them to run), whether the
        database's password is being changed, whether n8n's key is, and the note of older data that is to be exchanged.
    """
    store = agent.store
    sentinel = store.sentinel()
    check_sentinel(sentinel, document.text("deployment"), document.text("file_system_id"))
    if "postgresql" in services and sentinel and sentinel.get("postgresql") and store.database_version() is None:
        raise AgentError(
            "data_loss",
            "PostgreSQL had a database on this file system and it is gone. An empty one is not started in its place.",
        )
    serving = (store.lease() or {}).get("serving")
    if serving and serving != facts["instance_id"] and serving in document.items("other_instances"):
        raise AgentError(
            "other_instance", f"Instance {serving} serves this data; two must never do so at once.", serving=serving
        )
    expects, takeover = document.optional_text("expects"), document.optional_text("takeover")
    store.take_for_apply(operation, expects, takeover, facts)
    if document.values.get("adopt") is True:
        store.note_adopted(operation)
        if store.database_version() is not None:
            store.note_password(operation)
    _make_directories(agent, directories)
    returns = document.values.get("returns") is True
    older = store.open_return(operation, document.optional_text("settled"), returns=returns)
    key_changes = "n8n" in services and store.key_changes()
    if key_changes:
        put_key(agent.efs, document.service_map("environment").get("n8n"))
    noted = store.stopped()
    if not noted and read_text(store.stopped_file) not in (None, "{}"):
        agent.reporter.note("Which services were stopped on purpose cannot be read: all of them are started.")
    if noted:
        store.forget_stopped(None if facts["kind"] == "deploy" else noted.keys() - services.keys())
    return store.stopped(), store.password_changes(), key_changes, older


def _make_directories(agent: Agent, directories: Sequence[Directory]) -> None:
    for directory in directories:
        path = (agent.data if directory.on_volume else agent.efs) / directory.path
        # Only a folder that is new, or that an interrupted run left empty, gets an owner: data keeps the one it has.
        if not path.is_dir():
            path.mkdir(parents=True)
        if not any(path.iterdir()):
            path.chmod(directory.mode)
            if os.geteuid() == 0:
                os.chown(path, directory.uid, directory.gid)


def _report_apply(
    agent: Agent, operation: str, services: Iterable[str], before: Mapping[str, Container], removed: Collection[str]
) -> Json:
    """What became of the services; only those of ``before`` may be unchanged."""
    after = agent.containers()
    changed: list[str] = []
    unchanged: list[str] = []
    baseline: dict[str, int] = {}
    for name in services:
        old, new = before.get(name), after.get(name)
        same = old is not None and new is not None and (old.id, old.started_at) == (new.id, new.started_at)
        (unchanged if same else changed).append(name)
        if new is not None:
            # The gate holds only those restarts against a container that happen from now on.
            baseline[new.id] = new.restarts if same else 0
        if same:
            agent.reporter.service(name, "unchanged")
    for name in sorted(removed):
        agent.reporter.service(name, "removed")
    agent.applied_file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(agent.applied_file, json.dumps({"operation": operation, "restarts": baseline}))
    return {"changed": sorted(changed), "unchanged": sorted(unchanged), "removed": sorted(removed)}
