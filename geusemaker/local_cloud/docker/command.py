"""Docker's command line, as the local cloud uses it. Imports nothing heavy."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from geusemaker.errors import LocalCloudError

_SECONDS: Final = 120.0
REMOVAL_SECONDS: Final = 900.0
"""An instance's images have hundreds of thousands of files: two of n8n's took more than 120 s on a busy machine."""
HOW_TO_GET: Final = (
    "Start it, or install it (on Debian: apt-get install docker.io docker-cli), or point DOCKER_HOST at one that runs. "
    "Without --local-runtime docker none is needed."
)


class DockerError(LocalCloudError):
    """The Docker daemon refused something, or does not answer."""


class Docker:
    """One Docker daemon.

    Args:
        host: as in ``DOCKER_HOST``; None leaves it to the environment and to Docker's own settings.
    """

    def __init__(self, host: str | None = None) -> None:
        self._environment = {**os.environ, **({"DOCKER_HOST": host} if host else {})}

    def check(self) -> None:
        """Make sure that a daemon answers.

        Raises:
            DockerError: none does; the message says what to do.
        """
        try:
            self.run("version", "--format", "{{.Server.Version}}", timeout=20)
        except DockerError as error:
            raise DockerError(f"No Docker daemon answers: {error.message}", next_step=HOW_TO_GET) from error

    def run(self, *arguments: str, stdin: bytes | None = None, timeout: float = _SECONDS) -> str:
        """What a command printed, as text without the end of its last line.

        Raises:
            DockerError: it failed, or did not end in time (seconds).
        """
        return self.output(*arguments, stdin=stdin, timeout=timeout).decode(errors="replace").strip()

    def output(self, *arguments: str, stdin: bytes | None = None, timeout: float = _SECONDS) -> bytes:
        """What a command wrote to its stdout.

        Raises:
            DockerError: it failed, or did not end in time (seconds).
        """
        try:
            done = subprocess.run(
                ["docker", *arguments],
                env=self._environment,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                timeout=timeout,
            )
        except FileNotFoundError as error:
            raise DockerError("The docker command is not installed.", next_step=HOW_TO_GET) from error
        except subprocess.TimeoutExpired as error:
            raise DockerError(
                f"docker {arguments[0]} did not end within {timeout:.0f} s.",
                next_step="The Docker daemon may go on with it: run the same command again.",
            ) from error
        if done.returncode != 0:
            raise DockerError(f"docker {arguments[0]} failed: {_last_words(done.stderr)}")
        return done.stdout

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """What ``docker KIND inspect NAME`` says; None where there is no such thing.

        Raises:
            DockerError: the daemon does not answer.
        """
        try:
            found: list[dict[str, Any]] = json.loads(self.run(kind, "inspect", name))
        except DockerError as error:
            if "no such" in error.message.lower() or "not found" in error.message.lower():
                return None
            raise
        return found[0] if found else None

    @contextmanager
    def feeding(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command that reads what is written to its stdin, until the block ends.

        Raises:
            DockerError: it failed.
        """
        process = subprocess.Popen(
            ["docker", *arguments],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            yield process
            _, said = process.communicate()
        except BaseException:
            process.kill()
            process.communicate()
            raise
        if process.returncode != 0:
            raise DockerError(f"docker {arguments[0]} failed: {_last_words(said)}")

    def follow(self, *arguments: str, stdin: bytes, on_line: Callable[[str], None]) -> None:
        """Run a command and hand on its output (both streams) line by line.

        Raises:
            DockerError: it failed.
        """
        process = subprocess.Popen(
            ["docker", *arguments],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        tail: list[str] = []
        try:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(stdin)
            process.stdin.close()
            for raw in process.stdout:
                text = raw.decode(errors="replace").rstrip()
                tail = [*tail[-4:], text]
                on_line(text)
            code = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        if code != 0:
            raise DockerError(f"docker {arguments[0]} failed: {' / '.join(tail)}")


def _last_words(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("See 'docker", "Run 'docker"))]
    return " ".join(told[-2:])[:600] or "it gave no reason"
