from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.host.agent import Probe
from geusemaker.models.stack import SERVICE_NAMES, SERVICE_PORTS
from geusemaker.program.readiness import probe


@pytest.mark.parametrize(
    ("environment", "paths"),
    [
        ({}, ["/rest/settings"]),
        ({"N8N_ENDPOINT_REST": "api"}, ["/api/settings"]),
        ({"N8N_ENDPOINT_REST": "/a/b/"}, ["/a/b/settings"]),
        ({"N8N_ENDPOINT_REST": "", "N8N_PATH": ""}, ["/rest/settings"]),
        ({"N8N_PATH": "/"}, ["/rest/settings"]),
        ({"N8N_PATH": "/n8n/"}, ["/rest/settings", "/n8n/rest/settings"]),
        ({"N8N_PATH": "n8n", "N8N_ENDPOINT_REST": "api"}, ["/api/settings", "/n8n/api/settings"]),
        ({"N8N_DISABLE_UI": "false"}, ["/rest/settings"]),
        ({"N8N_DISABLE_UI": "yes"}, ["/rest/settings"]),  # n8n takes that for no
        ({"N8N_DISABLE_UI": "true"}, None),
        ({"N8N_DISABLE_UI": "TRUE", "N8N_PATH": "/n8n"}, None),
        ({"N8N_DISABLE_UI": "1"}, None),
    ],
)
def test_n8n_is_asked_for_its_settings_where_its_operator_put_them(
    environment: dict[str, str], paths: list[str] | None
) -> None:
    assert probe("n8n", environment).get("also") == paths


def test_each_service_is_asked_for_the_best_readiness_that_it_has() -> None:
    assert {name: probe(name, {}).get("path") for name in SERVICE_NAMES} == {
        "postgresql": None,
        "n8n": "/healthz/readiness",
        "ollama": "/api/tags",
        "qdrant": "/readyz",
        "crawl4ai": "/health",
    }
    assert {name: probe(name, {})["port"] for name in SERVICE_NAMES} == SERVICE_PORTS


@given(st.dictionaries(st.sampled_from(["N8N_PATH", "N8N_ENDPOINT_REST", "N8N_DISABLE_UI"]), st.text()))
def test_the_agent_can_read_every_probe(environment: dict[str, str]) -> None:
    for name in SERVICE_NAMES:
        assert Probe.parse(probe(name, environment)).port == SERVICE_PORTS[name]
