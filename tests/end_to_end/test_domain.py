"""n8n under a domain of its own, by HTTPS: closed until it has an owner, kept by a rollback, taken away again."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.error
from typing import Any

import pytest

from tests.end_to_end.world import World, wait_until

pytestmark = pytest.mark.slow

HOST = "n8n.example.com"
_FIRST = "n8nio/n8n:1.123.5"


def ask(world: World, address: str, path: str, method: str = "GET") -> tuple[int, str]:
    """(status, body) of a request over TLS, whose certificate is checked against the authority on EFS."""
    [root] = world.cloud.glob("**/caddy/pki/authorities/local/root.crt")
    context = ssl.create_default_context(cafile=str(root))
    plain = socket.create_connection((address, 10443), timeout=10)
    with context.wrap_socket(plain, server_hostname=HOST) as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}:10443\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    first, _, rest = answer.decode().partition("\r\n")
    return int(first.split()[1]), rest.partition("\r\n\r\n")[2]


@pytest.fixture(scope="module")
def told(world: World) -> dict[str, Any]:
    """Everything that happens, once."""
    seen: dict[str, Any] = {}
    only = ("--service", "n8n", "--service", "postgresql", "--image", f"n8n={_FIRST}")
    seen["plan"] = world.run("deploy", "demo", "--dry-run", *only, "--domain", HOST).stdout
    seen["deploy"] = world.json("deploy", "demo", "--yes", *only, "--domain", HOST)
    seen["v1"] = world.inspect("demo")
    address = seen["v1"]["services"]["caddy"]["address"].partition(":")[0]
    seen["status"] = world.run("status", "demo").stdout
    seen["unowned"] = ask(world, address, "/rest/workflows")
    seen["set up from outside"] = ask(world, address, "/rest/OWNER/setup", "POST")
    try:
        world.http("demo", "n8n", "/rest/owner/setup", {"email": "ann@example.com"})
    except urllib.error.HTTPError as error:
        seen["owner"] = error.code
    wait_until(lambda: ask(world, address, "/rest/settings")[0] == 200, 30, lambda: "the domain does not open")
    seen["owned"] = ask(world, address, "/rest/workflows")
    seen["set up again"] = ask(world, address, "/rest/owner/setup", "POST")
    seen["environment"] = json.loads(world.docker("inspect", "geusemaker-n8n-1"))[0]["Config"]["Env"]
    [root] = world.cloud.glob("**/caddy/pki/authorities/local/root.crt")
    seen["root"] = root.read_text()
    groups = world.aws("ec2").describe_security_groups()["SecurityGroups"]
    seen["ports"] = sorted(
        rule["FromPort"]
        for group in groups
        for rule in group["IpPermissions"]
        if [one["CidrIp"] for one in rule.get("IpRanges", [])] == ["0.0.0.0/0"]
    )
    world.json("update", "demo", "--yes", "--image", "n8n=n8nio/n8n:1.124.0")
    seen["back"] = world.json("rollback", "demo", "--yes")
    wait_until(lambda: ask(world, address, "/rest/settings")[0] == 200, 30, lambda: "the domain does not open again")
    seen["after"] = ask(world, address, "/rest/workflows")
    seen["root after"] = root.read_text()
    seen["v3"] = world.inspect("demo")
    seen["away"] = world.json("update", "demo", "--yes", "--no-domain")
    seen["v4"] = world.inspect("demo")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, 10443), timeout=10).close()
    return seen


def test_the_plan_says_what_it_opens(told: dict[str, Any]) -> None:
    assert "opens 10080 and 10443 to the whole internet" in told["plan"]
    assert told["deploy"]["health_status"] == {"postgresql": True, "n8n": True, "caddy": True}
    assert told["ports"] == [10080, 10443]


def test_until_n8n_has_an_owner_the_domain_is_closed(told: dict[str, Any]) -> None:
    assert told["unowned"][0] == 503 and told["set up from outside"][0] == 403
    assert told["owned"] == (200, '{"data": []}') and told["set up again"][0] == 403


def test_status_tells_how_the_domain_is(told: dict[str, Any]) -> None:
    assert "demo: healthy" in told["status"] and "certificate until 20" in told["status"]
    assert f"note: {HOST} answers 503 until n8n has an owner" in told["status"]
    domain = told["v3"]["domains"][HOST]
    assert (domain["service"], domain["status"], domain["problem"], told["v3"]["notes"]) == ("n8n", 200, "", [])


def test_n8n_knows_its_address(told: dict[str, Any]) -> None:
    assert {f"WEBHOOK_URL=https://{HOST}:10443/", "N8N_PROXY_HOPS=1", "N8N_SECURE_COOKIE=true"} <= set(
        told["environment"]
    )


def test_a_rollback_keeps_the_domain_and_its_certificates(told: dict[str, Any]) -> None:
    assert told["back"]["source_version"] == 1 and told["after"][0] == 200
    assert told["root"] == told["root after"]


def test_without_the_domain_nothing_of_it_is_left(told: dict[str, Any]) -> None:
    assert set(told["v4"]["services"]) == {"postgresql", "n8n"}
