"""What the agent asks PostgreSQL of n8n's tables, answered by a real one."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from geusemaker.agent.clock import wait_until
from geusemaker.agent.data.postgresql import CLOSED, DATABASES, TABLES, ask_each, query_database, quote_identifier
from geusemaker.agent.data.workflows import kept_rows
from geusemaker.agent.document import Json
from geusemaker.agent.errors import AgentError
from geusemaker.agent.processes import Finished
from geusemaker.catalog.n8n_tables import KEPT
from geusemaker.local_cloud.containers.services import plain_user
from geusemaker.local_cloud.containers.services.pgbinaries import Binaries, installed

SCHEMA = """
CREATE TABLE "user" (id uuid PRIMARY KEY, email text);
CREATE TABLE workflow_entity (id varchar(36) PRIMARY KEY, name text);
CREATE TABLE shared_workflow ("workflowId" varchar(36) REFERENCES workflow_entity (id), "projectId" varchar(36));
CREATE TABLE settings (key text PRIMARY KEY, value text);
CREATE TABLE role (slug text PRIMARY KEY);
CREATE TABLE migrations (id serial PRIMARY KEY, timestamp bigint, name text);
CREATE TABLE some_future_table (id serial, "userId" uuid REFERENCES "user" (id));
CREATE TABLE n8n_chat_histories (id serial PRIMARY KEY, message jsonb);
CREATE SCHEMA mine;
CREATE TABLE mine.credentials_entity (id int);
INSERT INTO "user" VALUES ('7ee0a9b5-4ac4-4bb4-a7a1-0a1a2d3d8f10', 'ann');
INSERT INTO workflow_entity VALUES ('w|2', 'b'), ('w1', 'a');
INSERT INTO settings VALUES ('ui', '1'), ('features', '2');
INSERT INTO migrations (timestamp, name) VALUES (1, 'A1'), (2, 'B2');
"""


class Database:
    """The agent, as far as a database is asked by it: with the real psql, without a container around it."""

    def __init__(self, psql: str, folder: Path) -> None:
        self._program = (psql, "-h", str(folder))
        self.container: Any = SimpleNamespace(id="c1")
        self.agent: Any = self

    def compose_document(self) -> Json:
        return {"services": {"postgresql": {"environment": {"POSTGRES_USER": "me"}}}}

    def docker(self, *arguments: str, timeout: float) -> Finished:
        assert arguments[:3] == ("exec", "c1", "psql")
        done = subprocess.run((*self._program, *arguments[3:]), capture_output=True, text=True, timeout=timeout)
        return Finished(done.returncode, done.stdout, done.stderr)

    def __call__(self, database: str, statement: str) -> list[str]:
        return query_database(self.agent, self.container, database, statement)


@pytest.fixture(scope="module", params=[one.version for one in installed()][:1])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A question to a real PostgreSQL, as the agent has psql put it."""
    [binaries] = [one for one in installed() if one.version == request.param]
    with tempfile.TemporaryDirectory() as folder:
        yield from _served(binaries, Path(folder))


def _served(binaries: Binaries, folder: Path) -> Iterator[Database]:
    user = plain_user.known(999) if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, user, user)
    become = partial(plain_user.become, user)
    data, server = folder / "data", f"{binaries.folder}/postgres"
    made = [
        f"{binaries.folder}/initdb",
        "-D",
        str(data),
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
        "-N",
        "--auth=trust",
        "-U",
        "me",
    ]
    subprocess.run(made, check=True, capture_output=True, preexec_fn=become)
    running = subprocess.Popen(
        [server, "-D", str(data), "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"],
        stderr=subprocess.DEVNULL,
        preexec_fn=become,
    )

    def is_up() -> bool:
        return subprocess.run([f"{binaries.folder}/pg_isready", "-h", str(folder)], capture_output=True).returncode == 0

    try:
        assert wait_until(is_up, 60)
        database = Database(f"{binaries.folder}/psql", folder)
        database("postgres", SCHEMA)
        yield database
    finally:
        running.terminate()
        running.wait(30)


def test_rows_by_id_where_they_have_one(database: Database) -> None:
    found = kept_rows(database.agent, database.container, "postgres", sorted(KEPT))
    assert found["rows"] == {
        "migrations": {"ids": ["1", "2"]},
        "role": {"any": False},
        "settings": {"any": True},
        "shared_workflow": {"any": False},
        "user": {"ids": ["7ee0a9b5-4ac4-4bb4-a7a1-0a1a2d3d8f10"]},
        "workflow_entity": {"ids": ["w1", "w|2"]},
    }
    assert found["linked"] == ["shared_workflow", "some_future_table"], "and the user's own are not among them"


def test_a_database_without_such_tables_has_no_rows(database: Database) -> None:
    assert kept_rows(database.agent, database.container, "template1", ["user"]) == {"rows": {}, "linked": []}


@pytest.mark.parametrize(
    "name", ["a=b", "it's = \\ odd", "postgresql://x/y", 'say "hi"', "Ünder $HOME", "-d x", "a\x85b"]
)
def test_a_database_of_any_name_is_asked(database: Database, name: str) -> None:
    database("postgres", f"CREATE DATABASE {quote_identifier(name)}")
    assert name in database("postgres", DATABASES)
    database(name, 'CREATE TABLE "odd.$ ""name" (a int)')
    assert database(name, TABLES.format("schemaname || '.' || tablename")) == ['public.odd.$ "name']


def test_a_database_that_nobody_can_connect_to_is_known_as_that(database: Database) -> None:
    database("postgres", "CREATE DATABASE closed ALLOW_CONNECTIONS false")
    database("postgres", "CREATE DATABASE half_dropped")
    database("postgres", "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half_dropped'")
    assert {"closed", "half_dropped"} <= {*database("postgres", DATABASES)}
    assert {*database("postgres", CLOSED)} - {"template0"} == {"closed", "half_dropped"}


def test_one_that_fails_hides_no_other(database: Database) -> None:
    asked = (
        "SELECT 'a|b', 1",
        "SELECT 1 FROM nowhere",
        "SELECT 1 WHERE false",
        "SELECT pg_sleep(5)",
        "SELECT E'x\\ny'",
    )
    rows, missing, none, late, odd = ask_each(database.agent, database.container, "postgres", asked, seconds=0.2)
    assert (rows, none, odd) == (["a|b|1"], [], ["x", "y"])
    assert (missing, late) == (
        'relation "nowhere" does not exist',
        "canceling statement due to statement timeout",
    )
    with pytest.raises(AgentError, match='"nobody" does not exist'):
        ask_each(database.agent, database.container, "nobody", asked)


def test_tables_of_one_session_are_not_among_those_that_must_stay(database: Database) -> None:
    made = "CREATE TEMP TABLE passing (a int); CREATE TABLE pgvectors (a int); "
    seen = database("postgres", made + TABLES.format("schemaname || '.' || tablename"))
    assert "public.pgvectors" in seen and not [table for table in seen if "passing" in table]


def test_an_id_with_a_line_break_stops_nothing(database: Database) -> None:
    database("postgres", "INSERT INTO workflow_entity VALUES (E'odd\\nid', 'c')")
    rows = kept_rows(database.agent, database.container, "postgres", ["workflow_entity", "settings"])["rows"]
    assert "odd" in rows["workflow_entity"]["ids"] and rows["settings"] == {"any": True}


def test_names_that_are_none_are_refused() -> None:
    with pytest.raises(AgentError, match="names of tables"):
        kept_rows(None, None, "n8n", ["user; DROP TABLE x"])  # type: ignore[arg-type]
