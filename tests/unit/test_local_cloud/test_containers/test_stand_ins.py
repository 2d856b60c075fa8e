"""Stand-ins are found by what their files declare."""

from __future__ import annotations

import pytest

from geusemaker.catalog import SERVICES
from geusemaker.local_cloud.containers.services import stand_ins


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_of_the_catalog_has_one_for_its_own_image(service: str) -> None:
    module = stand_ins.find(service)
    assert module is not None and callable(module.run)
    assert module.IMAGE.repository.removeprefix("library/") in SERVICES[service].repositories
    assert f"{SERVICES[service].port}/tcp" in module.IMAGE.config["ExposedPorts"] or SERVICES[service].serves_domains


@pytest.mark.parametrize("name", ["", "http", "nothing", "../run", "pgbinaries"])
def test_what_declares_no_image_is_none(name: str) -> None:
    assert stand_ins.find(name) is None and name not in stand_ins.images()
