"""The Compose project: a pure function of the config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from geusemaker.agent.project import compose_text
from geusemaker.catalog import SERVICE_NAMES, SERVICES
from geusemaker.models.image import ImageReference
from geusemaker.models.stack import (
    NEWEST_RENDERING,
    InstanceFacts,
    ServiceConfig,
    ServiceName,
    StackConfig,
)
from geusemaker.program.compose import (
    carried,
    data_directories,
    expanded,
    memory_limits,
    probes,
    render,
    secret_environment,
)
from geusemaker.services.secrets import generate
from tests.unit.samples import DIGEST

RENDERINGS = Path(__file__).parent / "renderings"


def config(*names: ServiceName, **more: Any) -> StackConfig:
    """A config of these services, digests resolved; all of them without names."""
    services = {
        name: ServiceConfig(image=ImageReference.parse(SERVICES[name].image).pinned(DIGEST))
        for name in names or SERVICE_NAMES
    }
    return StackConfig(services=services, **more)


def test_what_all_services_have_in_common() -> None:
    for name, service in render(config(), data_volume=True)["services"].items():
        assert service["image"].endswith(f"@{DIGEST}"), "by digest, so that a moved tag brings no other bytes"
        assert service["restart"] == "unless-stopped"
        port = SERVICES[name].port
        assert service["ports"] == [f"${{GEUSEMAKER_LOOPBACK:-127.0.0.1}}:{port}:{port}"], "loopback only"
        assert service["mem_limit"].endswith("m") and service["labels"]["io.geusemaker.image"] == SERVICES[name].image


def test_data_is_under_the_mount() -> None:
    volumes = {name: service.get("volumes") for name, service in render(config(), data_volume=True)["services"].items()}
    assert volumes["crawl4ai"] is None
    for name in ("postgresql", "n8n", "ollama", "qdrant"):
        place = "data" if name == "qdrant" else "efs"
        assert len(volumes[name]) == 1
        assert volumes[name][0].startswith(f"${{GEUSEMAKER_INSTANCE_ROOT:-}}/mnt/{place}/{name}:/")
    owners = {entry["path"]: entry["uid"] for entry in data_directories(config(), data_volume=True)}
    assert owners.keys() == {name for name in volumes if volumes[name] is not None}
    assert owners.items() >= {"postgresql": 999, "n8n": 1000, "ollama": 0, "qdrant": 0}.items()


def test_a_directory_is_its_image_s_user_s() -> None:
    images: dict[ServiceName, str] = {
        "postgresql": "postgres:17-alpine3.22",
        "qdrant": "qdrant/qdrant:v1.15.5-unprivileged",
    }
    services = dict(config().services)
    for name, tag in images.items():
        services[name] = ServiceConfig(image=ImageReference.parse(tag))
    found = data_directories(config().model_copy(update={"services": services}), data_volume=False)
    assert {entry["path"]: (entry["uid"], entry["gid"]) for entry in found if entry["path"] in images} == {
        "postgresql": (70, 70),
        "qdrant": (1000, 1000),
    }


def test_qdrant_is_on_the_data_volume_where_there_is_one() -> None:
    places = {
        (has_volume, entry["path"]): entry["on"]
        for has_volume in (True, False)
        for entry in data_directories(config(), data_volume=has_volume)
    }
    theirs = [name for name, known in SERVICES.items() if known.data is not None and known.data.on_volume]
    assert "qdrant" in theirs
    assert [key for key, place in places.items() if place == "volume"] == [(True, name) for name in theirs]
    before = render(config(), data_volume=False)["services"]
    assert before["qdrant"]["volumes"] == ["${GEUSEMAKER_INSTANCE_ROOT:-}/mnt/efs/qdrant:/qdrant/storage"]
    now = render(config(), data_volume=True)["services"]
    assert [name for name in now if now[name] != before[name]] == theirs


def test_what_upstreams_need() -> None:
    services = render(config(), data_volume=True)["services"]
    assert services["n8n"]["environment"]["DB_TYPE"] == "postgresdb"
    assert services["postgresql"]["environment"]["PGDATA"].startswith("/var/lib/postgresql/data/")
    assert services["postgresql"]["stop_grace_period"] == "60s"
    assert services["ollama"]["environment"]["OLLAMA_NOPRUNE"] == "1"
    assert services["crawl4ai"]["shm_size"] == "1g"


@pytest.mark.parametrize("gpus", [0, 1, 4])
def test_a_gpu_is_reserved_only_where_there_is_one(gpus: int) -> None:
    services = render(config(instance=InstanceFacts(gpus=gpus)), data_volume=True)["services"]
    assert ("deploy" in services["ollama"]) is bool(gpus) and "deploy" not in services["n8n"]


def test_an_operators_environment_is_added() -> None:
    base = config("qdrant")
    service = base.services["qdrant"].model_copy(update={"environment": {"QDRANT__LOG_LEVEL": "DEBUG"}})
    rendered = render(base.model_copy(update={"services": {"qdrant": service}}), data_volume=True)
    assert rendered["services"]["qdrant"]["environment"] == {"QDRANT__LOG_LEVEL": "DEBUG"}


@pytest.mark.parametrize("number", range(1, NEWEST_RENDERING + 1))
def test_a_stored_config_becomes_the_same_file_byte_by_byte(number: int) -> None:
    """Golden files: a change of one restarts services that nobody touched. Make a new rendering instead."""
    stored = json.loads((RENDERINGS / f"{number}-config.json").read_text())
    config = StackConfig.model_validate(stored)
    assert config.rendering == number
    assert compose_text(render(config, data_volume=True)) == (RENDERINGS / f"{number}-compose.json").read_text()


def test_a_rendering_that_is_not_known_is_no_config() -> None:
    with pytest.raises(ValidationError):
        config(rendering=NEWEST_RENDERING + 1)


def test_logs_are_bounded_and_nothing_but_our_own_places_is_a_template() -> None:
    services: dict[ServiceName, ServiceConfig] = {
        "n8n": ServiceConfig(image=config().services["n8n"].image, environment={"A": "$B ${C} $$"})
    }
    services["postgresql"] = config().services["postgresql"]
    now = render(StackConfig(services=services, rendering=2), data_volume=True)["services"]
    assert all(service["logging"]["options"] == {"max-size": "20m", "max-file": "5"} for service in now.values())
    assert now["n8n"]["environment"]["A"] == "$$B $${C} $$$$"
    assert now["n8n"]["volumes"] == ["${GEUSEMAKER_INSTANCE_ROOT:-}/mnt/efs/n8n:/home/node/.n8n"]


@pytest.mark.parametrize(
    ("typed", "was", "becomes"),
    [
        ("plain", "plain", "plain"),
        ("a$$b", "a$b", "a$b"),  # somebody who knew
        ("5$", "5$", "5$"),
        ("pa$word", "pa", "pa$word"),  # somebody who did not
        ("a$$b${C}", "a$b", "a$$b${C}"),
        ("${A:-b}", "${A:-b}", "${A:-b}"),
    ],
)
def test_a_value_of_the_first_rendering(typed: str, was: str, becomes: str) -> None:
    assert (expanded(typed), carried(typed)) == (was, becomes)


def test_enabling_a_service_restarts_no_other() -> None:
    few, all_ = (
        render(config("postgresql", "n8n"), data_volume=True)["services"],
        render(config(), data_volume=True)["services"],
    )
    assert few == {name: all_[name] for name in few}


@given(st.integers(512, 800_000), st.integers(1, NEWEST_RENDERING))
def test_memory_limits_fit_the_instance(memory_mib: int, rendering: int) -> None:
    limits = memory_limits(memory_mib, rendering)
    assert set(limits) == set(SERVICE_NAMES)
    known = [limit for name, limit in limits.items() if SERVICES[name].since <= rendering]
    assert sum(known) < memory_mib and min(limits.values()) >= 64
    assert all(limits[name] <= memory_limits(memory_mib + 1024, rendering)[name] for name in limits)


def test_no_secret_is_in_the_file_and_each_service_gets_only_its_own() -> None:
    secrets = generate()
    text = json.dumps(render(config(), data_volume=True))
    assert not [value for value in secrets.model_dump().values() if value in text]

    environment = secret_environment(config(), secrets)
    assert set(environment) == {"postgresql", "n8n", "crawl4ai"}
    assert environment["postgresql"] == {"POSTGRES_PASSWORD": secrets.postgresql_password}
    assert environment["n8n"]["DB_POSTGRESDB_PASSWORD"] == secrets.postgresql_password
    assert secret_environment(config("qdrant"), secrets) == {}
    for name, service in render(config(), data_volume=True)["services"].items():
        assert ("env_file" in service) is (name in environment)


@pytest.mark.parametrize("name", SERVICE_NAMES)
def test_no_variable_that_we_set_can_be_overridden_but_by_name(name: ServiceName) -> None:
    ours = set(render(config(), data_volume=True)["services"][name]["environment"]) | set(
        secret_environment(config(), generate()).get(name, {})
    )
    assert ours - SERVICES[name].reserved_names <= {"OLLAMA_LOAD_TIMEOUT"}


def test_n8n_waits_for_postgresql_in_the_gate_and_not_in_compose() -> None:
    """With Compose's ``depends_on``, Compose 2.26 restarts n8n whenever PostgreSQL's definition changes."""
    assert not [
        name for name, service in render(config(), data_volume=True)["services"].items() if "depends_on" in service
    ]
    assert {name: probe["depends_on"] for name, probe in probes(config()).items() if probe["depends_on"]} == {
        "n8n": ["postgresql"]
    }


def test_probes_want_the_very_image() -> None:
    found = probes(config())
    assert found["n8n"] == {
        "image": f"{SERVICES['n8n'].image}@{DIGEST}",
        "probe": {
            "kind": "http",
            "path": "/healthz/readiness",
            "fallback": "/healthz",
            "json": True,
            "also": ["/rest/settings"],
            "port": 5678,
        },
        "deadline_seconds": 180,
        "depends_on": ["postgresql"],
    }
    assert found["postgresql"]["probe"] == {"kind": "postgresql", "port": 5432}
