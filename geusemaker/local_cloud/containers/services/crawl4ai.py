"""Crawl4AI: stateless. Without an API token the real server binds its own loopback only, so nothing reaches it."""

from __future__ import annotations

from typing import Any

from geusemaker.local_cloud.containers.services import http
from geusemaker.local_cloud.containers.services.run import Container, StartError, complain, log

PORT = 11235


def run(container: Container) -> None:
    """Start; returns when it serves."""
    log("[2025-01-01 00:00:00 +0000] [1] [INFO] Starting gunicorn 23.0.0")
    if container.misbehaviour == "crash":
        raise StartError(
            "[ERROR] Worker failed to boot.\nplaywright._impl._errors.Error: BrowserType.launch: spawn EACCES"
        )

    token = container.environment.get("CRAWL4AI_API_TOKEN", "")

    def health(request: http.Request) -> Any:
        return http.ready_or_503(container.is_ready, {"status": "ok", "version": container.version})

    def crawl(request: http.Request) -> Any:
        if token and request.headers.get("authorization") != f"Bearer {token}":
            raise http.HttpError(401, {"detail": "Invalid token"})
        urls = request.json().get("urls", [])
        return {"success": True, "results": [{"url": url, "success": True, "markdown": f"# {url}"} for url in urls]}

    if not token:
        complain("[WARNING] CRAWL4AI_API_TOKEN is not set: listening on 127.0.0.1 of the container only")
    serve_on = container.listener(PORT)
    http.serve(serve_on, [("GET", "/health", health), ("POST", "/crawl", crawl)], {"X-Image-Tag": container.tag})
    log(f"[INFO] Listening at: http://0.0.0.0:{PORT} (1)")
