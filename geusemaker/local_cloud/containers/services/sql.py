"""PostgreSQL's SQL on SQLite: the statements an administrator and n8n use, not a translator of the language."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geusemaker.local_cloud.containers.services.pgwire import BOOLEAN_TYPE, FLOAT_TYPE, INTEGER_TYPE, TEXT_TYPE, Result

# Strings, quoted names, dollar quotes and comments are left as they are; all else may be rewritten.
_PIECES = re.compile(r"('(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/)", re.DOTALL)
_TABLE_FILTER = "type IN ('table') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"

_VIEWS = f"""
CREATE TEMP VIEW pg_tables AS SELECT 'public' AS schemaname, name AS tablename, current_role_name() AS tableowner,
  NULL AS tablespace FROM main.sqlite_master WHERE {_TABLE_FILTER};
CREATE TEMP VIEW pg_stat_user_tables AS SELECT 'public' AS schemaname, name AS relname, count_rows(name) AS n_live_tup
  FROM main.sqlite_master WHERE {_TABLE_FILTER};
CREATE TEMP VIEW information_schema_tables AS SELECT current_database() AS table_catalog, 'public' AS table_schema,
  name AS table_name, CASE type WHEN 'table' THEN 'BASE TABLE' ELSE 'VIEW' END AS table_type
  FROM main.sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\';
CREATE TEMP VIEW pg_namespace AS SELECT 2200 AS oid, 'public' AS nspname;
CREATE TEMP TABLE pg_database (oid INTEGER, datname TEXT, datdba INTEGER, encoding INTEGER, datcollate TEXT,
  datctype TEXT, datistemplate BOOLEAN, datallowconn BOOLEAN);
CREATE TEMP TABLE pg_stat_activity (pid INTEGER, datname TEXT, usename TEXT);
CREATE TEMP TABLE pg_roles (rolname TEXT, rolsuper BOOLEAN, rolcanlogin BOOLEAN);
"""

# SQLite has no booleans: columns that are known to hold some are told by their names.
_BOOLEAN_COLUMNS = (
    "datistemplate",
    "datallowconn",
    "rolsuper",
    "rolcanlogin",
    "active",
    "pg_is_in_recovery()",
    "pg_terminate_backend(pid)",
)

_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        (r"\binformation_schema\.tables\b", "information_schema_tables"),
        (r"\$(\d+)", r"?\1"),
        (r"\bpg_catalog\.", ""),
        (r"\bpublic\.", "main."),
        (r"::\s*[a-z_]+(?:\s*\(\s*\d+\s*\))?(?:\[\])?", ""),
        (r"\b(?:small|big)?serial\b", "INTEGER"),
        (r"\bilike\b", "LIKE"),
        (r"\bcurrent_user\b|\bsession_user\b", "current_role_name()"),
        (r"\bcurrent_catalog\b", "current_database()"),
        (r"\bnow\(\)", "CURRENT_TIMESTAMP"),
        (r"\bgen_random_uuid\(\)", "lower(hex(randomblob(16)))"),
        (r"\bjsonb\b", "TEXT"),
        (r"\btimestamptz\b|\btimestamp with(?:out)? time zone\b", "TEXT"),
        (r"\bif exists\s+(\w+)\s+cascade\b", r"IF EXISTS \1"),
        (r"^\s*start\s+transaction\b", "BEGIN"),
        (r"^\s*truncate(?:\s+table)?\s+", "DELETE FROM "),
    )
)


DATABASE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$-]{0,62}")


class SqlError(Exception):
    """A statement failed; ``code`` is PostgreSQL's SQLSTATE."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def split(script: str) -> list[str]:
    """The statements of a script, without their semicolons."""
    statements, current = [], ""
    for index, piece in enumerate(_PIECES.split(script)):
        if index % 2:
            current += piece if piece[:1] in "'\"" else " "
            continue
        *finished, last = piece.split(";")
        for part in finished:
            statements.append(current + part)
            current = ""
        current += last
    statements.append(current)
    return [statement.strip() for statement in statements if statement.strip()]


def rewrite(statement: str) -> str:
    """The statement as SQLite understands it."""
    pieces = _PIECES.split(statement)
    for index in range(0, len(pieces), 2):
        for pattern, replacement in _REWRITES:
            pieces[index] = pattern.sub(replacement, pieces[index])
    return "".join(pieces)


def create_database(path: Path) -> None:
    """Make an empty database's file."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA user_version = 1")  # writes the file's header
        connection.commit()
    finally:
        connection.close()


def open_database(
    path: Path, name: str, user: str, server_version: str, sizes: dict[str, Path], timeout: float = 10.0
) -> sqlite3.Connection:
    """A session on one database's file.

    Args:
        sizes: database → file, for ``pg_database_size``.
        timeout: seconds to wait for another session's write to end.
    """
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")

    def size(database: str) -> int:
        file = sizes.get(database)
        return file.stat().st_size if file is not None and file.exists() else 0

    def count_rows(table: str) -> int:
        quoted = table.replace('"', '""')
        other = sqlite3.connect(path, timeout=timeout)
        try:
            return int(other.execute(f'SELECT count(*) FROM "{quoted}"').fetchone()[0])
        finally:
            other.close()

    connection.create_function("version", 0, lambda: f"PostgreSQL {server_version} on local cloud, SQLite inside")
    connection.create_function("current_database", 0, lambda: name)
    connection.create_function("current_role_name", 0, lambda: user)
    connection.create_function("current_schema", 0, lambda: "public")
    connection.create_function("pg_database_size", 1, size)
    connection.create_function("pg_is_in_recovery", 0, lambda: 0)
    connection.create_function("pg_postmaster_start_time", 0, lambda: "2025-01-01 00:00:00+00")
    connection.create_function("count_rows", 1, count_rows)
    connection.create_function("quote_ident", 1, lambda text: str(text))
    connection.create_function("concat", -1, lambda *parts: "".join("" if p is None else str(p) for p in parts))
    aggregate: Any = _StringAggregate  # typeshed knows aggregates of one argument only
    connection.create_aggregate("string_agg", 2, aggregate)
    connection.executescript(_VIEWS)
    return connection


class _StringAggregate:
    def __init__(self) -> None:
        self._parts: list[str] = []
        self._separator = ""

    def step(self, value: object, separator: object) -> None:
        if value is not None:
            self._parts.append(str(value))
            self._separator = str(separator)

    def finalize(self) -> str | None:
        return self._separator.join(self._parts) if self._parts else None


def refresh_catalog(
    connection: sqlite3.Connection, databases: list[str], user: str, sessions: list[tuple[int, str, str]]
) -> None:
    """Bring the session's ``pg_database``, ``pg_roles`` and ``pg_stat_activity`` up to date."""
    connection.execute("DELETE FROM temp.pg_stat_activity")
    connection.executemany("INSERT INTO temp.pg_stat_activity VALUES (?, ?, ?)", sessions)
    connection.execute("DELETE FROM temp.pg_database")
    rows = [(16384 + i, name, 10, 6, "en_US.utf8", "en_US.utf8", 0, 1) for i, name in enumerate(databases)]
    rows += [(1, "template1", 10, 6, "en_US.utf8", "en_US.utf8", 1, 1)]
    rows += [(4, "template0", 10, 6, "en_US.utf8", "en_US.utf8", 1, 0)]
    connection.executemany("INSERT INTO temp.pg_database VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.execute("DELETE FROM temp.pg_roles")
    connection.execute("INSERT INTO temp.pg_roles VALUES (?, 1, 1)", (user,))


def execute(connection: sqlite3.Connection, statement: str, parameters: Sequence[object] = ()) -> Result:
    """Run one statement; ``$1`` … stand for the parameters.

    Raises:
        SqlError: it failed.
    """
    result = Result()
    words = statement.split(None, 2)
    verb = words[0].upper()
    if verb in ("SET", "RESET", "GRANT", "REVOKE", "ANALYZE", "COMMENT", "CHECKPOINT") or (
        verb in ("CREATE", "ALTER") and len(words) > 1 and words[1].upper() in ("EXTENSION", "ROLE", "USER")
    ):
        result.tag = verb if verb not in ("CREATE", "ALTER") else f"{verb} {words[1].upper()}"
        return result
    if verb == "COPY":
        raise SqlError("0A000", "COPY is not supported by the local cloud's PostgreSQL")
    try:
        before = connection.total_changes
        cursor = connection.execute(rewrite(statement), parameters)
        if cursor.description is not None:
            result.has_rows = True
            result.columns = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
            result.rows = [
                [_text(value, name) for value, name in zip(row, result.columns, strict=True)] for row in rows
            ]
            result.types = [_type(name, [row[index] for row in rows]) for index, name in enumerate(result.columns)]
        changed = connection.total_changes - before
    except sqlite3.Error as error:
        raise _translated(error) from None
    result.tag = _tag(verb, words, result, changed)
    return result


def describe(connection: sqlite3.Connection, statement: str, parameters: int) -> list[str] | None:
    """The columns that a statement would answer with, without running it; None: it answers with none.

    Raises:
        SqlError: it is wrong, or this cannot be told beforehand.
    """
    verb = statement.split(None, 1)[0].upper()
    if verb in ("SELECT", "VALUES", "WITH"):
        return execute(connection, f"SELECT * FROM ({statement}) LIMIT 0", [None] * parameters).columns
    if re.search(r"\breturning\b", statement, re.IGNORECASE):
        raise SqlError("0A000", "the local cloud's PostgreSQL cannot describe RETURNING before it has run")
    return None


def _type(name: str, values: list[object]) -> int:
    if name in _BOOLEAN_COLUMNS:
        return BOOLEAN_TYPE
    kinds = {type(value) for value in values if value is not None}
    return INTEGER_TYPE if kinds == {int} else FLOAT_TYPE if kinds == {float} else TEXT_TYPE


def _text(value: object, column: str) -> str | None:
    if value is None:
        return None
    if column in _BOOLEAN_COLUMNS:
        return {"1": "t", "0": "f", "true": "t", "false": "f"}.get(str(value), str(value))
    return value.hex() if isinstance(value, bytes) else str(value)


def _tag(verb: str, words: list[str], result: Result, changed: int) -> str:
    if verb in ("SELECT", "WITH", "VALUES", "SHOW", "TABLE"):
        return f"SELECT {len(result.rows)}"
    if verb == "INSERT":
        return f"INSERT 0 {changed}"
    if verb in ("UPDATE", "DELETE"):
        return f"{verb} {changed}"
    if verb in ("CREATE", "DROP", "ALTER") and len(words) > 1:
        return f"{verb} {words[1].upper()}"
    return {"START": "START TRANSACTION", "END": "COMMIT"}.get(verb, verb)


def _translated(error: sqlite3.Error) -> SqlError:
    text = str(error)
    for pattern, code, message in (
        (r"no such table: (?:main\.)?(.+)", "42P01", 'relation "{}" does not exist'),
        (r"no such column: (.+)", "42703", 'column "{}" does not exist'),
        (r"no such function: (.+)", "42883", "function {} does not exist"),
        (r"(?:table|view) (.+) already exists", "42P07", 'relation "{}" already exists'),
        (r'near "(.+?)": syntax error', "42601", 'syntax error at or near "{}"'),
        (r"UNIQUE constraint failed: (.+)", "23505", 'duplicate key value violates unique constraint "{}"'),
        (r"NOT NULL constraint failed: (.+)", "23502", 'null value in column "{}" violates not-null constraint'),
        (r"FOREIGN KEY constraint failed()", "23503", "insert or update violates foreign key constraint"),
        (r"database or disk is full()", "53100", "could not extend file: No space left on device"),
    ):
        match = re.fullmatch(pattern, text)
        if match:
            return SqlError(code, message.format(match[1].strip('"')))
    return SqlError("XX000", text)
