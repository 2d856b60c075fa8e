"""How a service is asked whether it is ready, and what its answers mean."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from geusemaker.agent.document import Document
from geusemaker.agent.errors import AgentError
from geusemaker.agent.exchange import Answer, Request, http_complete, http_request, http_status, judge_http


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
