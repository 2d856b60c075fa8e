"""PostgreSQL's message format (protocol 3.0), and a client of it that can ask simple queries."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Any

PROTOCOL = 196608
SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102
BOOLEAN_TYPE, INTEGER_TYPE, TEXT_TYPE, FLOAT_TYPE = 16, 20, 25, 701


class ServerError(Exception):
    """The server answered with an ErrorResponse; ``fields`` by their letter, ``C`` the code, ``M`` the message."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(f"{fields.get('S', 'ERROR')}:  {fields.get('M', '')}")
        self.fields = fields

    @property
    def code(self) -> str:
        return self.fields.get("C", "")


class Closed(Exception):
    """The peer ended the connection."""


def read_exactly(connection: socket.socket, length: int) -> bytes:
    """So many bytes.

    Raises:
        Closed: the connection ended before.
    """
    data = bytearray()
    while len(data) < length:
        chunk = connection.recv(length - len(data))
        if not chunk:
            raise Closed
        data += chunk
    return bytes(data)


def read_message(connection: socket.socket) -> tuple[bytes, bytes]:
    """(type, body) of the next message.

    Raises:
        Closed: there is none.
    """
    kind = read_exactly(connection, 1)
    (length,) = struct.unpack("!I", read_exactly(connection, 4))
    return kind, read_exactly(connection, length - 4)


def message(kind: bytes, body: bytes = b"") -> bytes:
    """One message, framed."""
    return kind + struct.pack("!I", len(body) + 4) + body


def text(value: str) -> bytes:
    """A zero-terminated string."""
    return value.encode() + b"\0"


def error_response(severity: str, code: str, what: str) -> bytes:
    """An ErrorResponse."""
    fields = f"S{severity}\0V{severity}\0C{code}\0M{what}\0\0"
    return message(b"E", fields.encode())


def row_description(names: list[str], types: list[int]) -> bytes:
    """A RowDescription; whatever a column's type, its values are sent in text format."""
    body = struct.pack("!H", len(names))
    for name, kind in zip(names, types, strict=True):
        body += text(name) + struct.pack("!IHIhih", 0, 0, kind, -1, -1, 0)
    return message(b"T", body)


def data_row(values: list[str | None]) -> bytes:
    """A DataRow."""
    body = struct.pack("!H", len(values))
    for value in values:
        if value is None:
            body += struct.pack("!i", -1)
        else:
            data = value.encode()
            body += struct.pack("!i", len(data)) + data
    return message(b"D", body)


def startup(user: str, database: str) -> bytes:
    """A StartupMessage."""
    body = struct.pack("!I", PROTOCOL) + text("user") + text(user) + text("database") + text(database) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def error_fields(body: bytes) -> dict[str, str]:
    """Fields of an ErrorResponse or NoticeResponse."""
    return {part[:1].decode(): part[1:].decode(errors="replace") for part in body.split(b"\0") if part}


class Result:
    """What one statement gave: columns (names, type numbers), rows of text or None, command tag (``SELECT 1``)."""

    def __init__(self) -> None:
        self.columns: list[str] = []
        self.types: list[int] = []
        self.rows: list[list[str | None]] = []
        self.tag = ""
        self.has_rows = False


class Connection:
    """A session.

    Args:
        opened: a connected socket; it is closed with the session.

    Raises:
        ServerError: the server refuses the user, the password or the database, or is not ready.
        OSError, Closed: it cannot be talked to.
    """

    def __init__(self, opened: socket.socket, user: str, database: str, password: str | None) -> None:
        self._socket = opened
        try:
            opened.sendall(startup(user, database))
            while True:
                kind, body = read_message(opened)
                if kind == b"E":
                    raise ServerError(error_fields(body))
                if kind == b"R" and struct.unpack("!I", body[:4])[0] == 3:
                    if password is None:
                        raise ServerError({"S": "FATAL", "C": "28P01", "M": "no password supplied"})
                    opened.sendall(message(b"p", text(password)))
                if kind == b"Z":
                    return
        except BaseException:
            opened.close()
            raise

    def query(self, sql: str) -> list[Result]:
        """Run statements; what each of them gave.

        Raises:
            ServerError: one failed; the rest did not run.
            OSError, Closed: the connection is gone.
        """
        self._socket.sendall(message(b"Q", text(sql)))
        results: list[Result] = []
        current, failure = Result(), None
        while True:
            kind, body = read_message(self._socket)
            if kind == b"T":
                current.columns, current.has_rows = _columns(body), True
            elif kind == b"D":
                current.rows.append(_values(body))
            elif kind == b"C":
                current.tag = body.rstrip(b"\0").decode()
                results.append(current)
                current = Result()
            elif kind == b"E":
                failure = ServerError(error_fields(body))
            elif kind == b"Z":
                if failure is not None:
                    raise failure
                return results

    def close(self) -> None:
        """End the session."""
        with contextlib.suppress(OSError):
            self._socket.sendall(message(b"X"))
        self._socket.close()


def quoted(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("'", "''") + "'"


def _columns(body: bytes) -> list[str]:
    (count,) = struct.unpack("!H", body[:2])
    names, position = [], 2
    for _ in range(count):
        end = body.index(b"\0", position)
        names.append(body[position:end].decode())
        position = end + 1 + 18
    return names


def _values(body: bytes) -> list[str | None]:
    (count,) = struct.unpack("!H", body[:2])
    values: list[Any] = []
    position = 2
    for _ in range(count):
        (length,) = struct.unpack("!i", body[position : position + 4])
        position += 4
        if length < 0:
            values.append(None)
            continue
        values.append(body[position : position + length].decode())
        position += length
    return values
