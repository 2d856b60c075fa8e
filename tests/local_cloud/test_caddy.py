"""What is answered under a domain: by the real Caddy, and by its stand-in, which is held to it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from geusemaker.agent.domains import AUTHORITY
from geusemaker.local_cloud.program import command
from geusemaker.models.image import ImageReference
from geusemaker.models.site import Site
from geusemaker.models.stack import ServiceConfig
from geusemaker.program import proxy
from tests.end_to_end.world import wait_until
from tests.local_cloud import real_caddy
from tests.unit.samples import config

HOST = "n8n.example.com"


class N8n:
    """Answers as n8n does: it says whether it has an owner, and the first who asks for it becomes one."""

    def __init__(self) -> None:
        self.owned = False
        self.asked: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
                body = json.dumps({"data": {"userManagement": {"showSetupOnFirstLoad": not outer.owned}}}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def paths(self) -> list[str]:
        """What was asked for, but for what Caddy asks by itself."""
        return [path for path, _ in self.asked if path != "/rest/settings"]


class Caddy:
    """Answers under the domain; the ports are free ones of this machine."""

    def __init__(self, folder: Path, upstream: int) -> None:
        with ExitStack() as stack:
            taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
            self.http, self.https, self.status = (int(one.getsockname()[1]) for one in taken)
        self.data = folder / "data"
        base = config(n8n="2.42.6")
        services = {**base.services, "caddy": ServiceConfig(image=ImageReference.parse("caddy:2.11.9"))}
        site = Site(domains={"n8n": HOST}, http_port=self.http, https_port=self.https, internal_ca=True)
        text = proxy.configuration(base.model_copy(update={"services": services}), site)
        self.upstream = upstream
        self.text = text.replace(":2020", f":{self.status}")
        # The real one runs in no container, so it knows no n8n.
        self.config = self.text.replace("n8n:5678", f"127.0.0.1:{upstream}")

    def answers(self) -> bool:
        """Whether it has taken its config."""
        try:
            with socket.create_connection(("127.0.0.1", self.status), timeout=5) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return b'{"status":"ok"}' in b"".join(iter(lambda: connection.recv(4096), b""))
        except OSError:
            return False

    def has_certificate(self) -> bool:
        """Whether it got one, which it does not wait for before it serves."""
        try:
            return self.ask("/")[0] > 0
        except (ssl.SSLError, FileNotFoundError):
            return False

    def ask(self, path: str, method: str = "GET", name: str = HOST) -> tuple[int, str]:
        """(status, body) of a request over TLS, checked against the authority."""
        context = ssl.create_default_context(cafile=str(self.data.parent / AUTHORITY.replace("caddy", "data", 1)))
        plain = socket.create_connection(("127.0.0.1", self.https), timeout=10)
        with context.wrap_socket(plain, server_hostname=name) as connection:
            head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}:{self.https}\r\nContent-Length: 0\r\n"
            connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        return int(answer.split()[1]), answer.partition("\r\n\r\n")[2]


@contextmanager
def real(folder: Path, caddy: Caddy) -> Iterator[None]:
    """The real one, started as its container is."""
    program = real_caddy.find_or_build()
    shell, flag, script = proxy.COMMAND
    environment = {
        "PATH": f"{program.parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "XDG_DATA_HOME": str(caddy.data),
        "XDG_CONFIG_HOME": str(folder / "config"),
        proxy.CONFIG: caddy.config,
    }
    line = script.replace("/tmp/caddy.json", str(folder / "caddy.json"))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([shell, flag, line], env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(20) == 0, (folder / "log").read_text()


@contextmanager
def stand_in(folder: Path, caddy: Caddy) -> Iterator[None]:
    """The local cloud's, started as its engine does."""
    lifeline, other_end = os.pipe()
    caddy.data.mkdir()
    containers = folder / "containers"
    networks = {name: {"Networks": {"n8n": {"Aliases": [name]}}} for name in ("caddy", "n8n")}
    published = {"PortBindings": {"5678/tcp": [{"HostPort": str(caddy.upstream)}]}}
    for name in networks:
        (containers / name).mkdir(parents=True)
        record = {"State": {"Status": "running"}, "NetworkSettings": networks[name], "HostConfig": published}
        (containers / name / "config.v2.json").write_text(json.dumps(record))
    with ExitStack() as stack:
        ports = (caddy.http, caddy.https, caddy.status)
        sockets = {f"{port}/tcp": stack.enter_context(socket.create_server(("127.0.0.1", port))) for port in ports}
        specification = {
            "id": "1",
            "service": "caddy",
            "tag": "2.11.9",
            "loopback": "127.0.0.1",
            "lifeline": lifeline,
            "sockets": {name: one.fileno() for name, one in sockets.items()},
            "mounts": {"/data": str(caddy.data)},
            "capabilities": ["NET_BIND_SERVICE"],
        }
        (containers / "caddy" / "service.json").write_text(json.dumps(specification))
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                command("service", "run", str(containers / "caddy")),
                env={"PATH": os.environ["PATH"], proxy.CONFIG: caddy.text},
                stdout=log,
                stderr=log,
                pass_fds=(lifeline, *(one.fileno() for one in sockets.values())),
            )
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(20) == 0, (folder / "log").read_text()
        os.close(other_end)
        os.close(lifeline)


@pytest.mark.parametrize("kind", [stand_in, pytest.param(real, marks=pytest.mark.slow)])
def test_a_domain_is_answered(tmp_path: Path, kind: Any) -> None:
    n8n = N8n()
    caddy = Caddy(tmp_path, n8n.port)
    with kind(tmp_path, caddy):
        wait_until(caddy.answers, 30, lambda: (tmp_path / "log").read_text())
        wait_until(caddy.has_certificate, 30, lambda: (tmp_path / "log").read_text())
        wait_until(lambda: caddy.ask("/")[0] == 503, 10, lambda: "open without an owner")
        assert caddy.ask("/webhook/orders", "POST") == (
            503,
            "Not available now: it starts, or nobody has set it up yet.\n",
        )
        n8n.asked.clear()
        for path in (
            *("/rest/owner/setup", "/REST/Owner/Setup", "/rest/owner/setup/", "/rest/owner/setup?x=1"),
            *("/rest/./owner/setup", "/rest/x/../owner/setup", "//rest//owner//setup", "/rest/owner/%73etup"),
            *("/rest/owner%2Fsetup", "/api/owner/setup/more"),
        ):
            assert caddy.ask(path, "POST")[0] == 403, path
        assert n8n.paths() == [], "nobody becomes the owner from outside"

        n8n.owned = True
        wait_until(lambda: caddy.ask("/")[0] == 200, 20, lambda: "it does not open")
        assert caddy.ask("/rest/owner/setup", "POST")[0] == 403, "then neither"
        assert caddy.ask("/webhook/orders?a=b", "POST")[0] == 200
        path, headers = n8n.asked[-1] if n8n.asked[-1][0] != "/rest/settings" else n8n.asked[-2]
        assert (path, headers["x-forwarded-proto"], headers["host"]) == (
            "/webhook/orders?a=b",
            "https",
            f"{HOST}:{caddy.https}",
        )
        assert headers["x-forwarded-for"] == "127.0.0.1"

        with pytest.raises(ssl.SSLError):
            caddy.ask("/", name="other.example.com")
        plain = socket.create_connection(("127.0.0.1", caddy.http), timeout=10)
        with plain:
            plain.sendall(f"GET /a?b HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            redirection = b"".join(iter(lambda: plain.recv(4096), b"")).decode()
        assert redirection.startswith("HTTP/1.1 308 ")
        assert f"Location: https://{HOST}:{caddy.https}/a?b\r\n" in redirection

        n8n.server.shutdown()
        n8n.server.server_close()
        assert caddy.ask("/")[0] == 503
        before = (tmp_path / "data/caddy/pki/authorities/local/root.crt").read_text()
    again = Caddy(tmp_path, n8n.port)
    shutil.rmtree(tmp_path / "config", ignore_errors=True)
    with kind(tmp_path, again) if kind is real else ExitStack():
        if kind is real:
            wait_until(again.answers, 30, lambda: (tmp_path / "log").read_text())
            wait_until(lambda: again.has_certificate() and again.ask("/")[0] == 503, 30, lambda: "it does not answer")
    assert (tmp_path / "data/caddy/pki/authorities/local/root.crt").read_text() == before, "its certificates are kept"
