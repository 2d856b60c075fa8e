from __future__ import annotations

import pytest

from geusemaker.catalog import PROXY
from geusemaker.errors import InvalidInputError
from geusemaker.models.image import ImageReference
from geusemaker.models.stack import ServiceConfig
from geusemaker.services.reach.ports import Port, ports_of, to_open, way_in
from tests.unit.samples import DIGEST, config


def test_each_service_has_a_port_and_one_of_them_is_no_page() -> None:
    ports = ports_of(config())
    assert ports["n8n"] == Port(5678, http=True) and ports["postgresql"] == Port(5432, http=False)
    assert set(ports) == set(config().services) and ports_of(None) == {}


def test_the_editor_is_opened_else_the_first_page() -> None:
    everything = config()
    assert to_open(everything, "prod") == "n8n"
    vectors = {"qdrant": ServiceConfig(image=ImageReference.parse(f"qdrant/qdrant:v1.20.0@{DIGEST}"))}
    services = {"postgresql": everything.services["postgresql"], **vectors}
    assert to_open(everything.model_copy(update={"services": services}), "prod") == "qdrant"
    database = everything.model_copy(update={"services": {"postgresql": everything.services["postgresql"]}})
    assert way_in(everything, "prod") == "`geusemaker open prod` shows n8n in your browser."
    assert way_in(database, "prod") == "`geusemaker tunnel prod` leads to its services."
    with pytest.raises(InvalidInputError, match="no service that a browser can open"):
        to_open(database, "prod")


def test_the_proxy_is_for_the_world_and_not_for_a_tunnel() -> None:
    proxy = ServiceConfig(image=ImageReference.parse(f"caddy:2.10@{DIGEST}"))
    behind = config().model_copy(update={"services": {**config().services, PROXY.name: proxy}})
    assert ports_of(behind) == ports_of(config())
