"""``load``: older data, loaded beside what is there; and how ``apply`` exchanges the two, and back.

What is under way is noted beside the data, as ``state``: ``loading``, ``loaded``, ``swapping``, ``swapped``, and
``settled`` once the version that it was done for is healthy and on record. Whoever applies another version before that
puts back what was there, so no software ever starts on the other one's data. All databases change names in one
transaction; what comes out of its place is kept under another name, whichever way it goes.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Final

from geusemaker.agent.agent import Agent, hold_lease, or_problem
from geusemaker.agent.clock import POLL_INTERVAL
from geusemaker.agent.containers import Container, find_failure
from geusemaker.agent.data.n8n import N8N_FILES
from geusemaker.agent.data.n8n_key import key_fingerprint
from geusemaker.agent.data.postgresql import (
    DATABASES,
    own_name,
    query_database,
    quote_identifier,
    rename_databases,
)
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_json, read_leniently
from geusemaker.agent.project import compose_up
from geusemaker.agent.store.checkpoints import CHECKPOINT_FILE
from geusemaker.agent.verbs.checkpoint import running_containers
from geusemaker.agent.verbs.hold import stop_containers
from geusemaker.agent.verbs.restore import Restore, check_dumps

_HELD: Final = "postgresql"
DATABASE_PATIENCE: Final = 300.0  # seconds for a database that has to recover before it answers


def load(agent: Agent, document: Document) -> Json:
    """Load a checkpoint's databases beside those that are there, under other names, while everything still runs.

    Raises:
        AgentError: no_checkpoint, checkpoint_damaged, checkpoint_unreadable, other_key, return_open, not_running,
            restore_failed; nothing of it is left then
    """
    operation, name = document.operation(), document.text("checkpoint")
    settled, deadline = document.optional_text("settled"), document.number("deadline_seconds", 10_800)
    with agent.registered(operation, "load"):
        hold_lease(agent, operation)
        agent.reporter.phase("load", "started", f"Reading checkpoint {name}")
        _require_none_open(agent, operation, settled)
        wanted = agent.on_efs(lambda: agent.store.open_checkpoint(name, [_HELD]), deadline)
        made_with, key = wanted.get("n8n_key"), key_fingerprint(agent)
        if made_with and key and made_with != key:
            raise AgentError("other_key", f"Checkpoint {name} was made with another encryption key of n8n.")
        containers = running_containers(agent, [_HELD])
        agent.on_efs(lambda: check_dumps(agent, containers, wanted), deadline)
        work = Restore(agent, operation, wanted, containers, deadline)
        note = {"operation": operation, "checkpoint": name, "names": work.names, "kept": work.kept, "state": "loading"}
        agent.on_efs(lambda: agent.store.note_return(note))
        try:
            agent.on_efs(work.load_databases, deadline)
            agent.on_efs(lambda: agent.store.note_return({**note, "state": "loaded"}))
        except BaseException:
            or_problem(lambda: drop_loaded(agent, note))  # what went wrong first is what is told
            raise
        agent.reporter.phase("load", "done", f"{len(work.names)} databases are loaded")
        return {"loaded": work.names, "kept": work.kept}


def _require_none_open(agent: Agent, operation: str, settled: str | None) -> None:
    note = agent.on_efs(lambda: agent.store.data_return())
    if note and note["state"] in ("swapping", "swapped") and note["operation"] not in (operation, settled):
        raise AgentError(
            "return_open",
            f"Operation {note['operation']} has put older data in place and did not come to its end. Nothing was "
            "changed.",
        )


def drop_loaded(agent: Agent, note: Json) -> None:
    """Drop what was loaded, and is not to be put in place.

    Raises:
        AgentError: not_running, docker_failed
    """
    container = running_containers(agent, [_HELD])[_HELD]
    _drop_loaded(agent, container, note)
    agent.on_efs(agent.store.forget_return)


def _drop_loaded(agent: Agent, container: Container, note: Json) -> list[str]:
    present = query_database(agent, container, "postgres", DATABASES)
    loaded = [one for one in _called(note, "restoring").values() if one in present]
    for one in loaded:
        query_database(agent, container, "postgres", f"DROP DATABASE {quote_identifier(one)}", timeout=300)
    return loaded


def exchange_data(agent: Agent, operation: str, note: Json, there: Collection[str]) -> Json:
    """Put what was loaded in place, or, of another operation's note, back what it replaced. Again is fine.

    Only PostgreSQL runs when this returns: what uses its databases was stopped, and is started by who called this.

    Raises:
        AgentError: not_loaded, docker_failed, apply_failed
    """
    mine = note["operation"] == operation
    what = f"Putting the data of {note['checkpoint']} in place" if mine else "Putting the data of before back"
    agent.reporter.phase("data", "started", what)
    stop_containers(agent, _clients(agent))
    compose_up(agent, there, [_HELD])
    container = _answering(agent)
    became = _put_in_place(agent, note, container) if mine else _put_back(agent, note, container)
    agent.reporter.phase("data", "done", f"{what}: done")
    return became


def _clients(agent: Agent) -> list[Container]:
    """The containers of those that need PostgreSQL, by what the gate was last told."""
    told = read_leniently(agent.probes_file).get("services") or {}
    using = {"n8n", *(name for name, one in told.items() if _HELD in (one.get("depends_on") or ()))}
    return [container for name, container in agent.containers().items() if name in using]


def _answering(agent: Agent) -> Container:
    """PostgreSQL's container, once it answers."""
    deadline = time.monotonic() + DATABASE_PATIENCE
    while True:
        container = agent.containers().get(_HELD)
        said = _says(agent, container) if container is not None else "it has no container"
        if container is not None and not said:
            return container
        restarts = container.restarts if container is not None else 0
        if time.monotonic() > deadline or find_failure(container, restarts, excused=False) is not None:
            raise AgentError("apply_failed", f"The database does not answer: {said}")
        time.sleep(POLL_INTERVAL)


def _says(agent: Agent, container: Container) -> str:
    """Why the database does not answer; empty: it does."""
    _, problem = or_problem(lambda: query_database(agent, container, "postgres", "SELECT 1"))
    return problem or ""


def _put_in_place(agent: Agent, note: Json, container: Container) -> Json:
    about = agent.on_efs(lambda: read_json(agent.store.checkpoints / note["checkpoint"] / CHECKPOINT_FILE)) or {}
    wanted = {**about, "holds": [held for held in about.get("holds", ()) if held["service"] == _HELD]}
    present = set(query_database(agent, container, "postgres", DATABASES))
    loaded = [one in present for one in _called(note, "restoring").values()]
    if any(loaded) or note["state"] in ("loading", "loaded"):
        if not (about and all(loaded)):
            raise AgentError("not_loaded", "Not all of the older data is loaded. Nothing of it was put in place.")
        agent.on_efs(lambda: agent.store.note_return({**note, "state": "swapping"}))
        work = Restore(agent, note["operation"], {**wanted, "checkpoint": note["checkpoint"]}, {_HELD: container}, 0)
        agent.on_efs(work.swap_n8n_files)
        work.swap_databases()
    agent.on_efs(lambda: agent.store.note_return({**note, "state": "swapped"}))
    return {"restored": note["checkpoint"], "kept": note["kept"], "set_aside": _folders(agent, note, "before")}


def _put_back(agent: Agent, note: Json, container: Container) -> Json:
    """As ``note`` found it. What it had put in place goes aside: something may have been written to it."""
    dropped = _drop_loaded(agent, container, note)
    present = set(query_database(agent, container, "postgres", DATABASES))
    before, aside = _called(note, "before"), _called(note, "failed")
    renames = []
    # Renamed are all in one transaction: what is still loaded, or aside already, says that there is nothing to do.
    if note["state"] in ("swapping", "swapped") and not dropped and present.isdisjoint(aside.values()):
        for name in note["names"]:
            if name in note["kept"] and before[name] not in present:
                continue  # somebody dropped what was kept: better this one than none
            if name in present:
                renames.append((name, aside[name]))
            if before[name] in present:
                renames.append((before[name], name))
    agent.on_efs(lambda: _put_files_back(agent, note))
    rename_databases(agent, container, renames)
    agent.on_efs(agent.store.forget_return)
    found = set(query_database(agent, container, "postgres", DATABASES))
    now_aside = {name: one for name, one in aside.items() if one in found}
    by, folders = note["operation"], _folders(agent, note, "failed")
    return {"put_back": note["checkpoint"], "put_there_by": by, "kept": now_aside, "set_aside": folders}


def _put_files_back(agent: Agent, note: Json) -> None:
    """n8n's folders of files (runs in the child); ``Restore.swap_n8n_files`` took them out of their place."""
    home = agent.efs / "n8n"
    for name in N8N_FILES:
        before = home / own_name(name, "before", note["operation"])
        if before.is_dir():
            if (home / name).exists():
                (home / name).rename(home / own_name(name, "failed", note["operation"]))
            before.rename(home / name)


def _folders(agent: Agent, note: Json, what: str) -> list[str]:
    home = agent.efs / "n8n"
    names = [own_name(name, what, note["operation"]) for name in N8N_FILES]
    return agent.on_efs(lambda: [f"n8n/{name}" for name in names if (home / name).is_dir()])


def _called(note: Mapping[str, object], what: str) -> dict[str, str]:
    """Database → its other name."""
    names, operation = note["names"], str(note["operation"])
    assert isinstance(names, list)
    return {name: own_name(name, what, operation) for name in names}
