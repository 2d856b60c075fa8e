#!/usr/bin/env python3
"""The agent: the one program that works on the instance. It is shipped over SSH and runs as root, next to the data.

    python3 -I agent.py [--root /] [--expect VERSION] VERB
        one JSON document on stdin, JSON lines on stdout, exit status 0 or 1
    python3 -I agent.py --version
        the digest of this file

This is one file for Python 3.11 to 3.13 with nothing but the standard library. Every path is taken below ``--root``
(``/`` on a real machine); ``docker``, ``systemctl``, ``apt-get``, ``dpkg-query`` are found on PATH.

Lines it writes, each shorter than 16 KiB:

    {"event": "phase", "name": …, "state": "started"|"done", "message": …}
    {"event": "service", "service": "n8n", "state": …, "detail": …}
    {"event": "note", "message": …}     {"event": "log", "service": …, "line": …}
    {"event": "part", "text": …}        a piece of the JSON text of an answer too long for one line
    {"event": "result", "ok": true, …}  the last line: the verb's answer (or "parts": how many pieces came before)
    {"event": "error", "code": …, "message": …, "detail": {…}}   the last line instead, with exit status 1;
        the gate's detail has "services": {"n8n": {"state": …, "reason": …, "healthy": …}, …}, and no other verb's has

Rules that every change to this file has to keep:

* Mounted or nothing. No container is started unless the right file system is mounted and its sentinel is there, and
  with it the data volume, where the deployment has one.
* A lost NFS mount hangs whoever touches it. The mount table is read first, and the file system is touched only in a
  forked child with a deadline (``Agent.on_efs``).
* One operation at a time. The lease on the file system names it; verbs that change anything refuse every other one.
  A process registers itself *before* it looks at the lease, and a new lease is written *before* the old operation's
  processes are killed: so whatever passed the check under the old lease is seen, and killed.
* Interruptible everywhere: files appear by rename after fsync, and every verb can simply be run again.
* Everything has a deadline, and secrets appear in no argument list and in no line written.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import functools
import json
import os
import re
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

Json = dict[str, Any]
T = TypeVar("T")
K = TypeVar("K")

PROJECT: Final = "geusemaker"
MOUNT_POINT: Final = "/mnt/efs"
MOUNT_UNIT: Final = "mnt-efs.mount"  # systemd wants the unit named after its mount point
VOLUME_POINT: Final = "/mnt/data"
VOLUME_UNIT: Final = "mnt-data.mount"
RETRY_UNIT: Final = "geusemaker-docker.service"
LINE_LIMIT: Final = 15_000  # pulumi-command can hang on a line of 64 KiB; 16 KiB is what is promised
EFS_DEADLINE: Final = 20.0
MOUNT_PATIENCE: Final = 60.0  # seconds for what a boot could not mount; the services are down then
CHECKPOINT_FILE: Final = "checkpoint.json"
CANDIDATE: Final = "compose.candidate.json"  # a compose file that is being checked
QDRANT_PORT: Final = 6333
POLL_INTERVAL: Final = 0.2
PASSWORD_PATIENCE: Final = 300.0  # seconds for a database that has to recover before it takes a password
PROBE_TIMEOUT: Final = 2.0
READY_ATTEMPTS: Final = 5
NO_ANSWER: Final = "no answer within"
PROBE_LIMIT: Final = 1 << 20  # bytes of an answer that are read; n8n's settings are some tens of KB
SETTLE_POLL: Final = 1.0  # between two looks at services that are all healthy
MIGRATION_POLL: Final = 2.0  # between two looks at a migration: each is a psql in PostgreSQL's container
MIGRATION_STALL: Final = 30.0  # a migration in which so long nothing happens hangs
PULL_NEWS: Final = 15.0  # how often, in seconds, a pull without news says that it goes on
ROOT_OVERHEAD: Final = 2**30  # bytes of a disk for what stands before the root partition: boot loaders, tables
IDLE_OPERATIONS: Final = 50  # so many that changed nothing are remembered by the lease
DONE: Final = "done"  # the outcome of an operation that may be run once more, by a plain `pulumi up`
OPERATION_MARK: Final = "GEUSEMAKER_OPERATION"
IMAGE_REPOSITORIES: Final = frozenset({"postgres", "n8nio/n8n", "ollama/ollama", "qdrant/qdrant", "unclecode/crawl4ai"})
_OPERATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_SERVICE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


# --------------------------------------------------------------------------------------------------------- errors


class AgentError(Exception):
    """A failure that the operator is told of: a stable code, one sentence, and details."""

    def __init__(self, code: str, message: str, **detail: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.detail = detail


class Interrupted(BaseException):  # not an error: no `except Exception` may swallow it
    """Raised by a signal handler: told to end, or the verb's own deadline passed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


# ------------------------------------------------------------------------------------------------- input document


@dataclass(frozen=True)
class Document:
    """The verb's input, read with checks. Messages name keys and never values: values may be secret."""

    values: Mapping[str, Any]

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not value:
            raise AgentError("bad_input", f"The document needs {key!r} as text.")
        return value

    def optional_text(self, key: str) -> str | None:
        return None if self.values.get(key) in (None, "") else self.text(key)

    def operation(self, key: str = "operation") -> str:
        value = self.text(key)
        if not _OPERATION.fullmatch(value):
            raise AgentError("bad_input", f"{key!r} is not an operation id.")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise AgentError("bad_input", f"{key!r} has to be a number of 0 or more.")
        return value

    def mapping(self, key: str) -> Json:
        value = self.values.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise AgentError("bad_input", f"{key!r} has to be an object.")
        return value

    def items(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise AgentError("bad_input", f"{key!r} has to be a list.")
        return value

    def service_map(self, key: str) -> Json:
        value = self.mapping(key)
        for name in value:
            check_service_name(name)
        return value


def check_service_name(name: str) -> str:
    """The name, if it can safely become a file name."""
    if not _SERVICE.fullmatch(name):
        raise AgentError("bad_input", "A service name may hold lower-case letters, digits, - and _ only.")
    return name


# --------------------------------------------------------------------------------------------------------- output


class Reporter:
    """Writes the lines. Everything that leaves goes through here, so this is where secrets are taken out."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._secrets: tuple[str, ...] = ()
        self.gone = False
        """True once nobody reads our output any more."""

    def hide(self, values: Iterable[str]) -> None:
        """Never write these values, in any of their forms. Very short ones would hide ordinary words."""
        known = set(self._secrets)
        for value in values:
            for part in (value, *value.splitlines()):
                if len(part) >= 6:
                    known |= secret_forms(part)
        self._secrets = tuple(sorted(known, key=len, reverse=True))

    def redact(self, value: Any) -> Any:
        """The value with every hidden text in it replaced by ``***``, and half characters, which no file takes."""
        if isinstance(value, str):
            value = value if value.isascii() else value.encode(errors="replace").decode()
            for secret in self._secrets:
                if secret in value:
                    value = value.replace(secret, "***")
            return value
        if isinstance(value, Mapping):
            return {key: self.redact(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact(item) for item in value]
        return value

    def emit(self, event: str, **values: Any) -> None:
        document = self.redact({"event": event, **values})
        line = json.dumps(document)
        for longest in (2000, 500, 120, 40):
            if len(line) <= LINE_LIMIT:
                break
            line = json.dumps(_shortened(document, longest))
        self._line(line if len(line) <= LINE_LIMIT else _too_long(document))

    def phase(self, name: str, state: str, message: str = "") -> None:
        self.emit("phase", name=name, state=state, message=message)

    def service(self, name: str, state: str, detail: str = "") -> None:
        self.emit("service", service=name, state=state, detail=detail)

    def note(self, message: str) -> None:
        self.emit("note", message=message)

    def result(self, answer: Json) -> None:
        """The last line. An answer too long for one goes before it in pieces: unlike an event, it is never cut."""
        text = json.dumps(self.redact(answer))
        if len(text) <= LINE_LIMIT - 100:
            self._line(json.dumps({"event": "result", "ok": True, **json.loads(text)}))
            return
        size = LINE_LIMIT // 2 - 200  # escaped once more, a piece at most doubles
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        for piece in pieces:
            self._line(json.dumps({"event": "part", "text": piece}))
        self._line(json.dumps({"event": "result", "ok": True, "parts": len(pieces)}))

    def _line(self, line: str) -> None:
        if self.gone:
            return
        try:
            self._write(line + "\n")
        except OSError:
            # The other end hung up. A change under way is finished all the same: half-done is the worse state.
            self.gone = True


def secret_forms(text: str) -> set[str]:
    """A secret as it is, percent-encoded, and in base64, wherever in what was encoded it stood.

    Three bytes make four characters, so there are three ways to begin; characters that its neighbours have a part in
    are left out. A form of under six characters is left out as well: it would hide ordinary words.
    """
    data = text.encode()
    forms = {text, "".join(f"{byte:c}" if chr(byte) in _UNESCAPED else f"%{byte:02X}" for byte in data)}
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data + bytes(2)).decode()
        form = encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        forms |= {form, form.translate(_URLSAFE)}
    return {form for form in forms if len(form) >= 6}


_UNESCAPED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_URLSAFE: Final = str.maketrans("+/", "-_")


def _too_long(document: Json) -> str:
    """A line of what makes an event one, with the beginning of its message: an error's code is acted on."""
    said = {key: str(document[key])[:1000] for key in ("event", "code", "message") if key in document}
    return json.dumps({"message": "(too long to show)", **said})


def _shortened(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= longest else value[: longest - 1] + "…"
    if isinstance(value, dict):
        return {key: _shortened(item, longest) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item, longest) for item in value[-max(5, longest // 20) :]]
    return value


# ---------------------------------------------------------------------------------------------------------- files


def write_atomic(path: Path, text: str, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Replace a file so that a reader, or a machine that loses power, sees the old text or the new one.

    ``owner``: user and group of the new file, where root writes what is another's.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), mode)
            if owner is not None and os.geteuid() == 0:
                os.fchown(file.fileno(), *owner)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_text(path: Path) -> str | None:
    """The file's text; None where there is none. Bytes that are no text become characters that nothing else has."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def read_json(path: Path) -> Json | None:
    """The object in a JSON file; None where there is no file. A file that is not one is an error, not a None."""
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:  # bytes that are no text included
        raise AgentError("bad_state", f"{path} cannot be read as JSON ({error}).", path=str(path)) from error
    if not isinstance(value, dict):
        raise AgentError("bad_state", f"{path} does not hold an object.", path=str(path))
    return value


def read_leniently(path: Path) -> Json:
    """The object in a file that holds detail, which others know as well; empty where it cannot be read."""
    try:
        return read_json(path) or {}
    except (AgentError, OSError):
        return {}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 0.05) -> bool:
    """Whether the condition came true within the timeout, in seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval)
    return True


def agent_version() -> str:
    return source_version(Path(__file__).read_text(encoding="utf-8"))


def source_version(source: str) -> str:
    """The digest of an agent's source."""
    import hashlib  # here and not above: loading OpenSSL takes as long as most verbs need for everything else

    return hashlib.sha256(source.encode()).hexdigest()[:16]


# ------------------------------------------------------------------------------------------------------ processes


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    code: int
    out: str
    err: str

    def reason(self) -> str:
        """Its last words, for a message."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return " ".join(lines[-3:])[:600] or f"exit status {self.code}"


class Job:
    """A running command whose output (both streams together) arrives line by line."""

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], on_line: Callable[[str], None] | None = None
    ) -> None:
        self.tail: deque[str] = deque(maxlen=40)
        self._on_line = on_line
        self._rest = b""
        self.process = subprocess.Popen(
            list(argv), env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self.process.stdout is not None
        self.pipe = self.process.stdout
        os.set_blocking(self.pipe.fileno(), False)

    def read(self) -> bool:
        """Take in what is there; False at the end of the output."""
        try:
            data = os.read(self.pipe.fileno(), 65536)
        except BlockingIOError:
            return True
        *lines, self._rest = (self._rest + data).split(b"\n") if data else (self._rest, b"")
        if len(self._rest) > 65536:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            self._take(line.decode(errors="replace").rstrip("\r"))
        return bool(data)

    def _take(self, line: str) -> None:
        if not line:
            return
        self.tail.append(line)
        if self._on_line:
            self._on_line(line)

    def finish(self) -> Finished:
        self.pipe.close()
        return Finished(self.process.wait(), "\n".join(self.tail), "")


@dataclass(frozen=True)
class Process:
    """A living process. Together with its start time (in clock ticks since boot) a pid is unique."""

    start: str
    parent: int
    group: int
    session: int


def find_process(pid: int) -> Process | None:
    """The process, if there is one and not only its exit status is left; see proc(5), ``/proc/pid/stat``."""
    text = read_text(Path(f"/proc/{pid}/stat")) if pid > 0 else None
    if text is None:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything, brackets and spaces included
    return None if fields[0] in "ZX" else Process(fields[19], int(fields[1]), int(fields[2]), int(fields[3]))


def environment_of(process: Path) -> list[bytes]:
    """The variables of a process, given as its folder in /proc.

    It has none, and no command, at the moment at which it becomes another program: that is waited out.

    Raises:
        OSError: it ended, is not ours to look at, or never had a program.
    """
    deadline = time.monotonic() + 0.5
    seen = b""
    while True:
        environment = (process / "environ").read_bytes()
        command = b"" if environment else (process / "cmdline").read_bytes()
        # A command beside no variables is believed the second time: the moment may lie between the two.
        if environment or (command and seen) or time.monotonic() >= deadline:
            return environment.split(b"\0")
        (process / "exe").readlink()  # a kernel's thread has none
        seen = command
        time.sleep(0.001)


def living_processes() -> dict[int, Process]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                process = find_process(int(entry.name))
                if process:
                    found[int(entry.name)] = process
    return found


def descendants(pid: int) -> set[int]:
    """All processes below this one, without those that made a session of their own: these are services to stay."""
    alive = living_processes()
    session = alive[pid].session if pid in alive else None
    children: dict[int, list[int]] = {}
    for child, process in alive.items():
        if process.session == session:
            children.setdefault(process.parent, []).append(child)
    found: set[int] = set()
    pending = [pid]
    while pending:
        for child in children.get(pending.pop(), []):
            found.add(child)
            pending.append(child)
    return found


def end_processes(find: Callable[[], set[int]], grace: float = 5.0) -> set[int]:
    """End the processes that ``find`` names until it names none: SIGTERM, and SIGKILL after ``grace`` seconds.

    Returns those that were signalled. Raises TimeoutError when some cannot be ended.
    """
    signalled: set[int] = set()

    def send(number: signal.Signals, pids: set[int]) -> None:
        for pid in sorted(pids):  # parents first: an agent is to end as told, not for its child's end
            signalled.add(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    asked: set[int] = set()

    def all_gone() -> bool:
        left = find()
        send(signal.SIGTERM, left - asked)
        asked.update(left)
        return not left

    if wait_until(all_gone, grace):
        return signalled

    def none_left() -> bool:
        left = find()
        send(signal.SIGKILL, left)
        return not left

    if not wait_until(none_left, 5.0):
        raise TimeoutError(f"processes {sorted(find())} cannot be ended")
    return signalled


# ---------------------------------------------------------------------------------------------------- mount table


@dataclass(frozen=True)
class Mount:
    """What is mounted on the data's mount point."""

    kind: str
    source: str

    @property
    def file_system_id(self) -> str | None:
        """``fs-…``, for an EFS file system mounted under its DNS name."""
        first = self.source.partition(":")[0].partition(".")[0]
        # Also over FUSE: a user-space NFS client's mount has the type fuse.nfs…
        return first if self.kind.removeprefix("fuse.").startswith("nfs") and first.startswith("fs-") else None


def find_mount(table: str, mount_points: Iterable[str]) -> Mount | None:
    """What a mount table in the form of /proc/self/mountinfo, see proc(5), has there; the last line wins."""
    wanted = set(mount_points)
    found = None
    for line in table.splitlines():
        before, separator, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if separator and len(fields) >= 6 and len(rest) >= 2 and _unescaped(fields[4]) in wanted:
            found = Mount(rest[0], _unescaped(rest[1]))
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


# ---------------------------------------------------------------------------------------------------------- lease


class Store:
    """The agent's own folder on the file system. Its methods touch EFS: call them through ``Agent.on_efs`` only."""

    def __init__(self, efs: Path) -> None:
        self.efs = efs
        self.folder = efs / ".geusemaker"
        self.sentinel_file = self.folder / "sentinel.json"
        self.lease_file = self.folder / "lease.json"
        self.journal_file = self.folder / "journal.jsonl"
        self.served_file = self.folder / "served.json"
        self.stopped_file = self.folder / "stopped.json"
        self.password_file = self.folder / "password.json"
        self.checkpoints = self.folder / "checkpoints"

    # The sentinel tells that this is the deployment's own, original data.

    def sentinel(self) -> Json | None:
        return read_json(self.sentinel_file)

    def ensure_sentinel(self, deployment: str, file_system_id: str) -> bool:
        """Write the sentinel on a file system that never had one; True when it did.

        Raises:
            AgentError: foreign_data, data_loss
        """
        with self._locked():
            found = self.sentinel()
            if found is None:
                if self.lease_file.exists() or self.journal_file.exists():
                    raise AgentError(
                        "data_loss",
                        f"File system {file_system_id} was in use by geusemaker, but its sentinel file is gone. "
                        "Data may have been removed or replaced; nothing is started on it.",
                    )
                sentinel = {"deployment": deployment, "file_system_id": file_system_id, "created": now()}
                write_atomic(self.sentinel_file, json.dumps(sentinel), 0o600)
                return True
        check_sentinel(found, deployment, file_system_id)
        return False

    def data_volume(self) -> Json | None:
        """The data volume as it was last left: volume_id, uuid of its file system, formatted."""
        found: Json | None = (self.sentinel() or {}).get("data_volume")
        return found

    def note_data_volume(self, volume: Json) -> None:
        with self._locked():
            found = self.sentinel()
            if found is not None and found.get("data_volume") != volume:
                write_atomic(self.sentinel_file, json.dumps({**found, "data_volume": volume}), 0o600)

    def mark_database(self) -> None:
        """Remember that there is a PostgreSQL database here: a missing one is a loss from now on, no fresh start."""
        with self._locked():
            found = self.sentinel()
            if found is not None and not found.get("postgresql") and self.database_version() is not None:
                write_atomic(self.sentinel_file, json.dumps({**found, "postgresql": True}), 0o600)

    def database_version(self) -> str | None:
        """The major version of the PostgreSQL database on disk."""
        for folder in ("postgresql/pgdata", "postgresql"):
            text = read_text(self.efs / folder / "PG_VERSION")
            if text is not None:
                return text.strip()
        return None

    def record_served(self, services: Mapping[str, str], operation: str) -> None:
        """Remember which image last ran healthy on which data; what may follow it depends on that."""
        with self._locked():
            served = read_leniently(self.served_file)
            for name, image in services.items():
                served[name] = {"image": image, "operation": operation, "at": now()}
            write_atomic(self.served_file, json.dumps(served), 0o600)

    def note_adopted(self, operation: str) -> None:
        """Remember since when the data is this stack's: what another one copied before is not this one's to remove."""
        with self._locked():
            found = self.sentinel()
            if found is not None:
                adopted = {"operation": operation, "at": now(), "since": time.time()}
                write_atomic(self.sentinel_file, json.dumps({**found, "adopted": adopted}), 0o600)

    # Services that somebody stopped on purpose: only whoever starts them again takes the note away.

    def stopped(self) -> Json:
        """Service → by whom, since when and why it is stopped.

        Notes that cannot be read are none: they must not stand in the way of what brings services back.
        """
        return {name: note for name, note in read_leniently(self.stopped_file).items() if isinstance(note, dict)}

    def note_stopped(self, names: Iterable[str], note: Json) -> None:
        """Note services as stopped; one that is noted already keeps its note."""
        with self._locked():
            write_atomic(self.stopped_file, json.dumps({**dict.fromkeys(names, note), **self.stopped()}), 0o600)

    def forget_stopped(self, names: Iterable[str] | None = None) -> None:
        """Take the notes of services away; those of all with None."""
        with self._locked():
            gone = self.stopped() if names is None else set(names)
            left = {name: note for name, note in self.stopped().items() if name not in gone}
            if left != self.stopped():
                write_atomic(self.stopped_file, json.dumps(left), 0o600)

    # A password of the database that is being changed: what the env file has is put into the database until it is done.

    def note_password(self, operation: str) -> None:
        """Note that the database's password is about to be another one."""
        write_atomic(self.password_file, json.dumps({"operation": operation, "since": now()}), 0o600)

    def password_changes(self) -> bool:
        """Whether a change of the password was begun, and is not known to be done."""
        return self.password_file.exists()

    def forget_password(self) -> None:
        self.password_file.unlink(missing_ok=True)

    # The lease is the one right to change the deployment.

    def lease(self) -> Json | None:
        return read_json(self.lease_file)

    def begin(self, operation: str, expects: str | None, takeover: str | None, facts: Json) -> Json:
        """Take the lease for an operation.

        Raises:
            AgentError: lease_held
        """
        with self._locked():
            lease = self.lease()
            if lease and lease["operation"] == operation and lease["state"] == "held":
                return lease
            if lease and not _may_take_over(lease, takeover):
                if lease["state"] == "held":
                    raise AgentError("lease_held", _held_by(lease), holder=lease)
                if expects is not None and expects not in _last_operations(lease):
                    raise AgentError(
                        "lease_held",
                        f"The deployment was changed by operation {lease['operation']} in the meantime, "
                        f"while {expects} was expected to be the last one.",
                        holder=lease,
                    )
            return self._take(operation, lease, facts)

    def take_for_apply(self, operation: str, expects: str | None, takeover: str | None, facts: Json) -> Json:
        """The lease, if it is this operation's or may become so without ``begin`` (a first deploy, a plain up).

        Raises:
            AgentError: lease_lost
        """
        with self._locked():
            lease = self.lease()
            if lease is None or not (lease["state"] == "held" and lease["operation"] == operation):
                if lease is not None and not _may_follow(lease, operation, expects, takeover):
                    raise _lease_lost(operation, lease)
                lease = self._take(operation, lease, {**facts, "taken_by": "apply"})
            return self._update(lease, changed=True, serving=facts["instance_id"])

    def require(self, operation: str, *, held: bool) -> Json:
        """The lease of this operation; with ``held`` it must not have been given back yet.

        Raises:
            AgentError: lease_lost
        """
        lease = self.lease()
        if lease is None or lease["operation"] != operation or (held and lease["state"] != "held"):
            raise _lease_lost(operation, lease)
        return lease

    def change(self, operation: str, **values: Any) -> Json:
        """Set facts of the lease that this operation holds."""
        with self._locked():
            return self._update(self.require(operation, held=True), **values)

    def end(self, operation: str, outcome: str) -> Json:
        """Give the lease back; again is fine. Its operation stays readable as the last one.

        Raises:
            AgentError: lease_lost
        """
        with self._locked():
            lease = self.lease()
            if lease is None or lease["operation"] != operation:
                raise _lease_lost(operation, lease)
            last = operation if lease.get("changed") else lease.get("last_changed")
            return self._update(lease, state="released", outcome=outcome, ended_at=now(), last_changed=last)

    def _take(self, operation: str, before: Json | None, facts: Json) -> Json:
        before = before or {}
        # An operation that was taken over in the middle may have changed anything.
        lost = before.get("state") == "held" and before.get("changed")
        idle = [] if before.get("changed") or not before else [*before.get("idle", ()), before["operation"]]
        lease = {
            "operation": operation,
            "state": "held",
            "changed": False,
            "last_changed": before["operation"] if lost else before.get("last_changed"),
            "idle": idle[-IDLE_OPERATIONS:],
            "previous": before.get("operation"),
            "serving": before.get("serving"),
            "taken_at": now(),
            **facts,
        }
        write_atomic(self.lease_file, json.dumps(lease), 0o600)
        return lease

    def _update(self, lease: Json, **values: Any) -> Json:
        updated = {**lease, **values}
        if updated != lease:
            write_atomic(self.lease_file, json.dumps(updated), 0o600)
        return updated

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        # flock is atomic between the clients of an NFSv4 server, and the server drops a dead client's lock.
        with (self.folder / "lease.lock").open("a") as file:
            deadline = time.monotonic() + EFS_DEADLINE / 2
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise AgentError("lease_held", "Another process keeps the lease file locked.") from None
                    time.sleep(0.02)
            yield

    # The journal holds detail for people and decides nothing.

    def append_journal(self, entry: Json) -> None:
        with self._locked(), self.journal_file.open("ab+") as file:
            os.fchmod(file.fileno(), 0o600)
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a line that a power loss cut short must not swallow this one
                    file.write(b"\n")
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def journal(self, tail: int) -> list[Json]:
        lines = deque(self._journal_lines(), maxlen=tail)
        # What the data was is long, and only asked for by operation.
        return [{key: value for key, value in entry.items() if key != "manifest_after"} for entry in _entries(lines)]

    def journal_of(self, operations: Iterable[str]) -> list[Json]:
        """The entries of these operations, whole."""
        wanted = set(operations)
        names = [name.encode() for name in wanted]
        return [
            entry
            for entry in _entries(line for line in self._journal_lines() if any(name in line for name in names))
            if entry.get("operation_id") in wanted
        ]

    def _journal_lines(self) -> list[bytes]:
        """Bytes: one that is no text spoils its own line, and no other."""
        try:
            return self.journal_file.read_bytes().splitlines()
        except FileNotFoundError:
            return []

    # Checkpoints: vN/OPERATION, copies of the data that version N left, and checkpoint.json, which tells what they are.
    # A folder without a leading dot is whole.

    def list_checkpoints(self) -> list[Json]:
        """What each checkpoint's own file tells of it, oldest first."""
        # One that does not tell what it is cannot be restored, and stands in nobody's way.
        found = [read_leniently(path / CHECKPOINT_FILE) for path in self.checkpoints.glob("v*/[!.]*")]
        return sorted((about for about in found if about.get("taken_at")), key=lambda about: str(about["taken_at"]))

    def open_checkpoint(self, name: str, services: Sequence[str]) -> Json:
        """A checkpoint whose copies of these services are all there and whole; reads all of them.

        Raises:
            AgentError: no_checkpoint, checkpoint_damaged
        """
        import hashlib

        about = read_json(self.checkpoints / name / CHECKPOINT_FILE)
        if about is None:
            raise AgentError("no_checkpoint", f"There is no checkpoint {name}.")
        held = [one for one in about["holds"] if one["service"] in services]
        if missing := sorted(set(services) - {one["service"] for one in held}):
            raise AgentError("no_checkpoint", f"Checkpoint {name} has nothing of {' and '.join(missing)}.")
        for one in held:
            try:
                with (self.checkpoints / name / one["file"]).open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            except FileNotFoundError:
                digest = ""
            if digest != one["sha256"]:
                raise AgentError("checkpoint_damaged", f"{one['file']} of checkpoint {name} is not what was written.")
        files = about.get("n8n_files") if "postgresql" in services else None
        if files is not None:
            self._require_n8n_files(name, files["sha256"])
        return {**about, "holds": held, "n8n_files": files}

    def _require_n8n_files(self, name: str, digest: str) -> None:
        folder = self.checkpoints / name
        with contextlib.suppress(FileNotFoundError):
            if _digest_of(folder / N8N_LIST) == digest:
                listed = json.loads((folder / N8N_LIST).read_text())

                def is_whole(path: str) -> bool:
                    size, digest = listed[path]
                    file = folder / "n8n-files" / path
                    return bool(_digest_of(file) == digest if digest else file.stat().st_size == size)

                wrong = next((path for path in listed if not is_whole(path)), "")
                if not wrong:
                    return
                raise AgentError("checkpoint_damaged", f"n8n's file {wrong} of checkpoint {name} was changed since.")
        raise AgentError("checkpoint_damaged", f"Not all of n8n's files of checkpoint {name} are there.")

    def collect_checkpoints(self, kept: Iterable[int]) -> list[str]:
        """Remove those of versions that are not kept, and all but a version's newest; never the newest of all.

        Those taken before a restore stay as long as their version does: each may be the only copy of what the restore
        replaced. Those from before the data was adopted are of another stack's versions, and stay.
        """
        import shutil  # as in agent_version: not for verbs that do not need it

        since = float(((self.sentinel() or {}).get("adopted") or {}).get("since") or 0)
        found = sorted(
            (path for path in self.checkpoints.glob("v*/[!.]*") if path.stat().st_mtime >= since),
            key=lambda path: (path.stat().st_mtime_ns, path.name),
        )
        newest = {path.parent.name: path for path in found if not _is_before_restore(path)}
        versions = {f"v{number}" for number in kept}
        gone = [
            path
            for path in found[:-1]
            if path.parent.name not in versions or not (_is_before_restore(path) or path == newest[path.parent.name])
        ]
        for path in gone:
            shutil.rmtree(path)
        for left_over in self.checkpoints.glob("v*/.*"):
            shutil.rmtree(left_over)  # of an operation that was killed; this one holds the lease
        for folder in self.checkpoints.glob("v*"):
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()
        return [str(path.relative_to(self.checkpoints)) for path in gone]


def _is_before_restore(checkpoint: Path) -> bool:
    # One that cannot be read may be, and then it is kept.
    return (read_leniently(checkpoint / CHECKPOINT_FILE) or {"kind": "restore"}).get("kind") == "restore"


def _entries(lines: Iterable[bytes]) -> list[Json]:
    """The entries that can be read: the journal is detail, and a line that was cut short stops nobody."""
    entries = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                entries.append(entry)
    return entries


def check_sentinel(sentinel: Json | None, deployment: str | None, file_system_id: str) -> None:
    """Raise unless the sentinel is that of this deployment and file system.

    Raises:
        AgentError: data_loss (there is none), foreign_data (it is another's)
    """
    if sentinel is None:
        raise AgentError("data_loss", f"The sentinel file on {file_system_id} is gone: data may have been removed.")
    owner = sentinel.get("deployment")
    if deployment is not None and owner != deployment:
        raise AgentError(
            "foreign_data",
            f"File system {file_system_id} holds the data of another deployment, {owner!r}.",
            owner=owner,
        )
    if sentinel.get("file_system_id") != file_system_id:
        raise AgentError(
            "foreign_data",
            f"The data on {file_system_id} was made on file system {sentinel.get('file_system_id')}: it is a copy.",
            sentinel=sentinel,
        )


def _may_follow(lease: Json, operation: str, expects: str | None, takeover: str | None) -> bool:
    """Whether ``apply`` may take what is another operation's lease, or one that was given back."""
    if lease["operation"] == operation:
        return lease.get("outcome") == DONE  # a plain `up` runs again what went well, and nothing else
    if lease["state"] != "held" and expects is not None and expects in _last_operations(lease):
        return True
    return _may_take_over(lease, takeover)


def _may_take_over(lease: Json, takeover: str | None) -> bool:
    """Whether an operation that takes over from ``takeover`` may have this lease.

    Whoever takes over has made sure that the last operation's owner is gone, and with it all before. The lease may be
    an earlier one's: operations that never reached the instance took none. Ids sort by time.
    """
    return takeover is not None and (lease["state"] != "held" or lease["operation"] <= takeover)


def _last_operations(lease: Json) -> set[str | None]:
    """What may be called the last operation: the last that ended and, if it changed nothing, back to one that did.

    Which of the latter an operator's machine has heard of depends on where each was ended, and why.
    """
    if lease.get("changed"):
        return {lease["operation"]}
    return {lease["operation"], lease.get("last_changed"), *lease.get("idle", ())}


def _held_by(lease: Json) -> str:
    owner = lease.get("owner") or {}
    who = " by ".join(filter(None, [str(lease.get("kind") or "operation"), lease.get("actor")]))
    where = f" (pid {owner.get('pid')} on {owner.get('host')})" if owner else ""
    return f"Operation {lease['operation']}, {who}{where}, has held the deployment since {lease.get('taken_at')}."


def _lease_lost(operation: str, lease: Json | None) -> AgentError:
    if lease is None:
        message = f"Operation {operation} does not hold the deployment."
    elif lease["operation"] == operation:
        message = f"Operation {operation} has already ended ({lease.get('outcome')})."
    else:
        message = f"Operation {operation} does not hold the deployment, {lease['operation']} does or did last."
    return AgentError("lease_lost", message + " Nothing was changed.", holder=lease)


# --------------------------------------------------------------------------------------------------------- images


@dataclass(frozen=True)
class Image:
    """``repository[:tag][@digest]``, with the repository in Docker's short form (``postgres``, ``n8nio/n8n``)."""

    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> Image:
        name, _, digest = text.partition("@")
        folder, slash, last = name.rpartition("/")
        base, _, tag = last.partition(":")
        repository = (folder + slash + base).removeprefix("docker.io/").removeprefix("library/")
        return cls(repository, tag or None, digest or None)

    @property
    def by_digest(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag or 'latest'}"

    def is_among(self, inspected: Json) -> bool:
        """Whether ``docker image inspect`` shows this very image."""
        key = "RepoDigests" if self.digest else "RepoTags"
        return any(Image.parse(name).by_digest == self.by_digest for name in inspected.get(key) or [])


# ----------------------------------------------------------------------------------------------------- containers


@dataclass(frozen=True)
class Container:
    """What ``docker inspect`` says of a service's container."""

    id: str
    service: str
    image_id: str
    image: str
    """The reference the compose file gave."""
    tagged: str
    """The label that tells the tag, where the reference is by digest."""
    status: str
    oom_killed: bool
    exit_code: int
    error: str
    pid: int
    created_at: str
    started_at: str
    restarts: int

    @classmethod
    def from_inspect(cls, value: Json) -> Container:
        state, config = value.get("State") or {}, value.get("Config") or {}
        labels = config.get("Labels") or {}
        return cls(
            id=value.get("Id", ""),
            service=labels.get("com.docker.compose.service", value.get("Name", "").lstrip("/")),
            image_id=value.get("Image", ""),
            image=config.get("Image", ""),
            tagged=labels.get("io.geusemaker.image", ""),
            status=state.get("Status", ""),
            oom_killed=bool(state.get("OOMKilled")),
            exit_code=int(state.get("ExitCode") or 0),
            error=state.get("Error") or "",
            pid=int(state.get("Pid") or 0),
            created_at=value.get("Created", ""),
            started_at=state.get("StartedAt", ""),
            restarts=int(value.get("RestartCount") or 0),
        )

    @property
    def running(self) -> bool:
        return self.status == "running"

    def wanted_image(self) -> Image:
        """Repository and digest as started, with the tag its label tells."""
        image = Image.parse(self.image)
        return replace(image, tag=image.tag or Image.parse(self.tagged).tag)


@dataclass(frozen=True)
class Failure:
    """Why a service will not become healthy by waiting."""

    state: str
    reason: str


def find_failure(container: Container | None, tolerated_restarts: int, excused: bool) -> Failure | None:
    """What is final about a container's state, so that the gate need not wait for its deadline.

    Args:
        container: the service's container; None when there is none.
        tolerated_restarts: a restart count up to here is not held against it.
        excused: something it depends on is not up yet, so an exit tells nothing about it.
    """
    if container is None:
        return Failure("missing", "there is no container")
    # Of one that runs, Docker says so for as long as it runs: a tab of its browser or a model was killed, and not it.
    if container.oom_killed and not container.running:
        return Failure("exited", f"it ran out of memory (exit code {container.exit_code})")
    if container.status == "dead" or (container.status == "created" and container.error):
        return Failure("exited", container.error or "the container is dead")
    if excused:
        return None
    if container.restarts > tolerated_restarts:
        return Failure("restarting", f"it exited (exit code {container.exit_code}) and is restarted again and again")
    if container.status in ("exited", "removing"):
        return Failure(
            "exited", " ".join(filter(None, [f"it exited (exit code {container.exit_code})", container.error]))
        )
    return None


# --------------------------------------------------------------------------------------------------------- probes


@dataclass(frozen=True)
class Answer:
    """What came back over a connection, and why no more did."""

    data: bytes = b""
    error: str = ""


Request = tuple[str, int, bytes, Callable[[bytes], bool]]
"""(address, port, what is sent, whether an answer is whole)"""


@dataclass
class _Exchange:
    socket: socket.socket
    request: bytes
    complete: Callable[[bytes], bool]
    answer: bytes = b""
    error: str = ""
    sent: bool = False


def exchange(requests: Mapping[K, Request], timeout: float, limit: int = 8192) -> dict[K, Answer]:
    """Ask all (address, port, request, is complete?) at once and return what each answered within the timeout."""
    answers: dict[K, Answer] = {}
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for name, (address, port, request, complete) in requests.items():
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            connection.setblocking(False)
            connection.connect_ex((address, port))
            selector.register(connection, selectors.EVENT_WRITE, (name, _Exchange(connection, request, complete)))
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                name, talk = key.data
                if _step(talk, limit):
                    answers[name] = Answer(talk.answer, talk.error)
                    selector.unregister(talk.socket)
                    talk.socket.close()
                else:
                    selector.modify(talk.socket, selectors.EVENT_READ, key.data)
        for key in list(selector.get_map().values()):
            name, talk = key.data
            answers[name] = Answer(talk.answer, f"{NO_ANSWER} {timeout:g} s")
            talk.socket.close()
    return answers


def _step(talk: _Exchange, limit: int) -> bool:
    """Do what the socket is ready for; True when the exchange is over."""
    try:
        if not talk.sent:
            problem = talk.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if problem:
                raise OSError(problem, os.strerror(problem))
            talk.socket.send(talk.request)  # far below a socket buffer, so it goes out whole
            talk.sent = True
            return False
        data = talk.socket.recv(65536)
        talk.answer += data
        if not data and not talk.answer:
            talk.error = "the connection was closed without an answer"
        return not data or len(talk.answer) >= limit or talk.complete(talk.answer)
    except BlockingIOError:
        return False
    except OSError as error:
        talk.error = (error.strerror or str(error)).lower()
        return True


def http_request(path: str, address: str, port: int) -> bytes:
    # 1.0: the body comes unchunked and the connection ends with it.
    return f"GET {path} HTTP/1.0\r\nHost: {address}:{port}\r\nAccept: application/json\r\n\r\n".encode()


def http_complete(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length:[ \t]*(\d+)", head)
    return bool(end and length and len(body) >= int(length[1]))


def postgresql_request(user: str) -> bytes:
    """A StartupMessage (PostgreSQL docs, "Message Formats"): what pg_isready sends, it needs no password."""
    body = struct.pack("!i", 196608) + b"user\0" + user.encode() + b"\0database\0postgres\0\0"
    return struct.pack("!i", len(body) + 4) + body


def postgresql_complete(data: bytes) -> bool:
    return len(data) >= 5 and len(data) > int(struct.unpack("!i", data[1:5])[0])


class Seen(NamedTuple):
    """What a service answered."""

    healthy: bool
    detail: str
    starting: bool = False
    """It is there, and says itself that it is not ready."""


@dataclass(frozen=True)
class Probe:
    """How to ask a service whether it is ready."""

    kind: str
    port: int
    path: str = "/"
    fallback: str | None = None
    """Asked as well, and what counts where the release has no ``path`` (404); a 200 there says that it lives."""
    json: bool = False
    """Only JSON is a good answer: n8n answers any path with 200 and a sentence while it starts."""
    also: tuple[str, ...] = ()
    """Paths of which one has to answer with JSON, too."""

    @classmethod
    def parse(cls, value: Any) -> Probe:
        document = Document(value if isinstance(value, dict) else {})
        kind, port = document.text("kind"), int(document.number("port", 0))
        if kind not in ("http", "postgresql") or not 0 < port < 65536:
            raise AgentError("bad_input", "A probe needs a kind (http or postgresql) and a port.")
        path, fallback = document.optional_text("path") or "/", document.optional_text("fallback")
        also = tuple(document.items("also")) if "also" in document.values else ()
        if not all(isinstance(one, str) and re.fullmatch(r"/[!-~]*", one) for one in (path, fallback or "/", *also)):
            raise AgentError("bad_input", "A probe's path has to begin with / and hold no spaces.")
        return cls(kind, port, path, fallback, bool(document.values.get("json")), also)

    def requests(self, address: str, user: str) -> dict[str, Request]:
        """Path → what is asked; a single one without a path for a service that does not speak HTTP."""
        if self.kind == "postgresql":
            return {"": (address, self.port, postgresql_request(user), postgresql_complete)}
        paths = dict.fromkeys((self.path, *((self.fallback,) if self.fallback else ()), *self.also))
        return {path: (address, self.port, http_request(path, address, self.port), http_complete) for path in paths}

    def judge(self, answers: Mapping[str, Answer]) -> Seen:
        """What the answers to all requests come to."""
        if self.kind == "postgresql":
            return Seen(*judge_postgresql(answers[""]))
        chosen = self.path
        if self.fallback and http_status(answers[self.path]) == 404:
            chosen = self.fallback
        healthy, detail = judge_http(answers[chosen], json=self.json)
        if not healthy:
            lives = self.fallback is not None and http_status(answers[self.fallback]) == 200
            return Seen(False, detail, starting=lives)
        also = {path: judge_http(answers[path], json=True) for path in self.also}
        if also and not any(good for good, _ in also.values()):
            path, (_, why) = next(iter(also.items()))
            return Seen(False, f"ready, but {path} answers {why}")
        return Seen(True, detail)


def http_status(answer: Answer) -> int | None:
    match = re.match(rb"HTTP/1\.[01] (\d{3})", answer.data)
    return int(match[1]) if match else None


def judge_http(answer: Answer, json: bool = False) -> tuple[bool, str]:
    """(healthy, what was seen in few words); with ``json`` only a JSON document is a good answer."""
    status = http_status(answer)
    if status is None:
        return False, answer.error or "the answer is not HTTP"
    text = answer.data.partition(b"\r\n\r\n")[2].decode(errors="replace")
    if status != 200:
        return False, " ".join(f"HTTP {status} {text}".split())[:200]
    if json and text.lstrip()[:1] not in ("{", "["):
        return False, " ".join(f"HTTP 200, but no JSON: {text}".split())[:200]
    return True, "HTTP 200"


def judge_postgresql(answer: Answer) -> tuple[bool, str]:
    if answer.data[:1] == b"R":
        return True, "accepting connections"
    if answer.data[:1] == b"E" and len(answer.data) > 5:
        fields = {part[:1]: part[1:].decode(errors="replace") for part in answer.data[5:].split(b"\0") if part}
        # 57P03 cannot_connect_now: starting up, shutting down, in recovery. Any other refusal comes from a
        # server that does accept connections; pg_isready draws the same line.
        return fields.get(b"C") != "57P03", fields.get(b"M", "it refused the connection")
    return False, answer.error or "the answer is not PostgreSQL's"


# ---------------------------------------------------------------------------------------------------------- agent


class Agent:
    """The instance as the verbs see it: paths, commands, containers, the file system."""

    def __init__(self, root: Path, reporter: Reporter, environment: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.reporter = reporter
        self.environment = dict(os.environ if environment is None else environment)
        self.operation: str | None = None
        self.home = root / "opt/geusemaker"
        self.compose_file = self.home / "compose.json"
        self.next_compose_file = self.home / "compose.next.json"  # Compose has accepted it
        self.previous_compose_file = self.home / "compose.previous.json"
        self.prepared_file = self.home / "prepared.json"
        self.host_file = self.home / "host.json"
        self.probes_file = self.home / "probes.json"
        self.efs = root / MOUNT_POINT.lstrip("/")
        self.data = root / VOLUME_POINT.lstrip("/")
        self.operations = root / "run/geusemaker/ops"
        self.applied_file = root / "run/geusemaker/applied.json"
        self.units = root / "etc/systemd/system"
        self.store = Store(self.efs)
        self.address = self.environment.get("GEUSEMAKER_LOOPBACK") or "127.0.0.1"
        self._owns_group = os.getpgrp() == os.getpid()

    # -- commands

    def run(self, argv: Sequence[str], timeout: float, code: str = "docker_failed") -> Finished:
        """Run a command to its end; its exit status is the caller's to judge.

        Raises:
            AgentError: ``code``, when it cannot be run or does not end in time
        """
        try:
            process = subprocess.Popen(
                list(argv),
                env=self._command_environment(argv[0]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise AgentError(code, f"{argv[0]} cannot be run: {error.strerror}.") from error
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._end_child(process)
            raise AgentError(code, f"{_named(argv)} did not end within {timeout:g} seconds.") from None
        return Finished(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def stream(
        self,
        argv: Sequence[str],
        timeout: float,
        on_line: Callable[[str], None] | None = None,
        code: str = "docker_failed",
    ) -> Finished:
        """Like ``run``, with its output (both streams) handed on line by line; the last lines are kept."""
        return self.finish_jobs([self.start(argv, on_line, code)], timeout, code)[0]

    def start(self, argv: Sequence[str], on_line: Callable[[str], None] | None, code: str = "docker_failed") -> Job:
        try:
            return Job(argv, self._command_environment(argv[0]), on_line)
        except OSError as error:
            raise AgentError(code, f"{argv[0]} cannot be run: {error.strerror}.") from error

    def finish_jobs(self, jobs: Sequence[Job], timeout: float, code: str = "docker_failed") -> list[Finished]:
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            for job in jobs:
                selector.register(job.pipe, selectors.EVENT_READ, job)
            while selector.get_map():
                left = deadline - time.monotonic()
                if left <= 0:
                    for job in jobs:
                        self._end_child(job.process)
                    raise AgentError(code, f"{_named(jobs[0].process.args)} did not end within {timeout:g} seconds.")
                for key, _ in selector.select(left):
                    if not key.data.read():
                        selector.unregister(key.fileobj)
        return [job.finish() for job in jobs]

    def _command_environment(self, program: str) -> dict[str, str]:
        environment = {**self.environment, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        environment["GEUSEMAKER_INSTANCE_ROOT"] = "" if self.root == Path("/") else str(self.root)
        environment["GEUSEMAKER_LOOPBACK"] = self.address
        environment.setdefault("HOME", "/root")
        if self.operation and program == "docker":
            # Tells an orphan of a killed agent by its environment. Not for systemctl: what it starts is to stay.
            environment[OPERATION_MARK] = self._mark(self.operation)
        return environment

    def _mark(self, operation: str) -> str:
        # With the root, because local instances see each other's processes.
        return f"{operation}@{self.root}"

    def _end_child(self, process: subprocess.Popen[bytes]) -> None:
        family = {process.pid} | descendants(process.pid)

        def left() -> set[int]:
            process.poll()
            return {pid for pid in family if find_process(pid)}

        with contextlib.suppress(TimeoutError):
            end_processes(left, grace=2.0)
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()

    def end_children(self) -> None:
        """End whatever this process started."""
        me = os.getpid()

        def left() -> set[int]:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if not self._owns_group:
                return descendants(me)
            group = {pid for pid, process in living_processes().items() if process.group == me}
            return (descendants(me) | group) - {me}

        with contextlib.suppress(TimeoutError):
            end_processes(left, grace=3.0)

    # -- operations and their processes

    @contextlib.contextmanager
    def registered(self, operation: str, verb: str) -> Iterator[None]:
        """Be known as a process of this operation while the block runs.

        Raises:
            AgentError: cancelled, when the operation was cancelled on this instance
        """
        folder = self.operations / operation
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mine = folder / str(os.getpid())
        group = os.getpgrp() if self._owns_group else 0
        me = find_process(os.getpid())
        facts = {"pid": os.getpid(), "start": me.start if me else "", "group": group, "verb": verb}
        write_atomic(mine, json.dumps(facts), 0o600)
        self.operation = operation
        try:
            if (folder / "cancelled").exists():
                raise AgentError("cancelled", f"Operation {operation} was cancelled. Nothing was changed.")
            yield
        finally:
            mine.unlink(missing_ok=True)

    def registrations(self, operation: str | None = None) -> list[tuple[str, Json]]:
        """(operation, facts of a process that registered itself); it may be gone."""
        found = []
        for file in self.operations.glob("*/*"):
            if file.name.isdigit() and (operation is None or file.parent.name == operation):
                with contextlib.suppress(AgentError, OSError):  # gone between the listing and the reading
                    facts = read_json(file)
                    if facts:
                        found.append((file.parent.name, facts))
        return found

    def running_operations(self) -> list[Json]:
        return [
            {"operation": operation, "verb": facts["verb"], "pid": facts["pid"]}
            for operation, facts in self.registrations()
            if _is_alive(facts)
        ]

    def processes_of(self, operation: str) -> set[int]:
        """The living processes of an operation: its agents, their groups, and what a killed agent left behind."""
        alive = living_processes()
        mark = f"{OPERATION_MARK}={self._mark(operation)}".encode()
        pids, groups = set(), set()
        for _, facts in self.registrations(operation):
            if facts["pid"] in alive and alive[facts["pid"]].start == facts["start"]:
                pids.add(facts["pid"])
                groups.add(facts["group"])
        for pid, process in alive.items():
            if process.group in groups - {0}:
                pids.add(pid)
                continue
            with contextlib.suppress(OSError):
                if mark in environment_of(Path(f"/proc/{pid}")):
                    pids.add(pid)
        return pids - {os.getpid()}

    def end_operation(self, operation: str) -> list[int]:
        """End an operation's processes on this instance and wait until they are gone.

        Raises:
            AgentError: cannot_cancel
        """
        try:
            ended = end_processes(lambda: self.processes_of(operation))
        except TimeoutError as error:
            raise AgentError("cannot_cancel", f"Operation {operation} could not be ended: {error}.") from error
        for file in (self.operations / operation).glob("[0-9]*"):
            if file.name != str(os.getpid()):
                file.unlink(missing_ok=True)
        return sorted(ended)

    def end_stragglers(self, operation: str) -> None:
        """End whatever else works on the instance: of other operations, and of this one's earlier attempts."""
        for name in sorted({operation, *(other for other, _ in self.registrations())}):
            if self.end_operation(name):
                self.reporter.note(f"Ended what was still running of operation {name}.")

    # -- file system

    def host(self) -> Json:
        return read_json(self.host_file) or {}

    def mount(self) -> Mount | None:
        table = read_text(self.root / "proc/self/mountinfo") or ""
        return find_mount(table, (MOUNT_POINT, str(self.efs)))

    def require_mount(self, file_system_id: str | None = None) -> str:
        """The id of the mounted file system, if it is the one that belongs here.

        Raises:
            AgentError: not_mounted, wrong_file_system
        """
        wanted = file_system_id or self.host().get("file_system_id")
        mount = self.mount()
        if mount is None:
            raise AgentError("not_mounted", f"{wanted or 'The file system'} is not mounted on {MOUNT_POINT}.")
        if wanted and mount.file_system_id != wanted:
            raise AgentError(
                "wrong_file_system",
                f"{mount.source} is mounted on {MOUNT_POINT} where {wanted} belongs.",
                wanted=wanted,
            )
        return mount.file_system_id or mount.source

    def data_volume_id(self) -> str | None:
        """The data volume that belongs on this instance; None where the deployment has none."""
        found: str | None = self.host().get("data_volume_id")
        return found

    def volume_device(self, volume_id: str) -> str | None:
        """The device of an attached EBS volume, as the instance sees it; None while there is none.

        Its name differs with each boot (docs.aws.amazon.com/ebs/latest/userguide/nvme-ebs-volumes.html), so it is
        found by the link that udev makes of the volume's serial number. An instance of the Xen kind has no such link,
        and the name that the volume was attached under.
        """
        for link in (f"disk/by-id/nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}", "xvdf"):
            path = self.root / "dev" / link
            if path.exists():
                return "/" + str(path.resolve().relative_to(self.root.resolve()))
        return None

    def is_volume_mounted(self, volume_id: str) -> bool:
        mount = self.volume_mount()
        return mount is not None and mount.source == self.volume_device(volume_id)

    def volume_mount(self) -> Mount | None:
        table = read_text(self.root / "proc/self/mountinfo") or ""
        return find_mount(table, (VOLUME_POINT, str(self.data)))

    def require_volume(self, volume_id: str | None) -> None:
        """The data volume is mounted, where the deployment has one.

        Raises:
            AgentError: not_mounted, wrong_volume
        """
        if not volume_id or self.is_volume_mounted(volume_id):
            return
        mount = self.volume_mount()
        if mount is None:
            raise AgentError("not_mounted", f"The data volume {volume_id} is not mounted on {VOLUME_POINT}.")
        raise AgentError(
            "wrong_volume", f"{mount.source} is mounted on {VOLUME_POINT} where {volume_id} belongs.", wanted=volume_id
        )

    def on_efs(self, work: Callable[[], T], deadline: float = EFS_DEADLINE, file_system_id: str | None = None) -> T:
        """Do something on the file system, in a child: if the server is gone, the child hangs and not we.

        Raises:
            AgentError: not_mounted, wrong_file_system, efs_hung, efs_failed, and whatever ``work`` raises
        """
        self.require_mount(file_system_id)
        reader, writer = os.pipe()
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _be_child(work, reader, writer, deadline)
        os.close(writer)
        try:
            data = _read_all(reader, deadline)
        finally:
            os.close(reader)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            # A child that the kernel will not let go is left behind: waiting for it would be hanging after all.
            wait_until(lambda: os.waitpid(child, os.WNOHANG)[0] != 0, 0.5, 0.002)
        if data is None:
            raise AgentError(
                "efs_hung",
                f"The file system on {MOUNT_POINT} did not answer within {deadline:g} seconds.",
                mounted=True,
            )
        kind, value = json.loads(data)
        if kind == "agent":
            raise AgentError(value[0], value[1], **value[2])
        if kind == "failed":
            raise AgentError("efs_failed", f"The file system on {MOUNT_POINT} cannot be used: {value}")
        result: T = value
        return result

    # -- docker

    def docker(self, *arguments: str, timeout: float = 60) -> Finished:
        return self.run(("docker", *arguments), timeout)

    def compose(self, *arguments: str, file: Path | None = None) -> list[str]:
        project = ("-p", PROJECT, "--project-directory", str(self.home), "-f", str(file or self.compose_file))
        return ["docker", "compose", *project, *arguments]

    def ensure_docker(self) -> None:
        """Docker answers; if need be it is started, which its unit allows only when the file system is mounted.

        Raises:
            AgentError: docker_failed
        """
        if self.docker("version", "--format", "{{.Server.Version}}", timeout=30).code == 0:
            return
        started = self.run(("systemctl", "start", "docker.service"), 120)
        asked = self.docker("version", "--format", "{{.Server.Version}}", timeout=30)
        if asked.code != 0:
            reason = started.reason() if started.code else asked.reason()
            raise AgentError("docker_failed", f"Docker does not answer on the instance: {reason}")

    def containers(self) -> dict[str, Container]:
        """Service → its container. Of two (one is being replaced) the one that runs counts, or the newer."""
        listed = self.docker("ps", "-a", "-q", "--no-trunc", "--filter", f"label=com.docker.compose.project={PROJECT}")
        if listed.code != 0:
            raise AgentError("docker_failed", f"The containers cannot be listed: {listed.reason()}")
        found: dict[str, Container] = {}
        for value in self.inspect(listed.out.split()):
            container = Container.from_inspect(value)
            other = found.get(container.service)
            if other is None or (container.running, container.created_at) > (other.running, other.created_at):
                found[container.service] = container
        return found

    def inspect(self, names: Sequence[str], kind: str = "container") -> list[Json]:
        """What Docker says of those that exist; the others are left out."""
        if not names:
            return []
        command = ("image", "inspect") if kind == "image" else ("inspect",)
        finished = self.docker(*command, *names)
        try:
            values = json.loads(finished.out or "[]")
        except ValueError as error:
            raise AgentError("docker_failed", f"docker inspect answered what is not JSON: {error}.") from error
        if finished.code != 0 and "no such" not in finished.err.lower():
            raise AgentError("docker_failed", f"docker inspect failed: {finished.reason()}")
        return [value for value in values if isinstance(value, dict)]

    def running_image(self, container: Container) -> tuple[str, list[Image]]:
        """(what really runs as ``repo:tag@digest``, all names by digest that this very image has)"""
        inspected = self.inspect([container.image_id], "image")
        digests = [Image.parse(name) for name in (inspected[0].get("RepoDigests") or [])] if inspected else []
        wanted = container.wanted_image()
        # The digest comes from the image that runs, never from what the compose file asked for.
        same = [image for image in digests if image.digest == wanted.digest and image.repository == wanted.repository]
        best = next(
            iter(same or [image for image in digests if image.repository == wanted.repository] or digests), None
        )
        if best is None:
            return container.tagged or container.image, digests
        return f"{best.repository}:{wanted.tag or 'latest'}@{best.digest}", digests

    def log_lines(self, container: str, count: int, longest: int = 400) -> list[str]:
        finished = self.stream(("docker", "logs", "--tail", str(min(count, 40)), container), 20)
        return [line[:longest] for line in finished.out.splitlines()][-count:]

    def secrets(self) -> list[str]:
        """The values in the services' env files."""
        values = []
        for file in self.home.glob("*.env"):
            for line in (read_text(file) or "").split("\n"):
                values.append(parse_env_value(line.partition("=")[2]))
        return values

    def compose_document(self) -> Json:
        return read_json(self.compose_file) or {}


def _is_alive(facts: Json) -> bool:
    """Whether a process that registered itself is still there, and not another one under its number."""
    process = find_process(facts["pid"])
    return process is not None and process.start == facts["start"]


def _named(arguments: Any) -> str:
    """A command in few words, for a message."""
    return " ".join([Path(str(arguments[0])).name, *(str(word) for word in arguments[1:2])])


def _be_child(work: Callable[[], Any], reader: int, writer: int, deadline: float) -> None:
    """The child's part of ``Agent.on_efs``. It never returns."""
    try:
        os.close(reader)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, deadline + 1)  # should the parent be killed, this one ends as well
        try:
            answer: tuple[str, Any] = ("done", work())
        except AgentError as error:
            answer = ("agent", (error.code, error.message, error.detail))
        except Exception as error:
            answer = ("failed", f"{type(error).__name__}: {error}")
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


def _read_all(descriptor: int, timeout: float) -> bytes | None:
    """Everything up to the end of the stream; None if that does not come in time, or nothing comes."""
    deadline = time.monotonic() + timeout
    data = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if selector.select(left):
                piece = os.read(descriptor, 65536)
                if not piece:
                    return data or None
                data += piece
    return None


# --------------------------------------------------------------------------------------------------- verbs: mount


def mount(agent: Agent, document: Document) -> Json:
    """Make the instance one whose containers can only ever run on the mounted file system and data volume."""
    deployment, file_system_id = document.text("deployment"), document.text("file_system_id")
    source, options = document.text("source"), document.text("options")
    volume_id, volume_gib = document.optional_text("data_volume_id"), document.number("data_volume_gib", 0)
    packages = [str(name) for name in document.items("packages")]
    for value in (source, options, *packages, *filter(None, (volume_id,))):
        if not re.fullmatch(r"[A-Za-z0-9@:/._,=+-]+", value):
            raise AgentError("bad_input", "The mount's source, options or packages hold a character they may not.")
    host = {
        "deployment": deployment,
        "instance_id": document.text("instance_id"),
        "file_system_id": file_system_id,
        "data_volume_id": volume_id,
        "source": source,
        "options": options,
        "packages": packages,
        "agent": agent_version(),
    }
    mounted = agent.mount()
    if mounted is not None:
        agent.require_mount(file_system_id)
    files = {
        agent.units / MOUNT_UNIT: mount_unit(source, options),
        agent.units / "docker.service.d/geusemaker.conf": docker_drop_in(bool(volume_id)),
        agent.units / RETRY_UNIT: retry_unit(),
    }
    ready = (
        mounted is not None
        and (volume_id is None or agent.is_volume_mounted(volume_id))
        and read_leniently(agent.host_file) == host  # one that cannot be read is written anew
        and all(read_text(path) == text for path, text in files.items())
        and agent.run(("systemctl", "is-active", "docker.service"), 30, "mount_failed").code == 0
    )
    # Docker comes last: from its very first start on it finds everything mounted, or does not start.
    docker = [name for name in packages if name.startswith("docker")]
    deadline = document.number("deadline_seconds", 180)
    if not ready:
        install_packages(agent, [name for name in packages if name not in docker])
        _mount_file_system(agent, files, file_system_id, deadline)
    first = agent.on_efs(lambda: agent.store.ensure_sentinel(deployment, file_system_id), file_system_id=file_system_id)
    if not ready:
        if volume_id:
            _mount_volume(agent, volume_id, file_system_id, deadline)
        if docker:
            install_packages(agent, docker)
            _system(agent, "daemon-reload")
            _system(agent, "enable", "--now", "docker.service")
            _system(agent, "enable", RETRY_UNIT)
        write_atomic(agent.host_file, json.dumps(host))
    if volume_id and volume_gib:
        _fill_volume(agent, volume_id, int(volume_gib * 2**30), deadline)
    if root_gib := document.number("root_volume_gib", 0):
        _fill_root(agent, int(root_gib * 2**30), deadline)
    return {"mounted": True, "first": first, "unchanged": ready}


def mount_unit(source: str, options: str) -> str:
    return (
        "# written by geusemaker\n"
        f"[Unit]\nDescription=geusemaker data\n\n"
        f"[Mount]\nWhat={source}\nWhere={MOUNT_POINT}\nType=nfs4\nOptions={options}\nTimeoutSec=60\n\n"
        "[Install]\nWantedBy=remote-fs.target multi-user.target\n"
    )


def volume_unit(uuid: str) -> str:
    # Not wanted by local-fs.target, whose failure is an emergency shell that nobody could reach: without the volume
    # the machine boots, and Docker does not start.
    return (
        "# written by geusemaker\n"
        f"[Unit]\nDescription=geusemaker data volume\n\n"
        f"[Mount]\nWhat=/dev/disk/by-uuid/{uuid}\nWhere={VOLUME_POINT}\nType=ext4\nOptions=noatime\nTimeoutSec=60\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def docker_drop_in(has_volume: bool) -> str:
    """A container started without the mounts would write to the instance's own disk and lose it with the instance."""
    points = f"{MOUNT_POINT} {VOLUME_POINT}" if has_volume else MOUNT_POINT
    return f"# written by geusemaker\n[Unit]\nRequiresMountsFor={points}\n"


def retry_unit() -> str:
    """systemd tries a mount once at boot, and what requires it never again: a boot may come before its EFS answers.

    ``oneshot`` with ``Restart=``: systemd.service(5), since version 244.
    """
    return (
        "# written by geusemaker\n"
        "[Unit]\nDescription=geusemaker: Docker, as soon as the data can be mounted\n"
        "Wants=network-online.target\nAfter=network-online.target\nStartLimitIntervalSec=0\n\n"
        f"[Service]\nType=oneshot\nExecStartPre=-systemctl reset-failed {MOUNT_UNIT} {VOLUME_UNIT} docker.service\n"
        "ExecStart=systemctl start docker.service\nRestart=on-failure\nRestartSec=10\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def _mount_file_system(agent: Agent, files: Mapping[Path, str], file_system_id: str, deadline: float) -> None:
    say = agent.reporter
    agent.efs.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(agent.efs):
        agent.efs.mkdir()
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
    _system(agent, "daemon-reload")
    if agent.mount() is not None:
        _system(agent, "enable", MOUNT_UNIT)
        return
    say.phase("mount", "started", f"Mounting {file_system_id}")
    _mount_with_patience(agent, MOUNT_UNIT, agent.mount, deadline)
    agent.require_mount(file_system_id)
    say.phase("mount", "done", f"{file_system_id} is mounted on {MOUNT_POINT}")


def _mount_volume(agent: Agent, volume_id: str, file_system_id: str, deadline: float) -> None:
    """Mount the data volume, made a file system once in its life; what it was made is remembered on EFS.

    Raises:
        AgentError: no_volume, data_loss, foreign_data, mount_failed
    """
    say = agent.reporter
    # A volume is attached before its device shows.
    if not wait_until(lambda: agent.volume_device(volume_id) is not None, min(60.0, deadline), 0.2):
        raise AgentError("no_volume", f"The data volume {volume_id} is attached, and its device does not show.")
    device = str(agent.volume_device(volume_id))
    known = agent.on_efs(agent.store.data_volume, file_system_id=file_system_id)
    found = _file_system_on(agent, device)
    check_volume(volume_id, known, found)
    uuid = known["uuid"] if known else _new_uuid()

    def note(formatted: bool) -> None:
        about = {"volume_id": volume_id, "uuid": uuid, "formatted": formatted}
        agent.on_efs(lambda: agent.store.note_data_volume(about), file_system_id=file_system_id)

    if not known or not known["formatted"]:
        # Noted before and after: killed in between, it is done again, and a volume that was ever used never is.
        note(False)
        say.phase("volume", "started", f"Making a file system on {volume_id}")
        made = agent.run(("mkfs.ext4", "-q", "-F", "-U", uuid, "-L", PROJECT, device), 600, "mount_failed")
        if made.code != 0:
            raise AgentError("mount_failed", f"No file system could be made on {volume_id}: {made.reason()}")
    note(True)
    if not os.path.lexists(agent.data):
        agent.data.mkdir()
    write_atomic(agent.units / VOLUME_UNIT, volume_unit(uuid))
    _system(agent, "daemon-reload")
    _mount_with_patience(agent, VOLUME_UNIT, agent.volume_mount, deadline)
    agent.require_volume(volume_id)
    say.phase("volume", "done", f"{volume_id} is mounted on {VOLUME_POINT}")


def _fill_volume(agent: Agent, volume_id: str, size: int, deadline: float) -> None:
    """Have the file system as large as the volume, which EBS enlarges while it is used; never smaller.

    https://docs.aws.amazon.com/ebs/latest/userguide/recognize-expanded-volume-linux.html

    Args:
        agent: the agent.
        volume_id: the mounted volume.
        size: bytes that the volume has, according to AWS; the instance sees a larger size somewhat later.
        deadline: seconds to wait for that.

    Raises:
        AgentError: no_volume, mount_failed
    """
    device = str(agent.volume_device(volume_id))
    _await_size(agent, device, volume_id, size, deadline)
    # One that fills the volume already is left as it is.
    filled = agent.run(("resize2fs", device), 600, "mount_failed")
    if filled.code != 0:
        raise AgentError("mount_failed", f"The file system on {volume_id} could not be enlarged: {filled.reason()}")


def _device_bytes(agent: Agent, device: str, name: str) -> int:
    told = agent.run(("blockdev", "--getsize64", device), 30, "mount_failed")
    if told.code != 0:
        raise AgentError("mount_failed", f"The size of {name} cannot be told: {told.reason()}")
    return int(told.out)


def _await_size(agent: Agent, device: str, name: str, size: int, deadline: float) -> None:
    """Wait until the instance sees the size that AWS gave a volume.

    Raises:
        AgentError: no_volume
    """
    if not wait_until(lambda: _device_bytes(agent, device, name) >= size, min(120.0, deadline), 0.2):
        seen = _device_bytes(agent, device, name) / 2**30
        raise AgentError(
            "no_volume", f"AWS gave {name} {size / 2**30:.0f} GiB, and the instance sees only {seen:.0f} GiB of it."
        )


_DISK: Final = re.compile(r"(/dev/(?:nvme\d+n\d+(?=p\d|$)|(?:xvd|sd|vd)[a-z]+))(?:p?(\d+))?")
"""A disk, or a partition of one, with its number."""


def _fill_root(agent: Agent, size: int, deadline: float) -> None:
    """Have partition and file system of the instance's own disk as large as the disk; never smaller.

    cloud-init does the same at each boot (its modules growpart and resizefs); here it is done while all runs. The last
    partition of Debian's images is the root's.

    Args:
        agent: the agent.
        size: bytes that the disk has, according to AWS.
        deadline: seconds to wait until the instance sees them.

    Raises:
        AgentError: no_volume, mount_failed
    """
    told = agent.run(("findmnt", "--noheadings", "--output", "SOURCE,FSTYPE", "/"), 30, "mount_failed")
    source, kind = ([*told.out.split(), "", ""])[:2]
    if not source.startswith("/dev/") or not (agent.root / source.lstrip("/")).exists():
        # A container's, say: it has what the machine below has.
        agent.reporter.note(
            f"The root file system ({source or 'unknown'}) is on no disk of its own: it is left as it is."
        )
        return
    parts = _DISK.fullmatch(source)
    if parts is None:  # of an AMI with LVM, encryption or RAID, say
        agent.reporter.note(
            f"The root file system is on {source}: it is to be enlarged by hand where its disk has grown."
        )
        return
    disk = parts[1]
    _await_size(agent, disk, "the instance's disk", size, deadline)
    if parts[2] and _device_bytes(agent, disk, disk) - _device_bytes(agent, source, source) > ROOT_OVERHEAD:
        install_packages(agent, ["cloud-guest-utils"])  # Debian's images for EC2 may come without
        grown = agent.run(("growpart", disk, parts[2]), 120, "mount_failed")
        # 1 is also its answer where nothing is left to take: https://manpages.debian.org/growpart
        if grown.code != 0 and not (grown.code == 1 and "NOCHANGE" in grown.out):
            raise AgentError("mount_failed", f"The partition {source} could not be enlarged: {grown.reason()}")
    if not kind.startswith("ext"):
        agent.reporter.note(f"The root file system is {kind}: the disk has grown, and it is to be enlarged by hand.")
        return
    filled = agent.run(("resize2fs", source), 600, "mount_failed")
    if filled.code != 0:
        raise AgentError("mount_failed", f"The root file system could not be enlarged: {filled.reason()}")


def check_volume(volume_id: str, known: Json | None, found: Json) -> None:
    """What is on the data volume is what was left there, or it is new.

    Args:
        volume_id: the volume.
        known: what ``Store.data_volume`` remembers; None: there never was one.
        found: ``TYPE`` and ``UUID`` of the file system on it; nothing for an empty volume.

    Raises:
        AgentError: data_loss, foreign_data
    """
    if known and found and (found.get("TYPE"), found.get("UUID")) == ("ext4", known["uuid"]):
        return  # also on a volume that was made of this one's snapshot
    if known and known["formatted"]:
        what = f"holds another file system ({found.get('UUID') or found.get('TYPE')})" if found else "is empty"
        raise AgentError(
            "data_loss",
            f"The data volume {volume_id} {what}; the deployment's has the UUID {known['uuid']} and was last seen as "
            f"{known['volume_id']}. Nothing is started without it.",
        )
    if found:
        raise AgentError(
            "foreign_data",
            f"The data volume {volume_id} holds a file system ({found.get('TYPE') or 'unknown'}) that this deployment "
            "did not make. It is left as it is, and nothing is started.",
        )


def _file_system_on(agent: Agent, device: str) -> Json:
    """What blkid(8) finds on a device when it looks at the device itself; empty where there is nothing."""
    finished = agent.run(("blkid", "-p", "-o", "export", device), 60, "mount_failed")
    if finished.code == 2:  # "nothing found"
        return {}
    if finished.code != 0:
        raise AgentError("mount_failed", f"It cannot be told what is on {device}: {finished.reason()}")
    pairs = (line.partition("=") for line in finished.out.splitlines())
    return {key: value for key, _, value in pairs if key in ("TYPE", "UUID", "PTTYPE")}


def _new_uuid() -> str:
    return Path("/proc/sys/kernel/random/uuid").read_text().strip()


def mount_again(agent: Agent, timeout: float) -> None:
    """Mount what belongs on this instance and is not there: it still boots, or did so while EFS did not answer.

    An instance that ``mount`` has not set up is left as it is.

    Raises:
        AgentError: mount_failed
    """
    mounts = (
        (MOUNT_UNIT, agent.host().get("file_system_id"), agent.mount),
        (VOLUME_UNIT, agent.data_volume_id(), agent.volume_mount),
    )
    missing = [(unit, what, look) for unit, what, look in mounts if what and look() is None]
    for unit, what, look in missing:
        agent.reporter.phase("mount", "started", f"Mounting {what}, which is not mounted yet")
        # Whoever asked for Docker meanwhile had systemd try: it refuses a unit that failed often, and says that alone.
        agent.run(("systemctl", "reset-failed", unit), 30)
        _mount_with_patience(agent, unit, look, timeout)
        agent.reporter.phase("mount", "done", f"{what} is mounted")
    if missing and (started := agent.run(("systemctl", "start", "docker.service"), 120)).code != 0:
        agent.reporter.note(f"Docker did not start: {started.reason()}")  # whoever needs it will find that, too


def _system(agent: Agent, *arguments: str) -> None:
    finished = agent.run(("systemctl", *arguments), 120, "mount_failed")
    if finished.code != 0:
        raise AgentError("mount_failed", f"systemctl {' '.join(arguments)} failed: {finished.reason()}")


def _mount_with_patience(agent: Agent, unit: str, look: Callable[[], Mount | None], timeout: float) -> None:
    """Mount, trying again while the name of a new mount target is not known everywhere yet."""
    deadline = time.monotonic() + timeout
    while True:
        finished = agent.run(("systemctl", "enable", "--now", unit), 120, "mount_failed")
        if finished.code == 0 and look() is not None:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            status = agent.run(("systemctl", "status", "--no-pager", "--lines", "5", unit), 30, "mount_failed")
            said = re.findall(r"(?<![.\w])(mount(?:\.\w+)?: .*)", status.out)
            point = VOLUME_POINT if unit == VOLUME_UNIT else MOUNT_POINT
            within = f" within {timeout:g} seconds" if timeout else ""
            raise AgentError(
                "mount_failed",
                f"{point} could not be mounted{within}: {said[-1] if said else finished.reason()}",
                systemctl=status.out[-1500:],
            )
        agent.reporter.note(f"Not mounted yet, trying again: {finished.reason()[:200]}")
        time.sleep(min(3.0, left))


def install_packages(agent: Agent, packages: Sequence[str]) -> None:
    """Install the Debian packages that are not there yet.

    Raises:
        AgentError: package_failed
    """
    missing = sorted(set(packages) - installed_packages(agent, packages))
    if not missing:
        return
    names = ", ".join(missing)
    agent.reporter.phase("packages", "started", f"Installing {names}")
    fresh = False
    if package_lists_are_stale(agent.root):
        _apt(agent, "update")
        fresh = True
    finished = _apt(agent, "install", *missing)
    if finished.code != 0 and not fresh:
        _apt(agent, "update")
        finished = _apt(agent, "install", *missing)
    if finished.code != 0:
        raise AgentError("package_failed", f"{names} could not be installed: {finished.reason()}")
    agent.reporter.phase("packages", "done", f"Installed {names}")


def installed_packages(agent: Agent, packages: Sequence[str]) -> set[str]:
    if not packages:
        return set()
    finished = agent.run(("dpkg-query", "-W", "-f=${Package}\\t${Status}\\n", *packages), 60, "package_failed")
    pairs = (line.partition("\t") for line in finished.out.splitlines())
    return {name for name, _, status in pairs if status.strip() == "install ok installed"}


def package_lists_are_stale(root: Path) -> bool:
    lists = root / "var/lib/apt/lists"
    try:
        return time.time() - max(file.stat().st_mtime for file in lists.glob("*_Packages*")) > 86_400
    except (ValueError, OSError):
        return True


def _apt(agent: Agent, verb: str, *packages: str) -> Finished:
    options = ("-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold")
    more = ("-y", "--no-install-recommends") if verb == "install" else ()
    deadline = time.monotonic() + 300
    while True:
        finished = agent.stream(("apt-get", *options, verb, *more, *packages), 900, code="package_failed")
        # The option above does not cover the lock of the package lists, which a first boot may hold for a while.
        locked = re.search(r"(?i)could not get lock|unable to lock", finished.out)
        if finished.code == 0 or not locked or time.monotonic() > deadline:
            return finished
        time.sleep(2)


# --------------------------------------------------------------------------------------------------- verbs: lease


def begin(agent: Agent, document: Document) -> Json:
    """Take the lease for an operation, and end what still runs of any other."""
    operation = document.operation()
    facts = {key: document.values.get(key) for key in ("kind", "actor", "owner", "instance_id", "number")}
    expects, takeover = document.optional_text("expects"), document.optional_text("takeover")
    mount_again(agent, 0)
    lease = agent.on_efs(lambda: agent.store.begin(operation, expects, takeover, facts))
    (agent.operations / operation / "cancelled").unlink(missing_ok=True)
    if takeover and takeover != operation:
        agent.end_operation(takeover)
    agent.end_stragglers(operation)
    return {"lease": lease}


def end(agent: Agent, document: Document) -> Json:
    """Give the lease back."""
    operation, outcome = document.operation(), document.text("outcome")
    return {"lease": agent.on_efs(lambda: agent.store.end(operation, outcome))}


def cancel(agent: Agent, document: Document) -> Json:
    """End an operation's processes here, and let no further one of it start. Needs no file system: that may hang."""
    operation = document.operation()
    folder = agent.operations / operation
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "cancelled").touch()
    return {"ended": agent.end_operation(operation)}


def lease(agent: Agent, document: Document) -> Json:
    """Who holds the deployment."""
    return {"lease": agent.on_efs(agent.store.lease), "operations_running": agent.running_operations()}


def adoption(agent: Agent, document: Document) -> Json:
    """What mounted data tells to whoever takes it up: whose it is, who served it, and n8n's key, the one secret told.

    The key is for the caller alone, who has logged in for it: it is in no event, and nothing else answers with it.
    """

    def look() -> Json:
        store = agent.store
        text = read_text(agent.efs / "n8n" / "config")
        key = None
        if text is not None:
            with contextlib.suppress(ValueError, AttributeError):
                key = json.loads(text).get("encryptionKey")
        folder = agent.efs / "n8n"
        return {
            "sentinel": store.sentinel(),
            "lease": store.lease(),
            "n8n_key": key if isinstance(key, str) and key else None,
            "n8n_was_here": (folder.is_dir() and any(folder.iterdir())) or store.database_version() is not None,
        }

    found: Json = agent.on_efs(look)
    return found


def _hold_lease(agent: Agent, operation: str, *, held: bool = True) -> Json:
    """The lease, which must be this operation's; what still runs of others is ended."""
    found = agent.on_efs(lambda: agent.store.require(operation, held=held))
    agent.end_stragglers(operation)
    return found


# ------------------------------------------------------------------------------------------------ verbs: prefetch


def prefetch(agent: Agent, document: Document) -> Json:
    """Have Compose check a compose file, and bring its images here, while the old containers go on serving."""
    operation, project = document.operation(), document.mapping("compose")
    _, images = services_of(project)
    with agent.registered(operation, "prefetch"):
        _hold_lease(agent, operation, held=False)
        agent.ensure_docker()
        checking = begin_check(agent, project)
        answer = pull_images(agent, images, document.number("deadline_seconds", 1800))
        end_check(agent, checking)
        write_atomic(agent.prepared_file, json.dumps({"operation": operation, "images": _by_digest(images)}))
        return answer


def services_of(project: Json) -> tuple[Json, dict[str, Image]]:
    """The services of a compose file, and their images."""
    services = Document(project).service_map("services")
    if not services:
        raise AgentError("bad_input", "The compose file has no services.")
    return services, {name: Image.parse(str(service.get("image", ""))) for name, service in services.items()}


def _by_digest(images: Mapping[str, Image]) -> list[str]:
    return sorted({image.by_digest for image in images.values()})


def missing_images(agent: Agent, images: Mapping[str, Image]) -> set[str]:
    """The services whose image is not here yet."""
    inspected = agent.inspect(_by_digest(images), "image")
    return {name for name, image in images.items() if not any(image.is_among(one) for one in inspected)}


def pull_images(agent: Agent, images: Mapping[str, Image], timeout: float) -> Json:
    """Pull, two at a time, what is not here yet. An image that is here needs no registry.

    Raises:
        AgentError: image_missing, pull_failed, no_space
    """
    say = agent.reporter
    missing = missing_images(agent, images)
    present = [name for name in images if name not in missing]
    waiting: dict[str, list[str]] = {}
    for name, image in images.items():
        if name not in present:
            waiting.setdefault(image.by_digest, []).append(name)
    pulled: list[str] = []
    deadline = time.monotonic() + timeout
    running: dict[str, _Pull] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or running:
                while waiting and len(running) < 2:
                    reference, names = next(iter(waiting.items()))
                    waiting.pop(reference)
                    running[reference] = pull = _Pull(agent, reference, names)
                    selector.register(pull.job.pipe, selectors.EVENT_READ, pull)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AgentError("pull_failed", f"The images were not pulled within {timeout:g} seconds.")
                for key, _ in selector.select(min(left, PULL_NEWS)):
                    pull = key.data
                    if pull.job.read():
                        continue
                    selector.unregister(pull.job.pipe)
                    del running[pull.reference]
                    finished = pull.job.finish()
                    if finished.code != 0:
                        raise pull_error(pull.reference, pull.services, finished.out)
                    for name in pull.services:
                        say.service(name, "pulled")
                    pulled += pull.services
                for pull in running.values():
                    pull.tell_if_silent()
        finally:
            for pull in running.values():
                agent._end_child(pull.job.process)
    return {"pulled": sorted(pulled), "present": sorted(present)}


class _Pull:
    """A running docker pull. It tells how many layers have come and, while none comes, that it is still at it."""

    def __init__(self, agent: Agent, reference: str, services: Sequence[str]) -> None:
        self.reference = reference
        self.services = services
        self._say = agent.reporter
        self._layers: set[str] = set()
        self._complete: set[str] = set()
        self._began = time.monotonic()
        self._tell(reference)
        self.job = agent.start(("docker", "pull", reference), self._take_line)

    def tell_if_silent(self) -> None:
        """Say after a while without news how long it has been."""
        current = time.monotonic()
        if current - self._told >= PULL_NEWS:
            self._tell(f"{self._progress()} after {current - self._began:.0f} s")

    def _take_line(self, line: str) -> None:
        layer, _, words = line.partition(": ")  # "ab12: Pulling fs layer", "ab12: Pull complete"
        if words.startswith(("Pulling fs layer", "Already exists")):
            self._layers.add(layer)
        if words.startswith(("Pull complete", "Already exists")) and layer not in self._complete:
            self._complete.add(layer)
            self._tell(self._progress())

    def _progress(self) -> str:
        return f"{len(self._complete)} of {len(self._layers | self._complete)} layers"

    def _tell(self, detail: str) -> None:
        self._told = time.monotonic()
        for name in self.services:
            self._say.service(name, "pulling", detail)


def pull_error(reference: str, services: Sequence[str], output: str) -> AgentError:
    """What a failed docker pull means, from its words."""
    words = Finished(1, output, "").reason()
    low = output.lower()
    if "no space left on device" in low:
        return AgentError(
            "no_space", f"The instance's disk is full: {reference} could not be pulled.", wanted_by=list(services)
        )
    if "manifest unknown" in low or "manifest for" in low or "not found" in low:
        return AgentError(
            "image_missing", f"{reference} is not in its registry: {words}", wanted_by=list(services), image=reference
        )
    return AgentError(
        "pull_failed", f"{reference} could not be pulled: {words}", wanted_by=list(services), image=reference
    )


# ---------------------------------------------------------------------------------------------- verbs: checkpoint


COPIED: Final = {"postgresql": "PostgreSQL", "qdrant": "Qdrant"}
"""The services whose data a checkpoint can hold, with their names in sentences."""
# What a restore leaves behind or is about to put in place; see ``restore``.
OWN_DATABASE: Final = re.compile(r".+_(?:before|restoring)_[0-9]{14}_[0-9a-f]{6}")


def checkpoint(agent: Agent, document: Document) -> Json:
    """Copy what services hold to the file system, while everything still runs."""
    operation, number, services = document.operation(), int(document.number("number", 0)), copied_services(document)
    if number < 1:
        raise AgentError("bad_input", "'number' has to be that of the version whose data is copied.")
    about = {"version": number, "operation": operation, "kind": document.text("kind")}
    with agent.registered(operation, "checkpoint"):
        _hold_lease(agent, operation)
        agent.reporter.phase("checkpoint", "started", f"Copying what {' and '.join(services)} hold")
        taken = take_checkpoint(agent, about, services, document.number("deadline_seconds", 1800))
        agent.reporter.phase("checkpoint", "done", f"{sum(held['bytes'] for held in taken['holds'])} bytes")
        return taken


def copied_services(document: Document, key: str = "services") -> list[str]:
    services = [str(name) for name in document.items(key)]
    if not services or not set(services) <= COPIED.keys():
        raise AgentError("bad_input", f"{key!r} has to name some of {', '.join(COPIED)}.")
    return services


def running_containers(agent: Agent, services: Iterable[str]) -> dict[str, Container]:
    """All containers, among them running ones of these services.

    Raises:
        AgentError: not_running
    """
    containers = agent.containers()
    for name in services:
        if name not in containers or not containers[name].running:
            raise AgentError("not_running", f"{COPIED[name]} does not run, so its data cannot be read.")
    return containers


def take_checkpoint(agent: Agent, about: Json, services: Sequence[str], deadline: float) -> Json:
    """Take a checkpoint, all of it or nothing; again is fine.

    Raises:
        AgentError: not_running, docker_failed, qdrant_failed, checkpoint_failed, and what ``Agent.on_efs`` raises
    """
    containers = running_containers(agent, services)
    images = {name: agent.running_image(container)[0] for name, container in sorted(containers.items())}
    about = {
        "checkpoint": f"v{about['version']}/{about['operation']}",
        **about,
        "taken_at": now(),
        "images": images,
        "versions": {},
        "migrations": None,
        "aliases": {},
        "holds": [],
    }
    return agent.on_efs(lambda: _write_checkpoint(agent, about, services, containers, deadline), deadline)


def _write_checkpoint(
    agent: Agent, about: Json, services: Sequence[str], containers: Mapping[str, Container], deadline: float
) -> Json:
    """Write the copies beside their place and put them there all at once (runs in the child)."""
    import shutil

    final = agent.store.checkpoints / about["checkpoint"]
    parent, temporary = final.parent, final.parent / f".{final.name}.new"
    agent.store.checkpoints.mkdir(mode=0o700, exist_ok=True)
    parent.mkdir(mode=0o700, exist_ok=True)
    taken = read_json(final / CHECKPOINT_FILE)
    if taken is not None:
        return taken
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    try:
        if "postgresql" in services:
            _copy_databases(agent, containers["postgresql"], about, temporary)
            # After the dump: n8n writes a file before the row that names it.
            about["n8n_files"] = copy_n8n_files(agent, temporary)
        if "qdrant" in services:
            _copy_collections(agent, Qdrant(agent, deadline), about, temporary)
        write_atomic(temporary / CHECKPOINT_FILE, json.dumps(about), 0o600)
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(parent)
    return about


def file_name(name: str, ending: str) -> str:
    """A file name of its own for a database or a collection, whatever that is called."""
    import hashlib
    from urllib.parse import quote

    safe = re.sub(r"^\.", "%2E", quote(name, safe=""))
    if len(safe) > 200:
        safe = f"{safe[:180]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return safe + ending


def _copy_databases(agent: Agent, container: Container, about: Json, folder: Path) -> None:
    user = database_user(agent)
    for database in own_databases(agent, container):
        agent.reporter.service("postgresql", "dumping", database)
        holds, migrations = database_holds(agent, container, database)
        about["migrations"] = migrations or about["migrations"]
        path = folder / file_name(database, ".dump")
        digest = _dump(agent, container.id, user, database, path)
        read_back(agent, container.id, path, database, "checkpoint_failed")
        about["holds"].append({**holds, "file": path.name, "bytes": path.stat().st_size, "sha256": digest})


N8N_FILES: Final = ("binaryData", "storage")
"""The folders in n8n's own that hold what its executions received and made (2.x and 3.x; 1.x keeps it in memory)."""
N8N_LIST: Final = "n8n-files.json"
"""In a checkpoint: path below n8n's folder → [bytes, SHA-256]; the files themselves are in ``n8n-files``.

The sum is empty for those that there was no time to read: of what is linked, the size tells whether it is whole.
"""
SUMMED_SECONDS: Final = 300.0
"""So long n8n's files are read for their sums: no change is to wait for hundreds of gigabytes that are only linked."""


def copy_n8n_files(agent: Agent, folder: Path) -> Json | None:
    """Copy n8n's files into a checkpoint's folder (runs in the child); None: it never had a folder on EFS.

    As hard links, which take no room: n8n never writes to one of these files again, it makes new ones and removes old
    ones. A file that cannot be linked (EFS allows 177 links) is copied, where there is room for it.
    """
    home = agent.efs / "n8n"
    if not home.is_dir():
        return None
    agent.reporter.service("n8n", "copying files")
    present = [name for name in N8N_FILES if (home / name).is_dir()]
    for name in present:
        link_tree(home / name, folder / "n8n-files" / name)
    enough = time.monotonic() + SUMMED_SECONDS
    listed = {
        str(path.relative_to(folder / "n8n-files")): [
            path.stat().st_size,
            _digest_of(path) if time.monotonic() < enough else "",
        ]
        for path in sorted((folder / "n8n-files").rglob("*"))
        if path.is_file()
    }
    write_atomic(folder / N8N_LIST, json.dumps(listed), 0o600)
    return {
        "folders": present,
        "files": len(listed),
        "bytes": sum(size for size, _ in listed.values()),
        "sha256": _digest_of(folder / N8N_LIST),
    }


def _digest_of(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def link_tree(source: Path, target: Path) -> None:
    """The same folders anew, with the same files in them; a file that goes away meanwhile is left out.

    Raises:
        AgentError: no_space
    """
    import shutil

    found = source.lstat()
    target.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(target, found.st_uid, found.st_gid)
    target.chmod(found.st_mode & 0o7777)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                link_tree(source / entry.name, target / entry.name)
            elif entry.is_file(follow_symlinks=False):
                try:
                    os.link(entry.path, target / entry.name)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if error.errno not in (errno.EMLINK, errno.EPERM, errno.EXDEV):
                        raise
                    if shutil.disk_usage(target).free < entry.stat().st_size:
                        raise AgentError("no_space", f"There is no room for a copy of {entry.path}.") from error
                    shutil.copy2(entry.path, target / entry.name)
                    if os.geteuid() == 0:
                        os.chown(target / entry.name, entry.stat().st_uid, entry.stat().st_gid)


def own_databases(agent: Agent, container: Container) -> list[str]:
    """The databases but those that a restore made, which stay where they are, and those that cannot be read."""
    listed = query_database(agent, container, "postgres", DATABASES)
    closed = query_database(agent, container, "postgres", CLOSED)
    return [database for database in listed if not OWN_DATABASE.fullmatch(database) and database not in closed]


def database_holds(agent: Agent, container: Container, database: str) -> tuple[Json, list[str] | None]:
    """(what a database holds in numbers, n8n's migrations if it is n8n's); rows that would take long to count: None."""
    names = "quote_ident(schemaname) || '.' || quote_ident(tablename)"
    tables = query_database(agent, container, database, TABLES.format(names))
    holds: Json = {"service": "postgresql", "name": database, "tables": len(tables), "rows": 0 if not tables else None}
    if 0 < len(tables) <= 400:  # more would not fit on a command line
        union = " UNION ALL ".join(f"SELECT count(*) AS n FROM {table}" for table in tables)
        with contextlib.suppress(AgentError):
            [rows] = query_database(agent, container, database, f"SELECT sum(n) FROM ({union}) AS t", seconds=5)
            holds["rows"] = int(rows)
    if not {"public.workflow_entity", "public.migrations"} <= set(tables):
        return holds, None
    [workflows] = query_database(agent, container, database, "SELECT count(*) FROM workflow_entity")
    migrations = query_database(agent, container, database, "SELECT name FROM migrations ORDER BY 1")
    return {**holds, "workflows": int(workflows)}, migrations


class _Summed:
    """A file that is written through its digest."""

    def __init__(self, file: Any) -> None:
        import hashlib

        self._file = file
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return int(self._file.write(data))

    def flush(self) -> None:
        self._file.flush()

    def sum(self) -> str:
        """The digest, once all of it is on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()


def _create(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _dump(agent: Agent, container: str, user: str, database: str, path: Path) -> str:
    """Dump a database into a new file; its digest.

    In pg_dump's own format, which each minor version's ``pg_restore`` reads. A plain dump holds ``\\restrict`` since
    16.10 and 17.6, and the psql of an older minor, which a rollback brings back, fails on it.
    """
    import tempfile

    argv = ("docker", "exec", container, "pg_dump", "-U", user, "-d", to_connect(database), "--format=custom")
    with (
        _create(path) as file,
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            argv,
            env=agent._command_environment("docker"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
        ) as process,
    ):
        assert process.stdout is not None
        summed = _Summed(file)
        while piece := process.stdout.read(1 << 20):
            summed.write(piece)
        digest = summed.sum()
        code = process.wait()
        complaints.seek(0)
        said = complaints.read().decode(errors="replace")
    if code != 0:
        raise AgentError("checkpoint_failed", f"pg_dump of {database} failed: {Finished(code, '', said).reason()}")
    return digest


def read_back(agent: Agent, container: str, path: Path, database: str, code: str) -> None:
    """Have the PostgreSQL that runs read a dump from its beginning to its end.

    Raises:
        AgentError: of this code: it cannot.
    """
    argv = ("docker", "exec", "-i", container, "pg_restore", "--file=/dev/null")
    with path.open("rb") as file:
        done = subprocess.run(argv, env=agent._command_environment("docker"), stdin=file, capture_output=True)
    if done.returncode != 0:
        reason = Finished(done.returncode, "", done.stderr.decode(errors="replace")).reason()
        raise AgentError(code, f"The dump of {database} cannot be read by the PostgreSQL that runs: {reason}")


def _copy_collections(agent: Agent, qdrant: Qdrant, about: Json, folder: Path) -> None:
    about["versions"]["qdrant"] = qdrant.version()
    about["aliases"] = qdrant.aliases()
    for name in qdrant.collections():
        agent.reporter.service("qdrant", "snapshotting", name)
        path = folder / file_name(name, ".snapshot")
        points = qdrant.points(name)
        digest = qdrant.save_snapshot(name, path)
        about["holds"].append(
            {"service": "qdrant", "name": name, "points": points}
            | {"file": path.name, "bytes": path.stat().st_size, "sha256": digest}
        )


def checkpoints(agent: Agent, document: Document) -> Json:
    """The checkpoints there are; and what is there now of the services that ``now`` names."""
    answer: Json = {"checkpoints": agent.on_efs(agent.store.list_checkpoints, 60)}
    if document.items("now"):
        answer["now"] = data_now(agent, copied_services(document, "now"))
    return answer


def data_now(agent: Agent, services: Sequence[str]) -> Json:
    """What a checkpoint of these services would hold were it taken now.

    Raises:
        AgentError: not_running, docker_failed, qdrant_failed
    """
    containers = running_containers(agent, services)
    found: Json = {"versions": {}, "migrations": None, "holds": []}
    if "postgresql" in services:
        for database in own_databases(agent, containers["postgresql"]):
            holds, migrations = database_holds(agent, containers["postgresql"], database)
            found["migrations"] = migrations or found["migrations"]
            found["holds"].append(holds)
    if "qdrant" in services:
        qdrant = Qdrant(agent, 60)
        found["versions"]["qdrant"] = qdrant.version()
        for name in qdrant.collections():
            found["holds"].append({"service": "qdrant", "name": name, "points": qdrant.points(name)})
    return found


class Qdrant:
    """Qdrant's own API on the instance (api.qdrant.tech, "Collections", "Snapshots").

    Qdrant makes a snapshot in its container, on the instance's disk. So one is made at a time, and deleted there as
    soon as it is fetched; what a killed operation leaves is gone with the container.

    Every method raises:
        AgentError: qdrant_failed
    """

    def __init__(self, agent: Agent, timeout: float) -> None:
        service = (agent.compose_document().get("services") or {}).get("qdrant") or {}
        key = (service.get("environment") or {}).get("QDRANT__SERVICE__API_KEY")
        self._address = agent.address
        self._headers = {"api-key": str(key)} if key else {}
        self._deadline = time.monotonic() + timeout

    def version(self) -> str:
        return str(self._ask("GET", "/", result=None)["version"])

    def collections(self) -> list[str]:
        return sorted(str(found["name"]) for found in self._ask("GET", "/collections")["collections"])

    def points(self, collection: str) -> int | None:
        count = self._ask("GET", _collection(collection)).get("points_count")
        return None if count is None else int(count)

    def aliases(self) -> dict[str, str]:
        found = self._ask("GET", "/aliases")["aliases"]
        return {str(alias["alias_name"]): str(alias["collection_name"]) for alias in found}

    def save_snapshot(self, collection: str, path: Path) -> str:
        """Have a snapshot made and fetch it into a new file; its SHA-256, which is compared with what Qdrant says."""
        snapshots = f"{_collection(collection)}/snapshots"
        made = self._ask("POST", snapshots)
        try:
            size, digest = self._fetch(f"{snapshots}/{_quoted(made['name'])}", path)
        finally:
            self._drop(f"{snapshots}/{_quoted(made['name'])}")
        # Before 1.9 Qdrant tells no checksum.
        if size != made["size"] or made.get("checksum") not in (None, digest):
            raise AgentError("qdrant_failed", f"The snapshot of {collection} did not arrive as Qdrant had made it.")
        return digest

    def load_snapshot(self, collection: str, path: Path, digest: str, name: str) -> None:
        """Make a collection what a snapshot says. One that was made anew with other vectors since makes way."""
        snapshots = f"{_collection(collection)}/snapshots"
        try:
            try:
                self._upload(f"{snapshots}/upload?priority=snapshot&checksum={digest}", path, name)
            except AgentError as error:
                if "not compatible with existing collection" not in error.message:
                    raise
                self._ask("DELETE", _collection(collection))
                self._upload(f"{snapshots}/upload?priority=snapshot&checksum={digest}", path, name)
        finally:
            self._drop(f"{snapshots}/{_quoted(name)}")  # Qdrant keeps what was uploaded

    def add_alias(self, alias: str, collection: str) -> None:
        made = {"create_alias": {"alias_name": alias, "collection_name": collection}}
        self._ask("POST", "/collections/aliases", {"actions": [made]})

    def _upload(self, path: str, source: Path, name: str) -> None:
        boundary = os.urandom(16).hex()
        field = f'Content-Disposition: form-data; name="snapshot"; filename="{name}"'
        head = f"--{boundary}\r\n{field}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
        end = f"\r\n--{boundary}--\r\n".encode()
        with contextlib.closing(self._connect()) as connection, source.open("rb") as file:
            with _qdrant_trouble("POST", path):
                connection.putrequest("POST", path)
                for key, value in self._headers.items():
                    connection.putheader(key, value)
                connection.putheader("Content-Type", f"multipart/form-data; boundary={boundary}")
                connection.putheader("Content-Length", str(len(head) + source.stat().st_size + len(end)))
                connection.endheaders(head)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused early: the answer says why
                    while piece := file.read(1 << 20):
                        connection.send(piece)
                    connection.send(end)
                answer = self._checked(connection.getresponse(), "POST", path)
            self._receive(answer)

    def _fetch(self, path: str, target: Path) -> tuple[int, str]:
        size = 0
        with contextlib.closing(self._connect()) as connection, _create(target) as file:
            answer = self._send(connection, "GET", path)
            summed = _Summed(file)
            while piece := self._receive(answer, 1 << 20):
                summed.write(piece)
                size += len(piece)
            return size, summed.sum()

    def _drop(self, path: str) -> None:
        with contextlib.suppress(AgentError):  # it costs disk space until the container is replaced, no more
            self._ask("DELETE", path)

    def _ask(self, method: str, path: str, body: Json | None = None, result: str | None = "result") -> Any:
        with contextlib.closing(self._connect()) as connection:
            answer = self._receive(self._send(connection, method, path, body))
        try:
            value = json.loads(answer)
            return value if result is None else value[result]
        except (ValueError, KeyError, TypeError) as error:
            raise AgentError("qdrant_failed", f"Qdrant's answer to {method} {path} cannot be read: {error!r}") from None

    def _connect(self) -> Any:
        import http.client

        timeout = max(1.0, self._deadline - time.monotonic())
        return http.client.HTTPConnection(self._address, QDRANT_PORT, timeout=timeout)

    def _send(self, connection: Any, method: str, path: str, body: Json | None = None) -> Any:
        """The answer's head; its body is still to be received."""
        data = None if body is None else json.dumps(body)
        with _qdrant_trouble(method, path):
            connection.request(method, path, data, {**self._headers, "Content-Type": "application/json"})
            return self._checked(connection.getresponse(), method, path)

    def _receive(self, answer: Any, size: int = -1) -> bytes:
        with _qdrant_trouble("reading", "its answer"):
            return bytes(answer.read() if size < 0 else answer.read(size))

    @staticmethod
    def _checked(answer: Any, method: str, path: str) -> Any:
        if answer.status == 200:
            return answer
        text = answer.read(4000).decode(errors="replace")
        with contextlib.suppress(ValueError, KeyError, TypeError):
            text = json.loads(text)["status"]["error"]
        words = " ".join(str(text).split())[:400]
        raise AgentError("qdrant_failed", f"Qdrant refuses {method} {path}: HTTP {answer.status} {words}")


@contextlib.contextmanager
def _qdrant_trouble(method: str, path: str) -> Iterator[None]:
    import http.client

    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise AgentError("qdrant_failed", f"Qdrant does not answer ({method} {path}): {reason}") from error


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def _collection(name: str) -> str:
    return f"/collections/{_quoted(name)}"


# ------------------------------------------------------------------------------------------------- verbs: restore


def restore(agent: Agent, document: Document) -> Json:
    """Put a checkpoint's data in the place of what is there now, of which a checkpoint is taken first.

    Nothing that is there now is lost: a database is renamed, not replaced (``NAME_before_…``), and what a collection
    was is in the new checkpoint. Killed at any point, a database is the old one or the new one, and this can be run
    again.
    """
    operation, number, services = document.operation(), int(document.number("number", 0)), copied_services(document)
    name, deadline = document.text("checkpoint"), document.number("deadline_seconds", 10_800)
    version, _, taken_by = name.partition("/")
    if number < 1 or not re.fullmatch(r"v[1-9][0-9]*", version) or not _OPERATION.fullmatch(taken_by):
        raise AgentError("bad_input", "'number' or 'checkpoint' is not that of a version's checkpoint.")
    about = {"version": number, "operation": operation, "kind": "restore"}
    with agent.registered(operation, "restore"):
        _hold_lease(agent, operation)
        agent.reporter.phase("restore", "started", f"Reading checkpoint {name}")
        wanted = agent.on_efs(lambda: agent.store.open_checkpoint(name, services), deadline)
        containers = running_containers(agent, services)
        agent.on_efs(lambda: _check_dumps(agent, containers, wanted), deadline)
        n8n = containers.get("n8n")
        rests = "n8n" in agent.on_efs(agent.store.stopped)
        if n8n is not None and n8n.running:
            # It writes to both, and what it wrote between the new checkpoint and the swap would be in neither.
            agent.reporter.service("n8n", "stopping")
            stopped = agent.docker("stop", n8n.id, timeout=120)
            if stopped.code != 0:
                raise AgentError("docker_failed", f"n8n could not be stopped: {stopped.reason()}")
        try:
            before = take_checkpoint(agent, about, services, deadline)
            work = _Restore(agent, operation, wanted, containers, deadline)
            agent.on_efs(work.load_databases, deadline)
            # The first thing that shows comes after this: whoever finds the lease unchanged knows that nothing did.
            agent.on_efs(lambda: agent.store.change(operation, changed=True))
            agent.on_efs(work.load_collections, deadline)
            agent.on_efs(work.swap_n8n_files, deadline)
            work.swap_databases()
        except BaseException:
            if n8n is not None and not rests:
                with contextlib.suppress(AgentError):  # what went wrong first is what is told
                    start_apart(agent, n8n)
            raise
        if n8n is not None and not rests:
            start_apart(agent, n8n)
        agent.reporter.phase("restore", "done", f"Restored {name}")
        return {"checkpoint": before, "kept": work.kept, "set_aside": agent.on_efs(work.set_aside)}


def _check_dumps(agent: Agent, containers: Mapping[str, Container], wanted: Json) -> None:
    """The dumps can be read by what would load them, before anything is stopped for that."""
    for held in wanted["holds"]:
        if held["service"] == "postgresql" and held["file"].endswith(".dump"):
            path = agent.store.checkpoints / wanted["checkpoint"] / held["file"]
            read_back(agent, containers["postgresql"].id, path, held["name"], "checkpoint_unreadable")


def start_apart(agent: Agent, container: Container) -> None:
    """Start a container, by a command that goes on should this operation be ended meanwhile: it is not to stay down.

    Raises:
        AgentError: docker_failed
    """
    agent.reporter.service(container.service, "starting")
    environment = agent._command_environment("docker")
    environment.pop(OPERATION_MARK, None)
    command = ("docker", "start", container.id)
    try:
        done = subprocess.run(command, env=environment, start_new_session=True, capture_output=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AgentError("docker_failed", f"{container.service} could not be started: {error}") from error
    if done.returncode != 0:
        reason = Finished(done.returncode, "", done.stderr.decode(errors="replace")).reason()
        raise AgentError("docker_failed", f"{container.service} could not be started: {reason}")


class _Restore:
    """The steps of a restore, each of which may be run again. The databases' come first and last, so that they are
    swapped at once when all else is there."""

    def __init__(
        self, agent: Agent, operation: str, wanted: Json, containers: Mapping[str, Container], deadline: float
    ) -> None:
        self.agent = agent
        self.operation = operation
        self.wanted = wanted
        self.containers = containers
        self.deadline = deadline
        self.folder = agent.store.checkpoints / wanted["checkpoint"]
        present = set(self.databases())
        # PostgreSQL's own database is the one that clients connect to for the rest; it is left as it is.
        names = [held["name"] for held in self.held("postgresql") if held["name"] != "postgres"]
        self.names = [name for name in names if own_name(name, "before", operation) not in present]
        self.kept = {name: own_name(name, "before", operation) for name in names if name in present}

    def held(self, service: str) -> list[Json]:
        return [held for held in self.wanted["holds"] if held["service"] == service]

    def databases(self) -> list[str]:
        if not self.held("postgresql"):
            return []
        return query_database(self.agent, self.containers["postgresql"], "postgres", DATABASES)

    def load_databases(self) -> None:
        """Load the dumps beside the databases that they will be swapped with (runs in the child)."""
        for left_over in self.databases():
            if OWN_DATABASE.fullmatch(left_over) and "_restoring_" in left_over:
                self.administer(f"DROP DATABASE {quote_identifier(left_over)}")  # of one that was killed
        for held in self.held("postgresql"):
            if held["name"] in self.names:
                self.agent.reporter.service("postgresql", "loading", held["name"])
                beside = own_name(held["name"], "restoring", self.operation)
                self.administer(f"DROP DATABASE IF EXISTS {quote_identifier(beside)}")
                # template1 may hold what the dump holds as well.
                self.administer(f"CREATE DATABASE {quote_identifier(beside)} TEMPLATE template0")
                _load(self.agent, self.containers["postgresql"].id, beside, self.folder / held["file"], held["name"])

    def load_collections(self) -> None:
        """Have Qdrant recover its snapshots, one after the other (runs in the child)."""
        if not self.held("qdrant"):
            return
        qdrant = Qdrant(self.agent, self.deadline)
        for held in self.held("qdrant"):
            self.agent.reporter.service("qdrant", "recovering", held["name"])
            name = f"{self.operation}.snapshot"
            qdrant.load_snapshot(held["name"], self.folder / held["file"], held["sha256"], name)
        present = qdrant.aliases()
        restored = {held["name"] for held in self.held("qdrant")}
        for alias, collection in self.wanted["aliases"].items():
            if alias not in present and collection in restored:
                qdrant.add_alias(alias, collection)

    def swap_n8n_files(self) -> None:
        """Put n8n's folders of files in place, those of now aside (runs in the child).

        Executions after the checkpoint are not in the database any more, and their ids are given again: n8n would
        remove one's files with another's. Nothing is moved back by a further run of the same operation.
        """
        wanted = self.wanted.get("n8n_files")
        if wanted is None:  # of a geusemaker of before: which of the files were there then cannot be told
            return
        import shutil

        home = self.agent.efs / "n8n"
        for name in N8N_FILES:
            place, aside, beside = home / name, home / self._aside(name), home / f".{name}.restoring"
            if aside.exists() and place.exists():
                continue  # this operation did it before
            shutil.rmtree(beside, ignore_errors=True)
            if name in wanted["folders"]:
                link_tree(self.folder / "n8n-files" / name, beside)
            if place.exists():
                place.rename(aside)
            if beside.exists():
                beside.rename(place)

    def set_aside(self) -> list[str]:
        """The folders on EFS that hold what n8n's files were before."""
        home = self.agent.efs / "n8n"
        return [f"n8n/{self._aside(name)}" for name in N8N_FILES if (home / self._aside(name)).is_dir()]

    def _aside(self, name: str) -> str:
        return own_name(name, "before", self.operation)

    def swap_databases(self) -> None:
        """Give all of them their names in one transaction."""
        present, renames = set(self.databases()), []
        for name in self.names:
            if name in present:
                renames.append((name, own_name(name, "before", self.operation)))
            renames.append((own_name(name, "restoring", self.operation), name))
        if not renames:
            return
        # psql runs what one -c holds as one transaction.
        swap = "; ".join(
            f"ALTER DATABASE {quote_identifier(old)} RENAME TO {quote_identifier(new)}" for old, new in renames
        )
        names = ", ".join("'" + old.replace("'", "''") + "'" for old, _ in renames)
        disconnect = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ({names})"
        deadline = time.monotonic() + 20
        while True:
            self.administer(disconnect)
            try:
                return self.administer(swap)
            except AgentError as error:
                # A client that was quick to come back, or slow to go.
                if "being accessed" not in error.message or time.monotonic() > deadline:
                    raise
                time.sleep(POLL_INTERVAL)

    def administer(self, statement: str) -> None:
        query_database(self.agent, self.containers["postgresql"], "postgres", statement, timeout=300)


def own_name(database: str, what: str, operation: str) -> str:
    """The name of a database's old or coming self, of at most 63 bytes (PostgreSQL's NAMEDATALEN)."""
    import hashlib

    ending = f"_{what}_" + re.sub(r"\W", "_", operation.removeprefix("op-"))
    name = database.encode()
    if len(name) > 63 - len(ending):  # others may begin like this one
        ending = f"~{hashlib.sha256(name).hexdigest()[:8]}{ending}"
    return name[: 63 - len(ending)].decode(errors="ignore") + ending


def to_connect(database: str) -> str:
    """The database as PostgreSQL's programs take it: a name with ``=`` in it, or of a URL's form, is more to them.

    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
    """
    if "=" not in database and "://" not in database:
        return database
    return "dbname='" + database.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _load(agent: Agent, container: str, database: str, path: Path, of: str) -> None:
    """Load a dump into an empty database."""
    import shutil
    import tempfile

    login = ("-U", database_user(agent), "-d", to_connect(database))
    plain = path.name.endswith(".sql.gz")  # of a geusemaker of before
    program = ("psql", "-q", "-X", "-v", "ON_ERROR_STOP=1") if plain else ("pg_restore", "--exit-on-error")
    with (
        plain_dump(path, psql_version(agent, container)) if plain else path.open("rb") as dump,
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            ("docker", "exec", "-i", container, *program, *login),
            env=agent._command_environment("docker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
        ) as process,
    ):
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it gave up; it says why
            shutil.copyfileobj(dump, process.stdin, 1 << 20)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        code = process.wait()
        complaints.seek(0)
        said = complaints.read().decode(errors="replace")
    if code != 0:
        raise AgentError("restore_failed", f"The dump of {of} could not be loaded: {Finished(code, '', said).reason()}")


RESTRICTS_SINCE: Final = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}
"""PostgreSQL's major version → the first minor whose psql knows ``\\restrict`` (release notes of August 2025)."""


def psql_version(agent: Agent, container: str) -> str:
    """Such as ``16.9``, of the psql in a container.

    Raises:
        AgentError: docker_failed
    """
    finished = agent.docker("exec", container, "psql", "--version")
    words = finished.out.split()  # psql (PostgreSQL) 16.9 (Debian 16.9-1.pgdg120+1)
    if finished.code != 0 or len(words) < 3:
        raise AgentError("docker_failed", f"psql could not be asked for its version: {finished.reason()}")
    return words[2]


def knows_restrict(version: str) -> bool:
    major, *rest = (int(number) for number in re.findall(r"\d+", version)[:2])
    return major > max(RESTRICTS_SINCE) or (rest or [0])[0] >= RESTRICTS_SINCE.get(major, 1 << 30)


@contextlib.contextmanager
def plain_dump(path: Path, version: str) -> Iterator[Any]:
    """A plain dump as this version's psql reads it: without ``\\restrict`` and its end where it knows neither.

    The first such line names a random word of the dump's own; no other line with it can be anything else.
    """
    import gzip
    import tempfile

    with gzip.open(path, "rb") as packed:
        if knows_restrict(version):
            yield packed
            return
        with tempfile.TemporaryFile(dir=path.parent) as cleaned:
            word = None
            for line in packed:
                if word is None and (found := re.fullmatch(rb"\\restrict ([0-9A-Za-z]+)\r?\n", line)):
                    word = found[1]
                elif word is None or line.rstrip() != b"\\unrestrict " + word:
                    cleaned.write(line)
            cleaned.seek(0)
            yield cleaned


# ---------------------------------------------------------------------------------------------------- verbs: hold


def hold(agent: Agent, document: Document) -> Json:
    """Stop all services gracefully. ``unless-stopped`` keeps them down over a reboot, until ``apply`` starts them."""
    operation = document.operation()
    with agent.registered(operation, "hold"):
        _hold_lease(agent, operation)
        agent.ensure_docker()
        there = agent.containers()
        prepared = read_leniently(agent.prepared_file)
        if prepared.get("operation") == operation:
            write_atomic(agent.prepared_file, json.dumps({**prepared, "held": sorted(there)}))
        stopped = stop_containers(agent, there.values())
        agent.on_efs(lambda: agent.store.change(operation, serving=None))
        return {"stopped": stopped}


def stop_containers(agent: Agent, containers: Iterable[Container]) -> list[str]:
    """Stop those of these containers that run; the services they are of.

    Raises:
        AgentError: docker_failed
    """
    running = [one for one in containers if one.status in ("running", "restarting", "paused")]
    # n8n first: it must not lose its database, nor anything else it calls, in the middle of a workflow. By id, not
    # with Compose: a compose file that cannot be read, or names a service no more, must not keep one running.
    first = [one for one in running if one.service == "n8n"]
    for batch in (first, [one for one in running if one not in first]):
        if not batch:
            continue
        for container in batch:
            agent.reporter.service(container.service, "stopping")
        finished = agent.docker("stop", *(one.id for one in batch), timeout=300)
        if finished.code != 0:
            raise AgentError("docker_failed", f"Not all services could be stopped: {finished.reason()}")
        for container in batch:
            agent.reporter.service(container.service, "exited", "stopped")
    return sorted(one.service for one in running)


def stop(agent: Agent, document: Document) -> Json:
    """Stop services on purpose. The note comes first, so that nothing starts them again, whatever happens to this."""
    operation, services = document.operation(), named_services(document)
    note = {"by": document.text("by"), "since": now(), "reason": document.optional_text("reason") or ""}
    with agent.registered(operation, "stop"):
        _hold_lease(agent, operation)
        agent.ensure_docker()
        agent.on_efs(lambda: agent.store.note_stopped(services, note))
        agent.on_efs(lambda: agent.store.change(operation, changed=True))
        there = agent.containers()
        stop_containers(agent, [there[name] for name in services if name in there])
        return {"stopped": agent.on_efs(agent.store.stopped)}


def start(agent: Agent, document: Document) -> Json:
    """Start services that were stopped on purpose, as the compose file has them now, and forget that they were."""
    operation, services = document.operation(), named_services(document)
    with agent.registered(operation, "start"):
        _hold_lease(agent, operation)
        agent.require_volume(agent.data_volume_id())
        deployment, file_system_id = agent.host().get("deployment"), agent.require_mount()
        agent.on_efs(lambda: check_sentinel(agent.store.sentinel(), deployment, file_system_id))
        agent.ensure_docker()
        agent.on_efs(lambda: agent.store.forget_stopped(services))
        agent.on_efs(lambda: agent.store.change(operation, changed=True))
        if "postgresql" in services and agent.on_efs(agent.store.password_changes):
            put_password(agent, services)
        _compose_up(agent, services, services)
        return {"started": services, "stopped": agent.on_efs(agent.store.stopped)}


def restart(agent: Agent, document: Document) -> Json:
    """Start services once more that run and do not answer; those that do not run are left to ``apply``."""
    operation, services = document.operation(), named_services(document)
    with agent.registered(operation, "restart"):
        _hold_lease(agent, operation)
        there = agent.containers()
        hanging = [there[name] for name in services if name in there and there[name].running]
        for container in hanging:
            agent.reporter.service(container.service, "stopping")
        if hanging and (done := agent.docker("restart", *(one.id for one in hanging), timeout=300)).code != 0:
            # Compose may still bring it up, and what does not come up is what the gate is for.
            agent.reporter.note(f"Not all services could be started once more: {done.reason()}")
        return {"restarted": sorted(one.service for one in hanging)}


def named_services(document: Document) -> list[str]:
    """The services that a document names, at least one.

    Raises:
        AgentError: bad_input
    """
    names = [check_service_name(str(name)) for name in document.items("services")]
    if not names:
        raise AgentError("bad_input", "No service is named.")
    return names


def held_services(agent: Agent, operation: str, images: Mapping[str, Image]) -> list[str] | None:
    """The services that have containers, all of them stopped, where this operation has brought these images as well.

    None: not known, and Docker has to be asked.
    """
    prepared = read_leniently(agent.prepared_file)
    if (prepared.get("operation"), prepared.get("images")) != (operation, _by_digest(images)):
        return None
    held: list[str] | None = prepared.get("held")
    return held


# -------------------------------------------------------------------------------------------------- verbs: secrets


def authorize(agent: Agent, document: Document) -> Json:
    """Let a key log in. With ``remove``, those keys may no more, nor what an earlier rotation let in."""
    operation, user, key = document.operation(), document.text("user"), document.text("key")
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", user):
        raise AgentError("bad_input", "The login is no user's name.")
    gone = [_key_of(line) for line in document.items("remove")] if "remove" in document.values else None
    with agent.registered(operation, "authorize"):
        _hold_lease(agent, operation)
        agent.on_efs(lambda: agent.store.change(operation, changed=True))
        home = agent.root / "home" / user
        file = home / ".ssh/authorized_keys"
        before, owner = read_text(file) or "", (home.stat().st_uid, home.stat().st_gid)
        text = authorized_keys(before, f"{' '.join(key.split()[:2])} {ROTATED}{operation}", gone)
        if text != before:
            write_atomic(file, text, 0o600, owner)
        # cloud-init lets the key pair's key in there as well, to say that one should log in as somebody else.
        roots = agent.root / "root/.ssh/authorized_keys"
        if gone is not None and (found := read_text(roots)) is not None:
            left = authorized_keys(found, "", gone)
            if left != found:
                write_atomic(roots, left, 0o600)
        return {"others": sum(_is_key(line) for line in text.splitlines()) - 1}


ROTATED: Final = "geusemaker:"
"""What the comment of a key begins with that a rotation let in; the operation follows."""


def _key_of(line: Any) -> str:
    """The key itself in a line as authorized_keys has them, without its type and comment.

    Raises:
        AgentError: bad_input
    """
    words = str(line).split()
    if len(words) < 2 or not re.fullmatch(r"[A-Za-z0-9+/]{40,}=*", words[1]):
        raise AgentError("bad_input", "A key has to be given as in authorized_keys.")
    return words[1]


def _is_key(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def authorized_keys(text: str, added: str, gone: Collection[str] | None) -> str:
    """The text of an authorized_keys file with a key added, unless it is there; empty: none. Others stay as they are.

    ``gone``: keys whose lines are left out, with all that rotations added but this one; None: none is.
    """
    own = _key_of(added) if added else ""
    lines = []
    for line in text.splitlines():
        words = line.split()
        may_go = gone is not None and _is_key(line) and own not in words
        if not may_go or not (any(key in words for key in gone or ()) or words[-1].startswith(ROTATED)):
            lines.append(line)
    if added and not any(own in line.split() for line in lines if _is_key(line)):
        lines.append(added)
    return "".join(f"{line}\n" for line in lines)


def password(agent: Agent, document: Document) -> Json:
    """Note that the database gets another password: from now on ``apply`` puts the one of the env file into it."""
    operation = document.operation()
    with agent.registered(operation, "password"):
        _hold_lease(agent, operation)
        agent.on_efs(lambda: agent.store.change(operation, changed=True))
        agent.on_efs(lambda: agent.store.note_password(operation))
        return {"noted": operation}


def put_password(agent: Agent, there: Collection[str]) -> None:
    """Have PostgreSQL run, and take the password of its env file, over the container's own socket.

    Raises:
        AgentError: apply_failed, docker_failed
    """
    prefix = "POSTGRES_PASSWORD="
    lines = (read_text(agent.home / "postgresql.env") or "").splitlines()
    value = next((parse_env_value(line[len(prefix) :]) for line in lines if line.startswith(prefix)), "")
    if not value:
        raise AgentError("apply_failed", "The database's password is to be changed, and its env file has none.")
    agent.reporter.phase("password", "started", "The database gets its new password")
    _compose_up(agent, there, ["postgresql"])
    verifier = scram_verifier(value)
    agent.reporter.hide([value, verifier])
    statement = f"ALTER ROLE {quote_identifier(database_user(agent))} WITH PASSWORD '{verifier}';\n"
    deadline = time.monotonic() + PASSWORD_PATIENCE
    while True:
        container = agent.containers().get("postgresql")
        said = _tell_database(agent, container.id, statement) if container is not None else "it has no container"
        if not said:
            break
        restarts = container.restarts if container is not None else 0
        if time.monotonic() > deadline or find_failure(container, restarts, excused=False) is not None:
            raise AgentError("apply_failed", f"The database did not take its new password: {said}")
        time.sleep(POLL_INTERVAL)
    agent.reporter.phase("password", "done", "The database has its new password")


def _tell_database(agent: Agent, container: str, statement: str) -> str:
    """Have psql run what it is given on its stdin, as the local user; what went wrong, empty where nothing did."""
    login = ("-U", database_user(agent), "-d", "postgres")
    try:
        done = subprocess.run(
            ("docker", "exec", "-i", container, "psql", "-q", "-X", "-v", "ON_ERROR_STOP=1", *login),
            env=agent._command_environment("docker"),
            input=statement.encode(),
            capture_output=True,
            timeout=60,
        )
    except subprocess.TimeoutExpired:
        return "psql did not end within 60 seconds"
    return Finished(done.returncode, "", done.stderr.decode(errors="replace")).reason() if done.returncode else ""


def scram_verifier(value: str) -> str:
    """What PostgreSQL keeps of a password (its docs, "pg_authid"; RFC 5803), for an ALTER ROLE that may be logged."""
    import hashlib
    import hmac

    salt, rounds = os.urandom(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", value.encode(), salt, rounds)
    client, server = (hmac.digest(salted, text, "sha256") for text in (b"Client Key", b"Server Key"))
    kept, salt_text, server_text = (
        base64.b64encode(data).decode() for data in (hashlib.sha256(client).digest(), salt, server)
    )
    return f"SCRAM-SHA-256${rounds}:{salt_text}${kept}:{server_text}"


# --------------------------------------------------------------------------------------------------- verbs: apply


@dataclass(frozen=True)
class Directory:
    """A folder on EFS, or on the data volume, that a service needs, with the owner its image runs as."""

    path: str
    uid: int
    gid: int
    mode: int
    on_volume: bool

    @classmethod
    def parse(cls, value: Any) -> Directory:
        document = Document(value if isinstance(value, dict) else {})
        path = document.text("path")
        if path.startswith(("/", ".")) or any(part in ("", ".", "..") for part in path.split("/")):
            raise AgentError("bad_input", "A directory has to be a plain path below the mount point.")
        return cls(
            path,
            int(document.number("uid", 0)),
            int(document.number("gid", 0)),
            int(document.number("mode", 0o755)),
            document.values.get("on") == "volume",
        )


def apply(agent: Agent, document: Document) -> Json:
    """Make the compose project on the instance the given one, restarting only what differs."""
    operation, deployment = document.operation(), document.text("deployment")
    file_system_id, volume_id = document.text("file_system_id"), document.optional_text("data_volume_id")
    project = document.mapping("compose")
    services, images = services_of(project)
    environment = document.service_map("environment")
    env_files = {name: env_file(variables) for name, variables in environment.items()}
    agent.reporter.hide(value for variables in environment.values() for value in variables.values())
    directories = [Directory.parse(value) for value in document.items("directories")]
    with agent.registered(operation, "apply"):
        facts = {"kind": document.optional_text("kind"), "instance_id": document.text("instance_id")}
        mount_again(agent, MOUNT_PATIENCE)
        agent.require_volume(volume_id)
        stopped: Json
        stopped, password_changes = agent.on_efs(
            lambda: _prepare_data(agent, document, operation, facts, services, directories),
            file_system_id=file_system_id,
        )
        only = [name for name in services if name not in stopped] if stopped else None
        password_changes = password_changes and "postgresql" in (services if only is None else only)
        agent.end_stragglers(operation)
        checking = begin_check(agent, project)

        def put() -> None:
            _put_project(agent, project, env_files)
            # Pulling may have taken minutes: look again, right before the first container is touched.
            agent.on_efs(lambda: agent.store.require(operation, held=True), file_system_id=file_system_id)
            agent.require_volume(volume_id)
            agent.reporter.phase("apply", "started", "Replacing what differs")

        held = held_services(agent, operation, images) if checking is None else None
        there, before = {*services, *(held or ())}, dict[str, Container]()
        if held is not None:
            put()
        if held is None or not _comes_up(agent, there, only, password_changes):
            agent.ensure_docker()
            pull_images(agent, images, document.number("deadline_seconds", 1800))
            found = agent.containers()
            there |= found.keys()
            if held is None:  # else all was down, and what runs by now is new
                before = found
            end_check(agent, checking)
            put()
            _bring_up(agent, there, only, password_changes)
        if password_changes:
            agent.on_efs(agent.store.forget_password)
        agent.prepared_file.unlink(missing_ok=True)
        for name in sorted(stopped):
            agent.reporter.service(name, "exited", f"stays stopped, as {stopped[name].get('by')} wanted")
        answer = _report_apply(agent, operation, services if only is None else only, before, there - services.keys())
        agent.reporter.phase("apply", "done", f"{len(answer['changed'])} of {len(services)} services changed")
        return {**answer, "stopped": sorted(stopped), "deployment": deployment}


def _bring_up(agent: Agent, there: Collection[str], only: Sequence[str] | None, password_changes: bool) -> None:
    """Bring services up; where its password is being changed, the database first, so that nobody uses the old one."""
    if password_changes:
        put_password(agent, there)
    _compose_up(agent, there, only)


def _comes_up(agent: Agent, there: Collection[str], only: Sequence[str] | None, password_changes: bool) -> bool:
    """Start the services on an instance that was stopped for this and boots, with all of them down.

    Docker is asked nothing that is known, so Compose is at work when Docker begins to answer. False: it failed, and has
    to be done with a look at Docker first.
    """
    try:
        _bring_up(agent, there, only, password_changes)
    except AgentError as error:
        agent.reporter.note(f"Once more, with a look at Docker first: {error.message}")
        return False
    return True


def _prepare_data(
    agent: Agent,
    document: Document,
    operation: str,
    facts: Json,
    services: Json,
    directories: Sequence[Directory],
) -> tuple[Json, bool]:
    """Everything about the data that has to hold before containers may start (runs in the child).

    Returns:
        Those of the services that are stopped on purpose (whoever deploys wants all of them to run), and whether the
        database's password is being changed.
    """
    store = agent.store
    sentinel = store.sentinel()
    check_sentinel(sentinel, document.text("deployment"), document.text("file_system_id"))
    if "postgresql" in services and sentinel and sentinel.get("postgresql") and store.database_version() is None:
        raise AgentError(
            "data_loss",
            "PostgreSQL had a database on this file system and it is gone. An empty one is not started in its place.",
        )
    serving = (store.lease() or {}).get("serving")
    if serving and serving != facts["instance_id"] and serving in document.items("other_instances"):
        raise AgentError(
            "other_instance", f"Instance {serving} serves this data; two must never do so at once.", serving=serving
        )
    expects, takeover = document.optional_text("expects"), document.optional_text("takeover")
    store.take_for_apply(operation, expects, takeover, facts)
    if document.values.get("adopt") is True:
        store.note_adopted(operation)
        if store.database_version() is not None:
            store.note_password(operation)
    _make_directories(agent, directories)
    noted = store.stopped()
    if not noted and read_text(store.stopped_file) not in (None, "{}"):
        agent.reporter.note("Which services were stopped on purpose cannot be read: all of them are started.")
    if noted:
        store.forget_stopped(None if facts["kind"] == "deploy" else noted.keys() - services.keys())
    return store.stopped(), store.password_changes()


def _make_directories(agent: Agent, directories: Sequence[Directory]) -> None:
    for directory in directories:
        path = (agent.data if directory.on_volume else agent.efs) / directory.path
        # Only a folder that is new, or that an interrupted run left empty, gets an owner: data keeps the one it has.
        if not path.is_dir():
            path.mkdir(parents=True)
        if not any(path.iterdir()):
            path.chmod(directory.mode)
            if os.geteuid() == 0:
                os.chown(path, directory.uid, directory.gid)


def env_file(variables: Any) -> str:
    """A Compose env file. Plain values stand as they are, others quoted so that Compose reads them back unchanged.

    Quoting as in github.com/compose-spec/compose-go, dotenv: single quotes are literal, double quotes know escapes.
    """
    if not isinstance(variables, dict):
        raise AgentError("bad_input", "A service's environment has to be an object.")
    lines = []
    for key, value in sorted(variables.items()):
        if not isinstance(value, str) or not _VARIABLE.fullmatch(key):
            raise AgentError("bad_input", "A service's environment has to map variable names to text.")
        if re.fullmatch(r"[A-Za-z0-9_./+=:@%,-]*", value):
            lines.append(f"{key}={value}")
        elif not re.search(r"['\\\n\r]", value):
            lines.append(f"{key}='{value}'")
        else:
            escaped = re.sub(r'([\\"$])', r"\\\1", value).replace("\n", "\\n").replace("\r", "\\r")
            lines.append(f'{key}="{escaped}"')
    return "".join(line + "\n" for line in lines)


def parse_env_value(text: str) -> str:
    """The value that ``env_file`` wrote."""
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1]
    if len(text) >= 2 and text[0] == text[-1] == '"':
        escapes = {"n": "\n", "r": "\r"}
        return re.sub(r"\\(.)", lambda match: escapes.get(match[1], match[1]), text[1:-1])
    return text


def compose_text(project: Json) -> str:
    """The compose file as text that is JSON, and that Compose, which reads YAML, understands in the same way.

    A character beyond U+FFFF stands as it is, since YAML knows no surrogate pairs; all else that is not ASCII is
    escaped, since YAML forbids some of it.
    """
    text = json.dumps(project, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return re.sub("[\x7f-\uffff]", lambda match: f"\\u{ord(match[0]):04x}", text)


def begin_check(agent: Agent, project: Json) -> Job | None:
    """Have Compose begin to check a compose file; None for one that it is known to accept.

    It goes on while Docker is asked other things. What ``prefetch`` has had checked, before anything stopped, ``apply``
    finds accepted: right after a boot, with all services down, there is enough to do.
    """
    text = compose_text(project)
    if text in map(read_text, (agent.compose_file, agent.next_compose_file, agent.previous_compose_file)):
        return None
    agent.home.mkdir(parents=True, exist_ok=True)
    for name, service in project["services"].items():
        if service.get("env_file") and not (agent.home / f"{name}.env").exists():
            write_atomic(agent.home / f"{name}.env", "", 0o600)  # Compose wants it to be there
    write_atomic(agent.home / CANDIDATE, text)
    return agent.start(agent.compose("config", "--quiet", file=agent.home / CANDIDATE), None)


def end_check(agent: Agent, checking: Job | None) -> None:
    """Wait for the check's end.

    Raises:
        AgentError: apply_failed, when Compose does not accept the file
    """
    if checking is None:
        return
    [checked] = agent.finish_jobs([checking], 60)
    if checked.code != 0:
        (agent.home / CANDIDATE).unlink(missing_ok=True)
        reason = checked.reason().rstrip(".")
        raise AgentError("apply_failed", f"Compose does not accept the compose file: {reason}. Nothing was changed.")
    (agent.home / CANDIDATE).replace(agent.next_compose_file)


def _put_project(agent: Agent, project: Json, env_files: Mapping[str, str]) -> None:
    """Put env files and compose file, which Compose has accepted, in place."""
    home = agent.home
    for name, content in env_files.items():
        if read_text(home / f"{name}.env") != content:
            write_atomic(home / f"{name}.env", content, 0o600)
    current = read_text(agent.compose_file)
    if compose_text(project) != current:
        if current is not None:
            write_atomic(agent.previous_compose_file, current)
        write_atomic(agent.compose_file, compose_text(project))
        agent.next_compose_file.unlink(missing_ok=True)
    for file in home.glob("*.env"):
        if file.stem not in env_files:
            file.unlink()


_COMPOSE_STATES: Final = {
    "Recreate": "stopping",
    "Stopping": "stopping",
    "Starting": "starting",
    "Started": "running",
    "Removed": "removed",
}


def _compose_up(agent: Agent, there: Collection[str], only: Sequence[str] | None = None) -> None:
    """Bring services up, and remove those that the compose file has no more.

    ``there``: those that are spoken of; ``only``: those that are to run, None for all of them.
    """
    if only is not None and not only:
        return  # to Compose, no name means every service

    def on_line(line: str) -> None:
        match = re.match(rf"\s*Container (?:[0-9a-f]+_)?{PROJECT}-(.+?)-\d+\s+(\w+)", line)
        if match and match[2] in _COMPOSE_STATES and match[1] in there:
            agent.reporter.service(match[1], _COMPOSE_STATES[match[2]])

    finished = agent.stream(
        agent.compose("up", "-d", "--remove-orphans", "--pull", "never", *(only or ())), 600, on_line
    )
    if finished.code == 0:
        return
    low = finished.out.lower()
    if "no such image" in low or "image not found" in low:
        raise AgentError("image_missing", f"An image is not on the instance: {finished.reason()}")
    if "no space left on device" in low:
        raise AgentError("no_space", f"The instance's disk is full: {finished.reason()}")
    states = {name: container.status for name, container in agent.containers().items()}
    raise AgentError(
        "apply_failed",
        f"The services could not be started: {finished.reason()}",
        output=finished.out.splitlines()[-20:],
        containers=states,
    )


def _report_apply(
    agent: Agent, operation: str, services: Iterable[str], before: Mapping[str, Container], removed: Collection[str]
) -> Json:
    """What became of the services; only those of ``before`` may be unchanged."""
    after = agent.containers()
    changed: list[str] = []
    unchanged: list[str] = []
    baseline: dict[str, int] = {}
    for name in services:
        old, new = before.get(name), after.get(name)
        same = old is not None and new is not None and (old.id, old.started_at) == (new.id, new.started_at)
        (unchanged if same else changed).append(name)
        if new is not None:
            # The gate holds only those restarts against a container that happen from now on.
            baseline[new.id] = new.restarts if same else 0
        if same:
            agent.reporter.service(name, "unchanged")
    for name in sorted(removed):
        agent.reporter.service(name, "removed")
    agent.applied_file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(agent.applied_file, json.dumps({"operation": operation, "restarts": baseline}))
    return {"changed": sorted(changed), "unchanged": sorted(unchanged), "removed": sorted(removed)}


# ---------------------------------------------------------------------------------------------------- verbs: gate


@dataclass
class Watch:
    """A service the gate is looking at."""

    name: str
    image: Image
    text: str
    probe: Probe
    deadline: float
    depends_on: tuple[str, ...] = ()
    successes: int = 0
    ever_healthy: bool = False
    state: str = "waiting"
    detail: str = ""
    seconds: float = 0.0
    tolerated: int | None = None
    had_to_wait: bool = False
    container: Container | None = field(default=None, repr=False)
    life: tuple[str, str, int] | None = None
    """Which container answered, since when it runs, how often it was restarted."""
    starting: bool = False
    looks: int = 0
    """How often its migration was looked at."""
    migration: MigrationLook | None = field(default=None, repr=False)
    migration_at: float = float("-inf")
    """When its migration was looked at, and …"""
    progress_at: float = float("-inf")
    """… when it was last seen to get on."""


def parse_watches(agent: Agent, document: Document) -> dict[str, Watch]:
    """The services to look at: those of the document, else those the gate was last asked about."""
    if "services" not in document.values:
        document = Document(read_leniently(agent.probes_file))
    watches = {}
    for name, value in document.service_map("services").items():
        service = Document(value if isinstance(value, dict) else {})
        text = service.text("image")
        watches[name] = Watch(
            name=name,
            image=Image.parse(text),
            text=text,
            probe=Probe.parse(service.values.get("probe")),
            deadline=service.number("deadline_seconds", document.number("deadline_seconds", 180)),
            depends_on=tuple(service.values.get("depends_on") or ()),
        )
    return watches


def database_user(agent: Agent) -> str:
    service = (agent.compose_document().get("services") or {}).get("postgresql") or {}
    return str((service.get("environment") or {}).get("POSTGRES_USER") or "postgres")


def probe_services(agent: Agent, watches: Iterable[Watch], timeout: float) -> dict[str, Seen]:
    """Ask all of them at once; the name of each → what it answered."""
    chosen = {watch.name: watch for watch in watches}
    user = database_user(agent) if "postgresql" in chosen else ""
    requests = {
        (name, path): request
        for name, watch in chosen.items()
        for path, request in watch.probe.requests(agent.address, user).items()
    }
    answers = exchange(requests, timeout, PROBE_LIMIT)
    return {
        name: watch.probe.judge({path: answer for (of, path), answer in answers.items() if of == name})
        for name, watch in chosen.items()
    }


@dataclass(frozen=True)
class Session:
    """One client's session with PostgreSQL (its docs, "pg_stat_activity")."""

    pid: str
    state: str
    wait: str
    """Type of what it waits for: Lock, IO, Client …; empty where it waits for nothing."""
    transaction: str
    """When its transaction began, and …"""
    query: str
    """… its newest statement; as texts that can be compared."""
    seconds: float
    """How long that statement has been running, or is done."""
    blockers: str
    """The sessions that hold the lock it waits for."""


@dataclass(frozen=True)
class MigrationLook:
    """n8n's database at one moment, while n8n says that it is not ready."""

    done: int | None
    """How many migrations are recorded; None: the table is not there yet."""
    sessions: tuple[Session, ...]

    @property
    def blocked(self) -> Session | None:
        return next((session for session in self.sessions if session.wait == "Lock"), None)


def migration_state(before: MigrationLook | None, now: MigrationLook) -> str:
    """``working``, ``waiting`` (for a lock: that is hanging), or ``idle``.

    n8n asks its database for ``SELECT 1`` every other second, so a session that was just used tells nothing: what
    counts is one more migration, a statement that goes on, or the next one of the same transaction.
    """
    if before is not None and now.done != before.done:
        return "working"
    if now.blocked is not None:
        return "waiting"
    known = {(session.pid, session.transaction): session.query for session in before.sessions} if before else {}
    for session in now.sessions:
        if session.state == "active" and session.wait != "Timeout" and session.seconds >= 1:
            return "working"
        if session.transaction and known.get((session.pid, session.transaction), session.query) != session.query:
            return "working"
    return "idle"


_SESSIONS: Final = (
    "SELECT pid, coalesce(state, ''), coalesce(wait_event_type, ''), coalesce(extract(epoch FROM xact_start), 0), "
    "coalesce(extract(epoch FROM query_start), 0), coalesce(extract(epoch FROM clock_timestamp() - query_start), 0), "
    "array_to_string(pg_blocking_pids(pid), ' ') FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY pid"
)


def look_at_migration(agent: Agent, postgresql: Container | None) -> MigrationLook | None:
    """What happens in n8n's database; None where it cannot be asked."""
    if postgresql is None or not postgresql.running:
        return None
    database = n8n_database(agent)
    rows, _ = _or_problem(lambda: query_database(agent, postgresql, database, _SESSIONS, seconds=2, timeout=10))
    if rows is None:
        return None
    # Fails while there is no such table, which is so before the first migration.
    done, _ = _or_problem(
        lambda: query_database(agent, postgresql, database, "SELECT count(*) FROM migrations", seconds=2, timeout=10)
    )
    sessions = []
    for row in rows:
        fields = row.split("|")
        if len(fields) == 7:
            pid, state, wait, transaction, query, seconds, blockers = fields
            begun = "" if transaction == "0" else transaction
            sessions.append(Session(pid, state, wait, begun, query, _number(seconds), blockers))
    return MigrationLook(int(done[0]) if done and done[0].isdigit() else None, tuple(sessions))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def migration_detail(state: str, look: MigrationLook) -> str:
    """In few words, for a person."""
    done = f"{look.done or 0} migrations are done"
    if state == "working":
        return f"migrating its database: {done}"
    if state == "waiting" and look.blocked is not None:
        holders = f" that session {look.blocked.blockers} holds" if look.blocked.blockers else ""
        return f"its migration waits for a lock{holders}: {done}"
    return f"not ready, and nothing happens in its database: {done}"


def gate(agent: Agent, document: Document) -> Json:
    """Wait until every service is ready and stays so, with the wanted image and data.

    It fails as soon as that is out of reach. ``deadline_seconds`` is for becoming ready; the ``settle_seconds`` come
    after it, begin when all are ready, and begin anew when one is not, or was started again.
    """
    operation, file_system_id = document.operation(), document.text("file_system_id")
    watches = parse_watches(agent, document)
    needed = max(1, int(document.number("consecutive_successes", 2)))
    agent.reporter.hide(agent.secrets())
    with agent.registered(operation, "gate"):
        lease, stopped = agent.on_efs(
            lambda: [agent.store.require(operation, held=False), agent.store.stopped()], file_system_id=file_system_id
        )
        watches = {name: watch for name, watch in watches.items() if name not in stopped}
        write_atomic(agent.probes_file, json.dumps({"services": document.values.get("services")}))
        try:
            deadline, settle = document.number("deadline_seconds", 600), document.number("settle_seconds", 15)
            answer = _Gate(agent, watches, needed, deadline, settle, operation).wait()
            agent.on_efs(
                lambda: _record_healthy(agent, answer, operation, file_system_id), file_system_id=file_system_id
            )
        except AgentError:
            _end_own_lease(agent, lease, operation, "failed")
            raise
        _end_own_lease(agent, lease, operation, DONE)
        return {**answer, "stopped": stopped}


def _record_healthy(agent: Agent, answer: Json, operation: str, file_system_id: str) -> None:
    """The data is still the deployment's, and what it now belongs to is written down (runs in the child)."""
    check_sentinel(agent.store.sentinel(), agent.host().get("deployment"), file_system_id)
    if "postgresql" in answer["services"]:
        agent.store.mark_database()
    agent.store.record_served({name: value["image"] for name, value in answer["services"].items()}, operation)


def _end_own_lease(agent: Agent, lease: Json, operation: str, outcome: str) -> None:
    """A lease that ``apply`` took by itself has nobody else to end it."""
    if lease.get("taken_by") == "apply" and lease["state"] == "held":
        agent.on_efs(lambda: agent.store.end(operation, outcome))


class _Gate:
    def __init__(
        self, agent: Agent, watches: dict[str, Watch], needed: int, deadline: float, settle: float, operation: str
    ) -> None:
        self.agent = agent
        self.watches = watches
        self.needed = needed
        self.started = time.monotonic()
        self.deadline = deadline
        self.settle = settle
        self.settling_since: float | None = None
        applied = read_leniently(agent.applied_file)
        self.baseline: dict[str, int] = applied.get("restarts", {}) if applied.get("operation") == operation else {}
        self.images: dict[str, tuple[str, list[Image]]] = {}

    def wait(self) -> Json:
        """Look until all are healthy and have been so, without a break, for the settle time.

        Raises:
            AgentError: unhealthy, image_mismatch
        """
        self.agent.reporter.phase("gate", "started", f"Waiting for {len(self.watches)} services to become healthy")
        while not self.is_settled():
            self.check_deadlines()
            time.sleep(POLL_INTERVAL if self.settling_since is None else min(SETTLE_POLL, self.settling_left()))
        self.agent.reporter.phase("gate", "done", f"All services are healthy, and were so for {self.settle:g} s")
        return {
            "healthy": True,
            "services": {
                watch.name: {
                    "image": self.running_image(watch)[0],
                    "healthy": True,
                    "state": "healthy",
                    "seconds": round(watch.seconds, 1),
                    **life_of(watch.container),
                }
                for watch in self.watches.values()
            },
        }

    def is_settled(self) -> bool:
        """Look once; whether that was the last look of a settle time without a break."""
        since = self.settling_since
        self.look(self.watches.values(), again=since is not None)
        if not all(watch.successes >= self.needed for watch in self.watches.values()):
            if since is not None:
                self.agent.reporter.note("Not all services stayed healthy; the settle time begins anew.")
            self.settling_since = None
            return False
        if since is None:
            self.settling_since = time.monotonic()
            if self.settle > 0:
                self.agent.reporter.note(f"All services are ready; they have to stay so for {self.settle:g} s.")
            return False
        return self.settling_left() <= 0

    def settling_left(self) -> float:
        since = time.monotonic() if self.settling_since is None else self.settling_since
        return max(0.0, since + self.settle - time.monotonic())

    def look(self, watches: Iterable[Watch], again: bool = False) -> None:
        """One round over all containers and those probes whose answer is still open (all of them with ``again``)."""
        containers = self.agent.containers()
        failed = False
        for watch in watches:
            watch.container = containers.get(watch.name)
            failure = self.failure(watch)
            if failure:
                failed = True
                failure = self.last_exit(watch) or failure
                self.set(watch, failure.state, failure.reason)
                continue
            self.take_life(watch)
        if failed:
            raise self.unhealthy()
        asked = [
            watch
            for watch in watches
            if watch.container and watch.container.running and (again or watch.successes < self.needed)
        ]
        answers = probe_services(self.agent, asked, PROBE_TIMEOUT)
        for watch in watches:
            if watch in asked:
                self.take_answer(watch, *answers[watch.name])
            elif watch.container and not watch.container.running:
                watch.successes = 0
                waiting_for = [name for name in watch.depends_on if not self.is_up(name)]
                self.set(watch, "waiting", f"waiting for {', '.join(waiting_for)}" if waiting_for else "starting again")

    def take_life(self, watch: Watch) -> None:
        """Answers of two lives of a container do not add up."""
        assert watch.container is not None
        life = (watch.container.id, watch.container.started_at, watch.container.restarts)
        if watch.life not in (None, life) and watch.successes:
            watch.successes = 0
            self.set(watch, "waiting", "its container was started again")
        watch.life = life

    def take_answer(self, watch: Watch, healthy: bool, detail: str, starting: bool = False) -> None:
        watch.starting = starting
        if not healthy:
            watch.successes = 0
            if not (starting and watch.name == "n8n" and self.follow_migration(watch)):
                self.set(watch, "waiting", detail)
            return
        watch.successes += 1
        watch.ever_healthy = True
        if watch.successes >= self.needed and watch.state != "healthy":
            watch.seconds = time.monotonic() - self.started
            self.set(watch, "healthy", detail)

    def follow_migration(self, watch: Watch) -> bool:
        """Look whether a service that is not ready gets on with its migrations; False: there is nothing to tell."""
        moment = time.monotonic()
        if moment - watch.migration_at >= MIGRATION_POLL:
            watch.migration_at, watch.looks = moment, watch.looks + 1
            before = watch.migration
            found = look_at_migration(self.agent, self.container_of("postgresql"))
            if found is not None and migration_state(before, found) == "working":
                watch.progress_at = moment
            watch.migration = found or before
        if watch.migration is None:
            return False
        if watch.migration.blocked is not None:
            self.set(watch, "waiting", migration_detail("waiting", watch.migration))
            return True
        if self.gets_on(watch):  # between two statements, nothing seems to happen
            self.set(watch, "migrating", migration_detail("working", watch.migration))
            return True
        return False

    def gets_on(self, watch: Watch) -> bool:
        """Whether its migrations did a moment ago. After the last of them it still has to start its API.

        It takes two looks to see that: on a busy machine a short deadline may pass before the second.
        """
        if watch.starting and watch.looks == 1:
            return True
        return time.monotonic() - watch.progress_at < MIGRATION_STALL

    def container_of(self, name: str) -> Container | None:
        watch = self.watches.get(name)
        return watch.container if watch is not None else None

    def failure(self, watch: Watch) -> Failure | None:
        container = watch.container
        excused = not all(self.is_up(name) for name in watch.depends_on)
        if container is not None:
            if watch.tolerated is None:
                watch.tolerated = self.baseline.get(container.id, container.restarts)
            if excused:
                watch.had_to_wait = True
                watch.tolerated = max(watch.tolerated, container.restarts)
            elif watch.had_to_wait or self.dependency_is_new(watch):
                # Its last attempt began before what it needs was up: that one may still fail.
                watch.had_to_wait = False
                watch.tolerated = max(watch.tolerated, container.restarts) + 1
                watch.depends_on = ()
            mismatch = self.image_mismatch(watch)
            if mismatch:
                return mismatch
        return find_failure(container, watch.tolerated or 0, excused)

    def last_exit(self, watch: Watch) -> Failure | None:
        """Why a container that is restarted again and again exits: once it runs again, Docker has forgotten."""

        def has_exited() -> bool:
            watch.container = self.agent.containers().get(watch.name)
            return watch.container is None or not watch.container.running

        if watch.container is None or not watch.container.running or self.image_mismatch(watch):
            return None
        return find_failure(watch.container, watch.tolerated or 0, False) if wait_until(has_exited, 1.5) else None

    def is_up(self, name: str) -> bool:
        watch = self.watches.get(name)
        return watch is None or watch.ever_healthy

    def dependency_is_new(self, watch: Watch) -> bool:
        """Whether something it depends on was started about when it was, or later."""
        assert watch.container is not None
        for name in watch.depends_on:
            other = self.watches[name].container if name in self.watches else None
            if other and _seconds_between(other.started_at, watch.container.created_at) < 60:
                return True
        return False

    def image_mismatch(self, watch: Watch) -> Failure | None:
        if watch.image.digest is None:
            return None
        running, names = self.running_image(watch)
        if any(name.digest == watch.image.digest and name.repository == watch.image.repository for name in names):
            return None
        return Failure("image_mismatch", f"{running} runs instead of {watch.text}")

    def running_image(self, watch: Watch) -> tuple[str, list[Image]]:
        assert watch.container is not None
        if watch.container.image_id not in self.images:
            self.images[watch.container.image_id] = self.agent.running_image(watch.container)
        running, names = self.images[watch.container.image_id]
        # One image can carry several names; told is the one that was asked for.
        return (watch.text if any(name.digest == watch.image.digest for name in names) else running), names

    def check_deadlines(self) -> None:
        """Give up on what is not ready in time, unless it migrates its data and gets on with that.

        Settling has time of its own. What breaks it has to become ready again in the time that is left for that.

        Raises:
            AgentError: unhealthy
        """
        if self.settling_since is not None:
            return
        elapsed = time.monotonic() - self.started
        late = [
            watch
            for watch in self.watches.values()
            if watch.state != "healthy" and elapsed > min(watch.deadline, self.deadline) and not self.gets_on(watch)
        ]
        for watch in late:
            seen = watch.detail or "no answer"
            if watch.starting and watch.migration is not None and watch.migration.blocked is None:
                seen = migration_detail("idle", watch.migration)
            self.set(watch, "unhealthy", f"not healthy after {elapsed:.0f} s: {seen}")
        if late:
            raise self.unhealthy()

    def set(self, watch: Watch, state: str, detail: str) -> None:
        if (state, detail) != (watch.state, watch.detail):
            watch.state, watch.detail = state, detail
            self.agent.reporter.service(
                watch.name, "unhealthy" if state in ("missing", "image_mismatch") else state, detail
            )

    def unhealthy(self) -> AgentError:
        bad = [watch for watch in self.watches.values() if watch.state not in ("healthy", "waiting", "migrating")]
        services = {
            watch.name: {"state": watch.state, "reason": watch.detail, "healthy": watch.state == "healthy"}
            for watch in self.watches.values()
        }
        for watch in bad:
            if watch.container is not None:
                with contextlib.suppress(AgentError):  # the reason is what counts, its log lines are a courtesy
                    services[watch.name]["logs"] = self.agent.log_lines(watch.container.id, 20, 300)
        text = "; ".join(f"{watch.name}: {watch.detail}" for watch in bad)
        mismatch = bool(bad) and all(watch.state == "image_mismatch" for watch in bad)
        return AgentError(
            "image_mismatch" if mismatch else "unhealthy",
            f"The wrong image runs: {text}." if mismatch else f"Not healthy: {text or 'the deadline passed'}.",
            services=services,
        )


def life_of(container: Container | None) -> Json:
    """Which container it is, since when it runs and for how long (seconds), how often it was restarted."""
    running = container is not None and container.running
    age = _seconds_between(container.started_at, now()) if container is not None and running else None
    return {
        "container": container.id if container else None,
        "started_at": container.started_at if container else None,
        "age_seconds": None if age is None or age == float("inf") else max(0.0, age),
        "restarts": container.restarts if container else 0,
    }


def _seconds_between(earlier: str, later: str) -> float:
    """From one of Docker's timestamps to another; very long when one cannot be read."""
    try:
        return (datetime.fromisoformat(later[:19]) - datetime.fromisoformat(earlier[:19])).total_seconds()
    except ValueError:
        return float("inf")


# ------------------------------------------------------------------------------------- verbs: looking without touch


def health(agent: Agent, document: Document) -> Json:
    """One look at everything, without waiting."""
    agent.reporter.hide(agent.secrets())
    watches = parse_watches(agent, document)
    problem = ""
    containers: dict[str, Container] = {}
    try:
        containers = agent.containers()
    except AgentError as error:
        problem = error.message
    running = [watch for name, watch in watches.items() if name in containers and containers[name].running]
    answers = probe_services(agent, running, PROBE_TIMEOUT)
    services = {}
    for name in sorted({*watches, *containers}):
        container = containers.get(name)
        healthy, detail, starting = answers.get(name, Seen(False, problem or _state_of(container)))
        port = watches[name].probe.port if name in watches else None
        services[name] = {
            "image": agent.running_image(container)[0] if container else None,
            "state": container.status if container else "missing",
            "healthy": healthy if name in watches else None,
            "detail": detail,
            "address": f"{agent.address}:{port}" if port else None,
            "pid": container.pid if container else None,
            "migration": _migration_state(agent, containers) if name == "n8n" and starting else None,
            **life_of(container),
        }
    mounted = agent.mount()
    volume_id = agent.data_volume_id()
    project, environment = document.values.get("compose"), document.values.get("environment")
    wanted = {name: Image.parse(str(text)) for name, text in (document.values.get("images") or {}).items()}
    missing = _or_problem(lambda: missing_images(agent, wanted))[0]
    store = agent.store
    looked, data_problem = _or_problem(
        lambda: agent.on_efs(lambda: [store.lease(), store.sentinel(), store.stopped()], 5)
    )
    lease, sentinel, stopped = looked or [None, None, {}]
    return {
        "services": services,
        "missing_images": None if missing is None else sorted(missing),
        "differs": _differences(agent, project, environment or {}) if project else None,
        "mount": {"mounted": mounted is not None, "file_system_id": mounted.file_system_id if mounted else None},
        "data_volume": {"id": volume_id, **_volume_state(agent, volume_id)} if volume_id else None,
        "volumes": {
            name: list(service.get("volumes") or ())
            for name, service in (agent.compose_document().get("services") or {}).items()
        },
        "lease": lease,
        "sentinel": sentinel,
        "sentinel_known": looked is not None,
        "data_problem": data_problem if mounted is not None else None,
        "stopped": stopped,
        "operations_running": agent.running_operations(),
        "instance_id": agent.host().get("instance_id"),
        "disk": _disk(agent.root),
        "problem": problem or None,
    }


def _migration_state(agent: Agent, containers: Mapping[str, Container]) -> Json | None:
    """Whether n8n, which lives and is not ready, migrates; None where nothing can be told of that."""
    first = look_at_migration(agent, containers.get("postgresql"))
    if first is None:
        return None
    state, look = migration_state(None, first), first
    if state == "idle":  # one look cannot tell the next statement of a transaction
        time.sleep(1)
        look = look_at_migration(agent, containers.get("postgresql")) or first
        state = migration_state(first, look)
    return {"state": state, "done": look.done, "detail": migration_detail(state, look)}


def _differences(agent: Agent, project: Json, environment: Mapping[str, Any]) -> dict[str, list[str]]:
    """What `apply` would replace: service → whether its ``definition`` or its ``secrets`` are not what lies here."""
    agent.reporter.hide(value for variables in environment.values() for value in variables.values())
    there = agent.compose_document().get("services") or {}
    found = {}
    for name, definition in services_of(project)[0].items():
        secrets = env_file(environment[name]) if name in environment else None
        found[name] = [
            *(["definition"] if there.get(name) != definition else []),
            *(["secrets"] if name in there and secrets != read_text(agent.home / f"{name}.env") else []),
        ]
    return {name: what for name, what in found.items() if what}


def _state_of(container: Container | None) -> str:
    if container is None:
        return "there is no container"
    words = [container.status, f"(exit code {container.exit_code})" if container.status == "exited" else ""]
    return " ".join(filter(None, [*words, "out of memory" if container.oom_killed else "", container.error]))


def _disk(root: Path) -> Json:
    """The disk that images are kept on."""
    folder = root / "var/lib/docker"
    return _space(folder if folder.is_dir() else root)


def _volume_state(agent: Agent, volume_id: str) -> Json:
    mounted = agent.is_volume_mounted(volume_id)
    return {"mounted": mounted, **(_space(agent.data) if mounted else {})}


def _space(folder: Path) -> Json:
    """How large the file system is that a folder is on, and how much of it is free, in bytes."""
    usage = os.statvfs(folder)
    return {"total_bytes": usage.f_blocks * usage.f_frsize, "free_bytes": usage.f_bavail * usage.f_frsize}


def _or_problem(look: Callable[[], T]) -> tuple[T | None, str | None]:
    try:
        return look(), None
    except AgentError as error:
        return None, error.message


def manifest(agent: Agent, document: Document) -> Json:
    """What each service holds: what must still be there after a change."""
    agent.reporter.hide(agent.secrets())
    file_system_id, volume_id = agent.require_mount(), agent.data_volume_id()
    agent.require_volume(volume_id)
    on_disk = agent.on_efs(lambda: disk_manifest(agent.store, agent.data if volume_id else agent.efs), 60)
    try:
        containers = {name: one for name, one in agent.containers().items() if one.running}
    except AgentError as error:
        agent.reporter.note(error.message)
        containers = {}
    services: Json = {}
    if "postgresql" in containers or on_disk["postgresql"]:
        services["postgresql"] = {
            "version": on_disk["postgresql"],
            **_database_manifest(agent, containers.get("postgresql")),
        }
    if "qdrant" in containers or on_disk["qdrant"] is not None:
        keys = ("result", "collections")
        names, source = _listed(agent, "qdrant" in containers, QDRANT_PORT, "/collections", keys)
        services["qdrant"] = {"collections": on_disk["qdrant"] if names is None else names, "source": source}
    if "ollama" in containers or on_disk["ollama"] is not None:
        names, source = _listed(agent, "ollama" in containers, 11434, "/api/tags", ("models",))
        services["ollama"] = {"models": on_disk["ollama"] if names is None else names, "source": source}
    if "n8n" in containers or on_disk["n8n"]:
        services["n8n"] = {
            # Asked before: what is read then is of a database that n8n has done with.
            "ready": "n8n" in containers and is_ready(agent, "n8n"),
            **_workflow_manifest(agent, containers.get("postgresql"), document.items("n8n_tables")),
            "file_folders": on_disk["n8n_files"],
        }
    return {
        "file_system_id": file_system_id,
        "sentinel": on_disk["sentinel"],
        "served": on_disk["served"],
        "owners": on_disk["owners"],
        "services": services,
    }


def disk_manifest(store: Store, qdrant: Path) -> Json:
    """What can be told from the files alone (touches EFS); ``qdrant`` is where Qdrant's folder is."""

    def folder(path: Path) -> list[str] | None:
        return sorted(entry.name for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else None

    models = store.efs / "ollama/models/manifests"
    return {
        "sentinel": store.sentinel(),
        "served": read_leniently(store.served_file),
        "postgresql": store.database_version(),
        "qdrant": folder(qdrant / "qdrant/collections"),
        # manifests/registry.ollama.ai/library/llama3/8b is the model that Ollama calls llama3:8b
        "ollama": sorted(
            _model_name(path.relative_to(models).parts) for path in models.glob("*/*/*/*") if path.is_file()
        )
        if models.is_dir()
        else None,
        "n8n": (store.efs / "n8n").is_dir(),
        "owners": folder_owners({"postgresql": store.efs, "n8n": store.efs, "qdrant": qdrant}),
        "n8n_files": [name for name in N8N_FILES if (store.efs / "n8n" / name).is_dir()],
    }


def folder_owners(places: Mapping[str, Path]) -> Json:
    """Service → the user that its folder with data belongs to. Without root all is of one user, which says nothing."""
    if os.geteuid() != 0:
        return {}
    folders = {name: place / name for name, place in places.items()}
    return {
        name: {"uid": folder.stat().st_uid, "path": str(folder)}
        for name, folder in folders.items()
        if folder.is_dir() and any(folder.iterdir())
    }


def _model_name(parts: Sequence[str]) -> str:
    registry, namespace, model, tag = parts
    prefix = "" if registry == "registry.ollama.ai" else f"{registry}/"
    return f"{prefix}{model}:{tag}" if namespace == "library" and not prefix else f"{prefix}{namespace}/{model}:{tag}"


def _listed(agent: Agent, running: bool, port: int, path: str, keys: Sequence[str]) -> tuple[list[str] | None, str]:
    """(names that the service itself lists, where they come from); None: only the disk can tell."""
    if not running:
        return None, "disk: the service is not running"
    request = (agent.address, port, http_request(path, agent.address, port), http_complete)
    answer = exchange({"": request}, 10, limit=32 << 20)[""]
    healthy, seen = judge_http(answer)
    if not healthy:
        return None, f"disk: the service answered {seen}"
    try:
        value = json.loads(answer.data.partition(b"\r\n\r\n")[2])
        for key in keys:
            value = value[key]
        return sorted(str(item["name"]) for item in value or []), "service"
    except (ValueError, KeyError, TypeError) as error:
        return None, f"disk: the service's list cannot be read ({type(error).__name__})"


TABLES: Final = (
    "SELECT {} FROM pg_tables WHERE schemaname <> 'information_schema' AND schemaname NOT LIKE 'pg\\_%' ORDER BY 1"
)
"""Without PostgreSQL's own schemas, which begin with ``pg_``: another session's temporary tables are in such ones."""
ROWS_HAVE_IDS: Final = (
    "SELECT c.relname, EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'id' "
    "AND NOT a.attisdropped) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND c.relname IN ({}) ORDER BY 1"
)
LINKED: Final = (
    "SELECT DISTINCT c.relname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid "
    "JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_namespace m ON m.oid = f.relnamespace WHERE k.contype = 'f' AND n.nspname = 'public' "
    "AND m.nspname = 'public' AND f.relname IN ({}) ORDER BY 1"
)
DATABASES: Final = "SELECT datname FROM pg_database WHERE datname NOT IN ('template0', 'template1') ORDER BY 1"
CLOSED: Final = "SELECT d.datname FROM pg_database d WHERE NOT d.datallowconn OR d.datconnlimit = -2"
"""Those that nobody can connect to: somebody closed one, or it is what an interrupted DROP DATABASE left (-2)."""

COLLATIONS: Final = (
    "SELECT json_build_array(datname, datcollversion, pg_database_collation_actual_version(oid)) FROM pg_database "
    "WHERE datname <> 'template0' AND datcollversion <> pg_database_collation_actual_version(oid) ORDER BY datname"
)
"""The databases whose text another version of the C library sorted. template0 has no such text."""


def query_database(
    agent: Agent, container: Container, database: str, statement: str, seconds: float = 0, timeout: float = 30
) -> list[str]:
    """The rows of a statement, by psql in the container, where the local user needs no password.

    Args:
        seconds: how long PostgreSQL may work on it; 0: no limit.
        timeout: after so many seconds it is given up on.

    Raises:
        AgentError: docker_failed
    """
    limit = ("-q", "-c", f"SET statement_timeout = {seconds * 1000:.0f}") if seconds else ()
    user = database_user(agent)
    argv = ("exec", container.id, "psql", "-At", "-U", user, *limit, "-d", to_connect(database), "-c", statement)
    finished = agent.docker(*argv, timeout=timeout)
    if finished.code != 0:
        raise AgentError("docker_failed", f"PostgreSQL could not be asked: {finished.reason()}")
    return [line for line in finished.out.split("\n") if line]


def ask_quickly(agent: Agent, container: Container, database: str, statement: str) -> list[str]:
    """As ``query_database``, for what others may have locked: a way back waits for the manifest.

    PostgreSQL itself is to give up: a psql that is only left behind goes on waiting in its container.
    """
    return query_database(agent, container, database, statement, seconds=10, timeout=15)


def _database_manifest(agent: Agent, container: Container | None) -> Json:
    if container is None:
        return {"databases": None, "bytes": None, "reason": "postgresql is not running"}
    databases: Json = {}
    tables = TABLES.format("schemaname || '.' || tablename")
    try:
        closed = query_database(agent, container, "postgres", CLOSED)
        for name in query_database(agent, container, "postgres", DATABASES):
            databases[name] = None if name in closed else query_database(agent, container, name, tables)
    except AgentError as error:
        return {"databases": None, "bytes": None, "reason": error.message}
    size, _ = _or_problem(
        lambda: ask_quickly(
            agent, container, "postgres", "SELECT sum(pg_database_size(datname))::bigint FROM pg_database"
        )
    )
    # Below 15 PostgreSQL does not keep it.
    sorted_by, _ = _or_problem(lambda: query_database(agent, container, "postgres", COLLATIONS))
    return {
        "databases": databases,
        "bytes": int(size[0]) if size and size[0].isdigit() else None,
        "user": database_user(agent),
        "collations": None
        if sorted_by is None
        else [dict(zip(("database", "recorded", "actual"), json.loads(row), strict=True)) for row in sorted_by],
    }


def n8n_database(agent: Agent) -> str:
    service = (agent.compose_document().get("services") or {}).get("n8n") or {}
    return str((service.get("environment") or {}).get("DB_POSTGRESDB_DATABASE") or "n8n")


def is_ready(agent: Agent, name: str) -> bool:
    """Whether a running service says so, by the probe that the gate had for it last.

    One that gives no answer at all, as on a busy machine, is asked again: what hangs on this must not hang on that.
    """
    watches = [watch for watch in parse_watches(agent, Document({})).values() if watch.name == name]
    for _ in range(READY_ATTEMPTS):
        seen = probe_services(agent, watches, PROBE_TIMEOUT)
        if not any(NO_ANSWER in one.detail for one in seen.values()):
            break
    return any(one.healthy for one in seen.values())


def _workflow_manifest(agent: Agent, container: Container | None, tables: Sequence[Any]) -> Json:
    """n8n's workflows and migrations, and the rows of those ``tables`` of its own that must never be lost."""
    if container is None:
        return {"workflows": None, "reason": "postgresql is not running"}
    database = n8n_database(agent)
    # By id: a workflow that was renamed is not lost.
    workflows, problem = _or_problem(
        lambda: ask_quickly(agent, container, database, "SELECT id FROM workflow_entity ORDER BY 1")
    )
    if workflows is None:
        return {"workflows": None, "migrations": None, "reason": problem}
    # n8n's schema is what its migrations made it: the same list means an older image can run on it.
    migrations, _ = _or_problem(
        lambda: ask_quickly(agent, container, database, "SELECT name FROM migrations ORDER BY 1")
    )
    found = {"workflows": workflows, "migrations": migrations, "database": database}
    if not tables:
        return found
    rows, problem = _or_problem(lambda: kept_rows(agent, container, database, [str(table) for table in tables]))
    return {**found, **(rows or {"rows": None, "linked": None, "reason": problem})}


def kept_rows(agent: Agent, container: Container, database: str, tables: Sequence[str]) -> Json:
    """What is in tables of the schema ``public``, and which other tables of it refer to them.

    ``rows``: table → ``{"ids": [...]}``, or ``{"any": whether there is a row}`` where rows have no ``id``. A table that
    is not there is left out.

    Raises:
        AgentError: docker_failed, bad_input
    """
    if not all(re.fullmatch(r"[a-z_]+", table) for table in tables):
        raise AgentError("bad_input", "'n8n_tables' has to be names of tables.")
    names = ", ".join(f"'{table}'" for table in tables)
    ask = functools.partial(ask_quickly, agent, container, database)
    answer = ask(ROWS_HAVE_IDS.format(names))
    has_id = dict(line.rsplit("|", 1) for line in answer)
    questions = [
        f"SELECT '{table}', id::text FROM public.{quote_identifier(table)}"
        if has_id[table] == "t"
        else f"SELECT '{table}', '' FROM (SELECT 1 FROM public.{quote_identifier(table)} LIMIT 1) AS one"
        for table in sorted(has_id)
    ]
    rows: Json = {table: {"ids": []} if has_id[table] == "t" else {"any": False} for table in sorted(has_id)}
    for line in ask(f"{' UNION ALL '.join(questions)} ORDER BY 1, 2") if questions else ():
        table, _, identity = line.partition("|")
        if has_id.get(table) == "t":
            rows[table]["ids"].append(identity)
        elif table in has_id:  # else the rest of an id with a line break in it
            rows[table]["any"] = True
    return {"rows": rows, "linked": ask(LINKED.format(names))}


def logs(agent: Agent, document: Document) -> Json:
    """The last lines of a service, or of all."""
    agent.reporter.hide(agent.secrets())
    wanted, count = document.optional_text("service"), int(document.number("lines", 100))
    containers = agent.containers()
    if wanted is not None and wanted not in containers:
        raise AgentError("no_such_service", f"There is no container of {check_service_name(wanted)} on the instance.")
    shown = 0
    for name in [wanted] if wanted else sorted(containers):

        def on_line(line: str, name: str = name) -> None:
            nonlocal shown
            shown += 1
            agent.reporter.emit("log", service=name, line=line)

        agent.stream(("docker", "logs", "--timestamps", "--tail", str(count), containers[name].id), 120, on_line)
    return {"lines": shown}


EVIDENCE_FACTS: Final = (
    *("id", "image", "image_id", "status", "oom_killed", "exit_code", "error"),
    *("created_at", "started_at", "restarts"),
)


def evidence(agent: Agent, document: Document) -> Json:
    """What a person needs to understand a failure, before a rollback sweeps it away."""
    agent.reporter.hide(agent.secrets())
    watches = parse_watches(agent, document)
    containers = agent.containers()
    running = [watch for name, watch in watches.items() if name in containers and containers[name].running]
    answers = probe_services(agent, running, PROBE_TIMEOUT)
    services = {}
    for name in sorted({*watches, *containers}):
        container = containers.get(name)
        lines: deque[str] = deque(maxlen=200)
        if container is not None:
            argv = ("docker", "logs", "--timestamps", "--tail", "200", container.id)
            agent.stream(argv, 30, lines.append)
        seen = answers.get(name)
        healthy, detail = (seen.healthy, seen.detail) if seen else (None, _state_of(container))
        services[name] = {
            "logs": [line[:500] for line in lines],
            "inspect": None if container is None else {key: getattr(container, key) for key in EVIDENCE_FACTS},
            "probe": {"healthy": healthy, "detail": detail},
        }
    return {"operation": document.optional_text("operation"), "services": services}


# ----------------------------------------------------------------------------------------------------- verbs: rest


def gc(agent: Agent, document: Document) -> Json:
    """Remove the images of our services, and the checkpoints, that no kept version needs. Nothing in use is removed."""
    operation = document.operation()
    versions = [int(number) for number in document.items("checkpoints")]
    keep = {Image.parse(str(text)) for text in document.items("keep")}
    kept_names = {replace(image, tag=None) for image in keep if image.digest}
    with agent.registered(operation, "gc"):
        _hold_lease(agent, operation, held=False)
        listed = agent.docker("image", "ls", "--no-trunc", "--digests", "--format", "{{json .}}")
        if listed.code != 0:
            raise AgentError("docker_failed", f"The images cannot be listed: {listed.reason()}")
        in_use = _images_in_use(agent)
        removed = []
        for line in listed.out.splitlines():
            entry = json.loads(line)
            digest = entry.get("Digest") or "<none>"
            image = Image.parse(f"{entry['Repository']}@{digest}")
            ours = image.repository in IMAGE_REPOSITORIES or image.repository in {one.repository for one in kept_names}
            if not ours or digest == "<none>" or image in kept_names or entry["ID"] in in_use:
                continue
            finished = agent.docker("image", "rm", image.by_digest, timeout=120)
            if finished.code == 0:
                removed.append(image.by_digest)
            elif "no such image" not in finished.err.lower():
                agent.reporter.note(f"{image.by_digest} was not removed: {finished.reason()}")
        answer: Json = {"removed": sorted(set(removed))}
        if "checkpoints" in document.values:  # who says nothing of them knows nothing of them
            answer["checkpoints_removed"] = agent.on_efs(lambda: agent.store.collect_checkpoints(versions), 60)
        return answer


def _images_in_use(agent: Agent) -> set[str]:
    """The ids of the images that any container on the machine was made from, ours or not."""
    listed = agent.docker("ps", "-a", "-q", "--no-trunc")
    if listed.code != 0:
        raise AgentError("docker_failed", f"The containers cannot be listed: {listed.reason()}")
    return {str(value.get("Image")) for value in agent.inspect(listed.out.split())}


def journal(agent: Agent, document: Document) -> Json:
    """Add an entry to the journal on the file system, and read its last ones or those of some operations."""
    entry, tail = document.mapping("append"), int(document.number("tail", 0))
    operations = [str(name) for name in document.items("operations")]

    def work() -> list[Json]:
        if entry:
            agent.store.append_journal(entry)
        return agent.store.journal_of(operations) if operations else agent.store.journal(tail)

    return {"entries": agent.on_efs(work)}


# ----------------------------------------------------------------------------------------------------------- main


@dataclass(frozen=True)
class Verb:
    """A verb, and after how many seconds it is given up whatever it is doing."""

    run: Callable[[Agent, Document], Json]
    deadline: float


VERBS: Final[dict[str, Verb]] = {
    "mount": Verb(mount, 1800),
    "begin": Verb(begin, 420),
    "end": Verb(end, 60),
    "cancel": Verb(cancel, 20),
    "lease": Verb(lease, 60),
    "adoption": Verb(adoption, 60),
    "prefetch": Verb(prefetch, 3600),
    "checkpoint": Verb(checkpoint, 3600),
    "checkpoints": Verb(checkpoints, 300),
    "restore": Verb(restore, 14_400),
    "hold": Verb(hold, 720),
    "stop": Verb(stop, 720),
    "start": Verb(start, 900),
    "restart": Verb(restart, 720),
    "authorize": Verb(authorize, 60),
    "password": Verb(password, 60),
    "apply": Verb(apply, 3600),
    "gate": Verb(gate, 3600),
    "health": Verb(health, 90),
    "manifest": Verb(manifest, 300),
    "logs": Verb(logs, 600),
    "evidence": Verb(evidence, 240),
    "gc": Verb(gc, 600),
    "journal": Verb(journal, 60),
}


def read_document(text: str) -> Document:
    try:
        value = json.loads(text) if text.strip() else {}
    except ValueError:
        raise AgentError("bad_input", "The document on stdin is not JSON.") from None
    if not isinstance(value, dict):
        raise AgentError("bad_input", "The document on stdin is not an object.")
    return Document(value)


def perform(agent: Agent, verb: str, read: Callable[[], str]) -> int:
    """Run a verb with signals and deadline in place, and write its last line; returns the exit status."""
    chosen = VERBS[verb]

    def interrupt(number: int, frame: Any) -> None:
        for ignored in _SIGNALS:
            signal.signal(ignored, signal.SIG_IGN)
        if number == signal.SIGALRM:
            raise Interrupted("deadline", f"{verb} was given up after {chosen.deadline:g} seconds.")
        raise Interrupted("cancelled", f"{verb} was told to end before it was done.")

    handlers = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    signal.setitimer(signal.ITIMER_REAL, chosen.deadline)
    try:
        agent.reporter.result(chosen.run(agent, read_document(read())))
        return 0
    except Interrupted as stop:
        agent.end_children()
        return _fail(agent, stop.code, stop.message, {})
    except AgentError as error:
        return _fail(agent, error.code, error.message, error.detail)
    except Exception as error:
        where = error.__traceback__
        while where and where.tb_next:
            where = where.tb_next
        line = where.tb_lineno if where else 0
        return _fail(agent, "internal", f"The agent failed: {type(error).__name__}: {error} (line {line}).", {})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)


_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM)


def _fail(agent: Agent, code: str, message: str, detail: Json) -> int:
    with contextlib.suppress(AgentError, OSError):
        agent.reporter.hide(agent.secrets())
    agent.reporter.emit("error", code=code, message=message, detail=detail)
    return 1


def _write_stdout(text: str) -> None:
    data = text.encode()
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


USAGE: Final = "usage: agent.py [--root FOLDER] [--expect VERSION] VERB | --version"


def main(arguments: Sequence[str]) -> int:
    """Run one verb as a program; returns the exit status (2: the arguments cannot be used)."""
    words, options = list(arguments), {"--root": "/", "--expect": ""}
    if words == ["--version"]:
        print(agent_version())
        return 0
    while len(words) > 2 and words[0] in options:
        options[words[0]] = words[1]
        del words[:2]
    if len(words) != 1 or words[0] not in VERBS:
        print(USAGE, "\nverbs:", *VERBS, file=sys.stderr)
        return 2
    reporter = Reporter(_write_stdout)
    if options["--expect"] and options["--expect"] != agent_version():
        reporter.emit("error", code="outdated", message="Another version of the agent is installed.", detail={})
        return 1
    os.umask(0o022)
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)  # one group for everything it starts; a session leader has one already
    return perform(Agent(Path(options["--root"]).absolute(), reporter), words[0], sys.stdin.read)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
