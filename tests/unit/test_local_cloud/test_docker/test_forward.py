from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest

from geusemaker.local_cloud.docker.forward import Forwards
from geusemaker.local_cloud.moto_backends import SSH_PORT, free_loopback_address


class _Echo(socketserver.StreamRequestHandler):
    """Greets, reads to the end, and answers only then: needs each direction closed on its own."""

    def handle(self) -> None:
        self.wfile.write(b"SSH-")
        self.wfile.write(self.rfile.read().upper())


@pytest.fixture
def port() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


@pytest.fixture
def forwards() -> Iterator[Forwards]:
    made = Forwards()
    yield made
    made.stop()


def _ask(address: str) -> bytes:
    with socket.create_connection((address, SSH_PORT), timeout=5) as connection:
        connection.sendall(b"hello")
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while data := connection.recv(100):
            answer += data
        return answer


def test_an_address_reaches_the_port_behind_it(forwards: Forwards, port: int) -> None:
    address = free_loopback_address()
    forwards.listen("i-1", address, port)
    assert forwards.find_address("i-1") == address
    assert _ask(address) == b"SSH-HELLO"


def test_a_moved_address_is_given_up(forwards: Forwards, port: int) -> None:
    old, new = free_loopback_address(), free_loopback_address()
    forwards.listen("i-1", old, port)
    forwards.listen("i-1", new, port)
    assert _ask(new) == b"SSH-HELLO"
    with pytest.raises(ConnectionRefusedError):
        _ask(old)


def test_closing_drops_connections_and_the_address(forwards: Forwards, port: int) -> None:
    address = free_loopback_address()
    forwards.listen("i-1", address, port)
    with socket.create_connection((address, SSH_PORT), timeout=5) as connection:
        assert connection.recv(4) == b"SSH-"
        forwards.close("i-1")
        assert forwards.find_address("i-1") is None
        with pytest.raises(ConnectionError):
            while connection.recv(1):
                pass
            raise ConnectionResetError
    with pytest.raises(ConnectionRefusedError):
        _ask(address)


def test_a_machine_on_which_nothing_listens_takes_no_connection(forwards: Forwards) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = free_loopback_address()
        forwards.listen("i-1", address, taken.getsockname()[1])
        with (
            contextlib.suppress(ConnectionResetError),
            socket.create_connection((address, SSH_PORT), timeout=5) as connection,
        ):
            assert connection.recv(1) == b""
