"""PostgreSQL: its wire protocol over SQLite files inside PGDATA, started as the official image's entrypoint does.

PGDATA holds ``PG_VERSION`` (the major), ``global/pg_authid.json`` (the superuser and its password, hashed, as given at
the first start), ``postmaster.pid`` and ``base/NAME.sqlite``, one a database. Connections over the network need the
password, those over the container's own socket do not.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import socket
import struct
import threading
from pathlib import Path
from typing import Any

from geusemaker.local_cloud.containers.services import pgwire, sql
from geusemaker.local_cloud.containers.services.pgsession import Session, Sessions
from geusemaker.local_cloud.containers.services.run import Container, StartError, complain

PORT = 5432
LOCAL_SOCKET = ".s.PGSQL.5432"
_DEFAULT_MAJOR = "17"  # what ``latest`` was when this was written
_STARTING = ("57P03", "the database system is starting up")


def major_of(tag: str) -> str:
    """The server's major version by its image tag."""
    match = re.match(r"v?(\d+)", tag)
    return match[1] if match else _DEFAULT_MAJOR


def version_of(tag: str) -> str:
    """The server's version by its image tag: ``16.9`` for ``16.9-alpine``."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", tag)
    return match[1] if match else f"{_DEFAULT_MAJOR}.0"


def run(container: Container) -> None:
    """Start; returns when it serves."""
    environment = container.environment
    data = container.path(environment.get("PGDATA", "/var/lib/postgresql/data"))
    user = environment.get("POSTGRES_USER") or "postgres"
    if not (data / "PG_VERSION").exists():
        _initialise(container, data, user)
    else:
        complain("\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n")
    written_by = (data / "PG_VERSION").read_text().strip()
    if written_by != major_of(container.tag):
        raise StartError(
            "FATAL:  database files are incompatible with server\n"
            f"DETAIL:  The data directory was initialized by PostgreSQL version {written_by}, "
            f"which is not compatible with this version {version_of(container.tag)}."
        )
    if container.misbehaviour == "crash":
        raise StartError('FATAL:  could not load library "/usr/lib/postgresql/lib/llvmjit.so": undefined symbol')
    _claim(data)
    complain(f"LOG:  starting PostgreSQL {version_of(container.tag)} on local cloud")
    server = _Server(container, data)
    local = socket.socket(socket.AF_UNIX)
    Path(LOCAL_SOCKET).unlink(missing_ok=True)
    local.bind(LOCAL_SOCKET)  # relative: the working directory is the container's folder
    local.listen(32)
    for listener, trusted in ((container.listener(PORT), False), (local, True)):
        threading.Thread(target=server.accept, args=(listener, trusted), daemon=True).start()
    complain(f'LOG:  listening on IPv4 address "0.0.0.0", port {PORT}')
    if container.is_ready:
        complain("LOG:  database system is ready to accept connections")


def _initialise(container: Container, data: Path, user: str) -> None:
    password = container.environment.get("POSTGRES_PASSWORD", "")
    if not password and container.environment.get("POSTGRES_HOST_AUTH_METHOD") != "trust":
        raise StartError(
            "Error: Database is uninitialized and superuser password is not specified.\n"
            "       You must specify POSTGRES_PASSWORD to a non-empty value for the\n"
            '       superuser. For example, "-e POSTGRES_PASSWORD=password" on "docker run".'
        )
    data.mkdir(parents=True, exist_ok=True)
    # What an initdb that was killed left behind has no PG_VERSION and is used again; anything else is refused.
    ours = {"base", "global", "postgresql.conf", "postmaster.pid", ".PG_VERSION"}
    strangers = sorted(path.name for path in data.iterdir() if path.name not in ours)
    if strangers:
        raise StartError(
            f'initdb: error: directory "{container.environment.get("PGDATA", "")}" exists but is not empty\n'
            f"initdb: detail: It contains {', '.join(strangers[:3])}."
        )
    data.chmod(0o700)
    complain(
        'The files belonging to this database system will be owned by user "postgres".\n\nfixing permissions ... ok'
    )
    base, shared = data / "base", data / "global"
    base.mkdir(exist_ok=True)
    shared.mkdir(exist_ok=True)
    salt = secrets.token_hex(16)
    roles = {user: {"salt": salt, "hash": _hashed(password, salt)}}
    (shared / "pg_authid.json").touch(0o600)
    (shared / "pg_authid.json").write_text(json.dumps(roles))
    (data / "postgresql.conf").write_text("listen_addresses = '*'\n")
    for name in dict.fromkeys(("postgres", container.environment.get("POSTGRES_DB") or user)):
        sql.create_database(base / f"{name}.sqlite")
    # Last, and at once: with it the folder is a database.
    temporary = data / ".PG_VERSION"
    temporary.write_text(major_of(container.tag) + "\n")
    temporary.replace(data / "PG_VERSION")
    complain("\nPostgreSQL init process complete; ready for start up.\n")


def _claim(data: Path) -> None:
    # Held until the process ends, however it ends; two servers on one folder would be the end of it.
    file = (data / "postmaster.pid").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise StartError(
            'FATAL:  lock file "postmaster.pid" already exists\n'
            f"HINT:  Is another postmaster (PID {file.readline().strip()}) running in data directory?"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    _claims.append(file)


_claims: list[Any] = []


def _hashed(password: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), bytes.fromhex(salt), 4096).hex()


class _Refusal(Exception):
    def __init__(self, code: str, message: str, severity: str = "FATAL") -> None:
        super().__init__(message)
        self.response = pgwire.error_response(severity, code, message)


class _Server:
    def __init__(self, container: Container, data: Path) -> None:
        self._container = container
        self._data = data
        self._base = data / "base"
        self._sessions = Sessions()
        self._roles: dict[str, dict[str, str]] = json.loads((data / "global/pg_authid.json").read_text())
        self._trust_all = container.environment.get("POSTGRES_HOST_AUTH_METHOD") == "trust"
        self._settings = {
            "server_version": version_of(container.tag),
            "server_encoding": "UTF8",
            "client_encoding": "UTF8",
            "DateStyle": "ISO, MDY",
            "TimeZone": "Etc/UTC",
            "integer_datetimes": "on",
            "standard_conforming_strings": "on",
            "lc_collate": "en_US.utf8",
            # The stand-in's own: which image serves, as the health APIs of the other services tell.
            "image_tag": container.tag,
        }

    def accept(self, listener: socket.socket, trusted: bool) -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._session, args=(connection, trusted), daemon=True).start()

    def _session(self, connection: socket.socket, trusted: bool) -> None:
        with connection, contextlib.suppress(pgwire.Closed, OSError):
            try:
                parameters = self._startup(connection)
                if parameters is None:
                    return
                if not self._container.is_ready:
                    raise _Refusal(*_STARTING)
                user = parameters.get("user", "")
                database = parameters.get("database") or user
                self._authenticate(connection, user, trusted)
                path = self._base / f"{database}.sqlite"
                if not sql.DATABASE_NAME.fullmatch(database) or not path.exists():
                    raise _Refusal("3D000", f'database "{database}" does not exist')
            except _Refusal as refusal:
                connection.sendall(refusal.response)
                return
            connection.sendall(self._greeting(parameters))
            settings = {**self._settings, "data_directory": self._container.environment.get("PGDATA", "")}
            Session(connection, self._base, database, user, settings, self._sessions).run()

    def _startup(self, connection: socket.socket) -> dict[str, str] | None:
        while True:
            (length,) = struct.unpack("!I", pgwire.read_exactly(connection, 4))
            if not 8 <= length <= 10000:
                return None
            body = pgwire.read_exactly(connection, length - 4)
            (code,) = struct.unpack("!I", body[:4])
            if code in (pgwire.SSL_REQUEST, pgwire.GSS_REQUEST):
                connection.sendall(b"N")
                continue
            if code == pgwire.CANCEL_REQUEST:
                return None
            if code >> 16 != 3:
                raise _Refusal("0A000", f"unsupported frontend protocol {code >> 16}.{code & 0xFFFF}")
            words = [word.decode(errors="replace") for word in body[4:].split(b"\0")]
            return {key: value for key, value in zip(words[::2], words[1::2], strict=False) if key}

    def _authenticate(self, connection: socket.socket, user: str, trusted: bool) -> None:
        role = self._roles.get(user)
        if trusted or self._trust_all:
            if role is None:
                raise _Refusal("28000", f'role "{user}" does not exist')
        else:
            connection.sendall(pgwire.message(b"R", struct.pack("!I", 3)))
            kind, body = pgwire.read_message(connection)
            password = body.rstrip(b"\0").decode(errors="replace") if kind == b"p" else ""
            if role is None or not hmac.compare_digest(_hashed(password, role["salt"]), role["hash"]):
                complain(f'FATAL:  password authentication failed for user "{user}"')
                raise _Refusal("28P01", f'password authentication failed for user "{user}"')
        connection.sendall(pgwire.message(b"R", struct.pack("!I", 0)))

    def _greeting(self, parameters: dict[str, str]) -> bytes:
        settings = {**self._settings, "application_name": parameters.get("application_name", "")}
        status = b"".join(
            pgwire.message(b"S", pgwire.text(key) + pgwire.text(value)) for key, value in settings.items()
        )
        return status + pgwire.message(b"K", struct.pack("!II", os.getpid(), 0)) + pgwire.message(b"Z", b"I")
