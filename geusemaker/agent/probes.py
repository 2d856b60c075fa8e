"""How a service is asked whether it is ready, and what its answers mean."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from geusemaker.agent.document import Document
from geusemaker.agent.errors import AgentError
from geusemaker.agent.exchange import Answer, Request, http_complete, http_request, http_status, judge_http

GPU_COMMAND: Final = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
"""The container toolkit puts it into each container that has GPUs and asks for the capability ``utility``, as Ollama's
image does (github.com/ollama/ollama, Dockerfile). It asks the driver, so that it works just if that does.
https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html"""

_ASKED: Final = ("http", "postgresql", "tcp")
_NOT_ASKED: Final = ("command", "running")
"""Kinds of probe that ask over no connection; a port, where there is one, is where the service is found."""


class Seen(NamedTuple):
    """What a service answered."""

    healthy: bool
    detail: str
    starting: bool = False
    """It is there, and says itself that it is not ready."""


class Probe(NamedTuple):
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
    command: tuple[str, ...] = ()
    """Run in the container; 0 is a good exit code."""
    gpus: int = 0
    """So many GPUs have to be seen from within the container, by ``GPU_COMMAND``: a program that finds none works on
    without, in silence."""

    @classmethod
    def parse(cls, value: Any) -> Probe:
        document = Document(value if isinstance(value, dict) else {})
        kind, port = document.text("kind"), int(document.number("port", 0))
        if kind not in (*_ASKED, *_NOT_ASKED) or not (0 if kind in _NOT_ASKED else 1) <= port < 65536:
            raise AgentError("bad_input", f"A probe needs a kind ({', '.join((*_ASKED, *_NOT_ASKED))}) and a port.")
        command = tuple(str(word) for word in document.items("command"))
        if (kind == "command") != bool(command):
            raise AgentError("bad_input", "A probe of the kind command, and no other, needs a command.")
        path, fallback = document.optional_text("path") or "/", document.optional_text("fallback")
        also = tuple(document.items("also")) if "also" in document.values else ()
        if not all(isinstance(one, str) and re.fullmatch(r"/[!-~]*", one) for one in (path, fallback or "/", *also)):
            raise AgentError("bad_input", "A probe's path has to begin with / and hold no spaces.")
        gpus = int(document.number("gpus", 0))
        return cls(kind, port, path, fallback, bool(document.values.get("json")), also, command, gpus)

    def requests(self, address: str, user: str) -> dict[str, Request]:
        """Path → what is asked; a single one without a path for a service that does not speak HTTP."""
        if self.kind in _NOT_ASKED:
            return {}
        if self.kind == "postgresql":
            return {"": (address, self.port, postgresql_request(user), postgresql_complete)}
        if self.kind == "tcp":
            return {"": (address, self.port, b"", bool)}
        paths = dict.fromkeys((self.path, *((self.fallback,) if self.fallback else ()), *self.also))
        return {path: (address, self.port, http_request(path, address, self.port), http_complete) for path in paths}

    def judge(self, answers: Mapping[str, Answer]) -> Seen:
        """What the answers to all requests come to."""
        if self.kind == "running":  # only those are asked that run
            return Seen(True, "its container runs")
        if self.kind == "postgresql":
            return Seen(*judge_postgresql(answers[""]))
        if self.kind == "tcp":
            taken = answers[""].stayed or bool(answers[""].data)
            return Seen(taken, f"port {self.port} takes connections" if taken else answers[""].error)
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
            return Seen(False, f"ready, but {path}: {why}")
        return Seen(True, detail)


def judge_gpus(wanted: int, code: int, out: str, reason: str) -> Seen:
    """What ``GPU_COMMAND`` in a container comes to, which had this exit code and this output."""
    if code != 0:
        return Seen(False, f"no GPU works in its container: {reason}"[:200])
    names = [line.strip() for line in out.splitlines() if line.strip()]
    if len(names) < wanted:
        return Seen(False, f"{len(names)} of {wanted} GPUs are seen in its container")
    return Seen(True, f"{len(names)} GPU ({names[0]})")


def postgresql_request(user: str) -> bytes:
    """A StartupMessage (PostgreSQL docs, "Message Formats"): what pg_isready sends, it needs no password."""
    body = struct.pack("!i", 196608) + b"user\0" + user.encode() + b"\0database\0postgres\0\0"
    return struct.pack("!i", len(body) + 4) + body


def postgresql_complete(data: bytes) -> bool:
    return len(data) >= 5 and len(data) > int(struct.unpack("!i", data[1:5])[0])


def judge_postgresql(answer: Answer) -> tuple[bool, str]:
    if answer.data[:1] == b"R":
        return True, "accepting connections"
    if answer.data[:1] == b"E" and len(answer.data) > 5:
        fields = {part[:1]: part[1:].decode(errors="replace") for part in answer.data[5:].split(b"\0") if part}
        # 57P03 cannot_connect_now: starting up, shutting down, in recovery. Any other refusal comes from a
        # server that does accept connections; pg_isready draws the same line.
        return fields.get(b"C") != "57P03", fields.get(b"M", "it refused the connection")
    return False, answer.error or "the answer is not PostgreSQL's"
