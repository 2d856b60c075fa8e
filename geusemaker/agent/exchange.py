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


class Answer(NamedTuple):
    """What came back over a connection, and why no more did."""

    data: bytes = b""
    error: str = ""


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
