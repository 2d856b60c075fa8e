"""Crawl4AI: keeps nothing, and answers those who send its token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from geusemaker.catalog import confinement
from geusemaker.catalog.confinement import Confinement
from geusemaker.catalog.hosts import named_hosts
from geusemaker.catalog.package import Package
from geusemaker.catalog.rules import Verdict, release
from geusemaker.catalog.service import Service, ServiceName
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


_MENDED: Final = (0, 9, 0)


def _hole(image: ImageReference) -> str:
    """Up to 0.8.6 nobody is asked for the token; 0.8.7 to 0.8.x are CVE-2026-57572."""
    found = release(image.tag)
    if found is None:
        return "which release it is cannot be told, and those before 0.9.0 let anybody run programs in it"
    return "CVE-2026-57572: anybody can run programs in it" if found < _MENDED else ""


_NEVER: Final = frozenset({"postgresql", "qdrant"})


def _calls(environment: Mapping[str, str]) -> tuple[ServiceName, ...]:
    """A model's server, where it is told of one (LLM_BASE_URL). Never what holds data: it opens any page it is told."""
    return tuple(name for name in named_hosts(environment.values()) if name not in _NEVER)


def _confinement(image: ImageReference) -> Confinement:
    """Of its makers' own docker-compose.yml (0.9.0 and later; the user is the image's). Earlier images write elsewhere.

    The browser's own sandbox, which needs privileges, is off in the image in any case.
    """
    if (image.release or (0, 0, 0)) < _MENDED:
        return confinement.NONE
    own = "uid=999,gid=999,mode=0700"
    places = ("/var/lib/redis", "/var/lib/crawl4ai/outputs", "/home/appuser/.crawl4ai")
    caches = ("/home/appuser/.cache/url_seeder", "/home/appuser/.gunicorn")
    writable = ("/tmp", *(f"{place}:{own}" for place in (*places, *caches)))
    return Confinement(read_only=True, writable=writable, processes=512)


SERVICE: Final = Service(
    name="crawl4ai",
    title="Crawl4AI",
    start_order=50,
    image="unclecode/crawl4ai:0.9.5",
    repositories=("unclecode/crawl4ai",),
    package=Package("PyPI", "crawl4ai"),
    port=_PORT,
    memory_share=3,
    since=1,
    least_mib=512,
    shared_memory="1g",  # its browser crashes with Docker's default of 64 MB
    # By itself 0.8.7 and later bind [::], and do not start where the host has no IPv6.
    second_environment={"GUNICORN_BIND": f"0.0.0.0:{_PORT}"},
    reserved=frozenset({"CRAWL4AI_API_TOKEN"}),
    lately_reserved=frozenset({"GUNICORN_BIND"}),
    secrets={"CRAWL4AI_API_TOKEN": "crawl4ai_token"},
    readiness={"kind": "http", "path": "/health", "json": True},
    authenticates=True,
    calls=_calls,
    confinement=_confinement,
    hole=_hole,
    image_notice=_image_notice,
)
