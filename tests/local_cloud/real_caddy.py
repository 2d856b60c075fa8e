"""The real Caddy, built once from its Go module."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from geusemaker.catalog import PROXY

VERSION = PROXY.image.rpartition(":")[2]
_FOLDER = Path.home() / ".cache/geusemaker/test-caddy"


def find_or_build() -> Path:
    """What ``GEUSEMAKER_CADDY`` names, or one of the version that new deployments get. Skips, loudly, without Go."""
    named = os.environ.get("GEUSEMAKER_CADDY")
    program = Path(named) if named else _FOLDER / VERSION / "caddy"
    if program.exists():
        return program
    if shutil.which("go") is None:
        pytest.skip(
            "THE REAL CADDY IS NOT TESTED on this machine: go is not installed, and GEUSEMAKER_CADDY is not set"
        )
    made = _FOLDER / f"{VERSION}.{os.getpid()}"
    environment = {**os.environ, "GOBIN": str(made), "CGO_ENABLED": "0"}
    module = f"github.com/caddyserver/caddy/v2/cmd/caddy@v{VERSION}"
    subprocess.run(["go", "install", "-trimpath", "-ldflags", "-s -w", module], env=environment, check=True)
    if not program.exists():
        made.replace(program.parent)
    return program
