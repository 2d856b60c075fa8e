"""The walls inside: who shares a network with whom, and what containers may do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from geusemaker.catalog import SERVICES
from geusemaker.catalog.hosts import named_hosts
from geusemaker.models.image import ImageReference
from geusemaker.models.own import OwnService
from geusemaker.models.request import ConfigRequest
from geusemaker.models.site import Site
from geusemaker.models.stack import ServiceConfig, ServiceName, StackConfig
from geusemaker.models.stack_file import StackFile
from geusemaker.program.compose import missing_secrets, render, secret_environment
from geusemaker.program.walls import cut_off, networks, reached
from geusemaker.services.desired import wished_config
from geusemaker.services.secrets import completed, generate
from tests.unit.test_program.test_compose import config

EXAMPLES = Path(__file__).parents[3] / "examples"
SITE = Site(domains={"n8n": "n8n.example.com"})


def walled(*names: ServiceName, own: dict[str, OwnService] | None = None, **environment: dict[str, str]) -> StackConfig:
    """A config with walls, with services of one's own and these environments."""
    services = dict(config(*names).services)
    for name, one in (own or {}).items():
        services[name] = ServiceConfig(image=ImageReference.parse("redis:7.4.11"), own=one)
    for name, variables in environment.items():
        services[name] = services[name].model_copy(update={"environment": variables})
    return StackConfig(services=services, rendering=3)


def example(name: str) -> StackConfig:
    text = (EXAMPLES / name).read_text()
    return wished_config(ConfigRequest(desired=StackFile.parse(text, name)), None)


def test_what_opens_any_page_reaches_n8n_alone_and_a_database_is_reached_by_n8n_alone() -> None:
    assert networks(walled()) == {
        "postgresql": ("postgresql", "n8n"),
        "n8n": ("n8n",),
        "ollama": ("ollama", "n8n"),
        "qdrant": ("qdrant", "n8n"),
        "crawl4ai": ("crawl4ai", "n8n"),
    }
    assert {name: reached(walled(), name) for name in ("crawl4ai", "postgresql", "qdrant", "ollama")} == dict.fromkeys(
        ("crawl4ai", "postgresql", "qdrant", "ollama"), ("n8n",)
    )
    assert reached(walled(), "n8n") == ("postgresql", "ollama", "qdrant", "crawl4ai")


def test_an_own_service_reaches_what_it_needs_and_is_reached_by_n8n() -> None:
    apart = walled(own={"chat": OwnService(needs=("ollama",)), "cache": OwnService()})
    assert reached(apart, "chat") == ("n8n", "ollama", "cache") and reached(apart, "cache") == ("n8n", "chat")
    assert "chat" in reached(apart, "n8n") and reached(apart, "postgresql") == ("n8n",)
    alone = walled("ollama", own={"chat": OwnService(needs=("ollama",)), "cache": OwnService()})
    assert reached(alone, "chat") == ("ollama",) and reached(alone, "cache") == ()


def test_no_other_is_replaced_when_a_service_comes_or_goes() -> None:
    few, all_ = walled("postgresql", "n8n"), walled(own={"cache": OwnService(needs=("postgresql",))})
    before, after = (render(one, data_volume=True) for one in (few, all_))
    for name in ("postgresql", "n8n"):
        assert before["services"][name]["networks"] == after["services"][name]["networks"]
    assert set(before["services"]["n8n"]["networks"]) <= before["networks"].keys()


def test_crawl4ai_reaches_a_model_that_it_is_told_of_and_never_what_holds_data() -> None:
    told = walled(
        crawl4ai={"LLM_BASE_URL": "http://ollama:11434/v1", "A": "http://qdrant:6333", "B": "pg://u:p@postgresql/n8n"}
    )
    assert reached(told, "crawl4ai") == ("n8n", "ollama")


@pytest.mark.parametrize(
    ("value", "hosts"),
    [
        ("http://ollama:11434", ("ollama",)),
        ("postgres://me:word@postgresql:5432/x", ("postgresql",)),
        ("redis://redis", ("redis",)),
        ("https://example.com/ollama", ()),
        ("ollama", ()),
        ("http://a/ http://b?c", ("a", "b")),
    ],
)
def test_hosts_in_urls(value: str, hosts: tuple[str, ...]) -> None:
    assert named_hosts([value]) == hosts


def test_caddy_is_with_those_that_have_a_domain() -> None:
    base = walled()
    caddy = ServiceConfig(image=ImageReference.parse("caddy:2.11.9"))
    apart = base.model_copy(update={"services": {**base.services, "caddy": caddy}})
    assert "caddy" not in networks(apart)
    assert networks(apart, SITE)["n8n"] == ("n8n", "caddy") and networks(apart, SITE)["caddy"] == ("caddy",)
    assert reached(apart, "caddy", SITE) == ("n8n",)
    assert render(apart, data_volume=True, site=SITE)["services"]["caddy"]["cap_add"] == ["NET_BIND_SERVICE"]


@pytest.mark.parametrize("name", ["n8n-queue.yaml", "open-webui.yaml"])
def test_the_examples_reach_what_they_are_told_to_call(name: str) -> None:
    apart = example(name)
    assert apart.rendering >= 3 and cut_off(apart) == []
    if name == "n8n-queue.yaml":
        assert set(reached(apart, "worker")) >= {"postgresql", "redis", "n8n"}


def test_what_is_told_to_call_what_it_does_not_reach_is_found() -> None:
    service = OwnService(needs=("n8n",))
    worker = ServiceConfig(
        image=ImageReference.parse("n8nio/n8n:2.42.6"),
        own=service,
        environment={
            "DB_POSTGRESDB_HOST": "postgresql",
            "DB_TYPE": "qdrant",
            "N8N": "http://n8n:5678",
            "X_HOST": "me.com",
        },
    )
    base = walled()
    apart = base.model_copy(update={"services": {**base.services, "worker": worker}})
    assert cut_off(apart) == [
        "worker.DB_POSTGRESDB_HOST names postgresql, which worker does not reach: add postgresql to its needs"
    ]
    assert cut_off(apart.model_copy(update={"rendering": 2})) == []


def test_what_containers_keep() -> None:
    services = render(walled(own={"cache": OwnService()}), data_volume=True)["services"]
    taken = {name: (one.get("cap_drop"), one.get("cap_add"), one.get("security_opt")) for name, one in services.items()}
    none, closed = ["ALL"], ["no-new-privileges:true"]
    assert taken["n8n"] == taken["crawl4ai"] == (none, None, closed)
    assert taken["postgresql"] == (none, ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"], closed)
    assert taken["qdrant"] == taken["ollama"] == (none, ["DAC_OVERRIDE"], closed)
    assert taken["cache"] == (None, None, None), "nobody but its operator knows what it needs"
    assert services["cache"]["networks"] == ["cache", "n8n"]


@pytest.mark.parametrize(
    ("tag", "is_read_only"), [("0.9.5", True), ("0.9.0", True), ("0.8.9", False), ("latest", False)]
)
def test_crawl4ai_is_as_its_makers_have_it_where_its_release_is_made_for_it(tag: str, is_read_only: bool) -> None:
    keeps = SERVICES["crawl4ai"].confinement(ImageReference.parse(f"unclecode/crawl4ai:{tag}"))
    assert keeps is not None
    assert (keeps.read_only, bool(keeps.writable), keeps.processes > 0) == (is_read_only,) * 3


def test_earlier_renderings_have_no_walls() -> None:
    for number in (1, 2):
        project: dict[str, Any] = render(walled().model_copy(update={"rendering": number}), data_volume=True)
        assert "networks" not in project and not any("cap_drop" in one for one in project["services"].values())


def test_qdrant_has_a_generated_key_unless_the_operator_has_one() -> None:
    secrets = generate()
    key = {"QDRANT__SERVICE__API_KEY": secrets.qdrant_key}
    assert secret_environment(walled("qdrant"), secrets)["qdrant"] == key and len(secrets.qdrant_key) >= 24
    assert "qdrant" not in secret_environment(walled("qdrant").model_copy(update={"rendering": 2}), secrets)
    for name in ("QDRANT__SERVICE__API_KEY", "qdrant__service__api_key"):
        assert "qdrant" not in secret_environment(walled("qdrant", qdrant={name: "mine"}), secrets)


def test_no_service_starts_with_an_empty_secret() -> None:
    before = generate().model_copy(update={"qdrant_key": ""})
    assert missing_secrets(walled("qdrant"), before) == {"qdrant.QDRANT__SERVICE__API_KEY": "qdrant_key"}
    whole = completed(before)
    assert whole.qdrant_key and whole.model_copy(update={"qdrant_key": ""}) == before
    assert completed(whole) is whole
    assert "qdrant_key" not in before.generated and before.find("qdrant_key") is None
