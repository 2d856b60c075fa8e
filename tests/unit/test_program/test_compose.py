"""The Compose project: a pure function of the config."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from geusemaker.agent.project import compose_text
from geusemaker.catalog import SERVICE_NAMES, SERVICES
from geusemaker.catalog.service import Service
from geusemaker.errors import RefusedError
from geusemaker.models.image import ImageReference
from geusemaker.models.secrets import OwnSecret
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
    limits,
    missing_secrets,
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


def test_models_are_on_the_data_volume_where_the_deployment_says_so() -> None:
    usual = render(config(), data_volume=True)["services"]
    moved = render(config(), data_volume=True, models_on_volume=True)["services"]
    assert [name for name in moved if moved[name] != usual[name]] == ["ollama"]
    assert moved["ollama"]["volumes"] == ["${GEUSEMAKER_INSTANCE_ROOT:-}/mnt/data/ollama:/root/.ollama"]
    there = data_directories(config(), data_volume=True, models_on_volume=True)
    assert {entry["path"] for entry in there if entry["on"] == "volume"} == {"qdrant", "ollama"}
    none = data_directories(config(), data_volume=False, models_on_volume=True)
    assert {entry["on"] for entry in none} == {"efs"}


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


def test_enabling_a_service_of_the_fixed_sum_restarts_no_other() -> None:
    of_the_sum = [name for name in SERVICE_NAMES if SERVICES[name].since]
    few, all_ = (
        render(config("postgresql", "n8n"), data_volume=True)["services"],
        render(config(*of_the_sum), data_volume=True)["services"],
    )
    assert few == {name: all_[name] for name in few}


def test_a_service_beside_the_fixed_sum_takes_of_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    later = replace(SERVICES["crawl4ai"], since=None)
    monkeypatch.setitem(cast("dict[ServiceName, Service]", SERVICES), "crawl4ai", later)
    instance = InstanceFacts(memory_mib=512 + 1700)
    alone, beside = (limits(config(*names), instance) for names in (["ollama"], ["ollama", "crawl4ai"]))
    assert alone["ollama"] == beside["ollama"] == 1700 * 8 // 14 and beside["crawl4ai"] == 1700 * 3 // 14
    assert limits(config(), instance) == {"postgresql": 200, "n8n": 200, "ollama": 800, "qdrant": 200, "crawl4ai": 300}


@given(st.integers(512, 800_000), st.integers(1, NEWEST_RENDERING))
def test_memory_limits_fit_the_instance(memory_mib: int, rendering: int) -> None:
    all_ = config().model_copy(update={"rendering": rendering})
    found, larger = (limits(all_, InstanceFacts(memory_mib=mib)) for mib in (memory_mib, memory_mib + 1024))
    assert set(found) == set(all_.services)
    assert sum(found.values()) < memory_mib and min(found.values()) >= 64
    assert all(found[name] <= larger[name] for name in found)


@pytest.mark.parametrize(
    ("memory_mib", "ollama", "n8n"),
    # t3.large; g4dn.xlarge; g5.2xlarge; g5.4xlarge; g5.12xlarge
    [(8192, 3616, 903), (16384, 7471, 1867), (32768, 16778, 3794), (65536, 48640, 4096), (196608, 179712, 4096)],
)
def test_ollama_has_what_the_others_leave(memory_mib: int, ollama: int, n8n: int) -> None:
    instance = InstanceFacts(memory_mib=memory_mib)
    found = limits(config(rendering=3), instance)
    assert (found["ollama"], found["n8n"]) == (ollama, n8n)
    assert sum(found.values()) == memory_mib - 512
    assert found["ollama"] >= limits(config(rendering=2), instance)["ollama"]


def test_ollama_has_what_those_leave_that_run() -> None:
    instance = InstanceFacts(memory_mib=512 + 1700)
    assert limits(config("ollama", rendering=3), instance) == {"ollama": 1700}
    few = limits(config("postgresql", "n8n", "ollama", rendering=3), instance)
    assert few == {"postgresql": 200, "n8n": 200, "ollama": 1300}
    assert limits(config("postgresql", "n8n", rendering=3), instance) == {"postgresql": 200, "n8n": 200}


def test_no_secret_is_in_the_file_and_each_service_gets_only_its_own() -> None:
    secrets = generate()
    text = json.dumps(render(config(), data_volume=True))
    assert not [value for value in secrets.texts if value in text]

    environment = secret_environment(config(), secrets)
    assert set(environment) == {"postgresql", "n8n", "crawl4ai"}
    assert environment["postgresql"] == {"POSTGRES_PASSWORD": secrets.postgresql_password}
    assert environment["n8n"]["DB_POSTGRESDB_PASSWORD"] == secrets.postgresql_password
    assert secret_environment(config("qdrant"), secrets) == {}
    for name, service in render(config(), data_volume=True)["services"].items():
        assert ("env_file" in service) is (name in environment)


def test_a_secret_variable_comes_by_the_env_file_and_is_not_in_the_compose_file() -> None:
    own = {"smtp": OwnSecret(value="a value of smtp")}
    secrets = generate().model_copy(update={"own": own})
    services = dict(config().services)
    given = {"OLLAMA_LOAD_TIMEOUT": "smtp", "TOKEN": "crawl4ai_token"}
    services["ollama"] = services["ollama"].model_copy(update={"secret_environment": given})
    with_one = config().model_copy(update={"services": services})

    definition = render(with_one, data_volume=True)["services"]["ollama"]
    assert definition["env_file"] == ["./ollama.env"]
    assert "OLLAMA_LOAD_TIMEOUT" not in definition["environment"], "it would win over the env file"
    assert "a value of smtp" not in json.dumps(definition)
    assert secret_environment(with_one, secrets)["ollama"] == {
        "OLLAMA_LOAD_TIMEOUT": "a value of smtp",
        "TOKEN": secrets.crawl4ai_token,
    }
    others = {name: one for name, one in render(with_one, data_volume=True)["services"].items() if name != "ollama"}
    before = render(config(), data_volume=True)["services"]
    assert others == {name: one for name, one in before.items() if name != "ollama"}


def test_a_secret_that_there_is_not_is_an_error_and_no_empty_variable() -> None:
    services = dict(config().services)
    services["n8n"] = services["n8n"].model_copy(update={"secret_environment": {"SMTP_PASS": "smtp"}})
    with_one = config().model_copy(update={"services": services})
    assert missing_secrets(with_one, generate()) == {"n8n.SMTP_PASS": "smtp"}
    with pytest.raises(RefusedError, match=r"There is no secret smtp, which n8n\.SMTP_PASS is to have"):
        secret_environment(with_one, generate())


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
