"""PostgreSQL, asked by the psql in its container."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Final

from geusemaker.agent.agent import Agent
from geusemaker.agent.clock import POLL_INTERVAL
from geusemaker.agent.containers import Container
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError

# What a restore leaves behind or is about to put in place, and what a return that failed had put there.
OWN_DATABASE: Final = re.compile(r".+_(?:before|restoring|failed)_[0-9]{14}_[0-9a-f]{6}")
TABLES: Final = (
    "SELECT {} FROM pg_tables WHERE schemaname <> 'information_schema' AND schemaname NOT LIKE 'pg\\_%' ORDER BY 1"
)
"""Without PostgreSQL's own schemas, which begin with ``pg_``: another session's temporary tables are in such ones."""
DATABASES: Final = "SELECT datname FROM pg_database WHERE datname NOT IN ('template0', 'template1') ORDER BY 1"
CLOSED: Final = "SELECT d.datname FROM pg_database d WHERE NOT d.datallowconn OR d.datconnlimit = -2"
"""Those that nobody can connect to: somebody closed one, or it is what an interrupted DROP DATABASE left (-2)."""
COLLATIONS: Final = (
    "SELECT json_build_array(datname, datcollversion, pg_database_collation_actual_version(oid)) FROM pg_database "
    "WHERE datname <> 'template0' AND datcollversion <> pg_database_collation_actual_version(oid) ORDER BY datname"
)
"""The databases whose text another version of the C library sorted. template0 has no such text."""

_SIZE: Final = "SELECT sum(pg_database_size(datname))::bigint FROM pg_database"


def database_user(agent: Agent) -> str:
    service = (agent.compose_document().get("services") or {}).get("postgresql") or {}
    return str((service.get("environment") or {}).get("POSTGRES_USER") or "postgres")


def _psql(agent: Agent, container: Container, database: str, seconds: float) -> tuple[str, ...]:
    """Docker's arguments for a psql that may work for so long on each statement (0: no limit), up to what is asked."""
    limit = ("-q", "-c", f"SET statement_timeout = {seconds * 1000:.0f}") if seconds else ()
    user = database_user(agent)
    return ("exec", container.id, "psql", "-At", "-U", user, *limit, "-d", to_connect(database))


def query_database(
    agent: Agent, container: Container, database: str, statement: str, seconds: float = 0, timeout: float = 30
) -> list[str]:
    """The rows of a statement, by psql in the container, where the local user needs no password.

    Args:
        seconds: how long PostgreSQL may work on it; 0: no limit.
        timeout: after so many seconds it is given up on.

    Raises:
        AgentError: docker_failed
    """
    finished = agent.docker(*_psql(agent, container, database, seconds), "-c", statement, timeout=timeout)
    if finished.code != 0:
        raise AgentError("docker_failed", f"PostgreSQL could not be asked: {finished.reason()}")
    return [line for line in finished.out.split("\n") if line]


def ask_quickly(agent: Agent, container: Container, database: str, statement: str) -> list[str]:
    """As ``query_database``, for what others may have locked: a way back waits for the manifest.

    PostgreSQL itself is to give up: a psql that is only left behind goes on waiting in its container.
    """
    return query_database(agent, container, database, statement, seconds=10, timeout=15)


def ask_each(
    agent: Agent,
    container: Container,
    database: str,
    statements: Sequence[str],
    seconds: float = 10,
    timeout: float = 30,
) -> list[list[str] | str]:
    """The rows of each statement, or why there are none, by one psql: each ``docker exec`` takes a tenth of a second.

    Args:
        seconds: how long PostgreSQL may work on each.
        timeout: after so many seconds all is given up on.

    Raises:
        AgentError: docker_failed: PostgreSQL could not be asked at all.
    """
    # What psql says after each: whether it failed, and why (psql's manual, "Variables").
    end = f"end-{os.urandom(8).hex()}"
    asked = [part for one in statements for part in ("-c", one, "-c", f"\\echo {end} :ERROR :LAST_ERROR_MESSAGE")]
    finished = agent.docker(*_psql(agent, container, database, seconds), *asked, timeout=timeout)
    answers: list[list[str] | str] = []
    rows: list[str] = []
    for line in finished.out.split("\n"):
        mark, _, told = line.partition(" ")
        if mark != end:
            rows += [line] if line else []
            continue
        failed, _, reason = told.partition(" ")
        answers.append(rows if failed == "false" else reason)
        rows = []
    if len(answers) < len(statements):
        raise AgentError("docker_failed", f"PostgreSQL could not be asked: {finished.reason()}")
    return answers


def rows_of(answer: list[str] | str) -> list[str]:
    """
    Raises:
        AgentError: docker_failed: there are none.
    """
    if isinstance(answer, str):
        raise AgentError("docker_failed", f"PostgreSQL could not be asked: {answer}")
    return answer


def own_databases(agent: Agent, container: Container) -> list[str]:
    """The databases but those that a restore made, which stay where they are, and those that cannot be read."""
    listed, closed = map(rows_of, ask_each(agent, container, "postgres", (DATABASES, CLOSED)))
    return [database for database in listed if not OWN_DATABASE.fullmatch(database) and database not in closed]


def database_holds(agent: Agent, container: Container, database: str) -> tuple[Json, list[str] | None]:
    """(what a database holds in numbers, n8n's migrations if it is n8n's); rows that would take long to count: None."""
    names = "quote_ident(schemaname) || '.' || quote_ident(tablename)"
    tables = query_database(agent, container, database, TABLES.format(names))
    holds: Json = {"service": "postgresql", "name": database, "tables": len(tables), "rows": 0 if not tables else None}
    if 0 < len(tables) <= 400:  # more would not fit on a command line
        union = " UNION ALL ".join(f"SELECT count(*) AS n FROM {table}" for table in tables)
        with contextlib.suppress(AgentError):
            [rows] = query_database(agent, container, database, f"SELECT sum(n) FROM ({union}) AS t", seconds=5)
            holds["rows"] = int(rows)
    if not {"public.workflow_entity", "public.migrations"} <= set(tables):
        return holds, None
    asked = ("SELECT count(*) FROM workflow_entity", "SELECT name FROM migrations ORDER BY 1")
    [workflows], migrations = map(rows_of, ask_each(agent, container, database, asked))
    return {**holds, "workflows": int(workflows)}, migrations


def manifest(agent: Agent, running: Mapping[str, Container], on_disk: Json) -> Json | None:
    """PostgreSQL's part of the manifest; None where there is no PostgreSQL and never was."""
    if "postgresql" not in running and not on_disk["postgresql"]:
        return None
    return {"version": on_disk["postgresql"], **_databases(agent, running.get("postgresql"))}


def _databases(agent: Agent, container: Container | None) -> Json:
    if container is None:
        return {"databases": None, "bytes": None, "reason": "postgresql is not running"}
    tables = TABLES.format("schemaname || '.' || tablename")
    try:
        answers = ask_each(agent, container, "postgres", (CLOSED, DATABASES, tables, _SIZE, COLLATIONS))
        closed, listed, its_own = map(rows_of, answers[:3])
        databases: Json = {name: None for name in listed}
        for name in listed:
            if name == "postgres":
                databases[name] = its_own
            elif name not in closed:
                databases[name] = query_database(agent, container, name, tables)
    except AgentError as error:
        return {"databases": None, "bytes": None, "reason": error.message}
    size, sorted_by = answers[3:]
    return {
        "databases": databases,
        "bytes": int(size[0]) if size and size[0].isdigit() else None,
        "user": database_user(agent),
        "collations": None  # below 15 PostgreSQL does not keep it
        if isinstance(sorted_by, str)
        else [dict(zip(("database", "recorded", "actual"), json.loads(row), strict=True)) for row in sorted_by],
    }


def rename_databases(agent: Agent, container: Container, renames: Sequence[tuple[str, str]]) -> None:
    """Give all of them other names in one transaction; whoever is connected to one is sent away.

    Raises:
        AgentError: docker_failed
    """
    if not renames:
        return
    # psql runs what one -c holds as one transaction.
    swap = "; ".join(
        f"ALTER DATABASE {quote_identifier(old)} RENAME TO {quote_identifier(new)}" for old, new in renames
    )
    names = ", ".join("'" + old.replace("'", "''") + "'" for old, _ in renames)
    disconnect = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ({names})"
    deadline = time.monotonic() + 20
    while True:
        query_database(agent, container, "postgres", disconnect, timeout=300)
        try:
            query_database(agent, container, "postgres", swap, timeout=300)
            return
        except AgentError as error:
            # A client that was quick to come back, or slow to go.
            if "being accessed" not in error.message or time.monotonic() > deadline:
                raise
            time.sleep(POLL_INTERVAL)


def own_name(database: str, what: str, operation: str) -> str:
    """The name of a database's old or coming self, of at most 63 bytes (PostgreSQL's NAMEDATALEN)."""
    import hashlib

    ending = f"_{what}_" + re.sub(r"\W", "_", operation.removeprefix("op-"))
    name = database.encode()
    if len(name) > 63 - len(ending):  # others may begin like this one
        ending = f"~{hashlib.sha256(name).hexdigest()[:8]}{ending}"
    return name[: 63 - len(ending)].decode(errors="ignore") + ending


def to_connect(database: str) -> str:
    """The database as PostgreSQL's programs take it: a name with ``=`` in it, or of a URL's form, is more to them.

    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
    """
    if "=" not in database and "://" not in database:
        return database
    return "dbname='" + database.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
