"""Caddy: HTTPS under the configured host names, passed on to other services. It knows what geusemaker configures.

Real are TLS, the certificate authority of its own, and where its files are; what needs the internet (ACME) is not
here, so a host without the internal authority has no certificate, and its handshakes fail as they do then.
"""

from __future__ import annotations

import contextlib
import fnmatch
import http.client
import json
import posixpath
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from geusemaker.local_cloud.containers.services import certificates
from geusemaker.local_cloud.containers.services.container import Container, StartError, log
from geusemaker.local_cloud.containers.services.image import Image

IMAGE: Final = Image(
    "library/caddy",
    {
        "ExposedPorts": {"80/tcp": {}, "443/tcp": {}, "443/udp": {}, "2019/tcp": {}},
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "XDG_CONFIG_HOME=/config", "XDG_DATA_HOME=/data"],
        "Cmd": ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"],
        "WorkingDir": "/srv",
    },
    tags=("2", "2.10.2", "2.11.9", "2.11.9-alpine", "2.11.9-builder", "latest"),
)

_LONGEST_HEAD: Final = 64 << 10
_PATIENCE: Final = 60.0
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "proxy-connection", "te", "trailer"})
_RENEW_SECONDS: Final = 4 * 3600

Answer = Callable[["_Request"], None]


def run(container: Container) -> None:
    """Start; returns when it serves."""
    if container.misbehaviour == "crash":
        raise StartError("Error: loading initial config: loading new config: http app module: start: listening on :443")
    container.require("NET_BIND_SERVICE")  # its program's file has it, and is not started without
    try:
        config = json.loads(container.environment.get("CADDY_CONFIG", ""))
        apps = config["apps"]
        servers = apps["http"]["servers"]
        policies = apps["tls"]["automation"]["policies"]
    except (ValueError, KeyError, TypeError) as error:
        raise StartError(f"Error: loading initial config: {error}") from None
    data = container.path("/data") / "caddy"
    internal = [host for policy in policies for host in policy["subjects"] if _is_internal(policy)]
    contexts: dict[str, ssl.SSLContext] = {}
    _issue(data, internal, contexts)
    threading.Thread(target=_renew, args=(data, internal, contexts), daemon=True).start()
    routes = {
        host: _answer(container, route["handle"]) for route in servers["domains"]["routes"] for host in _of(route)
    }
    failed = servers["domains"]["errors"]["routes"][0]["handle"][0]
    https = _port(servers["domains"])
    _listen(container, https, lambda taken: _converse_tls(taken, contexts, routes, failed))
    _listen(container, apps["http"]["http_port"], lambda taken: _redirect(taken, https))
    answer = servers["status"]["routes"][0]["handle"][0]
    if container.is_ready:
        _listen(container, _port(servers["status"]), lambda taken: _plain(taken, answer))
    log(json.dumps({"level": "info", "msg": "serving initial configuration"}))


def _port(server: dict[str, Any]) -> int:
    return int(server["listen"][0].rpartition(":")[2])


def _is_internal(policy: dict[str, Any]) -> bool:
    return any(issuer["module"] == "internal" for issuer in policy.get("issuers", ()))


def _of(route: dict[str, Any]) -> list[str]:
    return [host for match in route["match"] for host in match["host"]]


def _issue(data: Path, hosts: list[str], contexts: dict[str, ssl.SSLContext]) -> None:
    if not hosts:
        return
    # With third-party packages, which a container's own Python does not look for.
    subprocess.run([sys.executable, "-I", certificates.__file__, str(data), *hosts], check=True, cwd="/")
    for host in hosts:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        file = data / certificates.CERTIFICATES / host / host
        context.load_cert_chain(f"{file}.crt", f"{file}.key")
        contexts[host] = context
        log(json.dumps({"level": "info", "msg": "certificate obtained successfully", "identifier": host}))


def _renew(data: Path, hosts: list[str], contexts: dict[str, ssl.SSLContext]) -> None:
    while True:
        time.sleep(_RENEW_SECONDS)
        _issue(data, hosts, contexts)


def _listen(container: Container, port: int, converse: Callable[[socket.socket], None]) -> None:
    listener = container.listener(port)

    def serve(taken: socket.socket) -> None:
        taken.settimeout(_PATIENCE)
        with taken, contextlib.suppress(OSError, ValueError):  # the peer went away, or speaks another protocol
            converse(taken)

    def accept() -> None:
        while True:
            taken, _ = listener.accept()
            threading.Thread(target=serve, args=(taken,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


class _Request:
    """One request on a connection, which it ends."""

    def __init__(self, connection: socket.socket, failed: dict[str, Any]) -> None:
        self.connection = connection
        self._failed = failed
        head = b""
        while b"\r\n\r\n" not in head:
            more = connection.recv(8192)
            if not more or len(head) > _LONGEST_HEAD:
                raise ValueError("no request")
            head += more
        text, _, self.rest = head.partition(b"\r\n\r\n")
        first, *fields = text.decode("latin-1").split("\r\n")
        self.method, self.target, _ = first.split()
        self.headers = [(key, value.strip()) for key, _, value in (field.partition(":") for field in fields)]
        self.host = next((value for key, value in self.headers if key.lower() == "host"), "")

    @property
    def path(self) -> str:
        """As Caddy's matcher sees it: decoded, cleaned, in small letters."""
        return posixpath.normpath("/" + unquote(self.target.partition("?")[0]).lstrip("/")).lower()

    def answer(self, handler: dict[str, Any], headers: str = "") -> None:
        """A static response."""
        body = str(handler.get("body", "")).encode()
        status = int(handler["status_code"])
        head = f"HTTP/1.1 {status} {http.client.responses.get(status, '')}\r\nServer: Caddy\r\n{headers}"
        self.connection.sendall(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)

    def fail(self) -> None:
        """What the configured errors' route says."""
        self.answer(self._failed)


def _answer(container: Container, handlers: list[dict[str, Any]]) -> Answer:
    [handler] = handlers
    kind = handler["handler"]
    if kind == "static_response":
        return lambda request: request.answer(handler)
    if kind == "reverse_proxy":
        return _Upstream(container, handler).answer
    routes = [(_patterns(route), _answer(container, route["handle"])) for route in handler["routes"]]

    def answer(request: _Request) -> None:
        for patterns, act in routes:
            if patterns is None or any(fnmatch.fnmatchcase(request.path, pattern) for pattern in patterns):
                act(request)
                return

    return answer


def _patterns(route: dict[str, Any]) -> list[str] | None:
    return [pattern.lower() for match in route["match"] for pattern in match["path"]] if "match" in route else None


class _Upstream:
    """Another service, which is asked every few seconds whether it is to be passed on to."""

    def __init__(self, container: Container, handler: dict[str, Any]) -> None:
        host, _, port = handler["upstreams"][0]["dial"].rpartition(":")
        self._find = partial(container.find, host, int(port))
        self._check = handler.get("health_checks", {}).get("active")
        self._up = True
        if self._check:
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._up = self._passes()
            time.sleep(_seconds(self._check["interval"]))

    def _passes(self) -> bool:
        try:
            connection = http.client.HTTPConnection(*self._find(), timeout=_seconds(self._check["timeout"]))
        except OSError:
            return False
        try:
            connection.request("GET", self._check["uri"])
            response = connection.getresponse()
            body = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return (
            response.status == self._check["expect_status"] and re.search(self._check["expect_body"], body) is not None
        )

    def answer(self, request: _Request) -> None:
        try:
            if not self._up:
                raise OSError("no upstreams available")
            upstream = socket.create_connection(self._find(), _PATIENCE)
        except OSError:
            request.fail()
            return
        peer = request.connection.getpeername()[0]
        upgrades = any(key.lower() == "upgrade" for key, _ in request.headers)
        kept = [(key, value) for key, value in request.headers if upgrades or key.lower() not in _HOP_BY_HOP]
        kept += [("X-Forwarded-For", peer), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", request.host)]
        if not upgrades:
            kept.append(("Connection", "close"))
        head = "".join(f"{key}: {value}\r\n" for key, value in kept)
        with upstream:
            upstream.sendall(
                f"{request.method} {request.target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + request.rest
            )
            threading.Thread(target=_pass_on, args=(request.connection, upstream), daemon=True).start()
            _pass_on(upstream, request.connection)
            with contextlib.suppress(OSError):
                request.connection.shutdown(socket.SHUT_RDWR)  # the thread above reads from it still


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(64 << 10):
            target.sendall(data)


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def _converse_tls(
    taken: socket.socket, contexts: dict[str, ssl.SSLContext], routes: dict[str, Answer], failed: dict[str, Any]
) -> None:
    # Without a name that has a certificate, the handshake ends in an alert, as Caddy's does.
    first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        chosen = contexts.get((name or "").lower())
        if chosen is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = chosen
        return None

    first.sni_callback = choose
    with first.wrap_socket(taken, server_side=True) as connection:
        request = _Request(connection, failed)
        act = routes.get(request.host.partition(":")[0].lower())
        if act is None:
            request.answer({"status_code": 200})
        else:
            act(request)


def _redirect(taken: socket.socket, port: int) -> None:
    request = _Request(taken, {})
    host = request.host.partition(":")[0] + ("" if port == 443 else f":{port}")
    request.answer({"status_code": 308}, f"Location: https://{host}{request.target}\r\n")


def _plain(taken: socket.socket, answer: dict[str, Any]) -> None:
    _Request(taken, answer).answer(answer)
