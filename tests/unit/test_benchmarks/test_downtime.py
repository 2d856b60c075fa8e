"""What reads the probe of the downtime benchmark: a measurement that saw nothing is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.downtime import Watch, watching

STOPPING = 'print("OCI runtime exec failed: exec failed: cannot exec in a stopped state: unknown"); sys.exit(126)'


class Containers:
    """An instance whose Docker is a script: what it says at its first call, and at all others."""

    def __init__(self, folder: Path, first: str, later: str) -> None:
        program = folder / "docker"
        program.write_text(
            f"#!/usr/bin/env python3\nimport os, sys\nif not os.path.exists({str(folder / 'called')!r}):\n"
            f"    open({str(folder / 'called')!r}, 'w').close()\n    {first}\nelse:\n    {later}\n"
            "sys.stdout.flush()\nsys.stdin.read()\n"
        )
        program.chmod(0o755)
        self.world = self
        self._path = f"{folder}:{os.environ['PATH']}"

    def environment(self) -> dict[str, str]:
        return {"PATH": self._path}

    def inspect(self) -> dict[str, str]:
        return {"Id": "c0ffee"}


UP = 'print("11235 up 1.0\\n11434 up 1.0")'


def look(folder: Path, first: str, later: str = UP) -> Watch:
    containers: Any = Containers(folder, first, later)
    with watching(containers) as watch:
        assert watch.is_up()
    return watch


def test_what_docker_says_while_the_instance_stops_is_not_the_end_of_it(tmp_path: Path) -> None:
    assert look(tmp_path, STOPPING).changes == {"11235": [(1.0, True)], "11434": [(1.0, True)]}


@pytest.mark.parametrize(
    "said",
    ["print('nobody knows what'); sys.exit(0)", "print('99 up 1.0'); sys.exit(0)", "raise ValueError('no such port')"],
)
def test_a_probe_that_cannot_be_read_ends_the_measurement_and_says_why(tmp_path: Path, said: str) -> None:
    with pytest.raises(RuntimeError, match="not what the probe says"):
        look(tmp_path, said, said)
