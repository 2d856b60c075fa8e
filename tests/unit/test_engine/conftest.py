"""A machine of its own for each test of the engine's binary: what is on PATH, and where its caches are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from geusemaker.engine import getting, installer


@dataclass(frozen=True)
class Machine:
    """PATH holds only ``bin``; programs are shell scripts of builtins and absolute paths."""

    bin: Path
    cache: Path

    @property
    def engines(self) -> Path:
        return self.cache / "geusemaker" / "engine"

    def program(self, path: Path, script: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def pulumi(self, version: str, path: Path | None = None) -> Path:
        return self.program(path or self.bin / "pulumi", f"echo {version}")

    def cached(self, version: str) -> Path:
        return self.pulumi(f"v{version}", self.engines / f"v{version}" / "bin" / "pulumi")

    def go(self, build: str, version: str = "go1.99.0", listing: str = "echo fmt; echo os") -> Path:
        """A Go whose ``build`` runs the given script with ``$out`` set to what it has to write."""
        return self.program(
            self.bin / "go",
            f"""case $1 in
            env) echo {version} ;;
            list) {listing} ;;
            build)
                while [ "$1" != -o ]; do shift; done
                out=$2
                {build} ;;
            esac""",
        )


BUILDS_AN_ENGINE = r"""printf '#!/bin/sh\necho v3.259.0\n' > "$out"; /bin/chmod +x "$out" """


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(bin=tmp_path / "bin", cache=tmp_path / "cache")
    made.bin.mkdir()
    monkeypatch.setenv("PATH", str(made.bin))
    monkeypatch.setenv("XDG_CACHE_HOME", str(made.cache))
    monkeypatch.delenv("GEUSEMAKER_PULUMI", raising=False)
    monkeypatch.setattr(getting, "_LOCK_POLL_SECONDS", 0.01)
    installer_runs(monkeypatch, "echo 'cannot be reached (no network here)' >&2; exit 1")
    return made


def installer_runs(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let the installer's process be this script; ``$1`` is the folder to install to."""
    monkeypatch.setattr(installer, "_command", lambda folder: ["/bin/sh", "-c", script, "installer", str(folder)])
