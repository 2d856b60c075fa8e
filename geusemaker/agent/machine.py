"""The instance's paths, and commands that are run on it."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from geusemaker.agent.document import Json
from geusemaker.agent.env_files import parse_env_file
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import read_json, read_text
from geusemaker.agent.output import Reporter
from geusemaker.agent.processes import Finished, Job, descendants, end_processes, find_process, living_processes

MOUNT_POINT: Final = "/mnt/efs"
VOLUME_POINT: Final = "/mnt/data"
OPERATION_MARK: Final = "GEUSEMAKER_OPERATION"


class Machine:
    """Where everything lies on the instance, and how commands are run there."""

    def __init__(self, root: Path, reporter: Reporter, environment: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.reporter = reporter
        self.environment = dict(os.environ if environment is None else environment)
        self.operation: str | None = None
        self.home = root / "opt/geusemaker"
        self.compose_file = self.home / "compose.json"
        self.next_compose_file = self.home / "compose.next.json"  # Compose has accepted it
        self.previous_compose_file = self.home / "compose.previous.json"
        self.prepared_file = self.home / "prepared.json"
        self.host_file = self.home / "host.json"
        self.probes_file = self.home / "probes.json"
        self.rehearsal = self.home / "rehearsal"  # there while one runs; AWS Backup copies nothing of this disk
        self.efs = root / MOUNT_POINT.lstrip("/")
        self.data = root / VOLUME_POINT.lstrip("/")
        self.operations = root / "run/geusemaker/ops"
        self.applied_file = root / "run/geusemaker/applied.json"
        self.units = root / "etc/systemd/system"
        self.cgroups = root / "sys/fs/cgroup"
        self.address = self.environment.get("GEUSEMAKER_LOOPBACK") or "127.0.0.1"
        self._owns_group = os.getpgrp() == os.getpid()

    def run(self, argv: Sequence[str], timeout: float, code: str = "docker_failed") -> Finished:
        """Run a command to its end; its exit status is the caller's to judge.

        Raises:
            AgentError: ``code``, when it cannot be run or does not end in time
        """
        try:
            process = subprocess.Popen(
                list(argv),
                env=self.command_environment(argv[0]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise AgentError(code, f"{argv[0]} cannot be run: {error.strerror}.") from error
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.end_child(process)
            raise AgentError(code, f"{named(argv)} did not end within {timeout:g} seconds.") from None
        return Finished(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def stream(
        self,
        argv: Sequence[str],
        timeout: float,
        on_line: Callable[[str], None] | None = None,
        code: str = "docker_failed",
    ) -> Finished:
        """Like ``run``, with its output (both streams) handed on line by line; the last lines are kept."""
        return self.finish_jobs([self.start(argv, on_line, code)], timeout, code)[0]

    def start(self, argv: Sequence[str], on_line: Callable[[str], None] | None, code: str = "docker_failed") -> Job:
        try:
            return Job(argv, self.command_environment(argv[0]), on_line)
        except OSError as error:
            raise AgentError(code, f"{argv[0]} cannot be run: {error.strerror}.") from error

    def finish_jobs(self, jobs: Sequence[Job], timeout: float, code: str = "docker_failed") -> list[Finished]:
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            for job in jobs:
                selector.register(job.pipe, selectors.EVENT_READ, job)
            while selector.get_map():
                left = deadline - time.monotonic()
                if left <= 0:
                    for job in jobs:
                        self.end_child(job.process)
                    raise AgentError(code, f"{named(jobs[0].process.args)} did not end within {timeout:g} seconds.")
                for key, _ in selector.select(left):
                    if not key.data.read():
                        selector.unregister(key.fileobj)
        return [job.finish() for job in jobs]

    def command_environment(self, program: str) -> dict[str, str]:
        environment = {**self.environment, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        environment["GEUSEMAKER_INSTANCE_ROOT"] = "" if self.root == Path("/") else str(self.root)
        environment["GEUSEMAKER_LOOPBACK"] = self.address
        environment.setdefault("HOME", "/root")
        if self.operation and program == "docker":
            # Tells an orphan of a killed agent by its environment. Not for systemctl: what it starts is to stay.
            environment[OPERATION_MARK] = self._mark(self.operation)
        return environment

    def _mark(self, operation: str) -> str:
        # With the root, because local instances see each other's processes.
        return f"{operation}@{self.root}"

    def end_child(self, process: subprocess.Popen[bytes]) -> None:
        family = {process.pid} | descendants(process.pid)

        def left() -> set[int]:
            process.poll()
            return {pid for pid in family if find_process(pid)}

        with contextlib.suppress(TimeoutError):
            end_processes(left, grace=2.0)
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()

    def end_children(self) -> None:
        """End whatever this process started."""
        me = os.getpid()

        def left() -> set[int]:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if not self._owns_group:
                return descendants(me)
            group = {pid for pid, process in living_processes().items() if process.group == me}
            return (descendants(me) | group) - {me}

        with contextlib.suppress(TimeoutError):
            end_processes(left, grace=3.0)

    def host(self) -> Json:
        return read_json(self.host_file) or {}

    def compose_document(self) -> Json:
        return read_json(self.compose_file) or {}

    def env_file_of(self, service: str) -> dict[str, str]:
        """The variables in a service's env file."""
        return parse_env_file(read_text(self.home / f"{service}.env") or "")

    def secrets(self) -> list[str]:
        """The values in the services' env files."""
        return [value for file in self.home.glob("*.env") for value in self.env_file_of(file.stem).values()]


def named(arguments: Any) -> str:
    """A command in few words, for a message."""
    return " ".join([Path(str(arguments[0])).name, *(str(word) for word in arguments[1:2])])
