"""Databases that are dumped, read back and loaded."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.containers import Container
from geusemaker.agent.data.n8n import copy_n8n_files
from geusemaker.agent.data.n8n_key import key_fingerprint
from geusemaker.agent.data.postgresql import database_holds, database_user, own_databases, to_connect
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.files import Summed, create_file, file_name
from geusemaker.agent.processes import Finished

RESTRICTS_SINCE: Final = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}
"""PostgreSQL's major version → the first minor whose psql knows ``\\restrict`` (release notes of August 2025)."""


def databases_now(agent: Agent, containers: Mapping[str, Container], found: Json) -> None:
    """Add what a checkpoint would hold of PostgreSQL to what ``data_now`` has found."""
    container = containers["postgresql"]
    for database in own_databases(agent, container):
        holds, migrations = database_holds(agent, container, database)
        found["migrations"] = migrations or found["migrations"]
        found["holds"].append(holds)
    found["n8n_key"] = key_fingerprint(agent)


def copy_databases(
    agent: Agent, containers: Mapping[str, Container], about: Json, folder: Path, deadline: float
) -> None:
    """Copy all databases into a checkpoint's folder, and tell of them in its own file (runs in the child)."""
    container, user = containers["postgresql"], database_user(agent)
    for database in own_databases(agent, container):
        agent.reporter.service("postgresql", "dumping", database)
        holds, migrations = database_holds(agent, container, database)
        about["migrations"] = migrations or about["migrations"]
        path = folder / file_name(database, ".dump")
        digest = dump_database(agent, container.id, user, database, path)
        read_back(agent, container.id, path, database, "checkpoint_failed")
        about["holds"].append({**holds, "file": path.name, "bytes": path.stat().st_size, "sha256": digest})
    about["n8n_key"] = key_fingerprint(agent)
    # After the dump: n8n writes a file before the row that names it.
    about["n8n_files"] = copy_n8n_files(agent, folder)


def dump_database(agent: Agent, container: str, user: str, database: str, path: Path) -> str:
    """Dump a database into a new file; its digest.

    In pg_dump's own format, which each minor version's ``pg_restore`` reads. A plain dump holds ``\\restrict`` since
    16.10 and 17.6, and the psql of an older minor, which a rollback brings back, fails on it.
    """
    import tempfile

    argv = ("docker", "exec", container, "pg_dump", "-U", user, "-d", to_connect(database), "--format=custom")
    with (
        create_file(path) as file,
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            argv,
            env=agent.command_environment("docker"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
        ) as process,
    ):
        assert process.stdout is not None
        summed = Summed(file)
        while piece := process.stdout.read(1 << 20):
            summed.write(piece)
        digest = summed.sum()
        code = process.wait()
        complaints.seek(0)
        said = complaints.read().decode(errors="replace")
    if code != 0:
        raise AgentError("checkpoint_failed", f"pg_dump of {database} failed: {Finished(code, '', said).reason()}")
    return digest


def read_back(agent: Agent, container: str, path: Path, database: str, code: str) -> None:
    """Have the PostgreSQL that runs read a dump from its beginning to its end.

    Raises:
        AgentError: of this code: it cannot.
    """
    argv = ("docker", "exec", "-i", container, "pg_restore", "--file=/dev/null")
    with path.open("rb") as file:
        done = subprocess.run(argv, env=agent.command_environment("docker"), stdin=file, capture_output=True)
    if done.returncode != 0:
        reason = Finished(done.returncode, "", done.stderr.decode(errors="replace")).reason()
        raise AgentError(code, f"The dump of {database} cannot be read by the PostgreSQL that runs: {reason}")


def load_dump(agent: Agent, container: str, database: str, path: Path, of: str, options: tuple[str, ...] = ()) -> None:
    """Load a dump into an empty database; ``options``: more of ``pg_restore``'s."""
    import shutil
    import tempfile

    login = ("-U", database_user(agent), "-d", to_connect(database))
    plain = path.name.endswith(".sql.gz")  # of a geusemaker of before
    program = ("psql", "-q", "-X", "-v", "ON_ERROR_STOP=1") if plain else ("pg_restore", "--exit-on-error", *options)
    with (
        plain_dump(path, psql_version(agent, container)) if plain else path.open("rb") as dump,
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            ("docker", "exec", "-i", container, *program, *login),
            env=agent.command_environment("docker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
        ) as process,
    ):
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it gave up; it says why
            shutil.copyfileobj(dump, process.stdin, 1 << 20)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        code = process.wait()
        complaints.seek(0)
        said = complaints.read().decode(errors="replace")
    if code != 0:
        raise AgentError("restore_failed", f"The dump of {of} could not be loaded: {Finished(code, '', said).reason()}")


def psql_version(agent: Agent, container: str) -> str:
    """Such as ``16.9``, of the psql in a container.

    Raises:
        AgentError: docker_failed
    """
    finished = agent.docker("exec", container, "psql", "--version")
    words = finished.out.split()  # psql (PostgreSQL) 16.9 (Debian 16.9-1.pgdg120+1)
    if finished.code != 0 or len(words) < 3:
        raise AgentError("docker_failed", f"psql could not be asked for its version: {finished.reason()}")
    return words[2]


def knows_restrict(version: str) -> bool:
    major, *rest = (int(number) for number in re.findall(r"\d+", version)[:2])
    return major > max(RESTRICTS_SINCE) or (rest or [0])[0] >= RESTRICTS_SINCE.get(major, 1 << 30)


@contextlib.contextmanager
def plain_dump(path: Path, version: str) -> Iterator[Any]:
    """A plain dump as this version's psql reads it: without ``\\restrict`` and its end where it knows neither.

    The first such line names a random word of the dump's own; no other line with it can be anything else.
    """
    import gzip
    import tempfile

    with gzip.open(path, "rb") as packed:
        if knows_restrict(version):
            yield packed
            return
        with tempfile.TemporaryFile(dir=path.parent) as cleaned:
            word = None
            for line in packed:
                if word is None and (found := re.fullmatch(rb"\\restrict ([0-9A-Za-z]+)\r?\n", line)):
                    word = found[1]
                elif word is None or line.rstrip() != b"\\unrestrict " + word:
                    cleaned.write(line)
            cleaned.seek(0)
            yield cleaned
