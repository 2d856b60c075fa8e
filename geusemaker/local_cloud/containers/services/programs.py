"""The programs that ``docker exec`` finds in our images: PostgreSQL's clients, ``ollama list``, a few of coreutils."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geusemaker.local_cloud.containers.options import UsageError, parse
from geusemaker.local_cloud.containers.services import pgwire
from geusemaker.local_cloud.containers.services.postgresql import LOCAL_SOCKET, PORT, version_of
from geusemaker.local_cloud.containers.services.run import Container

_CONNECTION_FLAGS = {
    "-U": "user=",
    "--username": "user=",
    "-d": "database=",
    "--dbname": "database=",
    "-h": "host=",
    "--host": "host=",
    "-p": "port=",
    "--port": "port=",
    "-w": "no_password",
    "--no-password": "no_password",
}


def run(container: Container, command: list[str]) -> int:
    """Run a command in the container; its exit code."""
    name = Path(command[0]).name
    programs: dict[str, Callable[[Container, list[str]], int]] = {
        "env": _env,
        "printenv": _env,
        "cat": _cat,
        "true": _true,
    }
    if container.service == "postgresql":
        programs |= {"psql": _psql, "pg_isready": _pg_isready, "pg_dump": _pg_dump, "postgres": _postgres}
    if name == "sh" and command[1:2] == ["-c"] and len(command) == 3:
        return _sh(container, command[2])
    if name not in programs:
        print(
            "OCI runtime exec failed: exec failed: unable to start container process: exec: "
            f'"{command[0]}": executable file not found in $PATH: unknown',
            file=sys.stderr,
        )
        return 127
    try:
        return programs[name](container, command[1:])
    except UsageError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141


def _sh(container: Container, script: str) -> int:
    # A real shell in which the image's programs are functions.
    import shlex
    import subprocess

    again = shlex.join([sys.executable, "-IS", sys.argv[0], "exec", str(container.folder)])
    names = ["psql", "pg_isready", "pg_dump", "postgres"] if container.service == "postgresql" else []
    functions = "".join(f'{name}() {{ {again} {name} "$@"; }}\n' for name in names)
    return subprocess.run(["/bin/sh", "-c", functions + script], check=False).returncode


def _true(container: Container, argv: list[str]) -> int:
    return 0


def _env(container: Container, argv: list[str]) -> int:
    for key, value in container.environment.items():
        if not argv:
            print(f"{key}={value}")
        elif key in argv:
            print(value)
    return 0 if all(key in container.environment for key in argv) else 1


def _cat(container: Container, argv: list[str]) -> int:
    failed = 0
    for name in argv:
        try:
            sys.stdout.buffer.write(container.path(name).read_bytes())
        except OSError as error:
            print(f"cat: {name}: {os.strerror(error.errno or 0)}", file=sys.stderr)
            failed = 1
    sys.stdout.buffer.flush()
    return failed


def _postgres(container: Container, argv: list[str]) -> int:
    print(f"postgres (PostgreSQL) {version_of(container.tag)}")
    return 0


def _options(container: Container, argv: list[str], flags: dict[str, str], program: str) -> dict[str, Any]:
    options, arguments = parse(argv, {**_CONNECTION_FLAGS, **flags}, program)
    environment = container.environment
    options.setdefault("user", (arguments[1:2] or [environment.get("PGUSER", "root")])[0])
    options.setdefault("database", (arguments[:1] or [environment.get("PGDATABASE", options["user"])])[0])
    return options


def _connect(container: Container, options: dict[str, Any]) -> pgwire.Connection:
    host = options.get("host") or container.environment.get("PGHOST", "")
    if host and not host.startswith("/"):
        opened = socket.create_connection((container.resolve(host), int(options.get("port", PORT))), timeout=10)
    else:
        opened = socket.socket(socket.AF_UNIX)
        opened.connect(LOCAL_SOCKET)  # relative: the working directory is the container's folder
    return pgwire.Connection(opened, options["user"], options["database"], container.environment.get("PGPASSWORD"))


def _where(options: dict[str, Any]) -> str:
    host, port = options.get("host"), options.get("port", PORT)
    return f'"{host}", port {port}' if host else f'socket "/var/run/postgresql/.s.PGSQL.{port}"'


def _pg_isready(container: Container, argv: list[str]) -> int:
    flags = {"-t": "timeout=", "--timeout": "timeout=", "-q": "quiet", "--quiet": "quiet"}
    options = _options(container, argv, flags, "pg_isready")
    place = f"{options.get('host') or '/var/run/postgresql'}:{options.get('port', PORT)}"
    code, what = 0, "accepting connections"
    try:
        _connect(container, options).close()
    except pgwire.ServerError as error:
        # Anything but "not now" means that the server answers, a wrong user or password included.
        if error.code == "57P03":
            code, what = 1, "rejecting connections"
    except (OSError, pgwire.Closed):
        code, what = 2, "no response"
    if not options.get("quiet"):
        print(f"{place} - {what}")
    return code


def _psql(container: Container, argv: list[str]) -> int:
    flags = {
        "-c": "command[]",
        "--command": "command[]",
        "-f": "file[]",
        "--file": "file[]",
        "-A": "unaligned",
        "--no-align": "unaligned",
        "-t": "tuples",
        "--tuples-only": "tuples",
        "-q": "quiet",
        "--quiet": "quiet",
        "-X": "no_psqlrc",
        "--no-psqlrc": "no_psqlrc",
        "-v": "set[]",
        "--set": "set[]",
        "-F": "separator=",
        "--field-separator": "separator=",
        "-1": "single",
        "--single-transaction": "single",
        "-l": "list",
        "--list": "list",
    }
    options = _options(container, argv, flags, "psql")
    scripts = list(options.get("command", []))
    for name in options.get("file", []):
        scripts.append(sys.stdin.read() if name == "-" else container.path(name).read_text())
    if options.get("list"):
        scripts.append("SELECT datname FROM pg_database")
    if not scripts:
        scripts.append(sys.stdin.read())
    stop = (
        bool(options.get("command"))
        or "ON_ERROR_STOP=1" in options.get("set", [])
        or "ON_ERROR_STOP=on" in options.get("set", [])
    )
    try:
        connection = _connect(container, options)
    except pgwire.ServerError as error:
        print(f"psql: error: connection to server on {_where(options)} failed: {error}", file=sys.stderr)
        return 2
    except (OSError, pgwire.Closed) as error:
        print(f"psql: error: connection to server on {_where(options)} failed: {error}", file=sys.stderr)
        return 2
    code = 0
    with contextlib.closing(connection):
        for script in scripts:
            for statement in [script] if options.get("command") else _statements(script):
                try:
                    results = connection.query(statement)
                except pgwire.ServerError as error:
                    print(error, file=sys.stderr)
                    if stop:
                        return 1 if options.get("command") else 3
                else:
                    for result in results:
                        _print(result, options)
    return code


def _statements(script: str) -> list[str]:
    from geusemaker.local_cloud.containers.services.sql import split

    return split(script)


def _print(result: pgwire.Result, options: dict[str, Any]) -> None:
    if not result.has_rows:
        if not options.get("quiet") and result.tag:
            print(result.tag)
        return
    rows = [["" if value is None else value for value in row] for row in result.rows]
    if options.get("unaligned"):
        separator = options.get("separator", "|")
        if not options.get("tuples"):
            print(separator.join(result.columns))
        for row in rows:
            print(separator.join(row))
    else:
        widths = [max(len(text) for text in column) for column in zip(result.columns, *rows, strict=True)]
        if not options.get("tuples"):
            print("|".join(f" {name:^{width}} " for name, width in zip(result.columns, widths, strict=True)))
            print("+".join("-" * (width + 2) for width in widths))
        for row in rows:
            print("|".join(f" {text:<{width}} " for text, width in zip(row, widths, strict=True)).rstrip())
    if not options.get("tuples"):
        print(f"({len(rows)} row{'' if len(rows) == 1 else 's'})")
        if not options.get("unaligned"):
            print()


def _pg_dump(container: Container, argv: list[str]) -> int:
    flags = {
        "-f": "file=",
        "--file": "file=",
        "-F": "format=",
        "--format": "format=",
        "--clean": "clean",
        "-c": "clean",
        "--if-exists": "if_exists",
        "-O": "no_owner",
        "--no-owner": "no_owner",
        "-s": "schema_only",
        "--schema-only": "schema_only",
        "-Z": "compress=",
    }
    options = _options(container, argv, flags, "pg_dump")
    if options.get("format", "p") not in ("p", "plain"):
        print("pg_dump: error: the local cloud's pg_dump writes plain SQL only (--format=plain)", file=sys.stderr)
        return 1
    try:
        _connect(container, options).close()  # the same refusals as a real one: role, database, not ready
    except (pgwire.ServerError, pgwire.Closed, OSError) as error:
        print(f"pg_dump: error: connection to server on {_where(options)} failed: {error}", file=sys.stderr)
        return 1
    data = container.path(container.environment.get("PGDATA", "/var/lib/postgresql/data"))
    file = data / "base" / f"{options['database']}.sqlite"
    lines = ["--", "-- PostgreSQL database dump", "--", ""]
    database = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)
    with contextlib.closing(database):
        database.execute("BEGIN")
        for line in database.iterdump():
            if line in ("BEGIN TRANSACTION;", "COMMIT;") or "sqlite_sequence" in line:
                continue
            if options.get("schema_only") and line.startswith("INSERT"):
                continue
            if options.get("clean") and line.startswith("CREATE TABLE"):
                name = line.removeprefix("CREATE TABLE").removeprefix(" IF NOT EXISTS").split("(")[0].strip()
                lines.append(f"DROP TABLE IF EXISTS {name};")
            lines.append(line)
    lines += ["", "--", "-- PostgreSQL database dump complete", "--", ""]
    text = "\n".join(lines)
    if "file" in options:
        container.path(options["file"]).write_text(text)
    else:
        sys.stdout.write(text)
    return 0
