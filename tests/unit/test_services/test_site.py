"""The deployment's domains: asked for, planned, kept by what goes back, and taken away."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.errors import InvalidInputError, RefusedError
from geusemaker.models.image import ImageReference
from geusemaker.models.own import OwnService
from geusemaker.models.request import DeployRequest
from geusemaker.models.site import Site
from geusemaker.models.stack import ServiceConfig
from geusemaker.services.diff.service import DiffService
from tests.unit.fakes import Shown, World

HOST = "n8n.example.com"
FIXED = "1.123.5"


@pytest.fixture
def opened(deployed: World) -> World:
    """v2 has an n8n without known holes, and v3 a domain."""
    assert deployed.n8n(FIXED).success
    assert deployed.update(domains={"n8n": HOST}).success
    return deployed


def site(world: World) -> Site | None:
    """What the deployment has."""
    target = world.state().target
    assert target is not None
    return target.site


def n8n_environment(world: World) -> dict[str, str]:
    """What n8n was started with."""
    found: dict[str, str] = world.machine.definitions["n8n"][0]["environment"]
    return found


def test_a_domain_brings_caddy_and_says_what_it_opens(deployed: World) -> None:
    deployed.n8n(FIXED)
    shown = Shown()
    result = deployed.update(shown, domains={"n8n": HOST.upper() + "."})

    assert result.success and site(deployed) == Site(
        domains={"n8n": HOST}, http_port=10080, https_port=10443, internal_ca=True
    )
    [plan] = shown.plans
    assert {(change.path, change.new) for change in plan.changes} >= {
        ("domain.n8n", HOST),
        ("open_ports", "10080 and 10443"),
    }
    assert plan.exposure[0] == "opens 10080 and 10443 to the whole internet"
    assert "it answers 503 until n8n has an owner" in plan.exposure[1]
    assert plan.downtime == (
        "caddy: new, starts beside the others. n8n: a few seconds while the container is replaced. "
        "The others keep running."
    )
    assert deployed.machine.services["caddy"].startswith("caddy:2.11.9@sha256:")


def test_a_rollback_keeps_the_domain_and_what_answers_under_it(opened: World) -> None:
    shown = Shown()
    result = opened.rollback(shown, expose_known_hole=True)

    assert result.success and result.source_version == 1, "v2 asks for nothing else than v3: domains are of no version"
    assert site(opened) is not None and "caddy" in opened.machine.services
    assert not [change for change in shown.plans[0].changes if change.path.startswith(("domain", "caddy"))]
    again = opened.rollback(to_version=3)
    assert again.success and site(opened) is not None


def test_what_goes_back_to_a_known_hole_is_closed_unless_it_is_asked_for(opened: World) -> None:
    shown = Shown()
    assert opened.rollback(shown, to_version=1).success
    assert "is closed: n8nio/n8n:1.100.1 has a known hole (CVE-2026-21858" in shown.plans[0].exposure[0]

    assert opened.update(shown, expose_known_hole=True).success
    assert "is open although n8nio/n8n:1.100.1 has a known hole" in shown.plans[1].exposure[0]
    found = site(opened)
    assert found is not None and found.exposed == ("n8nio/n8n:1.100.1",)

    assert opened.n8n("1.124.0").success
    assert opened.rollback(shown, to_version=1).success
    assert "is closed" in shown.plans[2].exposure[0], "it is to be asked for each time"


def test_a_failed_opening_is_taken_back_with_its_domain(deployed: World) -> None:
    deployed.n8n(FIXED)
    deployed.machine.ill = {"caddy"}
    result = deployed.update(domains={"n8n": HOST})

    assert (result.exit_code, result.rolled_back_to) == (3, 2)
    assert site(deployed) is None and "caddy" not in deployed.machine.services
    assert deployed.state().active is not None and not deployed.state().unsettled


def test_a_failed_change_of_the_host_alone_goes_back_as_well(opened: World) -> None:
    opened.machine.after_apply = lambda: setattr(
        opened.machine, "ill", {"n8n"} if (found := pending(opened)) and found.domains["n8n"] != HOST else set()
    )
    result = opened.update(domains={"n8n": "other.example.com"})

    assert (result.exit_code, result.rolled_back_to) == (3, 3)
    found = site(opened)
    assert found is not None and found.domains == {"n8n": HOST}


def pending(world: World) -> Site | None:
    """What is being made real."""
    target = world.engine.stored_target()
    return target.site if target is not None else None


def test_after_a_failed_opening_that_stays_a_rollback_closes_it(deployed: World) -> None:
    deployed.n8n(FIXED)
    deployed.machine.ill = {"caddy"}
    assert deployed.update(domains={"n8n": HOST}, auto_rollback=False).exit_code == 4
    deployed.machine.ill = set()

    assert deployed.rollback().source_version == 2
    assert site(deployed) is None and "caddy" not in deployed.machine.services


@pytest.mark.parametrize("how", [{"no_domain": True}, {"domains": {"n8n": ""}}])
def test_a_domain_is_taken_away(opened: World, how: dict[str, Any]) -> None:
    shown = Shown()
    assert opened.update(shown, **how).success
    assert site(opened) is None and "caddy" not in opened.machine.services
    assert shown.plans[0].exposure == (f"closes 10080 and 10443; {HOST} answers no more",)
    assert opened.update(**how).version == 4, "it is that already"
    assert opened.rollback(expose_known_hole=False).source_version == 1 and "caddy" not in opened.machine.services


def test_a_first_deploy_may_have_one_and_a_later_deploy_keeps_it(world: World) -> None:
    assert world.deploy(DeployRequest(domains={"n8n": HOST})).success
    found = site(world)
    assert found is not None and found.domains == {"n8n": HOST} and "caddy" in world.machine.services


@pytest.mark.parametrize(
    ("domains", "said"),
    [
        ({"qdrant": HOST}, "Qdrant gets no domain: it asks nobody who they are"),
        ({"ollama": HOST}, "Ollama gets no domain: it asks nobody who they are"),
        ({"caddy": HOST}, "Caddy gets no domain: it is what answers under the domains of others"),
        ({"n8n": "https://n8n.example.com"}, "is no domain"),
        ({"n8n": "203.0.113.7"}, "is no domain"),
        ({"n8n": "localhost"}, "is no domain"),
        ({"n8n": HOST, "crawl4ai": HOST}, "Each service needs a domain of its own"),
    ],
)
def test_what_cannot_have_a_domain(deployed: World, domains: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        deployed.update(domains=domains)


def test_what_does_not_go_together_is_refused(opened: World) -> None:
    with pytest.raises(InvalidInputError, match=r"n8n\.WEBHOOK_URL is set by geusemaker: it follows from the domain"):
        opened.update(environment={"n8n": {"WEBHOOK_URL": "https://elsewhere/"}})
    with pytest.raises(InvalidInputError, match="does not tell whether it has an owner"):
        opened.update(environment={"n8n": {"N8N_DISABLE_UI": "true"}})
    with pytest.raises(InvalidInputError, match="a proxy that takes the path away"):
        opened.update(environment={"n8n": {"N8N_PATH": "/n8n/"}})
    with pytest.raises(InvalidInputError, match="n8n has a domain and does not run"):
        opened.update(without=("n8n",))
    with pytest.raises(InvalidInputError, match="caddy comes and goes with the deployment's domains"):
        opened.update(without=("caddy",))
    assert opened.update(images={"caddy": "caddy:2.11.8"}).success
    assert opened.rollback().source_version == 3, "its image is part of a version"


def test_there_is_nothing_to_expose_without_a_domain(deployed: World) -> None:
    with pytest.raises(RefusedError, match="There is no domain"):
        deployed.update(expose_known_hole=True)


def test_what_was_set_by_hand_before_is_told(deployed: World) -> None:
    deployed.n8n(FIXED, environment={"n8n": {"WEBHOOK_URL": "https://by-hand.example.com/"}})
    shown = Shown()
    deployed.update(shown, domains={"n8n": HOST})
    assert shown.plans[0].exposure[-1] == "n8n.WEBHOOK_URL: the domain decides it, not what was given with --env"
    assert n8n_environment(deployed)["WEBHOOK_URL"] == f"https://{HOST}:10443/"


def test_a_service_of_ones_own_leaves_the_domains_their_ports(opened: World) -> None:
    own = ServiceConfig(image=ImageReference.parse("nginx:1.29"), own=OwnService(ports=("10443",)))
    with pytest.raises(InvalidInputError, match="web publishes port 10443, on which the domains are answered"):
        opened.update(own_services={"web": own})


def test_a_diff_has_what_answers_under_the_domains(opened: World) -> None:
    opened.update(images={"caddy": "caddy:2.11.8"})
    found = DiffService(opened.collaborators()).diff(3, 4)
    assert found.services == ["caddy"] and any("caddy@sha256" in row for row in found.compose)
    assert "n8n" in DiffService(opened.collaborators()).diff(1, 3).services


def test_another_service_that_asks_for_a_token_may_have_one(opened: World) -> None:
    shown = Shown()
    assert opened.update(shown, domains={"crawl4ai": "crawl.example.com"}).success
    assert "crawl.example.com is closed: unclecode/crawl4ai:0.7.0 has a known hole" in " ".join(shown.plans[0].exposure)
    assert opened.update(shown, images={"crawl4ai": "unclecode/crawl4ai:0.9.5"}).success
    assert not [said for said in shown.plans[1].exposure if "closed" in said]
    found = site(opened)
    assert found is not None and found.domains == {"n8n": HOST, "crawl4ai": "crawl.example.com"}
    assert "WEBHOOK_URL" not in opened.machine.definitions["crawl4ai"][0]["environment"]
    assert opened.update(shown, domains={"n8n": ""}).success, "the other one stays"
    found = site(opened)
    assert found is not None and set(found.domains) == {"crawl4ai"}
