"""A client's session with PostgreSQL, after its login: simple queries, and the extended protocol that drivers speak."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import sqlite3
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from geusemaker.local_cloud.containers.services import pgwire, sql

_CHANGES_DATABASES = re.compile(
    r"(create|drop)\s+database\s+(if\s+exists\s+)?\"?([\w$-]+)\"?(?:\s+.*)?", re.IGNORECASE | re.DOTALL
)
_RENAMES_DATABASE = re.compile(r"alter\s+database\s+\"?([\w$-]+)\"?\s+rename\s+to\s+\"?([\w$-]+)\"?", re.IGNORECASE)
_SHOWS = re.compile(r"show\s+(\w+)", re.IGNORECASE)
_CONTROLS_TRANSACTION = {"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "VACUUM", "PRAGMA"}
_INTEGERS, _FLOATS = (20, 21, 23, 26), (700, 701, 1700)


class _Prepared:
    def __init__(self, statement: str, types: list[int]) -> None:
        self.statement = statement
        highest = max((int(number) for number in re.findall(r"\$(\d+)", statement)), default=0)
        self.types = [*types, *[0] * (highest - len(types))]


class _Portal:
    def __init__(self, prepared: _Prepared, parameters: list[object]) -> None:
        self.prepared = prepared
        self.parameters = parameters
        # Described before it is executed, as drivers do: then it has run already.
        self.result: pgwire.Result | None = None


class Sessions:
    """A server's open sessions: who is connected to which database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[int, Session] = {}
        self._pids = itertools.count(os.getpid() + 1)

    def add(self, session: Session) -> int:
        """Take a session in; the number it is known by."""
        with self._lock:
            pid = next(self._pids)
            self._open[pid] = session
            return pid

    def remove(self, pid: int) -> None:
        """Forget a session that ended."""
        with self._lock:
            self._open.pop(pid, None)

    def rows(self) -> list[tuple[int, str, str]]:
        """(pid, database, user) of each."""
        with self._lock:
            return [(pid, session.database, session.user) for pid, session in self._open.items()]

    def others_on(self, database: str, pid: int) -> int:
        """How many but this one are connected to a database."""
        return sum(1 for other, name, _ in self.rows() if name == database and other != pid)

    def terminate(self, pid: int) -> int:
        """End a session as ``pg_terminate_backend`` does; 1 if there is such a one."""
        with self._lock:
            session = self._open.get(pid)
        if session is None:
            return 0
        session.hang_up()
        return 1


class Session:
    """Answers until the client leaves.

    Args:
        base: the folder of the databases' files.
        settings: what SHOW tells.
        sessions: those of the same server.
    """

    def __init__(
        self,
        connection: socket.socket,
        base: Path,
        database: str,
        user: str,
        settings: dict[str, str],
        sessions: Sessions,
    ) -> None:
        self.database = database
        self.user = user
        self._connection = connection
        self._base = base
        self._settings = settings
        self._sessions = sessions
        self._renamed: list[tuple[str, str]] = []  # in the transaction under way
        self._failed = False  # the transaction block is aborted
        self._prepared: dict[str, _Prepared] = {}
        self._portals: dict[str, _Portal] = {}
        sizes = {name: base / f"{name}.sqlite" for name in self._databases()}
        self._sqlite = sql.open_database(base / f"{database}.sqlite", database, user, settings["server_version"], sizes)
        self._sqlite.create_function("pg_terminate_backend", 1, sessions.terminate)
        self._pid = sessions.add(self)

    def run(self) -> None:
        """Answer until the client leaves.

        Raises:
            OSError, pgwire.Closed: it left without a word.
        """
        extended: dict[bytes, Callable[[bytes], bytes]] = {
            b"P": self._parse,
            b"B": self._bind,
            b"D": self._describe,
            b"E": self._execute,
            b"C": self._close,
            b"H": lambda body: b"",
        }
        skipping = False  # after an error of the extended protocol, until Sync
        try:
            while True:
                kind, body = pgwire.read_message(self._connection)
                if kind == b"X":
                    return
                if kind == b"Q":
                    self._connection.sendall(self._run_script(body.rstrip(b"\0").decode()) + self._ready())
                elif kind == b"S":
                    skipping = False
                    self._connection.sendall(self._ready())
                elif not skipping:
                    try:
                        if kind not in extended:
                            raise sql.SqlError("0A000", f"message type {kind!r} is not supported by the local cloud")
                        self._connection.sendall(extended[kind](body))
                    except (sql.SqlError, sqlite3.Error) as error:
                        skipping = True
                        self._connection.sendall(self._refusal(error))
        finally:
            self._sessions.remove(self._pid)
            self._sqlite.close()

    def hang_up(self) -> None:
        """End it from another thread."""
        farewell = pgwire.error_response("FATAL", "57P01", "terminating connection due to administrator command")
        with contextlib.suppress(OSError):
            self._connection.sendall(farewell)
            self._connection.shutdown(socket.SHUT_RDWR)

    def _ready(self) -> bytes:
        state = b"E" if self._failed else b"T" if self._sqlite.in_transaction else b"I"
        return pgwire.message(b"Z", state)

    def _refusal(self, error: sql.SqlError | sqlite3.Error) -> bytes:
        self._failed = self._sqlite.in_transaction
        code, message = (error.code, error.message) if isinstance(error, sql.SqlError) else ("XX000", str(error))
        return pgwire.error_response("ERROR", code, message)

    def _databases(self) -> list[str]:
        return sorted(path.stem for path in self._base.glob("*.sqlite"))

    # Simple queries

    def _run_script(self, script: str) -> bytes:
        statements = sql.split(script)
        if not statements:
            return pgwire.message(b"I")
        answer = b""
        # A script is one transaction of its own unless it says otherwise.
        verbs = {_verb(statement) for statement in statements}
        alone = len(statements) == 1 or not verbs.isdisjoint(_CONTROLS_TRANSACTION)
        implicit = not alone and not self._sqlite.in_transaction
        if implicit:
            self._sqlite.execute("BEGIN")
        try:
            for statement in statements:
                result = self._run_statement(statement, [])
                if result.has_rows:
                    answer += pgwire.row_description(result.columns, result.types)
                answer += _rows(result)
            if implicit:
                self._sqlite.execute("COMMIT")
                self._renamed.clear()
        except (sql.SqlError, sqlite3.Error) as error:
            if implicit and self._sqlite.in_transaction:
                self._roll_back()
            answer += self._refusal(error)
        return answer

    def _run_statement(self, statement: str, parameters: list[object]) -> pgwire.Result:
        result = pgwire.Result()
        if self._failed:
            if _verb(statement) not in ("ROLLBACK", "COMMIT", "END"):
                raise sql.SqlError(
                    "25P02", "current transaction is aborted, commands ignored until end of transaction block"
                )
            self._roll_back()
            self._failed = False
            result.tag = "ROLLBACK"
            return result
        match = _CHANGES_DATABASES.fullmatch(statement)
        if match:
            self._change_databases(match[1].lower(), match[3], bool(match[2]))
            result.tag = f"{match[1].upper()} DATABASE"
            return result
        match = _RENAMES_DATABASE.fullmatch(statement)
        if match:
            self._rename_database(match[1], match[2])
            result.tag = "ALTER DATABASE"
            return result
        match = _SHOWS.fullmatch(statement)
        if match:
            name = match[1].lower()
            if name not in self._settings:
                raise sql.SqlError("42704", f'unrecognized configuration parameter "{name}"')
            result.columns, result.types, result.tag = [name], [pgwire.TEXT_TYPE], "SHOW"
            result.rows, result.has_rows = [[self._settings[name]]], True
            return result
        if any(name in statement.lower() for name in ("pg_database", "pg_roles", "pg_stat_activity")):
            sql.refresh_catalog(self._sqlite, self._databases(), self.user, self._sessions.rows())
        if _verb(statement) == "ROLLBACK" and self._sqlite.in_transaction:
            self._roll_back()
            result.tag = "ROLLBACK"
            return result
        result = sql.execute(self._sqlite, statement, parameters)
        if _verb(statement) in ("COMMIT", "END"):
            self._renamed.clear()
        return result

    def _roll_back(self) -> None:
        self._sqlite.execute("ROLLBACK")
        while self._renamed:
            old, new = self._renamed.pop()
            (self._base / f"{new}.sqlite").rename(self._base / f"{old}.sqlite")

    def _change_databases(self, verb: str, name: str, if_exists: bool) -> None:
        path = self._base / f"{name}.sqlite"
        if not sql.DATABASE_NAME.fullmatch(name):
            raise sql.SqlError("42602", f'invalid name "{name}"')
        if self._sqlite.in_transaction:
            raise sql.SqlError("25001", f"{verb.upper()} DATABASE cannot run inside a transaction block")
        if verb == "create":
            if path.exists():
                raise sql.SqlError("42P04", f'database "{name}" already exists')
            sql.create_database(path)
        elif name == self.database:
            raise sql.SqlError("55006", "cannot drop the currently open database")
        elif path.exists():
            self._refuse_if_in_use(name)
            path.unlink()
        elif not if_exists:
            raise sql.SqlError("3D000", f'database "{name}" does not exist')

    def _rename_database(self, old: str, new: str) -> None:
        if old == self.database:
            raise sql.SqlError("0A000", "current database cannot be renamed")
        if not sql.DATABASE_NAME.fullmatch(new):
            raise sql.SqlError("42602", f'invalid name "{new}"')
        if not (self._base / f"{old}.sqlite").exists():
            raise sql.SqlError("3D000", f'database "{old}" does not exist')
        if (self._base / f"{new}.sqlite").exists():
            raise sql.SqlError("42P04", f'database "{new}" already exists')
        self._refuse_if_in_use(old)
        (self._base / f"{old}.sqlite").rename(self._base / f"{new}.sqlite")
        if self._sqlite.in_transaction:
            self._renamed.append((old, new))

    def _refuse_if_in_use(self, database: str) -> None:
        if others := self._sessions.others_on(database, self._pid):
            detail = "is 1 other session" if others == 1 else f"are {others} other sessions"
            raise sql.SqlError(
                "55006",
                f'database "{database}" is being accessed by other users\nDETAIL:  There {detail} using the database.',
            )

    # The extended protocol

    def _parse(self, body: bytes) -> bytes:
        name, statement, rest = body.split(b"\0", 2)
        (count,) = struct.unpack("!H", rest[:2])
        types = list(struct.unpack(f"!{count}I", rest[2 : 2 + 4 * count]))
        statements = sql.split(statement.decode())
        if len(statements) > 1:
            raise sql.SqlError("42601", "cannot insert multiple commands into a prepared statement")
        self._prepared[name.decode()] = _Prepared(statements[0] if statements else "", types)
        return pgwire.message(b"1")

    def _bind(self, body: bytes) -> bytes:
        portal, name, rest = body.split(b"\0", 2)
        prepared = self._get_prepared(name.decode())
        (format_count,) = struct.unpack("!H", rest[:2])
        position = 2 + 2 * format_count
        # None given: all are text; one: it is for all.
        formats = list(struct.unpack(f"!{format_count}H", rest[2:position])) or [0]
        (count,) = struct.unpack("!H", rest[position : position + 2])
        position += 2
        values: list[object] = []
        for index in range(count):
            (length,) = struct.unpack("!i", rest[position : position + 4])
            position += 4
            data = None if length < 0 else rest[position : position + length]
            position += max(length, 0)
            kind = prepared.types[index] if index < len(prepared.types) else 0
            binary = formats[index if len(formats) > 1 else 0] == 1
            values.append(None if data is None else _binary_value(data, kind) if binary else _text_value(data, kind))
        self._portals[portal.decode()] = _Portal(prepared, values)
        return pgwire.message(b"2")

    def _describe(self, body: bytes) -> bytes:
        name = body[1:].rstrip(b"\0").decode()
        if body[:1] == b"S":
            prepared = self._get_prepared(name)
            types = [kind or pgwire.TEXT_TYPE for kind in prepared.types]
            answer = pgwire.message(b"t", struct.pack(f"!H{len(types)}I", len(types), *types))
            columns = sql.describe(self._sqlite, prepared.statement, len(types)) if prepared.statement else None
            if columns is None:
                return answer + pgwire.message(b"n")
            return answer + pgwire.row_description(columns, [pgwire.TEXT_TYPE] * len(columns))
        portal = self._get_portal(name)
        if not portal.prepared.statement:
            return pgwire.message(b"n")
        portal.result = self._run_statement(portal.prepared.statement, portal.parameters)
        if not portal.result.has_rows:
            return pgwire.message(b"n")
        return pgwire.row_description(portal.result.columns, portal.result.types)

    def _execute(self, body: bytes) -> bytes:
        portal = self._get_portal(body.partition(b"\0")[0].decode())
        if not portal.prepared.statement:
            return pgwire.message(b"I")
        result = portal.result or self._run_statement(portal.prepared.statement, portal.parameters)
        portal.result = None
        return _rows(result)

    def _close(self, body: bytes) -> bytes:
        name = body[1:].rstrip(b"\0").decode()
        if body[:1] == b"S":
            self._prepared.pop(name, None)
        else:
            self._portals.pop(name, None)
        return pgwire.message(b"3")

    def _get_prepared(self, name: str) -> _Prepared:
        if name not in self._prepared:
            raise sql.SqlError("26000", f'prepared statement "{name}" does not exist')
        return self._prepared[name]

    def _get_portal(self, name: str) -> _Portal:
        if name not in self._portals:
            raise sql.SqlError("34000", f'portal "{name}" does not exist')
        return self._portals[name]


def _verb(statement: str) -> str:
    return statement.split(None, 1)[0].upper()


def _text_value(data: bytes, kind: int) -> object:
    # Values of types that are not known here stay text, and SQLite's column affinity does the rest.
    if kind in _INTEGERS:
        return int(data)
    if kind in _FLOATS:
        return float(data)
    if kind == pgwire.BOOLEAN_TYPE:
        return 1 if data in (b"t", b"true", b"1") else 0
    return data.decode()


def _binary_value(data: bytes, kind: int) -> object:
    if kind in _INTEGERS or kind == pgwire.BOOLEAN_TYPE:
        return int.from_bytes(data, "big", signed=True)
    if kind in (700, 701):
        return struct.unpack("!f" if kind == 700 else "!d", data)[0]
    if kind in (0, 18, 19, pgwire.TEXT_TYPE, 1042, 1043, 114):
        return data.decode()
    raise sql.SqlError("0A000", f"the local cloud's PostgreSQL reads type {kind} in text format only")


def _rows(result: pgwire.Result) -> bytes:
    return b"".join(pgwire.data_row(row) for row in result.rows) + pgwire.message(b"C", pgwire.text(result.tag))
