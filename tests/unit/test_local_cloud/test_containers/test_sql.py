from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.local_cloud.containers.services.sql import (
    SqlError,
    execute,
    open_database,
    refresh_catalog,
    rewrite,
    split,
)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "n8n.sqlite"
    with contextlib.closing(open_database(path, "n8n", "geusemaker", "16.9", {"n8n": path})) as connection:
        yield connection


def rows(session: sqlite3.Connection, statement: str) -> list[list[str | None]]:
    return execute(session, statement).rows


def test_tables_are_listed_as_in_the_catalogue(session: sqlite3.Connection) -> None:
    assert execute(session, "CREATE TABLE public.workflow (id SERIAL PRIMARY KEY, n JSONB)").tag == "CREATE TABLE"
    assert execute(session, "INSERT INTO workflow (n) VALUES ('{}'), ('public.x::text')").tag == "INSERT 0 2"
    sql = "SELECT schemaname||'.'||tablename FROM pg_catalog.pg_tables WHERE schemaname NOT IN ('pg_catalog')"
    assert rows(session, sql) == [["public.workflow"]]
    assert rows(session, "SELECT n FROM workflow WHERE id = 2") == [["public.x::text"]]
    assert rows(session, "SELECT relname, n_live_tup FROM pg_stat_user_tables") == [["workflow", "2"]]
    assert rows(session, "SELECT table_name FROM information_schema.tables") == [["workflow"]]


def test_databases_are_listed_with_the_templates(session: sqlite3.Connection) -> None:
    refresh_catalog(session, ["n8n", "postgres"], "geusemaker", [(7, "n8n", "geusemaker")])
    sql = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datallowconn ORDER BY 1"
    assert rows(session, sql) == [["n8n"], ["postgres"]]
    assert rows(session, "SELECT datistemplate FROM pg_database WHERE datname = 'template0'") == [["t"]]


def test_questions_about_the_server(session: sqlite3.Connection) -> None:
    assert rows(session, "SELECT current_database(), current_user") == [["n8n", "geusemaker"]]
    assert str(rows(session, "SELECT version()")[0][0]).startswith("PostgreSQL 16.9")
    execute(session, "CREATE TABLE t (x INT)")
    assert int(rows(session, "SELECT pg_database_size('n8n')")[0][0] or 0) > 0
    assert rows(session, "SELECT string_agg(x, ', ') FROM (SELECT 'a' AS x UNION SELECT 'b')") == [["a, b"]]


@pytest.mark.parametrize(
    ("statement", "code", "message"),
    [
        ("SELECT * FROM nope", "42P01", 'relation "nope" does not exist'),
        ("SELEKT", "42601", 'syntax error at or near "SELEKT"'),
        ("SELECT nope()", "42883", "function nope does not exist"),
        ("COPY t FROM stdin", "0A000", "COPY is not supported"),
    ],
)
def test_failures_have_postgresql_s_codes(session: sqlite3.Connection, statement: str, code: str, message: str) -> None:
    with pytest.raises(SqlError, match=message) as raised:
        execute(session, statement)
    assert raised.value.code == code


def test_splitting_respects_quotes_and_comments() -> None:
    assert split("a; 'b;c' ; -- d;\n e /* ; */;;") == ["a", "'b;c'", "e"]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_string_literal_is_never_touched(value: str) -> None:
    literal = "'" + value.replace("'", "''") + "'"
    statement = f"SELECT {literal}"
    assert split(f"{statement};") == [statement.strip()]
    assert rewrite(statement) == statement
