"""The network around a deployment: what carries it, what does not, and that an unknown refuses nothing."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.checks.network import (
    check_address_quota,
    check_dns,
    check_network_acl,
    check_public_addresses,
    check_route,
    check_vcpu_quota,
)
from geusemaker.models.network import AclEntry, NetworkFacts, Subnet, WayOut
from geusemaker.models.site import Site
from geusemaker.models.stack import Target
from geusemaker.services.deploy.place import best_subnet

PUBLIC = Target(kind="aws", region="eu-central-1", ssh_cidrs=("203.0.113.7/32",))
PRIVATE = PUBLIC.model_copy(update={"address": "private"})


def line(number: int, *, outward: bool = False, allows: bool = True, **more: Any) -> AclEntry:
    fields = {"protocol": "-1", "cidr": "0.0.0.0/0"} | more
    return AclEntry(number=number, outward=outward, allows=allows, **fields)


DEFAULT_ACL = (line(100), line(100, outward=True), line(32767, allows=False), line(32767, outward=True, allows=False))


def around(way_out: WayOut = "internet", acl: tuple[AclEntry, ...] = DEFAULT_ACL, **more: Any) -> NetworkFacts:
    facts = {name: more.pop(name, True) for name in ("dns_support", "dns_hostnames")}
    subnet = Subnet(id="subnet-1", vpc_id="vpc-1", zone="eu-central-1a", way_out=way_out, by="x-1", **more)
    return NetworkFacts(subnet=subnet, acl=acl, **facts)


@pytest.mark.parametrize(
    ("target", "way_out", "gives", "status", "said"),
    [
        (PUBLIC, "internet", True, "pass", "an internet gateway (x-1)"),
        (PUBLIC, "other", False, "pass", "leads to x-1"),
        (PUBLIC, "none", True, "fail", "packages and images could not be had"),
        (PUBLIC, "nat", False, "fail", "an Elastic IP is not reached there"),
        (PUBLIC, "unknown", False, "pass", "is unknown"),
        (PRIVATE, "nat", False, "pass", "a NAT gateway (x-1)"),
        (PRIVATE, "internet", False, "fail", "does not get out by it"),
        (PRIVATE, "internet", True, "pass", "an internet gateway"),
    ],
)
def test_the_way_out(target: Target, way_out: WayOut, gives: bool, status: str, said: str) -> None:
    facts = around(way_out, gives_public_addresses=gives)
    check = check_route(target, facts, runs=False)
    assert check.status == status and said in check.detail
    assert check_route(target, facts, runs=True).status == ("warn" if status == "fail" else "pass")


def test_names_lead_to_the_file_system() -> None:
    assert check_dns(PUBLIC, around(), runs=False).status == "pass"
    hostnames = check_dns(PUBLIC, around(dns_hostnames=False), runs=False)
    assert hostnames.status == "fail" and "--vpc-id vpc-1 --enable-dns-hostnames` turns it on" in hostnames.detail
    both = check_dns(PUBLIC, around(dns_hostnames=False, dns_support=False), runs=True)
    assert both.status == "warn" and "enableDnsSupport and enableDnsHostnames are off" in both.detail


def test_a_file_system_mounted_by_its_address_needs_no_name() -> None:
    target = PUBLIC.model_copy(update={"mounts_by": "address"})
    hostnames = check_dns(target, around(dns_hostnames=False), runs=False)
    assert hostnames.status == "pass" and hostnames.detail.endswith("EFS is mounted by its mount target's address")
    assert check_dns(target, around(), runs=True).status == "pass", "it stays so once names are resolved"
    support = check_dns(target, around(dns_support=False, dns_hostnames=False), runs=False)
    assert support.status == "warn" and "a DNS server of your own" in support.detail


def test_which_address_there_is() -> None:
    assert "until that is associated" in check_public_addresses(PUBLIC, around()).detail
    assert check_public_addresses(PUBLIC, around(gives_public_addresses=True)).detail == "an Elastic IP"
    assert check_public_addresses(PRIVATE, around("nat")).status == "pass"
    assert check_public_addresses(PRIVATE, around(gives_public_addresses=True)).status == "warn"
    site = Site(domains={"n8n": "n8n.example.com"})
    open_ = check_public_addresses(PRIVATE.model_copy(update={"site": site}), around("nat"))
    assert open_.status == "fail" and "domains need a public address" in open_.detail


@pytest.mark.parametrize(
    ("lines", "blocked"),
    [
        (DEFAULT_ACL, ""),
        ((line(90, allows=False, cidr="192.0.2.1/32"), *DEFAULT_ACL), ""),
        ((line(100, outward=True),), "SSH (port 22) from 203.0.113.7/32, what HTTPS answers"),
        ((line(90, allows=False, protocol="6", from_port=22, to_port=22), *DEFAULT_ACL), "SSH (port 22) from"),
        ((line(90, allows=False, protocol="17"), *DEFAULT_ACL), ""),
        ((line(100), line(100, outward=True, protocol="6", from_port=443, to_port=443)), "what SSH answers to"),
        (
            (line(100), line(100, outward=True, protocol="6", from_port=1024)),
            "HTTPS outward, for packages and images",
        ),
        ((line(100, protocol="6", from_port=22, to_port=22), line(100, outward=True)), "what HTTPS answers"),
    ],
)
def test_what_an_acl_lets_through(lines: tuple[AclEntry, ...], blocked: str) -> None:
    check = check_network_acl(PUBLIC, around(acl=lines), runs=False)
    assert (check.status, blocked in check.detail) == ("fail" if blocked else "pass", True)
    assert check_network_acl(PUBLIC, around(acl=lines), runs=True).status == ("warn" if blocked else "pass")


def test_session_manager_comes_in_by_no_port() -> None:
    target = PUBLIC.model_copy(update={"connect": "ssm", "forward_port": 20001})
    no_ssh = (line(90, allows=False, protocol="6", from_port=22, to_port=22), *DEFAULT_ACL)
    assert check_network_acl(PUBLIC, around(acl=no_ssh), runs=False).status == "fail"
    assert check_network_acl(target, around(acl=no_ssh), runs=False).status == "pass"


def test_an_acl_lets_everybody_to_the_domains() -> None:
    target = PUBLIC.model_copy(update={"site": Site(domains={"n8n": "n8n.example.com"})})
    https = (line(90, allows=False, protocol="6", from_port=443, to_port=443), *DEFAULT_ACL)
    check = check_network_acl(target, around(acl=https), runs=False)
    assert check.detail == "that of subnet-1 does not let through: port 443 from everybody, for the domains"


def test_quotas() -> None:
    assert check_address_quota((5, 4)).status == "pass"
    assert check_address_quota((5, 5)).status == "fail"
    assert check_vcpu_quota("t3.large", ("Standard", 4, 2, 2)).status == "pass"
    refused = check_vcpu_quota("g5.xlarge", ("G and VT", 0, 0, 4))
    assert refused.status == "fail"
    assert refused.detail.startswith("g5.xlarge takes 4 vCPUs; others have 0 of 0 of the family G and VT: have the")
    for unknown in (check_address_quota(None), check_vcpu_quota("t3.large", None)):
        assert unknown.status == "pass" and unknown.detail.startswith("unknown: ")


def test_the_subnet_that_is_chosen() -> None:
    def subnet(zone: str, way_out: WayOut = "internet", **more: Any) -> Subnet:
        return Subnet(id=f"subnet-{zone}", vpc_id="vpc-1", zone=zone, way_out=way_out, **more)

    zones = ("b", "c", "d", "e")
    choice = [subnet("a"), subnet("b", "none"), subnet("c", free_addresses=1), subnet("d"), subnet("e", "nat")]
    assert best_subnet(choice, zones, private=False).zone == "d"
    assert best_subnet(choice, zones, private=True).zone == "e"
    open_ = subnet("b", gives_public_addresses=True)
    assert best_subnet([open_, subnet("c")], zones, private=True) == open_, "without one it would not get out"
    assert best_subnet([subnet("x", "none"), subnet("y")], (), private=False).zone == "y"
