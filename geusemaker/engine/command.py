"""The engine's process: every run of the Pulumi CLI goes through here.

The Automation API starts the CLI in our own process group, where a Ctrl-C reaches the engine as well as us: it then
dies as if killed, with its lock and a pending operation left behind. Here it runs in a session of its own and is told
to stop in an orderly way.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pulumi.automation import CommandResult, PulumiCommand
from pulumi.automation.errors import create_command_error
from semver import VersionInfo

from geusemaker.engine.processes import end_plugins
from geusemaker.models.doctor import EngineInfo

_GRACE_SECONDS = 20.0
_LOOK_SECONDS = 1.0  # how soon a deadline that was moved is seen, and how often `gives_up` is asked


class DeadlineExceededError(Exception):
    """The run was stopped because its deadline passed."""


class GaveUpError(Exception):
    """The run was stopped because there is no use in waiting for it; the text says why."""


class EngineCommand(PulumiCommand):
    """Runs the Pulumi CLI: own session, orderly interruption, a deadline.

    ``on_stop`` is called when a run is about to be stopped, before the engine gets its signal: a remote command
    outlives its engine, and the engine waits for it, so it has to be ended as well.
    """

    def __init__(self, engine: EngineInfo) -> None:
        # The version was checked when the engine was found: asking it again would cost 0.13 s a command.
        self.info = engine
        self.command = engine.path
        self.version = VersionInfo.parse(engine.version.removeprefix("v"))
        self.deadline: float | None = None
        self.on_stop: Callable[[], None] | None = None
        self.gives_up: Callable[[], str] | None = None
        """Asked while a run goes on: why there is no use in waiting for it; empty: there is."""
        self.began = False
        """Whether a CLI process was started since this was last set to False."""

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: Callable[[str], Any] | None = None,
        on_error: Callable[[str], Any] | None = None,
        stdin: str | None = None,
    ) -> CommandResult:
        """Run one CLI command. See PulumiCommand.run; ``stdin`` is what the command reads.

        Raises:
            CommandError: it exited non-zero.
            DeadlineExceededError: ``deadline`` (time.monotonic) passed; the engine was stopped in order.
            GaveUpError: ``gives_up`` said why; likewise.
            KeyboardInterrupt: Ctrl-C; the engine was stopped in order first.
        """
        environment = {
            **os.environ,
            **additional_env,
            "PULUMI_AUTOMATION_API": "true",
            "PATH": os.pathsep.join([str(Path(self.command).parent), os.environ.get("PATH", os.defpath)]),
        }
        with subprocess.Popen(
            [self.command, "--non-interactive", *args],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        ) as process:
            self.began = True
            assert process.stdout is not None and process.stderr is not None
            output: list[str] = []
            errors: list[str] = []
            failures: list[Exception] = []
            readers = [
                threading.Thread(target=_collect, args=(process.stdout, output, on_output, failures), daemon=True),
                threading.Thread(target=_collect, args=(process.stderr, errors, on_error, failures), daemon=True),
            ]
            for reader in readers:
                reader.start()
            try:
                if stdin is not None:
                    assert process.stdin is not None
                    process.stdin.write(stdin)
                    process.stdin.close()
                self._wait(process)
            except BaseException:
                self._stop(process)
                raise
            finally:
                for reader in readers:
                    reader.join()
        if process.returncode < 0:
            end_plugins(process.pid)
        result = CommandResult(stdout="\n".join(output), stderr="\n".join(errors), code=process.returncode)
        if process.returncode != 0:
            raise create_command_error(result)
        if failures:
            raise failures[0]
        return result

    @contextmanager
    def beside(self, seconds: float) -> Iterator[None]:
        """What is done in here, from another thread, does not count against the deadline of the run; up to ``seconds``
        of it."""
        began = time.monotonic()
        if self.deadline is None:
            yield
            return
        self.deadline += seconds
        try:
            yield
        finally:
            if self.deadline is not None:  # None: the run has ended meanwhile
                self.deadline -= max(0.0, seconds - (time.monotonic() - began))

    def _wait(self, process: subprocess.Popen[str]) -> None:
        while self.deadline is not None:
            left = self.deadline - time.monotonic()
            try:
                process.wait(timeout=max(0.0, min(left, _LOOK_SECONDS)))
                return
            except subprocess.TimeoutExpired:
                if left <= 0:  # it may have become a later one meanwhile
                    raise DeadlineExceededError from None
                if self.gives_up is not None and (why := self.gives_up()):
                    raise GaveUpError(why) from None
        process.wait()

    def _stop(self, process: subprocess.Popen[str]) -> None:
        """One SIGINT lets the engine finish what is in flight and unlock; a second one is asked for, then a kill."""
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
            if process.poll() is not None:
                return
            process.send_signal(number)
            try:
                if self.on_stop is not None:
                    self.on_stop()
                process.wait(timeout=_GRACE_SECONDS)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                continue  # an impatient second Ctrl-C goes on to the next signal


def _collect(
    stream: IO[str], lines: list[str], callback: Callable[[str], Any] | None, failures: list[Exception]
) -> None:
    """Read to the end, whatever the callback does: an engine whose output nobody reads would wait for ever."""
    for line in stream:
        lines.append(line.rstrip())
        if callback is not None and not failures:
            try:
                callback(line.rstrip())
            except Exception as error:  # raised by who runs the engine, when it has ended
                failures.append(error)
