"""Crawl4AI: keeps nothing, and answers those who send its token."""

from __future__ import annotations

from typing import Final

from geusemaker.catalog.service import Service, Verdict
from geusemaker.models.image import ImageReference

_PORT: Final = 11235

_TOKEN_COUNTS: Final = (0, 8, 7)
"""The first that reads its token: its deploy/docker/server.py."""


def _image_notice(before: ImageReference, after: ImageReference) -> Verdict | None:
    """A warning where a change makes the token count, which callers may not send yet."""
    old, new = before.release, after.release
    if old is None or old >= _TOKEN_COUNTS or (new is not None and new < _TOKEN_COUNTS):
        return None
    return Verdict(
        "warn",
        f"{after.tagged} answers 401 to whoever does not send its token (up to 0.8.6 it was not read): n8n's "
        "nodes that call it need the header `Authorization: Bearer TOKEN`; `geusemaker info` says how to read the "
        "token",
        about="token",
    )


SERVICE: Final = Service(
    name="crawl4ai",
    title="Crawl4AI",
    image="unclecode/crawl4ai:0.9.5",
    repositories=("unclecode/crawl4ai",),
    port=_PORT,
    memory_share=3,
    least_mib=512,
    shared_memory="1g",  # its browser crashes with Docker's default of 64 MB
    # By itself 0.8.7 and later bind [::], and do not start where the host has no IPv6.
    second_environment={"GUNICORN_BIND": f"0.0.0.0:{_PORT}"},
    reserved=frozenset({"CRAWL4AI_API_TOKEN"}),
    lately_reserved=frozenset({"GUNICORN_BIND"}),
    secrets={"CRAWL4AI_API_TOKEN": "crawl4ai_token"},
    readiness={"kind": "http", "path": "/health", "json": True},
    image_notice=_image_notice,
)
