"""Processes that work for an operation: registered, found, ended."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_json, write_atomic
from geusemaker.agent.machine import OPERATION_MARK, Machine
from geusemaker.agent.processes import end_processes, environment_of, find_process, living_processes


class Operations(Machine):
    """The operations' processes on this instance."""

    @contextlib.contextmanager
    def registered(self, operation: str, verb: str) -> Iterator[None]:
        """Be known as a process of this operation while the block runs.

        Raises:
            AgentError: cancelled, when the operation was cancelled on this instance
        """
        folder = self.operations / operation
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mine = folder / str(os.getpid())
        group = os.getpgrp() if self._owns_group else 0
        me = find_process(os.getpid())
        facts = {"pid": os.getpid(), "start": me.start if me else "", "group": group, "verb": verb}
        write_atomic(mine, json.dumps(facts), 0o600)
        self.operation = operation
        try:
            if (folder / "cancelled").exists():
                raise AgentError("cancelled", f"Operation {operation} was cancelled. Nothing was changed.")
            yield
        finally:
            mine.unlink(missing_ok=True)

    def registrations(self, operation: str | None = None) -> list[tuple[str, Json]]:
        """(operation, facts of a process that registered itself); it may be gone."""
        found = []
        for file in self.operations.glob("*/*"):
            if file.name.isdigit() and (operation is None or file.parent.name == operation):
                with contextlib.suppress(AgentError, OSError):  # gone between the listing and the reading
                    facts = read_json(file)
                    if facts:
                        found.append((file.parent.name, facts))
        return found

    def running_operations(self) -> list[Json]:
        return [
            {"operation": operation, "verb": facts["verb"], "pid": facts["pid"]}
            for operation, facts in self.registrations()
            if _is_alive(facts)
        ]

    def processes_of(self, operation: str) -> set[int]:
        """The living processes of an operation: its agents, their groups, and what a killed agent left behind."""
        alive = living_processes()
        mark = f"{OPERATION_MARK}={self._mark(operation)}".encode()
        pids, groups = set(), set()
        for _, facts in self.registrations(operation):
            if facts["pid"] in alive and alive[facts["pid"]].start == facts["start"]:
                pids.add(facts["pid"])
                groups.add(facts["group"])
        for pid, process in alive.items():
            if process.group in groups - {0}:
                pids.add(pid)
                continue
            with contextlib.suppress(OSError):
                if mark in environment_of(Path(f"/proc/{pid}")):
                    pids.add(pid)
        return pids - {os.getpid()}

    def end_operation(self, operation: str) -> list[int]:
        """End an operation's processes on this instance and wait until they are gone.

        Raises:
            AgentError: cannot_cancel
        """
        try:
            ended = end_processes(lambda: self.processes_of(operation))
        except TimeoutError as error:
            raise AgentError("cannot_cancel", f"Operation {operation} could not be ended: {error}.") from error
        for file in (self.operations / operation).glob("[0-9]*"):
            if file.name != str(os.getpid()):
                file.unlink(missing_ok=True)
        return sorted(ended)

    def end_stragglers(self, operation: str) -> None:
        """End whatever else works on the instance: of other operations, and of this one's earlier attempts."""
        for name in sorted({operation, *(other for other, _ in self.registrations())}):
            if self.end_operation(name):
                self.reporter.note(f"Ended what was still running of operation {name}.")


def _is_alive(facts: Json) -> bool:
    """Whether a process that registered itself is still there, and not another one under its number."""
    process = find_process(facts["pid"])
    return process is not None and process.start == facts["start"]
