"""The real Docker Compose, of the version that Debian 13 has: what instances run."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

VERSION = "2.26.1"
_MODULE = "github.com/docker/compose/v2"


class RealCompose:
    """Reads compose files as Compose does; no Docker daemon is needed for that."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def config(self, folder: Path, environment: dict[str, str] | None = None) -> dict[str, Any]:
        """The services of ``compose.json`` in the folder as Compose understands them.

        Raises:
            CalledProcessError: Compose refuses the file.
        """
        done = subprocess.run(
            [self._program, "--project-directory", folder, "-f", folder / "compose.json", "config", "--format", "json"],
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": os.defpath, "HOME": str(folder), **(environment or {})},
        )
        services: dict[str, Any] = json.loads(done.stdout)["services"]
        return services


def find_or_build() -> RealCompose:
    """Compose from ``GEUSEMAKER_COMPOSE``, or built once from its Go module. Skips, loudly, without either."""
    given = os.environ.get("GEUSEMAKER_COMPOSE")
    if given:
        return RealCompose(Path(given))
    folder = Path.home() / ".cache/geusemaker/test-compose" / f"v{VERSION}"
    program = folder / "docker-compose"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            if shutil.which("go") is None:
                pytest.skip("THE REAL COMPOSE IS NOT TESTED on this machine: Go is not installed")
            built = folder / "build"
            done = subprocess.run(
                ["go", "install", "-trimpath", "-ldflags", "-s -w", f"{_MODULE}/cmd@v{VERSION}"],
                env={**os.environ, "GOBIN": str(built), "CGO_ENABLED": "0"},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                pytest.skip(f"THE REAL COMPOSE IS NOT TESTED on this machine: {done.stderr[-300:]}")
            (built / "cmd").replace(program)
    return RealCompose(program)
