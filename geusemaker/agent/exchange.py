"""Many short questions over TCP at once, and HTTP's among them."""

from __future__ import annotations

import os
import re
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeVar

K = TypeVar("K")
NO_ANSWER: Final = "no answer within"
CLOSED: Final = "the connection was closed without an answer"
"""Docker's proxy ends one now in this way, now by a reset, when nobody listens in the container: it means the same."""
QUIET: Final = 0.5
"""Seconds for which a connection on which nothing is asked has to stay: Docker's proxy takes each, and ends it at once
when nobody listens in the container."""


class Answer(NamedTuple):
    """What came back over a connection, and why no more did."""

    data: bytes = b""
    error: str = ""
    stayed: bool = False
    """Nothing was asked, and the connection stayed."""


Request = tuple[str, int, bytes, Callable[[bytes], bool]]
"""(address, port, what is sent, whether an answer is whole)"""


class _Exchange:
    """One question that is being asked."""

    def __init__(self, connection: socket.socket, request: bytes, complete: Callable[[bytes], bool]) -> None:
        self.socket = connection
        self.request = request
        self.complete = complete
        self.answer = b""
        self.error = ""
        self.sent = False
        self.quiet_at = float("inf")
        """When it has stayed, and nothing is waited for."""


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
            talks = [key.data[1] for key in selector.get_map().values()]
            quiet = min(talk.quiet_at for talk in talks) - time.monotonic()
            for key, _ in selector.select(max(0.0, min(left, quiet))):
                name, talk = key.data
                if _step(talk, limit):
                    answers[name] = Answer(talk.answer, talk.error)
                    selector.unregister(talk.socket)
                    talk.socket.close()
                else:
                    selector.modify(talk.socket, selectors.EVENT_READ, key.data)
            for key in list(selector.get_map().values()):
                name, talk = key.data
                if talk.quiet_at <= time.monotonic():
                    answers[name] = Answer(stayed=True)
                    selector.unregister(talk.socket)
                    talk.socket.close()
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
            if talk.request:
                talk.socket.send(talk.request)  # far below a socket buffer, so it goes out whole
            else:
                talk.quiet_at = time.monotonic() + QUIET
            talk.sent = True
            return False
        data = talk.socket.recv(65536)
        talk.answer += data
        if not data and not talk.answer:
            talk.error = CLOSED
        return not data or len(talk.answer) >= limit or talk.complete(talk.answer)
    except BlockingIOError:
        return False
    except OSError as error:
        unheard = isinstance(error, (ConnectionResetError, BrokenPipeError)) and not talk.answer
        talk.error = CLOSED if unheard else (error.strerror or str(error)).lower()
        return True


def http_request(path: str, address: str, port: int, headers: Mapping[str, str] | None = None) -> bytes:
    # 1.0: the body comes unchunked and the connection ends with it.
    sent = {"Host": f"{address}:{port}", "Accept": "application/json", **(headers or {})}
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"GET {path} HTTP/1.0\r\n{lines}\r\n".encode()


def http_complete(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length:[ \t]*(\d+)", head)
    return bool(end and length and len(body) >= int(length[1]))


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
        return False, " ".join(f"HTTP {status} {_words(text)}".split())[:200]
    if json and text.lstrip()[:1] not in ("{", "["):
        return False, " ".join(f"HTTP 200, but no JSON: {_words(text)}".split())[:200]
    return True, "HTTP 200"


def _words(text: str) -> str:
    """What a page says: n8n answers a path that it does not have yet with one of HTML."""
    return re.sub(r"(?is)<head\b.*?</head>|<[!/a-z][^>]*>", " ", text)
