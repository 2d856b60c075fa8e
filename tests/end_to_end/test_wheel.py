"""What users install: the wheel, by the tools they install it with, in a home where nothing else is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.world import World
from tests.next_steps import ROOT

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
LOCK = ROOT / "requirements.lock"


def build(folder: Path, version: str) -> Path:
    """The wheel that the sources would be with that number."""
    sources = folder / f"sources-{version}"
    sources.mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    shutil.copytree(ROOT / "geusemaker", sources / "geusemaker", ignore=shutil.ignore_patterns("__pycache__"))
    (sources / "geusemaker/_version.py").write_text(f'__version__ = "{version}"\n')
    command: list[str | Path] = [
        BIN / "uv",
        "build",
        "--wheel",
        "--no-build-isolation",
        "--python",
        sys.executable,
        "--quiet",
    ]
    subprocess.run([*command, "--out-dir", folder / version, sources], check=True, timeout=120)
    [wheel] = (folder / version).glob("*.whl")
    return wheel


@dataclass(frozen=True)
class Installed:
    """A home, and what was installed into it."""

    home: Path
    environment: Mapping[str, str]

    def run(self, *command: str | Path, code: int = 0) -> str:
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, f"{command} ended {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture
def home(tmp_path: Path) -> Installed:
    """Nothing but where packages come from: this machine's index, and what was downloaded from it before."""
    index = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True
    ).stdout.strip()
    kept = ("PIP_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE", "UV_CACHE_DIR", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
    cache = subprocess.run([BIN / "uv", "cache", "dir"], check=True, capture_output=True, text=True).stdout.strip()
    folder = tmp_path / "home"
    folder.mkdir()
    environment = {
        **{name: os.environ[name] for name in kept if name in os.environ},
        **({"UV_DEFAULT_INDEX": index, "PIP_INDEX_URL": index} if index else {}),
        "HOME": str(folder),
        "PATH": f"{folder / '.local/bin'}:/usr/local/bin:/usr/bin:/bin",
        "UV_CACHE_DIR": cache,
        "UV_PYTHON": sys.executable,
        # What the wheel needs, in the versions that are tried.
        "UV_CONSTRAINT": str(LOCK),
        "PIPX_DEFAULT_PYTHON": sys.executable,
        "PIPX_DEFAULT_BACKEND": "uv",
    }
    return Installed(folder, environment)


@pytest.fixture
def world(home: Installed, tmp_path: Path) -> Iterator[World]:
    """A machine whose geusemaker is the installed one."""
    program = home.home / ".local/bin/geusemaker"
    # The engine is taken from where it was built: that it is got is no affair of the wheel's.
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    own = {"HOME": str(home.home), "XDG_CACHE_HOME": cache, "PYTHONPATH": ""}
    machine = World(tmp_path, tmp_path / "workspace", tmp_path / "cloud", extra=own, program=program)
    yield machine
    if program.exists():
        machine.run("local", "reset", "--yes")


def test_a_tool_of_uvs_deploys_is_upgraded_and_goes_without_the_workspace(
    home: Installed, world: World, tmp_path: Path
) -> None:
    older, newer = build(tmp_path, "0.1.0"), build(tmp_path, "0.1.1")
    home.run(BIN / "uv", "tool", "install", f"geusemaker[local] @ {older}")
    assert world.run("--version").stdout == "geusemaker 0.1.0\n"
    world.run("deploy", "prod", "--service", "qdrant", "--yes")

    world.run("local", "stop")
    home.run(BIN / "uv", "tool", "install", "--force", f"geusemaker[local] @ {newer}")
    assert world.run("--version").stdout == "geusemaker 0.1.1\n"
    world.run("local", "start")
    assert world.json("status", "prod")["status"] == "healthy"
    changed = world.json("update", "prod", "--retention", "6", "--yes")
    assert changed["success"] and changed["version"] == 2

    home.run(BIN / "uv", "tool", "install", "--reinstall", f"geusemaker[local] @ {newer}")
    assert world.json("status", "prod")["active_version"] == 2
    world.run("destroy", "prod", "--yes")
    world.run("local", "reset", "--yes")
    home.run(BIN / "uv", "tool", "uninstall", "geusemaker")
    assert not world.program.exists()
    assert (world.home / ".state/passphrase").exists()


def test_pipx_installs_what_aws_needs_and_says_how_to_try_it_out(home: Installed, world: World, tmp_path: Path) -> None:
    home.run(BIN / "pipx", "install", f"geusemaker @ file://{build(tmp_path, '0.1.0')}")
    assert world.run("--version").stdout == "geusemaker 0.1.0\n"
    refused = world.run("deploy", "prod", "--target", "local", "--yes", code=2)
    assert "geusemaker[local]" in refused.stderr
    assert "local" in world.run("local", "start", code=2).stderr
    home.run(BIN / "pipx", "uninstall", "geusemaker")
    assert not world.program.exists()
