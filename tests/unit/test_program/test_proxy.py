"""What Caddy is told, and what n8n is while it has a domain."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from geusemaker.catalog import PROXY
from geusemaker.models.image import ImageReference
from geusemaker.models.site import Site
from geusemaker.models.stack import ServiceConfig, StackConfig
from geusemaker.program.compose import data_directories, probes, render
from geusemaker.program.proxy import CONFIG, configuration, holes
from tests.unit.samples import DIGEST, config

SITE = Site(domains={"n8n": "n8n.example.com"})


def with_proxy(n8n: str = "2.42.6", environment: dict[str, str] | None = None, **more: Any) -> StackConfig:
    """A config as it is while there are domains."""
    base = config(n8n=n8n, **more)
    services = {
        **base.services,
        "n8n": base.services["n8n"].model_copy(update={"environment": environment or {}}),
        "crawl4ai": ServiceConfig(image=ImageReference.parse(f"unclecode/crawl4ai:0.9.5@{DIGEST}")),
        "caddy": ServiceConfig(image=ImageReference.parse(f"caddy:2.11.9@{DIGEST}")),
    }
    return base.model_copy(update={"services": services})


def told(config: StackConfig, site: Site = SITE) -> dict[str, Any]:
    """The answers under the domains: host → its handler."""
    servers = json.loads(configuration(config, site))["apps"]["http"]["servers"]
    return {route["match"][0]["host"][0]: route["handle"][0] for route in servers["domains"]["routes"]}


def test_without_a_domain_nothing_is_another() -> None:
    services = render(with_proxy(), data_volume=True)["services"]
    assert "caddy" not in services and "WEBHOOK_URL" not in services["n8n"]["environment"]
    alone = with_proxy()
    alone = alone.model_copy(
        update={"services": {name: one for name, one in alone.services.items() if name != "caddy"}}
    )
    assert services == render(alone, data_volume=True)["services"]


@pytest.mark.parametrize("rendering", [1, 2, 3])
def test_caddy_alone_is_published_to_everybody(rendering: int) -> None:
    services = render(with_proxy(rendering=rendering), data_volume=True, site=SITE)["services"]
    assert services["caddy"]["ports"] == [
        "${GEUSEMAKER_LOOPBACK:-127.0.0.1}:2020:2020",
        "${GEUSEMAKER_LOOPBACK:-0.0.0.0}:80:80",
        "${GEUSEMAKER_LOOPBACK:-0.0.0.0}:443:443",
    ]
    others = [port for name, service in services.items() if name != "caddy" for port in service["ports"]]
    assert others and all(port.startswith("${GEUSEMAKER_LOOPBACK:-127.0.0.1}:") for port in others)
    assert services["caddy"]["volumes"] == ["${GEUSEMAKER_INSTANCE_ROOT:-}/mnt/efs/caddy:/data"]
    # Compose reads $$ as $: the shell in the container is what expands the name of the variable.
    assert f'"$${CONFIG}"' in services["caddy"]["command"][2] and "$" not in services["caddy"]["environment"][CONFIG]
    assert {"path": "caddy", "uid": 0, "gid": 0, "mode": 0o750, "on": "efs"} in data_directories(
        with_proxy(), data_volume=True
    )


def test_n8n_knows_under_which_address_it_is_called() -> None:
    own = {"WEBHOOK_URL": "http://elsewhere/", "GENERIC_TIMEZONE": "Europe/Berlin"}
    environment = render(with_proxy(environment=own), data_volume=True, site=SITE)["services"]["n8n"]["environment"]
    assert environment["WEBHOOK_URL"] == environment["N8N_WEBHOOK_URL"] == "https://n8n.example.com/"
    assert environment["N8N_EDITOR_BASE_URL"] == "https://n8n.example.com/"
    assert (environment["N8N_PROXY_HOPS"], environment["N8N_SECURE_COOKIE"]) == ("1", "true")
    assert environment["GENERIC_TIMEZONE"] == "Europe/Berlin"
    local = Site(domains={"n8n": "n8n.test"}, http_port=8080, https_port=8443, internal_ca=True)
    assert local.url("n8n") == "https://n8n.test:8443/"


def test_others_have_the_limits_that_they_have_without_it() -> None:
    with_it = render(with_proxy(), data_volume=True, site=SITE)["services"]
    without = render(with_proxy(), data_volume=True)["services"]
    assert {name: with_it[name]["mem_limit"] for name in without} == {
        name: service["mem_limit"] for name, service in without.items()
    }
    assert probes(with_proxy())["caddy"]["probe"] == {"kind": "http", "path": "/", "json": True, "port": PROXY.port}


def test_n8n_is_open_while_it_says_that_it_has_an_owner() -> None:
    refused, passed_on = told(with_proxy())["n8n.example.com"]["routes"]
    [proxy] = passed_on["handle"]
    check = proxy["health_checks"]["active"]
    assert (proxy["upstreams"], check["uri"]) == ([{"dial": "n8n:5678"}], "/rest/settings")
    says = {owned: json.dumps({"data": {"userManagement": {"showSetupOnFirstLoad": not owned}}}) for owned in (True, 0)}
    assert re.search(check["expect_body"], says[True]) and not re.search(check["expect_body"], says[False])
    assert not re.search(check["expect_body"], "n8n is starting up. Please wait")
    assert refused["handle"][0]["status_code"] == 403 and refused["match"] == [
        {"path": ["*/owner/setup", "*/owner/setup/*"]}
    ]


def test_n8n_is_asked_where_its_operator_put_its_settings() -> None:
    _, passed_on = told(with_proxy(environment={"N8N_ENDPOINT_REST": "api"}))["n8n.example.com"]["routes"]
    assert passed_on["handle"][0]["health_checks"]["active"]["uri"] == "/api/settings"
    silent = told(with_proxy(environment={"N8N_DISABLE_UI": "true"}))["n8n.example.com"]
    assert silent["status_code"] == 503


def test_a_release_that_lets_anybody_in_is_closed() -> None:
    old = with_proxy(n8n="1.100.1")
    assert holes(old, SITE).keys() == {"n8n"} and told(old)["n8n.example.com"]["status_code"] == 503
    exposed = SITE.model_copy(update={"exposed": ("n8nio/n8n:1.100.1",)})
    assert not holes(old, exposed) and told(old, exposed)["n8n.example.com"]["handler"] == "subroute"


def test_another_service_is_passed_on_to_as_it_is_and_one_that_does_not_run_is_told() -> None:
    site = Site(domains={"n8n": "n8n.example.com", "crawl4ai": "crawl.example.com"})
    assert told(with_proxy(), site)["crawl.example.com"]["upstreams"] == [{"dial": "crawl4ai:11235"}]
    gone = with_proxy().model_copy(
        update={"services": {name: one for name, one in with_proxy().services.items() if name != "crawl4ai"}}
    )
    assert told(gone, site)["crawl.example.com"]["status_code"] == 503


def test_certificates_are_of_an_authority_of_its_own_only_on_the_local_cloud() -> None:
    def policies(site: Site) -> Any:
        return json.loads(configuration(with_proxy(), site))["apps"]["tls"]["automation"]["policies"]

    assert policies(SITE) == [{"subjects": ["n8n.example.com"]}]
    local = SITE.model_copy(update={"internal_ca": True})
    assert policies(local) == [{"subjects": ["n8n.example.com"], "issuers": [{"module": "internal"}]}]
