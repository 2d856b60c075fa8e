"""The Docker daemon of tests that need one: the one that answers, or one of the tests' own where there is root."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from geusemaker.local_cloud.docker.command import Docker, DockerError


@contextmanager
def docker_daemon(folder: Path) -> Iterator[str | None]:
    """``DOCKER_HOST`` of a daemon; None is the one that Docker's own settings name. Skips where there can be none."""
    try:
        Docker().check()
    except DockerError as error:
        if os.geteuid() != 0 or not shutil.which("dockerd"):
            pytest.skip(f"DOCKER IS NOT TESTED on this machine: {error.message} (root and dockerd would do)")
    else:
        yield None
        return
    # Its images are kept for the next time: making the instance image takes minutes.
    data = Path.home() / ".cache/geusemaker/test-docker"
    data.mkdir(parents=True, exist_ok=True)
    host = f"unix://{folder}/docker.sock"
    options = ("--data-root", data, "--exec-root", folder / "exec", "--pidfile", folder / "pid", "--host", host)
    with (data.parent / "test-docker.lock").open("a") as lock, (folder / "dockerd.log").open("w") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
        daemon = subprocess.Popen(["dockerd", *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _wait_for(Docker(host), daemon, folder / "dockerd.log")
            yield host
        finally:
            daemon.terminate()
            daemon.wait(60)
            # A daemon that ended leaves its network namespace mounted, and the folder could not be removed.
            for left in (folder / "exec/netns").glob("*"):
                subprocess.run(["umount", left], check=True)


def _wait_for(docker: Docker, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            docker.check()
        except DockerError:
            if daemon.poll() is not None:
                pytest.skip(f"DOCKER IS NOT TESTED on this machine: dockerd does not run: {log.read_text()[-500:]}")
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
        else:
            return
