"""``rehearse``: other images started on a copy of the data, and then those that run now on what they left of it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Final

from geusemaker.agent.agent import Agent, hold_lease, or_problem
from geusemaker.agent.clock import now
from geusemaker.agent.containers import Container, find_failure
from geusemaker.agent.data.dumps import dump_database, load_dump
from geusemaker.agent.data.n8n import n8n_database
from geusemaker.agent.data.n8n_copy import copy_folder, folder_bytes
from geusemaker.agent.data.postgresql import DATABASES, database_user, query_database, quote_identifier
from geusemaker.agent.document import Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.exchange import Answer, http_status
from geusemaker.agent.files import read_text, write_atomic
from geusemaker.agent.images import Image
from geusemaker.agent.probes import Seen
from geusemaker.agent.project import compose_text
from geusemaker.agent.pulls import pull_images
from geusemaker.agent.rehearsal import (
    LEAST_FREE,
    REHEARSAL,
    REHEARSED,
    Room,
    clear_rehearsal,
    is_isolated,
    neutralising,
    read_memory,
    rehearsal_project,
    sweep_rehearsal,
)
from geusemaker.agent.verbs.checkpoint import running_containers
from geusemaker.agent.watches import Watch, parse_watches

LOOK_SECONDS: Final = 1.0
"""From one look at a service that starts to the next."""

_ASK: Final = (
    "const [u,m,b]=process.argv.slice(1);"
    "fetch(u,{method:m,body:b||undefined,headers:{'content-type':'application/json'},redirect:'manual',"
    "signal:AbortSignal.timeout(8000)}).then(async r=>{const t=await r.text();"
    "console.log('HTTP/1.1 '+r.status+' -\\r\\n\\r\\n'+t)})"
    ".catch(e=>{console.error(String(e.cause||e));process.exit(1)})"
)
"""What n8n's own Node asks from within its container: nobody else reaches it."""
_MIGRATIONS: Final = "SELECT name FROM migrations ORDER BY 1"
_SIZE: Final = "SELECT pg_database_size(current_database())"
_COLUMNS: Final = (
    "SELECT table_name || '|' || column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1"
)


def rehearse(agent: Agent, document: Document) -> Json:
    """Start ``target`` on a copy of the data of what runs, and then ``before`` on what that left. Nothing else changes.

    Raises:
        AgentError: not_running, no_room, image_missing, pull_failed, no_space, checkpoint_failed, restore_failed,
            rehearsal_failed, rehearsal_stopped
    """
    operation = document.operation()
    before, target = (_watches(agent, document, key) for key in ("before", "target"))
    if set(before) != set(target) or set(target) != set(REHEARSED):
        raise AgentError("bad_input", f"'before' and 'target' have to have {' and '.join(REHEARSED)}.")
    with agent.registered(operation, "rehearse"):
        hold_lease(agent, operation)
        agent.ensure_docker()
        agent.reporter.hide(agent.secrets())
        clear_rehearsal(agent)
        agent.rehearsal.mkdir(mode=0o700, parents=True)  # first: it tells whoever comes next that there is something
        try:
            answer = _Rehearsal(agent, document, before, target).run()
        finally:
            sweep_rehearsal(agent)
        answer |= {"operation": operation, "at": now()}
        agent.on_efs(lambda: agent.store.note_rehearsal(answer))
        return answer


def _watches(agent: Agent, document: Document, key: str) -> dict[str, Watch]:
    return parse_watches(agent, Document({"services": document.mapping(key)}))


class _Rehearsal:
    """One rehearsal, in the folder that is there for it."""

    def __init__(
        self, agent: Agent, document: Document, before: Mapping[str, Watch], target: Mapping[str, Watch]
    ) -> None:
        self.agent = agent
        self.document = document
        self.before = before
        self.target = target
        self.folder = agent.rehearsal
        self.database = n8n_database(agent)
        self.deadline = document.number("deadline_seconds", 600)
        self.live = running_containers(agent, ["postgresql"])

    def run(self) -> Json:
        say = self.agent.reporter
        self._require_room()
        pull_images(self.agent, {name: watch.image for name, watch in self.target.items()}, 1800)
        room = self._require_room()  # the images took of it
        began = time.monotonic()
        say.phase("copy", "started", f"Copying {room.copy / 2**20:.0f} MiB beside what runs")
        self._copy()
        self._begin_database()
        known = self._migrations()
        say.phase("copy", "done", f"{len(known)} migrations")
        copied = time.monotonic() - began
        say.phase("target", "started", f"Starting {_named(self.target)} on the copy")
        ahead = self._start(self.target)
        new = [name for name in self._migrations() if name not in known]
        say.phase("target", "done", f"{_told(ahead)}; {len(new)} migrations")
        say.phase("back", "started", f"Starting {_named(self.before)} on what that left")
        back = self._start(self.before)
        say.phase("back", "done", _told(back))
        return {
            "images": {name: watch.text for name, watch in self.target.items()},
            "before": {name: watch.text for name, watch in self.before.items()},
            "isolated": is_isolated(self.agent),
            "copied_bytes": room.copy,
            "copied_seconds": round(copied, 1),
            "migrations": new,
            "ahead": ahead,
            "back": back,
        }

    # --- room

    def _require_room(self) -> Room:
        size = int(query_database(self.agent, self.live["postgresql"], self.database, _SIZE)[0])
        files = self.agent.on_efs(lambda: folder_bytes(self.agent.efs / "n8n"), 600)
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize
        needed = int(self.document.number("memory_mib", 0)) << 20
        room = Room(size + files, free, read_memory(self.agent), needed)
        if lacks := room.lacks():
            raise AgentError("no_room", f"There is no room for a rehearsal. {lacks}.")
        return room

    def _watch_memory(self) -> None:
        memory = read_memory(self.agent)
        if memory.available < memory.total * LEAST_FREE:
            raise AgentError(
                "rehearsal_stopped",
                f"The rehearsal was ended: it left {memory.available / 2**20:.0f} of {memory.total / 2**20:.0f} MiB of "
                f"memory available, and ends below {LEAST_FREE:.0%}.",
            )

    # --- the copy

    def _copy(self) -> None:
        """What runs goes on meanwhile. Of the files of n8n's executions only the folders come: no start reads them."""
        live = self.agent.compose_document().get("services") or {}
        for name in REHEARSED:
            (self.folder / "data" / name).mkdir(parents=True)
            if live[name].get("env_file"):
                write_atomic(self.folder / f"{name}.env", read_text(self.agent.home / f"{name}.env") or "", 0o600)
        self.dump = self.folder / "n8n.dump"
        user = database_user(self.agent)
        dump_database(self.agent, self.live["postgresql"].id, user, self.database, self.dump)
        self.agent.on_efs(lambda: copy_folder(self.agent.efs / "n8n", self.folder / "data/n8n"), 1800)

    def _begin_database(self) -> None:
        self._put(self.before)
        started = self._start_one(self.before["postgresql"])
        if not started["ready"]:
            raise AgentError("rehearsal_failed", f"PostgreSQL does not start anew as it runs now: {started['reason']}")
        container = self._containers()["postgresql"]
        if self.database not in query_database(self.agent, container, "postgres", DATABASES):
            create = f"CREATE DATABASE {quote_identifier(self.database)} TEMPLATE template0"
            query_database(self.agent, container, "postgres", create, timeout=300)
        # Its roles are not there, but for the one that n8n is.
        load_dump(self.agent, container.id, self.database, self.dump, self.database, ("--no-owner", "--no-privileges"))
        self.dump.unlink()
        rows = query_database(self.agent, container, self.database, _COLUMNS)
        for statement in neutralising([(row.partition("|")[0], row.partition("|")[2]) for row in rows]):
            query_database(self.agent, container, self.database, statement, timeout=600)

    def _migrations(self) -> list[str]:
        container = self._containers().get("postgresql")
        if container is None or not container.running:
            return []
        found, _ = or_problem(lambda: query_database(self.agent, container, self.database, _MIGRATIONS))
        return found or []

    # --- its services

    def _put(self, watches: Mapping[str, Watch]) -> None:
        agent = self.agent
        images = {name: Image.parse(watches[name].text) for name in REHEARSED}
        environment = {name: dict(one) for name, one in self.document.service_map("environment").items()}
        live = agent.compose_document().get("services") or {}
        published = "" if is_isolated(agent) else agent.address
        project = rehearsal_project(live, images, environment, self.folder, published)
        write_atomic(self.folder / "compose.json", compose_text(project), 0o600)

    def _start(self, watches: Mapping[str, Watch]) -> Json:
        """Start these images, one after the other; how each was found."""
        self._put(watches)
        found: Json = {}
        for name in REHEARSED:
            found[name] = self._start_one(watches[name])
            if not found[name]["ready"]:
                break
        return found

    def _start_one(self, watch: Watch) -> Json:
        self.agent.reporter.service(watch.name, "starting", f"rehearsed: {watch.image.tag or watch.text}")
        up = ("up", "-d", "--pull", "never", watch.name)
        files = ("--project-directory", str(self.folder), "-f", str(self.folder / "compose.json"))
        began = time.monotonic()
        started = self.agent.stream(("docker", "compose", "-p", REHEARSAL, *files, *up), 300)
        if started.code != 0:
            return self._found(False, began, f"it cannot be started: {started.reason()}")
        return self._wait(watch, began)

    def _wait(self, watch: Watch, began: float) -> Json:
        count, migrated = -1, 0.0
        while True:
            self._watch_memory()
            container = self._containers().get(watch.name)
            failure = find_failure(container, 0, excused=False)
            if failure is not None or container is None:
                logs = self.agent.log_lines(container.id, 20) if container is not None else []
                reason = failure.reason if failure is not None else "there is no container"
                return {**self._found(False, began, reason), "logs": logs}
            if watch.name == "n8n":
                now_there = len(self._migrations())
                if now_there != count:
                    count, migrated = now_there, time.monotonic() - began
            seen = self._look(watch, container)
            if seen.healthy:
                works, problem = self._works(watch.name, container)
                return {
                    **self._found(True, began, seen.detail),
                    "works": works,
                    "problem": problem,
                    "migrated_seconds": round(migrated, 1),
                }
            if time.monotonic() - began > self.deadline:
                return self._found(False, began, f"not ready within {self.deadline:g} s: {seen.detail}")
            time.sleep(LOOK_SECONDS)

    @staticmethod
    def _found(ready: bool, began: float, reason: str) -> Json:
        return {"ready": ready, "seconds": round(time.monotonic() - began, 1), "reason": reason}

    def _look(self, watch: Watch, container: Container) -> Seen:
        """Whether a service is ready, asked in its container: nobody else reaches it."""
        if watch.name == "postgresql":
            # While its image makes a new cluster, a server runs that listens nowhere, and that is stopped again.
            rows, problem = or_problem(
                lambda: query_database(self.agent, container, "postgres", "SHOW listen_addresses")
            )
            return Seen(bool(rows), problem or ("accepting connections" if rows else "it makes its cluster"))
        probe = watch.probe
        paths = dict.fromkeys((probe.path, *((probe.fallback,) if probe.fallback else ()), *probe.also))
        return probe.judge({path: self._ask(container, probe.port, "GET", path) for path in paths})

    def _ask(self, container: Container, port: int, method: str, path: str, body: str = "") -> Answer:
        url = f"http://127.0.0.1:{port}{path}"
        asked, problem = or_problem(
            lambda: self.agent.docker("exec", container.id, "node", "-e", _ASK, url, method, body, timeout=30)
        )
        if asked is None or asked.code != 0:
            return Answer(error=problem or (asked.reason() if asked is not None else ""))
        return Answer(asked.out.encode())

    def _works(self, name: str, container: Container) -> tuple[bool, str]:
        """Whether a service that is ready does what it is asked, as far as that can be asked from outside."""
        question = self.document.service_map("works").get(name)
        if question is None:
            return True, ""
        asked = Document(question)
        path, method = asked.text("path"), asked.text("method")
        answer = self._ask(container, int(asked.number("port", 0)), method, path, asked.optional_text("body") or "")
        status = http_status(answer)
        if status is None:
            return False, f"{method} {path}: {answer.error or 'no answer'}"
        return status < 500, "" if status < 500 else f"{method} {path}: HTTP {status}"

    def _containers(self) -> dict[str, Container]:
        return self.agent.containers(REHEARSAL)


def _named(watches: Mapping[str, Watch]) -> str:
    return " and ".join(f"{name} {watches[name].image.tag or watches[name].text}" for name in REHEARSED)


def _told(found: Json) -> str:
    return "; ".join(
        f"{name} {'ready' if one['ready'] else 'not ready'} after {one['seconds']:g} s" for name, one in found.items()
    )
