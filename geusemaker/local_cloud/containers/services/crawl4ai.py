"""Crawl4AI: stateless. From 0.9 on it listens on the container's own loopback only unless it is given an API token."""

from __future__ import annotations

import re
import socket
import threading
from typing import Any, Final

from geusemaker.local_cloud.containers.services import http
from geusemaker.local_cloud.containers.services.container import Container, StartError, complain, log
from geusemaker.local_cloud.containers.services.image import Image

PORT = 11235

IMAGE: Final = Image(
    "unclecode/crawl4ai",
    {
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
        "Cmd": ["supervisord", "-c", "supervisord.conf"],
        "WorkingDir": "/app",
    },
    tags=("0.7.0", "0.8.6", "0.8.7", "0.9.0", "0.9.5", "latest"),
)


def run(container: Container) -> None:
    """Start; returns when it serves."""
    log("[INFO] Starting gunicorn 23.0.0")
    if container.misbehaviour == "crash":
        raise StartError(
            "[ERROR] Worker failed to boot.\nplaywright._impl._errors.Error: BrowserType.launch: spawn EACCES"
        )
    token = container.environment.get("CRAWL4AI_API_TOKEN", "")
    listener = container.listener(PORT)
    if not token and _needs_token(container.version):
        complain("[WARNING] CRAWL4AI_API_TOKEN is not set: listening on 127.0.0.1 only")
        threading.Thread(target=_hang_up, args=(listener,), daemon=True).start()
        return

    def health(request: http.Request) -> Any:
        return http.ready_or_503(container.is_ready, {"status": "ok", "version": container.version})

    routes = [("GET", "/health", health)]
    http.serve(listener, routes, {"X-Image-Tag": container.tag})
    log(f"[INFO] Listening at: http://0.0.0.0:{PORT} (1)")


def _needs_token(version: str) -> bool:
    match = re.match(r"(\d+)\.(\d+)", version)
    return match is None or (int(match[1]), int(match[2])) >= (0, 9)


def _hang_up(listener: socket.socket) -> None:
    # Docker's proxy takes the connection, finds nobody behind it, and ends it.
    while True:
        connection, _ = listener.accept()
        connection.close()
