"""What ``status`` and ``info`` tell of domains."""

from __future__ import annotations

import pytest

from geusemaker.agent.protocol.looks import DomainLook
from geusemaker.models.inspection import InstanceState, ServiceState
from geusemaker.models.site import Site
from geusemaker.services.inspect.domains import asked_of, domain_notes, domain_states
from geusemaker.services.site import dns_notice, dns_records
from tests.unit.fakes import Shown, World
from tests.unit.samples import NIGHT, config, state, target, version

HOST = "n8n.example.com"
SITE = Site(domains={"n8n": HOST})
LATER, SOON = "2025-04-01T00:00:00Z", "2025-01-30T00:00:00Z"
INSTANCE = InstanceState(id="i-1", type="t3.large", state="running", address="203.0.113.5")


def notes(look: DomainLook, n8n: str = "2.42.6", *, healthy: bool = True, site: Site = SITE) -> list[str]:
    """What is said, of one look."""
    found = state(version(1, config=config(n8n=n8n), status="active")).model_copy(update={"target": target(site=site)})
    services = {"n8n": ServiceState(image=None, healthy=healthy)}
    return list(domain_notes(found, {HOST: look}, services, INSTANCE, NIGHT))


def test_a_missing_certificate_says_which_record_it_takes() -> None:
    assert notes(DomainLook(problem="there is no certificate")) == [
        f"{HOST} has no certificate: there is no certificate; its DNS record (A) has to lead to 203.0.113.5, then "
        "Caddy gets one."
    ]


def test_one_that_ends_soon_was_not_renewed() -> None:
    [said] = notes(DomainLook(certificate_until=SOON, status=200))
    assert said.startswith(f"The certificate of {HOST} ends on 2025-01-30 and was not renewed")
    assert notes(DomainLook(certificate_until=LATER, status=200)) == []
    local = SITE.model_copy(update={"internal_ca": True})
    assert notes(DomainLook(certificate_until=SOON, status=200), site=local) == [], "those live for twelve hours"


def test_why_it_answers_503() -> None:
    look = DomainLook(certificate_until=LATER, status=503)
    assert notes(look) == [
        f"{HOST} answers 503 until n8n has an owner: `geusemaker open prod n8n` leads to where one is set up."
    ]
    assert notes(look, healthy=False) == [], "why n8n is not healthy is told elsewhere"
    assert "has a known hole (CVE-2026-21858" in notes(look, n8n="1.100.1")[0]
    assert notes(DomainLook(LATER, "it does not speak HTTP")) == [f"{HOST}: it does not speak HTTP."]


def test_domains_as_a_document() -> None:
    found = domain_states(SITE, {HOST: DomainLook(LATER, "", 200)})[HOST]
    assert (found.service, found.url, found.status) == ("n8n", f"https://{HOST}/", 200)
    assert domain_states(SITE, {})[HOST].problem == "it was not looked at" and domain_states(None, {}) == {}
    assert asked_of(SITE) == {"hosts": [HOST], "port": 443, "internal_ca": False} and asked_of(None) is None


def test_dns_is_its_owners_affair() -> None:
    there = target(kind="aws", site=SITE)
    assert dns_records(there, "203.0.113.5") == [f"{HOST}  A  203.0.113.5"] and dns_records(there, "") == []
    assert dns_records(target(site=SITE), "127.0.0.9") == [], "the local cloud's names lead nowhere"
    assert dns_notice("prod", None, there).startswith(f"{HOST}: make the DNS record that `geusemaker info prod` shows")
    assert dns_notice("prod", there, there) == "" == dns_notice("prod", there, target(kind="aws"))


@pytest.mark.parametrize("delete_data", [False, True])
def test_destroy_names_the_record_that_stays(deployed: World, delete_data: bool) -> None:
    deployed.n8n("1.123.5")
    deployed.update(domains={"n8n": HOST})
    shown = Shown()
    deployed.destroy(delete_data, shown, dry_run=False)
    assert f"The DNS record of {HOST} stays" in shown.plans[0].data_notice


def test_status_has_them(deployed: World) -> None:
    deployed.n8n("1.123.5")
    deployed.update(domains={"n8n": HOST})
    deployed.machine.domains = {HOST: DomainLook(LATER, "", 503)}
    found = deployed.inspect()
    assert found.status in ("healthy", "settling") and found.domains[HOST].status == 503
    assert any("until n8n has an owner" in note for note in found.notes)
    deployed.machine.domains = {HOST: DomainLook("", "there is no certificate")}
    assert deployed.inspect().status in ("healthy", "settling"), "a warning, and no more"
