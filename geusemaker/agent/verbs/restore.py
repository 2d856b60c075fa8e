"""``restore``: a checkpoint's data in the place of what is there."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Mapping

from geusemaker.agent.agent import Agent, hold_lease
from geusemaker.agent.containers import Container
from geusemaker.agent.data.dumps import load_dump, read_back
from geusemaker.agent.data.n8n import N8N_FILES, link_tree
from geusemaker.agent.data.postgresql import (
    DATABASES,
    OWN_DATABASE,
    own_name,
    query_database,
    quote_identifier,
    rename_databases,
)
from geusemaker.agent.data.qdrant import Qdrant
from geusemaker.agent.document import OPERATION, Document, Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.machine import OPERATION_MARK
from geusemaker.agent.processes import Finished
from geusemaker.agent.verbs.checkpoint import copied_services, running_containers, take_checkpoint


def restore(agent: Agent, document: Document) -> Json:
    """Put a checkpoint's data in the place of what is there now, of which a checkpoint is taken first.

    Nothing that is there now is lost: a database is renamed, not replaced (``NAME_before_…``), and what a collection
    was is in the new checkpoint. Killed at any point, a database is the old one or the new one, and this can be run
    again.
    """
    operation, number, services = document.operation(), int(document.number("number", 0)), copied_services(document)
    name, deadline = document.text("checkpoint"), document.number("deadline_seconds", 10_800)
    version, _, taken_by = name.partition("/")
    if number < 1 or not re.fullmatch(r"v[1-9][0-9]*", version) or not OPERATION.fullmatch(taken_by):
        raise AgentError("bad_input", "'number' or 'checkpoint' is not that of a version's checkpoint.")
    about = {"version": number, "operation": operation, "kind": "restore"}
    with agent.registered(operation, "restore"):
        hold_lease(agent, operation)
        agent.reporter.phase("restore", "started", f"Reading checkpoint {name}")
        wanted = agent.on_efs(lambda: agent.store.open_checkpoint(name, services), deadline)
        containers = running_containers(agent, services)
        agent.on_efs(lambda: check_dumps(agent, containers, wanted), deadline)
        n8n = containers.get("n8n")
        rests = "n8n" in agent.on_efs(agent.store.stopped)
        if n8n is not None and n8n.running:
            # It writes to both, and what it wrote between the new checkpoint and the swap would be in neither.
            agent.reporter.service("n8n", "stopping")
            stopped = agent.docker("stop", n8n.id, timeout=120)
            if stopped.code != 0:
                raise AgentError("docker_failed", f"n8n could not be stopped: {stopped.reason()}")
        try:
            before = take_checkpoint(agent, about, services, deadline)
            work = Restore(agent, operation, wanted, containers, deadline)
            agent.on_efs(work.load_databases, deadline)
            # The first thing that shows comes after this: whoever finds the lease unchanged knows that nothing did.
            agent.on_efs(lambda: agent.store.change(operation, changed=True))
            agent.on_efs(work.load_collections, deadline)
            agent.on_efs(work.swap_n8n_files, deadline)
            work.swap_databases()
            agent.on_efs(agent.store.overtake_return)
        except BaseException:
            if n8n is not None and not rests:
                with contextlib.suppress(AgentError):  # what went wrong first is what is told
                    start_apart(agent, n8n)
            raise
        if n8n is not None and not rests:
            start_apart(agent, n8n)
        agent.reporter.phase("restore", "done", f"Restored {name}")
        return {"checkpoint": before, "kept": work.kept, "set_aside": agent.on_efs(work.set_aside)}


def check_dumps(agent: Agent, containers: Mapping[str, Container], wanted: Json) -> None:
    """The dumps can be read by what would load them, before anything is stopped for that."""
    for held in wanted["holds"]:
        if held["service"] == "postgresql" and held["file"].endswith(".dump"):
            path = agent.store.checkpoints / wanted["checkpoint"] / held["file"]
            read_back(agent, containers["postgresql"].id, path, held["name"], "checkpoint_unreadable")


def start_apart(agent: Agent, container: Container) -> None:
    """Start a container, by a command that goes on should this operation be ended meanwhile: it is not to stay down.

    Raises:
        AgentError: docker_failed
    """
    agent.reporter.service(container.service, "starting")
    environment = agent.command_environment("docker")
    environment.pop(OPERATION_MARK, None)
    command = ("docker", "start", container.id)
    try:
        done = subprocess.run(command, env=environment, start_new_session=True, capture_output=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AgentError("docker_failed", f"{container.service} could not be started: {error}") from error
    if done.returncode != 0:
        reason = Finished(done.returncode, "", done.stderr.decode(errors="replace")).reason()
        raise AgentError("docker_failed", f"{container.service} could not be started: {reason}")


class Restore:
    """The steps of a restore, each of which may be run again. The databases' come first and last, so that they are
    swapped at once when all else is there."""

    def __init__(
        self, agent: Agent, operation: str, wanted: Json, containers: Mapping[str, Container], deadline: float
    ) -> None:
        self.agent = agent
        self.operation = operation
        self.wanted = wanted
        self.containers = containers
        self.deadline = deadline
        self.folder = agent.store.checkpoints / wanted["checkpoint"]
        present = set(self.databases())
        # PostgreSQL's own database is the one that clients connect to for the rest; it is left as it is.
        names = [held["name"] for held in self.held("postgresql") if held["name"] != "postgres"]
        self.names = [name for name in names if own_name(name, "before", operation) not in present]
        self.kept = {name: own_name(name, "before", operation) for name in names if name in present}

    def held(self, service: str) -> list[Json]:
        return [held for held in self.wanted["holds"] if held["service"] == service]

    def databases(self) -> list[str]:
        if not self.held("postgresql"):
            return []
        return query_database(self.agent, self.containers["postgresql"], "postgres", DATABASES)

    def load_databases(self) -> None:
        """Load the dumps beside the databases that they will be swapped with (runs in the child)."""
        for left_over in self.databases():
            if OWN_DATABASE.fullmatch(left_over) and "_restoring_" in left_over:
                self.administer(f"DROP DATABASE {quote_identifier(left_over)}")  # of one that was killed
        for held in self.held("postgresql"):
            if held["name"] in self.names:
                self.agent.reporter.service("postgresql", "loading", held["name"])
                beside = own_name(held["name"], "restoring", self.operation)
                self.administer(f"DROP DATABASE IF EXISTS {quote_identifier(beside)}")
                # template1 may hold what the dump holds as well.
                self.administer(f"CREATE DATABASE {quote_identifier(beside)} TEMPLATE template0")
                container = self.containers["postgresql"].id
                load_dump(self.agent, container, beside, self.folder / held["file"], held["name"])

    def load_collections(self) -> None:
        """Have Qdrant recover its snapshots, one after the other (runs in the child)."""
        if not self.held("qdrant"):
            return
        qdrant = Qdrant(self.agent, self.deadline)
        for held in self.held("qdrant"):
            self.agent.reporter.service("qdrant", "recovering", held["name"])
            name = f"{self.operation}.snapshot"
            qdrant.load_snapshot(held["name"], self.folder / held["file"], held["sha256"], name)
        present = qdrant.aliases()
        restored = {held["name"] for held in self.held("qdrant")}
        for alias, collection in self.wanted["aliases"].items():
            if alias not in present and collection in restored:
                qdrant.add_alias(alias, collection)

    def swap_n8n_files(self) -> None:
        """Put n8n's folders of files in place, those of now aside (runs in the child).

        Executions after the checkpoint are not in the database any more, and their ids are given again: n8n would
        remove one's files with another's. Nothing is moved back by a further run of the same operation.
        """
        wanted = self.wanted.get("n8n_files")
        if wanted is None:  # of a geusemaker of before: which of the files were there then cannot be told
            return
        import shutil

        home = self.agent.efs / "n8n"
        for name in N8N_FILES:
            place, aside, beside = home / name, home / self._aside(name), home / f".{name}.restoring"
            if aside.exists() and place.exists():
                continue  # this operation did it before
            shutil.rmtree(beside, ignore_errors=True)
            if name in wanted["folders"]:
                link_tree(self.folder / "n8n-files" / name, beside)
            if place.exists():
                place.rename(aside)
            if beside.exists():
                beside.rename(place)

    def set_aside(self) -> list[str]:
        """The folders on EFS that hold what n8n's files were before."""
        home = self.agent.efs / "n8n"
        return [f"n8n/{self._aside(name)}" for name in N8N_FILES if (home / self._aside(name)).is_dir()]

    def _aside(self, name: str) -> str:
        return own_name(name, "before", self.operation)

    def swap_databases(self) -> None:
        """Give all of them their names in one transaction."""
        present, renames = set(self.databases()), []
        for name in self.names:
            if name in present:
                renames.append((name, own_name(name, "before", self.operation)))
            renames.append((own_name(name, "restoring", self.operation), name))
        if renames:
            rename_databases(self.agent, self.containers["postgresql"], renames)

    def administer(self, statement: str) -> None:
        query_database(self.agent, self.containers["postgresql"], "postgres", statement, timeout=300)
