"""The programs that ``docker exec`` finds in our images: PostgreSQL's own, ``sh``, ``env``, ``getent`` and the like.

And ``nvidia-smi`` in a container that has GPUs: the container toolkit mounts it from the instance.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

from geusemaker.local_cloud.containers.services import generic, node, pgbinaries
from geusemaker.local_cloud.containers.services.container import Container
from geusemaker.local_cloud.containers.services.postgresql import INSIDE, PORT, about


def run(container: Container, command: list[str]) -> int:
    """Run a command in the container; its exit code."""
    name = Path(command[0]).name
    try:
        if name in ("env", "printenv"):
            return _env(container, command[1:])
        if name == "nvidia-smi" and container.gpus:
            return _nvidia_smi(container, command[1:])
        if name == "getent" and command[1:2] == ["hosts"]:
            return _hosts(container, command[2:])
        if name == "node" and container.service == "n8n":
            return node.run(container, command[1:])
        real = _real(container, name)
        if real is None and container.service == "generic":
            return generic.answers(container)
        if real is None:
            print(
                "OCI runtime exec failed: exec failed: unable to start container process: exec: "
                f'"{command[0]}": executable file not found in $PATH: unknown',
                file=sys.stderr,
            )
            return 127
        if container.service == "postgresql":
            _enter_postgresql(container)
        os.execv(real, [name, *command[1:]])  # its output, exit code and signals are the command's own
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141


def _real(container: Container, name: str) -> str | None:
    """A program of this machine that stands for one of the image's."""
    if name == "sh":
        return "/bin/sh"
    if container.service == "postgresql":
        program = Path(_inside(container)["programs"]) / name
        return str(program) if program.exists() else None
    return None


def _inside(container: Container) -> dict[str, str]:
    file = container.folder / INSIDE
    if not file.exists():  # it is just starting
        return about(container, pgbinaries.choose(container.tag, pgbinaries.ask()), PORT)
    inside: dict[str, str] = json.loads(file.read_text())
    return inside


def _enter_postgresql(container: Container) -> None:
    # The server's own socket by a path that is short wherever it lies; ``root`` is who runs a program in a container.
    inside = _inside(container)
    with contextlib.suppress(FileNotFoundError):  # before there is a database
        os.chdir(inside["data"])
    given = {"PGHOST": "/proc/self/cwd", "PGPORT": str(inside["port"]), "PGUSER": "root"}
    for key, value in given.items():
        os.environ.setdefault(key, value)
    os.environ["PATH"] = f"{inside['programs']}:{os.environ.get('PATH', '')}"


def _nvidia_smi(container: Container, argv: list[str]) -> int:
    if argv != ["--query-gpu=name", "--format=csv,noheader"]:
        print("the local cloud's nvidia-smi knows --query-gpu=name --format=csv,noheader only", file=sys.stderr)
        return 2
    print("\n".join(container.gpus))
    return 0


def _hosts(container: Container, names: list[str]) -> int:
    """As glibc's and musl's ``getent hosts``: 2 where a name is not found."""
    for name in names:
        try:
            address, _ = container.find(name)
        except OSError:
            return 2
        print(f"{address:<15} {name}")
    return 0


def _env(container: Container, argv: list[str]) -> int:
    for key, value in container.environment.items():
        if not argv:
            print(f"{key}={value}")
        elif key in argv:
            print(value)
    return 0 if all(key in container.environment for key in argv) else 1
