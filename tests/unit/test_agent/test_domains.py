"""The look at what is answered under the deployment's domains, at a real TLS server."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from geusemaker.agent.domains import AUTHORITY
from geusemaker.local_cloud.containers.services import certificates
from tests.unit.test_agent.support import DirectAgent, Json, do

HOST = "n8n.example.com"
Serve = Callable[..., int]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Makes a server that answers each connection once, with or without a certificate; its port."""
    listeners = []

    def make(answer: bytes, folder: Path | None, host: str = HOST) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if folder is None:
            context.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        else:
            file = folder / certificates.CERTIFICATES / host / host
            context.load_cert_chain(f"{file}.crt", f"{file}.key")

        def run() -> None:
            while True:
                try:
                    taken, _ = listener.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(taken, server_side=True) as connection:
                        connection.recv(4096)
                        connection.sendall(answer)
                except OSError:
                    pass  # the other side found the certificate wanting

        threading.Thread(target=run, daemon=True).start()
        return int(listener.getsockname()[1])

    yield make
    for listener in listeners:
        listener.close()


def look(agent: DirectAgent, port: int, *, internal_ca: bool = True) -> Json:
    """What the agent tells of the one domain."""
    wanted = {"hosts": [HOST], "port": port, "internal_ca": internal_ca}
    found: Json = do(agent, "health", domains=wanted)["domains"][HOST]
    return found


@pytest.fixture
def authority(mounted: DirectAgent) -> Path:
    """Caddy's folder on EFS, with an authority and a certificate."""
    folder = (mounted.efs / AUTHORITY).parents[3]
    certificates.make(folder, [HOST])
    return folder


def test_a_certificate_is_judged_as_a_browser_does(mounted: DirectAgent, authority: Path, serve: Serve) -> None:
    port = serve(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", authority)
    found = look(mounted, port)
    assert (found["status"], found["problem"]) == (503, "") and found["certificate_until"].endswith("Z")
    stranger = look(mounted, port, internal_ca=False)
    assert stranger["certificate_until"] == "" and stranger["problem"].startswith("its certificate is not valid (")


def test_what_is_not_there_is_told(mounted: DirectAgent, authority: Path, serve: Serve) -> None:
    assert look(mounted, serve(b"", None)) == {
        "certificate_until": "",
        "problem": "there is no certificate",
        "status": None,
    }
    assert look(mounted, serve(b"SSH-2.0", authority))["problem"] == "it does not speak HTTP"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = int(closed.getsockname()[1])
    assert "refused" in look(mounted, port)["problem"]
    (mounted.efs / AUTHORITY).unlink()
    assert look(mounted, port)["problem"] == "there is no certificate authority yet"


def test_nobody_is_asked_where_there_is_none(mounted: DirectAgent) -> None:
    assert do(mounted, "health")["domains"] is None
