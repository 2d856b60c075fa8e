"""How each service is asked whether it is ready, which is more than that it lives. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from geusemaker.models.stack import SERVICE_PORTS, ServiceName

_PROBES: Final[dict[ServiceName, dict[str, Any]]] = {
    # /healthz says nothing but that it listens, which it does before it migrates its database (n8n's sources,
    # packages/cli/src/abstract-server.ts); releases without the other path have only that.
    "n8n": {"kind": "http", "path": "/healthz/readiness", "fallback": "/healthz", "json": True},
    # /api/version answers at once; /api/tags reads the store of models (ollama's server/routes.go).
    "ollama": {"kind": "http", "path": "/api/tags", "json": True},
    "qdrant": {"kind": "http", "path": "/readyz", "fallback": "/healthz"},
    "crawl4ai": {"kind": "http", "path": "/health", "json": True},
    "postgresql": {"kind": "postgresql"},
}
_TRUE: Final = frozenset({"true", "1"})  # @n8n/config, decorators: everything else is no


def probe(name: ServiceName, environment: Mapping[str, str]) -> dict[str, Any]:
    """The agent's probe of a service that has this environment of its operator's."""
    also = {"also": _rest_settings(environment)} if name == "n8n" and not _has_no_ui(environment) else {}
    return {**_PROBES[name], **also, "port": SERVICE_PORTS[name]}


def _has_no_ui(environment: Mapping[str, str]) -> bool:
    return environment.get("N8N_DISABLE_UI", "").strip().lower() in _TRUE


def _rest_settings(environment: Mapping[str, str]) -> list[str]:
    """Where n8n's own pages get their settings from; one of these has to answer.

    1.x and 2.0 say that they are ready 1 to 4 s before they have it. n8n's routes know N8N_ENDPOINT_REST alone
    (packages/cli/src/server.ts, 1.100 and 2.41); N8N_PATH is asked as well, for whoever answers below it.
    """
    rest = environment.get("N8N_ENDPOINT_REST", "").strip("/") or "rest"
    base = environment.get("N8N_PATH", "").strip("/")
    paths = [f"/{rest}/settings", *([f"/{base}/{rest}/settings"] if base else [])]
    return [quote(path, safe="/%:@!$&'()*+,;=~-._") for path in paths]
