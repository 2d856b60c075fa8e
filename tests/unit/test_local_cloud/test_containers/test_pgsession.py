"""PostgreSQL's protocol over a socket pair, against the session and its client."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.local_cloud.containers.services import pgwire, sql
from geusemaker.local_cloud.containers.services.pgsession import Session, Sessions

Connect = Callable[[str], socket.socket]


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Connect]:
    """Begins a session on a database, which is made if it is not there."""
    sessions, opened = Sessions(), []

    def begin(database: str) -> socket.socket:
        if not (tmp_path / f"{database}.sqlite").exists():
            sql.create_database(tmp_path / f"{database}.sqlite")
        near, far = socket.socketpair()
        near.settimeout(10)
        session = Session(far, tmp_path, database, "geusemaker", {"server_version": "16.9"}, sessions)

        def run() -> None:
            with contextlib.suppress(pgwire.Closed, OSError):
                session.run()

        thread = threading.Thread(target=run)
        thread.start()
        opened.append((near, far, thread))
        return near

    yield begin
    for near, far, thread in opened:
        with contextlib.suppress(OSError):
            near.sendall(pgwire.message(b"X"))
        thread.join(10)
        near.close()
        far.close()


@pytest.fixture
def client(connect: Connect) -> socket.socket:
    return connect("n8n")


def ask(client: socket.socket, *messages: bytes) -> list[tuple[bytes, bytes]]:
    """What the server answers up to ReadyForQuery, which is the last."""
    client.sendall(b"".join(messages))
    answers = [pgwire.read_message(client)]
    while answers[-1][0] != b"Z":
        answers.append(pgwire.read_message(client))
    return answers


def query(client: socket.socket, statement: str) -> list[tuple[bytes, bytes]]:
    return ask(client, pgwire.message(b"Q", pgwire.text(statement)))


def kinds(answers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(kind for kind, _ in answers)


def code(answers: list[tuple[bytes, bytes]]) -> str:
    found = code_or_none(answers)
    assert found is not None
    return found


def code_or_none(answers: list[tuple[bytes, bytes]]) -> str | None:
    codes = [pgwire.error_fields(body)["C"] for kind, body in answers if kind == b"E"]
    return codes[0] if codes else None


def test_a_database_is_renamed_unless_it_is_open_or_the_name_is_taken(client: socket.socket, tmp_path: Path) -> None:
    sql.create_database(tmp_path / "other.sqlite")
    assert kinds(query(client, "ALTER DATABASE other RENAME TO before")) == b"CZ"
    assert (tmp_path / "before.sqlite").exists() and not (tmp_path / "other.sqlite").exists()
    for statement, refused in (
        ("ALTER DATABASE n8n RENAME TO x", "0A000"),
        ("ALTER DATABASE other RENAME TO x", "3D000"),
        ("ALTER DATABASE before RENAME TO n8n", "42P04"),
        ("ALTER DATABASE before RENAME TO 1$", "42602"),
    ):
        assert code(query(client, statement)) == refused


def test_a_database_in_use_is_neither_renamed_nor_dropped(client: socket.socket, connect: Connect) -> None:
    other = connect("other")
    assert kinds(query(other, "SELECT 1")) == b"TDCZ"
    for statement in ("ALTER DATABASE other RENAME TO before", "DROP DATABASE other"):
        answers = query(client, statement)
        assert code(answers) == "55006" and b'"other" is being accessed by other users' in answers[0][1]
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('other', 'nope')"
    assert [body for kind, body in query(client, end) if kind == b"D"] == [pgwire.data_row(["t"])[5:]]
    assert pgwire.error_fields(pgwire.read_message(other)[1])["C"] == "57P01"
    with pytest.raises(pgwire.Closed):
        pgwire.read_message(other)
    deadline = time.monotonic() + 10
    while code_or_none(answers := query(client, "ALTER DATABASE other RENAME TO before")) == "55006":
        assert time.monotonic() < deadline  # its thread is on the way out
    assert kinds(answers) == b"CZ"


def test_renames_in_one_script_are_all_or_nothing(client: socket.socket, tmp_path: Path) -> None:
    for name in ("a", "b"):
        sql.create_database(tmp_path / f"{name}.sqlite")
    swap = "ALTER DATABASE a RENAME TO kept; ALTER DATABASE {} RENAME TO a"
    assert code(query(client, swap.format("missing"))) == "3D000"
    assert {path.stem for path in tmp_path.glob("*.sqlite")} == {"n8n", "a", "b"}
    assert kinds(query(client, swap.format("b"))) == b"CCZ"
    assert {path.stem for path in tmp_path.glob("*.sqlite")} == {"n8n", "a", "kept"}
    query(client, "BEGIN")
    query(client, "ALTER DATABASE a RENAME TO b")
    assert code(query(client, "CREATE DATABASE x")) == "25001"
    assert query(client, "ROLLBACK")[0] == (b"C", b"ROLLBACK\0")
    assert {path.stem for path in tmp_path.glob("*.sqlite")} == {"n8n", "a", "kept"}


def test_a_script_of_several_statements_is_one_transaction(client: socket.socket) -> None:
    assert kinds(query(client, "CREATE TABLE t (x INT); INSERT INTO t VALUES (1); SELECT x FROM t")) == b"CCTDCZ"
    failed = query(client, "INSERT INTO t VALUES (2); SELECT * FROM nope")
    assert (kinds(failed), code(failed)) == (b"CEZ", "42P01")
    assert query(client, "SELECT count(*) FROM t")[1][1].endswith(b"1")


def test_an_aborted_transaction_takes_nothing_but_its_end(client: socket.socket) -> None:
    assert query(client, "BEGIN")[-1][1] == b"T"
    assert query(client, "SELEKT")[-1][1] == b"E"
    refused = query(client, "SELECT 1")
    assert (code(refused), refused[-1][1]) == ("25P02", b"E")
    ended = query(client, "COMMIT")
    assert ended[0] == (b"C", b"ROLLBACK\0")
    assert ended[-1][1] == b"I"


def test_databases_are_made_and_dropped(client: socket.socket) -> None:
    assert kinds(query(client, "CREATE DATABASE other")) == b"CZ"
    assert code(query(client, "CREATE DATABASE other")) == "42P04"
    listed = query(client, "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1")
    assert [body for kind, body in listed if kind == b"D"] == [
        pgwire.data_row(["n8n"])[5:],
        pgwire.data_row(["other"])[5:],
    ]
    assert kinds(query(client, "DROP DATABASE IF EXISTS other")) == b"CZ"
    assert code(query(client, "DROP DATABASE other")) == "3D000"
    assert code(query(client, "DROP DATABASE n8n")) == "55006"


def test_the_extended_protocol_with_text_and_binary_parameters(client: socket.socket) -> None:
    query(client, "CREATE TABLE t (id INT, name TEXT)")
    parse = pgwire.message(b"P", b"s\0INSERT INTO t VALUES ($1, $2)\0" + struct.pack("!HII", 2, 23, 0))
    bind = pgwire.message(b"B", b"\0s\0" + struct.pack("!HHHH", 2, 1, 0, 2) + b"\0\0\0\x04\0\0\0\x07\0\0\0\x02it\0\0")
    execute, sync = pgwire.message(b"E", b"\0\0\0\0\0"), pgwire.message(b"S")
    assert kinds(ask(client, parse, bind, execute, sync)) == b"12CZ"

    parse = pgwire.message(b"P", b"\0SELECT name, id FROM t WHERE id = $1\0\0\0")
    describe = pgwire.message(b"D", b"S\0")
    bind = pgwire.message(b"B", b"\0\0" + struct.pack("!HH", 0, 1) + b"\0\0\0\x017\0\0")
    answers = ask(client, parse, describe, bind, execute, sync)
    assert kinds(answers) == b"1tT2DCZ"
    assert answers[4][1] == pgwire.data_row(["it", "7"])[5:]


def test_after_an_error_everything_up_to_sync_is_skipped(client: socket.socket) -> None:
    answers = ask(client, pgwire.message(b"B", b"\0gone\0\0\0\0\0\0\0"), pgwire.message(b"H"), pgwire.message(b"S"))
    assert (kinds(answers), code(answers)) == (b"EZ", "26000")


@given(st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"])))))
def test_rows_are_read_as_they_were_written(values: list[str | None]) -> None:
    near, far = socket.socketpair()
    with near, far:
        columns = [f"c{index}" for index in range(len(values))]
        far.sendall(pgwire.message(b"R", struct.pack("!I", 0)) + pgwire.message(b"Z", b"I"))
        connection = pgwire.Connection(near, "user", "database", None)
        far.sendall(pgwire.row_description(columns, [pgwire.TEXT_TYPE] * len(columns)) + pgwire.data_row(values))
        far.sendall(pgwire.message(b"C", pgwire.text("SELECT 1")) + pgwire.message(b"Z", b"I"))
        (result,) = connection.query("SELECT")
        assert (result.columns, result.rows, result.tag) == (columns, [values], "SELECT 1")
