"""What the agent's tests share beside the machine: documents as the program writes them, and a few peers."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import os
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from geusemaker.agent.agent import Agent
from geusemaker.agent.document import Document
from geusemaker.agent.mounts import EFS_DEADLINE
from geusemaker.agent.output import Reporter
from geusemaker.agent.processes import Finished, Job
from geusemaker.agent.verbs import run_verb
from tests.unit.test_agent.fakes import FILE_SYSTEM, PROGRAMS, by_digest, pinned, play

Json = dict[str, Any]
T = TypeVar("T")

QDRANT = "qdrant/qdrant:v1.14.1"
N8N = "n8nio/n8n:1.100.1"
POSTGRES = "postgres:16.9"


class RecordingReporter(Reporter):
    """A reporter whose lines can be looked at."""

    def __init__(self) -> None:
        self.text: list[str] = []
        super().__init__(self.text.append)

    @property
    def lines(self) -> list[Json]:
        return [json.loads(line) for line in self.text]

    def states(self, service: str) -> list[str]:
        return [line["state"] for line in self.lines if line["event"] == "service" and line["service"] == service]

    def notes(self) -> list[str]:
        return [line["message"] for line in self.lines if line["event"] == "note"]


class DirectAgent(Agent):
    """An agent without processes of its own, for speed: what is mounted it touches itself, and the scripted commands
    run in this process. (The forked child, and the agent as a program, have tests of their own.)"""

    reporter: RecordingReporter

    def on_efs(self, work: Callable[[], T], deadline: float = EFS_DEADLINE, file_system_id: str | None = None) -> T:
        self.require_mount(file_system_id)
        return work()

    def run(self, argv: Sequence[str], timeout: float, code: str = "docker_failed") -> Finished:
        return self._play(argv) or super().run(argv, timeout, code)

    def start(self, argv: Sequence[str], on_line: Callable[[str], None] | None, code: str = "docker_failed") -> Job:
        played = self._play(argv)
        if played is None:
            return super().start(argv, on_line, code)
        script = ("sh", "-c", 'printf %s "$1"; exit "$2"', "sh", played.out + played.err, str(played.code))
        return Job(script, self.environment, on_line)

    def _play(self, argv: Sequence[str]) -> Finished | None:
        """What the command says; None for one that is no scripted one, or is to hang."""
        hanging = json.loads((self.root / "fake/docker.json").read_text())["hang"]
        if argv[0] not in PROGRAMS or any(" ".join(argv).startswith(start) for start in hanging):
            return None
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            status = play(argv[0], self.root, list(argv[1:]))
        return Finished(status, out.getvalue(), err.getvalue())


def mount_document(**changes: Any) -> Json:
    return {
        "deployment": "prod",
        "instance_id": "i-1",
        "file_system_id": FILE_SYSTEM,
        "source": f"{FILE_SYSTEM}.efs.us-east-1.amazonaws.com:/",
        "options": "nfsvers=4.1,hard,_netdev",
        "deadline_seconds": 0,
        **changes,
    }


def apply_document(operation: str, images: dict[str, str], **changes: Any) -> Json:
    services: Json = {
        name: {"image": by_digest(tagged), "labels": {"io.geusemaker.image": tagged}} for name, tagged in images.items()
    }
    return {
        "operation": operation,
        "expects": None,
        "kind": "deploy",
        "deployment": "prod",
        "instance_id": "i-1",
        "other_instances": [],
        "file_system_id": FILE_SYSTEM,
        "compose": {"name": "geusemaker", "services": services},
        "environment": {"qdrant": {"API_KEY": "a-very-secret-word"}},
        "directories": [{"path": "qdrant", "uid": os.geteuid(), "gid": os.getegid(), "mode": 0o750}],
        **changes,
    }


def compose_of(images: Mapping[str, str]) -> Json:
    """A compose file with nothing but these images, service → reference."""
    return {"name": "geusemaker", "services": {name: {"image": image} for name, image in images.items()}}


def gate_document(operation: str, images: dict[str, str], ports: dict[str, int], **changes: Any) -> Json:
    return {
        "operation": operation,
        "file_system_id": FILE_SYSTEM,
        "services": {
            name: {
                "image": pinned(tagged),
                "probe": {"kind": "postgresql" if name == "postgresql" else "http", "path": "/", "port": ports[name]},
                "deadline_seconds": 1,
                "depends_on": ["postgresql"] if name == "n8n" and "postgresql" in images else [],
            }
            for name, tagged in images.items()
        },
        "consecutive_successes": 2,
        "settle_seconds": 0,
        "deadline_seconds": 3,
        **changes,
    }


def do(agent: Agent, verb: str, **document: Any) -> Json:
    """Run a verb in this process."""
    return run_verb(verb, agent, Document(document))


class Service(http.server.BaseHTTPRequestHandler):
    """An HTTP service; ``server.answers`` maps a path to (status, body)."""

    def do_GET(self) -> None:
        answers: dict[str, tuple[int, str]] = self.server.answers  # type: ignore[attr-defined]
        status, body = answers.get(self.path, answers["*"])
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json" if body[:1] == "{" else "text/plain")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *words: Any) -> None:
        pass


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler], **facts: Any) -> Iterator[int]:
    """A server on a free port of 127.0.0.1, with ``facts`` as its attributes; the port."""
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        vars(server).update(facts)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


@contextmanager
def http_service(**answers: tuple[int, str]) -> Iterator[int]:
    """An HTTP service that is healthy unless told otherwise (``answers``: path without its slash → answer)."""
    table = {"*": (200, '{"status": "ok"}'), **{f"/{path}": answer for path, answer in answers.items()}}
    if "" in answers:
        table["*"] = answers[""]
    with serving(Service, answers=table) as port:
        yield port


class Bytes(socketserver.BaseRequestHandler):
    """Reads once and answers ``server.reply``; with ``server.hold`` it keeps the connection open then."""

    def handle(self) -> None:
        self.request.recv(4096)
        self.request.sendall(self.server.reply)  # type: ignore[attr-defined]
        if self.server.hold:  # type: ignore[attr-defined]
            self.request.recv(4096)


@contextmanager
def replying(reply: bytes, *, hold: bool = False) -> Iterator[int]:
    with serving(Bytes, reply=reply, hold=hold) as port:
        yield port


AUTHENTICATION = b"R" + struct.pack("!ii", 8, 3)


def postgresql_error(code: str, message: str) -> bytes:
    body = b"SFATAL\0C" + code.encode() + b"\0M" + message.encode() + b"\0\0"
    return b"E" + struct.pack("!i", len(body) + 4) + body
