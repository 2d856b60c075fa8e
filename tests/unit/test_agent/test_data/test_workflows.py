"""What the agent asks PostgreSQL of n8n's tables, answered by a real one."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from geusemaker.agent.clock import wait_until
from geusemaker.agent.data.postgresql import CLOSED, DATABASES, TABLES, quote_identifier, to_connect
from geusemaker.agent.data.workflows import kept_rows
from geusemaker.agent.errors import AgentError
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


@pytest.fixture(scope="module", params=[one.version for one in installed()][:1])
def database(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A question to a real PostgreSQL, as the agent has psql put it."""
    [binaries] = [one for one in installed() if one.version == request.param]
    with tempfile.TemporaryDirectory() as folder:
        yield from _served(binaries, Path(folder))


def _served(binaries: Binaries, folder: Path) -> Iterator[Any]:
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

    def ask(
        agent: Any, container: Any, database: str, statement: str, seconds: float = 0, timeout: float = 0
    ) -> list[str]:
        login = ["-At", "-h", str(folder), "-U", "me", "-d", to_connect(database)]
        done = subprocess.run([f"{binaries.folder}/psql", *login, "-c", statement], check=True, capture_output=True)
        return [line for line in done.stdout.decode().split("\n") if line]

    def is_up() -> bool:
        return subprocess.run([f"{binaries.folder}/pg_isready", "-h", str(folder)], capture_output=True).returncode == 0

    try:
        assert wait_until(is_up, 60)
        ask(None, None, "postgres", SCHEMA)
        yield ask
    finally:
        running.terminate()
        running.wait(30)


def test_rows_by_id_where_they_have_one(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geusemaker.agent.data.postgresql.query_database", database)
    found = kept_rows(None, None, "postgres", sorted(KEPT))  # type: ignore[arg-type]  # only handed on
    assert found["rows"] == {
        "migrations": {"ids": ["1", "2"]},
        "role": {"any": False},
        "settings": {"any": True},
        "shared_workflow": {"any": False},
        "user": {"ids": ["7ee0a9b5-4ac4-4bb4-a7a1-0a1a2d3d8f10"]},
        "workflow_entity": {"ids": ["w1", "w|2"]},
    }
    assert found["linked"] == ["shared_workflow", "some_future_table"], "and the user's own are not among them"


def test_a_database_without_such_tables_has_no_rows(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geusemaker.agent.data.postgresql.query_database", database)
    assert kept_rows(None, None, "template1", ["user"]) == {"rows": {}, "linked": []}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["a=b", "it's = \\ odd", "postgresql://x/y", 'say "hi"', "Ünder $HOME", "-d x", "a\x85b"]
)
def test_a_database_of_any_name_is_asked(database: Any, name: str) -> None:
    database(None, None, "postgres", f"CREATE DATABASE {quote_identifier(name)}")
    assert name in database(None, None, "postgres", DATABASES)
    database(None, None, name, 'CREATE TABLE "odd.$ ""name" (a int)')
    assert database(None, None, name, TABLES.format("schemaname || '.' || tablename")) == ['public.odd.$ "name']


def test_a_database_that_nobody_can_connect_to_is_known_as_that(database: Any) -> None:
    database(None, None, "postgres", "CREATE DATABASE closed ALLOW_CONNECTIONS false")
    database(None, None, "postgres", "CREATE DATABASE half_dropped")
    database(None, None, "postgres", "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half_dropped'")
    assert {"closed", "half_dropped"} <= {*database(None, None, "postgres", DATABASES)}
    assert {*database(None, None, "postgres", CLOSED)} - {"template0"} == {"closed", "half_dropped"}


def test_tables_of_one_session_are_not_among_those_that_must_stay(database: Any) -> None:
    made = "CREATE TEMP TABLE passing (a int); CREATE TABLE pgvectors (a int); "
    seen = database(None, None, "postgres", made + TABLES.format("schemaname || '.' || tablename"))
    assert "public.pgvectors" in seen and not [table for table in seen if "passing" in table]


def test_an_id_with_a_line_break_stops_nothing(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geusemaker.agent.data.postgresql.query_database", database)
    database(None, None, "postgres", "INSERT INTO workflow_entity VALUES (E'odd\\nid', 'c')")
    rows = kept_rows(None, None, "postgres", ["workflow_entity", "settings"])["rows"]  # type: ignore[arg-type]
    assert "odd" in rows["workflow_entity"]["ids"] and rows["settings"] == {"any": True}


def test_names_that_are_none_are_refused() -> None:
    with pytest.raises(AgentError, match="names of tables"):
        kept_rows(None, None, "n8n", ["user; DROP TABLE x"])  # type: ignore[arg-type]
