"""What Caddy is told, purely from the deployment's domains and a config (caddyserver.com/docs/json)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from geusemaker.catalog import PROXY, SERVICES
from geusemaker.models.site import Site
from geusemaker.models.stack import ServiceName, StackConfig

CONFIG: Final = "CADDY_CONFIG"
"""The variable that carries it. A change of it makes another container, like that of any other variable."""

# The image's own command reads a file; whoever keeps one beside the compose file has to keep it in step.
COMMAND: Final = ["sh", "-c", f'printf %s "${CONFIG}" > /tmp/caddy.json && exec caddy run --config /tmp/caddy.json']

# n8n itself says whether it has an owner. Caddy asks it every few seconds and takes it for down until it says yes: as
# long as n8n has no owner, starts or migrates, its domain answers 503.
_OWNED: Final = r'"showSetupOnFirstLoad"\s*:\s*false'
_INTERVAL: Final = "5s"
_PATIENCE: Final = "30s"  # one that is busy for less keeps its webhooks

# The one request that makes whoever sends it the owner. It is refused at all times, so nothing hangs on how soon Caddy
# notices. Its matcher ignores case, and decodes and cleans the path before (caddyserver.com/docs/caddyfile/matchers).
_SETUP: Final = ["*/owner/setup", "*/owner/setup/*"]

_NOT_NOW: Final = "Not available now: it starts, or nobody has set it up yet.\n"
_FROM_OUTSIDE: Final = "An owner is set up through the tunnel, not from here.\n"
_CLOSED: Final = "Closed.\n"


def holes(config: StackConfig, site: Site) -> dict[ServiceName, str]:
    """Service → why anybody could get in by its release, of those with a domain that nobody exposes all the same."""
    found = {}
    for name in site.domains:
        service = config.services.get(name)
        why = SERVICES[name].hole(service.image) if service is not None else ""
        if service is not None and why and service.image.tagged not in site.exposed:
            found[name] = why
    return found


def configuration(config: StackConfig, site: Site) -> str:
    """Caddy's config as text."""
    hosts = sorted(site.domains.values())
    policy: dict[str, Any] = {"subjects": hosts}
    if site.internal_ca:
        policy["issuers"] = [{"module": "internal"}]
    document = {
        "admin": {"disabled": True},
        "apps": {
            "http": {
                "http_port": site.http_port,
                # No https_port: redirections name the port where it is another one than that.
                "servers": {
                    "domains": {
                        "listen": [f":{site.https_port}"],
                        "protocols": ["h1", "h2"],  # HTTP/3 is UDP, which nobody lets in
                        "routes": list(_routes(config, site)),
                        "errors": {"routes": [{"handle": [_answer(503, _NOT_NOW)]}]},
                    },
                    "status": {
                        "listen": [f":{PROXY.port}"],
                        "automatic_https": {"disable": True},
                        "routes": [{"handle": [_answer(200, '{"status":"ok"}')]}],
                    },
                },
            },
            "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
            "tls": {"automation": {"policies": [policy]}},
        },
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _routes(config: StackConfig, site: Site) -> Iterator[dict[str, Any]]:
    closed = holes(config, site)
    for name, host in sorted(site.domains.items()):
        handle = _answer(503, _CLOSED) if name in closed or name not in config.services else _proxy(config, name)
        yield {"match": [{"host": [host]}], "handle": [handle], "terminal": True}


def _proxy(config: StackConfig, name: ServiceName) -> dict[str, Any]:
    known, service = SERVICES[name], config.services[name]
    proxy: dict[str, Any] = {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": f"{name}:{known.port}"}],
        "flush_interval": -1,  # n8n's editor is told of executions by a stream
    }
    if not known.owned_by_its_first_visitor:
        return proxy
    settings = known.probe(service.environment).get("also")
    if not settings:
        return _answer(503, _CLOSED)  # it does not tell whether it has an owner
    active = {"uri": settings[0], "interval": _INTERVAL, "timeout": _PATIENCE, "expect_status": 200}
    proxy["health_checks"] = {"active": {**active, "expect_body": _OWNED}}
    refused = {"match": [{"path": _SETUP}], "handle": [_answer(403, _FROM_OUTSIDE)], "terminal": True}
    return {"handler": "subroute", "routes": [refused, {"handle": [proxy]}]}


def _answer(status: int, body: str) -> dict[str, Any]:
    return {"handler": "static_response", "status_code": status, "body": body}
