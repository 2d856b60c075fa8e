"""What holds of every service, and what a service is without rules of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.agent.probes import Probe
from geusemaker.catalog import (
    COPIED,
    DATABASE,
    JUDGED,
    MIGRATED,
    PROXY,
    REPOSITORIES,
    SERVICE_ALIASES,
    SERVICE_NAMES,
    SERVICES,
)
from geusemaker.catalog.rules import Ask, DataFacts, release
from geusemaker.catalog.service import Service
from geusemaker.models.checkpoint import Checkpoint, DataNow
from geusemaker.models.image import ImageReference
from geusemaker.models.secrets import GENERATED, USABLE
from geusemaker.models.stack import NEWEST_RENDERING
from tests.unit.samples import NIGHT


def test_the_names_are_those_of_the_catalog() -> None:
    assert set(SERVICES) - set(SERVICE_NAMES) == {PROXY.name}, "which comes and goes with the domains"
    assert SERVICE_NAMES == ("postgresql", "n8n", "ollama", "qdrant", "crawl4ai"), "in the order in which they start"
    assert not SERVICE_ALIASES.keys() & SERVICES.keys()
    assert len({service.port for service in SERVICES.values()}) == len(SERVICES)
    assert [service.name for service in JUDGED] == ["postgresql", "qdrant", "n8n"]
    assert COPIED == ("postgresql", "qdrant") and (MIGRATED.name, DATABASE.name) == ("n8n", "postgresql")


def test_what_a_service_needs_starts_before_it_and_is_said() -> None:
    for name, service in SERVICES.items():
        before = list(SERVICES)[: list(SERVICES).index(name)]
        assert set(service.needs) <= set(before) and bool(service.needs) == bool(service.needs_why)


def test_every_image_is_an_official_one_of_a_release() -> None:
    for service in SERVICES.values():
        image = ImageReference.parse(service.image)
        assert image.repository in service.repositories and image.release is not None and image.digest is None
    assert len({*REPOSITORIES}) == len(REPOSITORIES) >= len(SERVICES)


def test_new_deployments_get_images_without_published_holes() -> None:
    """Floors of 29 November 2026: below these are remote code executions that were published."""
    floors = {"n8n": (2, 42, 6), "crawl4ai": (0, 9, 4), "postgresql": (17, 12), "ollama": (0, 17, 1), "qdrant": (1, 19)}
    floors["caddy"] = (2, 11, 5)
    assert SERVICES.keys() == floors.keys()
    for name, service in SERVICES.items():
        assert (ImageReference.parse(service.image).release or ()) >= floors[name], service.image


def test_every_secret_is_generated_and_reserved() -> None:
    fields = {
        field for service in SERVICES.values() for field in (*service.secrets.values(), *service.third_secrets.values())
    }
    assert fields == set(GENERATED) - {"ssh_private_key", "host_private_key"} == set(USABLE)
    for service in SERVICES.values():
        assert service.secrets.keys() | service.environment.keys() <= service.reserved_names | service.open
        assert service.second_environment.keys() <= service.reserved_names and NEWEST_RENDERING >= 2


def test_every_service_can_hold_data_and_memory() -> None:
    for service in SERVICES.values():
        assert (service.memory_share > 0) is not (service.memory_mib > 0)
        assert service.least_memory(ImageReference(repository="a", tag="latest")) >= 128
        assert service.data is None or service.data.path.startswith("/")
        assert service.data is not None or not (service.copied or service.has_rules or service.listed)


def test_each_service_is_asked_for_the_best_readiness_that_it_has() -> None:
    assert {name: SERVICES[name].probe({}).get("path") for name in SERVICE_NAMES} == {
        "postgresql": None,
        "n8n": "/healthz/readiness",
        "ollama": "/api/tags",
        "qdrant": "/readyz",
        "crawl4ai": "/health",
    }
    assert {name: SERVICES[name].probe({})["port"] for name in SERVICES} == {
        name: service.port for name, service in SERVICES.items()
    }


@given(st.dictionaries(st.sampled_from(["N8N_PATH", "N8N_ENDPOINT_REST", "N8N_DISABLE_UI"]), st.text()))
def test_the_agent_can_read_every_probe(environment: dict[str, str]) -> None:
    for name in SERVICE_NAMES:
        assert Probe.parse(SERVICES[name].probe(environment)).port == SERVICES[name].port


def test_a_service_without_rules_is_in_nobodys_way() -> None:
    plain = Service(
        name="ollama",
        title="Plain",
        image="plain:1.0",
        repositories=("plain",),
        port=1,
        memory_share=1,
        least_mib=64,
        readiness={"kind": "http", "path": "/"},
    )
    image = ImageReference.parse("plain:1.0")
    assert plain.probe({}) == {"kind": "http", "path": "/", "port": 1}
    assert not plain.has_rules and not plain.reserved_names and plain.misfits(ImageReference.parse("a:1"), {}, {}) == []
    assert plain.image_notice(image, image) is None and not plain.known_to_work(image, [image])
    assert not plain.is_all_or_nothing(image)
    assert plain.compatibility(image, DataFacts(), Ask(lenient=False, back="fail", copied=())) is None
    held = Checkpoint(checkpoint="v1/op-1", version=1, operation="op-1", kind="update", taken_at=NIGHT)
    assert plain.restore_check(held, DataNow(), image) is None and plain.restore_notice(held) == ""
    assert plain.own_secrets == () and plain.reserved_among(["A"]) == []


@pytest.mark.parametrize(
    ("tag", "numbers"),
    [("v1.14.1", (1, 14, 1)), ("1.14", (1, 14, 0)), ("v1.14.1-gpu", (1, 14, 1)), ("latest", None), ("v1", None)],
)
def test_release_of_a_tag(tag: str, numbers: tuple[int, int, int] | None) -> None:
    assert release(tag) == numbers


@pytest.mark.parametrize(
    ("image", "holed"),
    [
        ("n8nio/n8n:1.64.3", False),
        ("n8nio/n8n:1.65.0", True),
        ("n8nio/n8n:1.120.4", True),
        ("n8nio/n8n:1.121.0", False),
        ("n8nio/n8n:2.42.6", False),
        ("n8nio/n8n:latest", False),
        ("unclecode/crawl4ai:0.8.7", True),
        ("unclecode/crawl4ai:0.9.0", False),
        ("unclecode/crawl4ai:latest", True),
        ("qdrant/qdrant:v1.20.0", False),
    ],
)
def test_known_holes(image: str, holed: bool) -> None:
    service = next(service for service in SERVICES.values() if image.startswith(service.repositories[0]))
    assert bool(service.hole(ImageReference.parse(image))) is holed
