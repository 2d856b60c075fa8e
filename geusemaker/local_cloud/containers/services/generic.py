"""Whatever an operator runs beside the services: it is not what its image is, and listens where that would.

Each published port takes connections and answers each HTTP request with 200 and a line of JSON. What is mounted gets a
file that tells how often it was started there, so that one sees whether data stayed. Its tag makes it misbehave as
those of the other stand-ins do.
"""

from __future__ import annotations

import socket
import threading
from typing import Any, Final

from geusemaker.local_cloud.containers.services import http
from geusemaker.local_cloud.containers.services.container import Container, StartError, log
from geusemaker.local_cloud.containers.services.image import ANY, Image

IMAGE: Final = Image(ANY, {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "Entrypoint": ["/entrypoint"]})

STARTS: Final = "stand-in.starts"

_LIBRARY: Final = frozenset(
    {
        *("alpine", "busybox", "caddy", "debian", "httpd", "mariadb", "memcached", "mongo", "nginx", "node", "python"),
        *("rabbitmq", "redis", "traefik", "ubuntu", "valkey"),
    }
)
"""Official images that it stands for."""
_OTHERS: Final = frozenset({"n8nio/runners"})


def stands_for(repository: str, namespaces: frozenset[str]) -> bool:
    """Whether it stands for a repository: for any, but for what others than these may have in their namespaces.

    ``namespaces``: those of the images that have a stand-in of their own, where another name is a mistyped one.
    """
    namespace, _, name = repository.partition("/")
    if namespace == "library":
        return name in _LIBRARY
    return repository in _OTHERS or namespace not in namespaces


def run(container: Container) -> None:
    """Start; returns when it serves."""
    words = " ".join(container.command)
    log(f"stand-in of the local cloud for tag {container.tag}" + (f", started with: {words}" if words else ""))
    if container.misbehaviour == "crash":
        raise StartError("Error: it crashes, as its tag wants")
    for path in container.mounted:
        with (container.path(path) / STARTS).open("a") as file:
            file.write(f"{container.tag}\n")
        log(f"keeps data in {path}")
    for port in container.published:
        listener = container.listener(port)
        if container.misbehaviour == "unhealthy":
            threading.Thread(target=_hang_up, args=(listener,), daemon=True).start()
        else:
            _serve(container, listener)
        log(f"listening on 0.0.0.0:{port}")


def answers(container: Container) -> int:
    """The exit code of a command that is run in it: whether it is well, since it has none of its image's programs."""
    return 1 if container.misbehaviour == "unhealthy" else 0


def _serve(container: Container, listener: socket.socket) -> None:
    def answer(request: http.Request) -> Any:
        return http.ready_or_503(container.is_ready, {"status": "ok", "path": request.path})

    http.serve(listener, [("GET", "/.*", answer)], {"X-Image-Tag": container.tag})


def _hang_up(listener: socket.socket) -> None:
    # Docker's proxy takes the connection, finds nobody behind it, and ends it.
    while True:
        connection, _ = listener.accept()
        connection.close()
