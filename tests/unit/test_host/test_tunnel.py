"""The tunnel, through the local cloud's SSH server to sockets on an instance's own loopback address."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncssh
import pytest

from geusemaker.errors import EnvironmentProblemError, HostError
from geusemaker.host import tunnel as module
from geusemaker.host.connection import Login
from geusemaker.host.tunnel import Forward, Tunnel
from tests.unit.test_host.conftest import Sshd


class Told:
    """What the tunnel said, in order."""

    def __init__(self) -> None:
        self.said: queue.Queue[tuple[str, bool]] = queue.Queue()

    def __call__(self, text: str, *, bad: bool) -> None:
        self.said.put((text, bad))

    def next(self) -> tuple[str, bool]:
        return self.said.get(timeout=60)


class Service:
    """Answers what it is told, in capitals, on the instance."""

    def __init__(self, sshd: Sshd) -> None:
        self._listening = sshd.serve()
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            said = b""
            while data := connection.recv(65536):
                said += data
            connection.sendall(said.upper())

    def close(self) -> None:
        # Accept goes on in its thread until the socket is shut down.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture
def service(sshd: Sshd) -> Iterator[Service]:
    made = Service(sshd)
    yield made
    made.close()


def ask(address: str, text: bytes = b"hello", host: str = "localhost") -> bytes:
    """Say something, end it, and read the answer to its end."""
    port = int(address.rpartition(":")[2])
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def opened(sshd: Sshd, *forwards: Forward, told: Told | None = None, login: Login | None = None) -> Tunnel:
    return Tunnel(login or sshd.login, forwards, lambda: sshd.login, told or Told())


def test_it_leads_to_the_instances_own_loopback_by_either_name_of_this_machine(sshd: Sshd, service: Service) -> None:
    with opened(sshd, Forward("n8n", service.port, http=True), Forward("db", service.port, http=False)) as addresses:
        assert urlsplit(addresses["n8n"]).scheme == "http" and addresses["db"].startswith("localhost:")
        assert set(addresses) == {"n8n", "db"} and addresses.silent == ()
        assert ask(addresses["n8n"]) == b"HELLO" == ask(addresses["db"], host="127.0.0.1")
        if socket.has_ipv6:
            assert ask(addresses["n8n"], host="::1") == b"HELLO"
        assert ask(addresses["db"], b"x" * 3_000_000) == b"X" * 3_000_000
        port = urlsplit(addresses["n8n"]).port
    with pytest.raises(OSError):
        ask(f"localhost:{port}")


def test_a_port_that_is_taken_is_another_one_or_an_error(sshd: Sshd, service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with opened(sshd, Forward("n8n", taken, http=True)) as addresses:
            assert urlsplit(addresses["n8n"]).port != taken
        with (
            pytest.raises(EnvironmentProblemError, match=f"Port {taken} of this machine is taken"),
            opened(sshd, Forward("n8n", service.port, http=True, local=taken)),
        ):
            pass
    with opened(sshd, Forward("n8n", service.port, http=True, local=taken)) as addresses:
        assert addresses["n8n"] == f"http://localhost:{taken}" and ask(addresses["n8n"]) == b"HELLO"


def test_a_service_that_does_not_answer_is_told_once_and_found_when_it_does(sshd: Sshd) -> None:
    with sshd.serve() as free:
        port = free.getsockname()[1]
    told = Told()
    with opened(sshd, Forward("n8n", port, http=True), told=told) as addresses:
        assert told.next()[0].startswith("n8n does not answer on the instance (") and addresses.silent == ("n8n",)
        with pytest.raises(OSError):
            ask(addresses["n8n"])
        with sshd.serve(port) as late:
            connection = socket.create_connection(("localhost", int(addresses["n8n"].rpartition(":")[2])), timeout=60)
            late.accept()[0].close()
            assert connection.recv(1) == b"" and not [*addresses.silent]
            connection.close()
    assert told.said.empty()


def test_a_lost_connection_is_made_again_under_the_same_addresses(sshd: Sshd, service: Service) -> None:
    told = Told()
    with opened(sshd, Forward("n8n", service.port, http=True), told=told) as addresses:
        sshd.close()
        assert told.next() == ("The connection to the instance was lost; it is being made again.", True)
        answers: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=lambda: answers.put(ask(addresses["n8n"])), daemon=True).start()
        sshd.open()
        assert told.next() == ("Connected to the instance again.", False)
        assert answers.get(timeout=60) == b"HELLO", "who came meanwhile was kept waiting"


def test_another_key_is_asked_for_when_the_old_one_is_refused(sshd: Sshd, service: Service) -> None:
    """As when the key was rotated, from another machine, while the tunnel stood."""
    told, old = Told(), sshd.login
    with opened(sshd, Forward("n8n", service.port, http=True), told=told, login=old) as addresses:
        key = asyncssh.generate_private_key("ssh-ed25519")
        (sshd.home / "authorized_keys").write_text(key.export_public_key().decode())
        sshd.login = sshd.with_key(key.export_private_key().decode())
        sshd.close()
        sshd.open()
        assert [told.next()[1], told.next()[1]] == [True, False]
        assert ask(addresses["n8n"]) == b"HELLO"


def test_where_there_is_no_way_on_waiting_ends(sshd: Sshd, service: Service) -> None:
    with opened(sshd, Forward("n8n", service.port, http=True)) as tunnel:
        (sshd.home / "authorized_keys").write_text("")
        sshd.close()
        sshd.open()
        with pytest.raises(HostError) as caught:
            tunnel.wait()
        assert caught.value.code == "auth_failed"


def test_an_instance_that_cannot_be_reached_is_an_error_at_once(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Tunnel, "_listen", None)
    sshd.close()
    with pytest.raises(HostError, match="cannot be reached"), opened(sshd, Forward("n8n", 5678, http=True)):
        pass
