"""Real n8n releases on a real PostgreSQL: behind the real Caddy, updated and taken back, and with a worker of its own.

One deployment, in this order: n8n 1.100.1 under a domain, until it has an owner and after; 2.41.1, which migrates its
data; the way back, with the data; and 2.41.1 again in queue mode, as ``examples/n8n-queue.yaml`` has it.
"""

from __future__ import annotations

import json
import re
import signal
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.end_to_end.containers import Containers, containers_in
from tests.end_to_end.world import wait_until

pytestmark = pytest.mark.soak  # minutes, and gigabytes from npm the first time

OLD, NEW = "1.100.1", "2.41.1"
HOST: Final = "n8n.example.com"
SITE: Final = f"https://{HOST}:10443"
OWNER: Final = {"email": "ann@example.com", "firstName": "Ann", "lastName": "Lee", "password": "Sixteen-Tons-1955"}
_ROOT = "/mnt/efs/caddy/caddy/pki/authorities/local/root.crt"


@dataclass
class N8n:
    """The deployment, and a browser on the instance, since only its own ports are passed on to this machine."""

    containers: Containers
    workflow: str = ""
    cookies: str = field(default_factory=lambda: f"/root/{uuid.uuid4()}")

    def ask(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
        """(status, JSON or text) of a request under the domain, over TLS that is checked."""
        body = () if document is None else ("-H", "Content-Type: application/json", "-d", json.dumps(document))
        answer = self.containers.on_instance(
            "curl", "-sS", "--max-time", "60", "--cacert", _ROOT, "--resolve", f"{HOST}:10443:127.0.0.1", "-X", method,
            "-b", self.cookies, "-c", self.cookies, "-w", "\n%{http_code}", *body, f"{SITE}{path}",
        )  # fmt: skip
        text, _, status = answer.rpartition("\n")
        with_json = text.lstrip().startswith(("{", "["))
        return int(status), json.loads(text) if with_json else text

    def data(self, method: str, path: str, document: Any = None) -> Any:
        """What n8n answers to a request that has to work."""
        status, answer = self.ask(method, path, document)
        assert status == 200, f"{method} {path}: {status} {answer}"
        return answer["data"]

    def log_in(self) -> int:
        """The status of a login."""
        return self.ask("POST", "/rest/login", {"emailOrLdapLoginId": OWNER["email"], "password": OWNER["password"]})[0]

    def order(self, number: int) -> Any:
        """What the workflow's webhook answers: six times the number, computed by PostgreSQL."""
        return self.ask("POST", "/webhook/orders", {"number": number})

    def wait_until_open(self) -> None:
        wait_until(lambda: self.ask("GET", "/rest/settings")[0] == 200, 120, lambda: f"{self.ask('GET', '/')}")

    def release(self) -> str:
        """The one that really runs, as it says itself."""
        return str(self.data("GET", "/rest/settings")["versionCli"])


@pytest.fixture(scope="module")
def n8n(tmp_path_factory: pytest.TempPathFactory) -> Iterator[N8n]:
    with containers_in(tmp_path_factory.mktemp("n8n")) as made:
        made.build_instance_image()
        made.images.push_n8n(OLD, NEW)
        made.images.push_postgres("17.5")
        made.images.push_redis("7.4.11")
        made.images.push_caddy("2.11.9")
        made.world.run(
            "deploy", "demo", "--yes", "--service", "n8n", "--service", "postgresql", "--instance-type", "t3.xlarge",
            "--image", f"n8n=n8nio/n8n:{OLD}", "--image", "postgresql=postgres:17.5",
            "--domain", HOST, "--expose-known-hole", "--health-deadline", "600", timeout=900,
        )  # fmt: skip
        yield N8n(made)


@contextmanager
def tunnel(n8n: N8n) -> Iterator[str]:
    """n8n's address on this machine, as `geusemaker tunnel` tells it."""
    running = n8n.containers.world.start("tunnel", "demo", "n8n", "--output", "json", log="tunnel.log")
    told = n8n.containers.world.folder / "tunnel.log"
    wait_until(lambda: "\n}" in told.read_text(), 60, told.read_text)
    try:
        yield json.loads(told.read_text())["addresses"]["n8n"]
    finally:
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0


def test_the_domain_opens_once_an_owner_was_made_through_the_tunnel(n8n: N8n) -> None:
    assert n8n.ask("GET", "/rest/settings") == (503, "Not available now: it starts, or nobody has set it up yet.\n")
    assert n8n.ask("POST", "/rest/owner/setup", OWNER)[0] == 403
    status = n8n.containers.world.run("status", "demo").stdout
    assert f"note: {HOST} answers 503 until n8n has an owner" in status
    with tunnel(n8n) as address:
        request = urllib.request.Request(
            f"{address}/rest/owner/setup", json.dumps(OWNER).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.loads(answer.read())["data"]["role"] == "global:owner"
    n8n.wait_until_open()
    assert n8n.ask("POST", "/rest/owner/setup", OWNER)[0] == 403, "at all times"
    assert n8n.containers.world.json("status", "demo")["domains"][HOST]["problem"] == ""


def test_a_login_and_a_webhook_go_through_https(n8n: N8n) -> None:
    assert n8n.log_in() == 200
    jar = n8n.containers.on_instance("cat", n8n.cookies)
    assert re.search(rf"#HttpOnly_{re.escape(HOST)}\t\w+\t/\tTRUE\t\d+\tn8n-auth", jar), "for HTTPS only"
    settings = n8n.data("GET", "/rest/settings")
    assert (settings["urlBaseWebhook"], settings["urlBaseEditor"], settings["versionCli"]) == (f"{SITE}/", SITE, OLD)
    make_workflow(n8n)
    assert n8n.order(7) == (200, {"answer": 42})


def make_workflow(n8n: N8n) -> None:
    """One that answers a webhook with what PostgreSQL says, which it reaches with a credential."""
    password = n8n.containers.world.run("secrets", "show", "demo", "postgresql_password", "--reveal").stdout.strip()
    reached = {"host": "postgresql", "port": 5432, "database": "n8n", "user": "geusemaker", "password": password}
    credential = n8n.data("POST", "/rest/credentials", {"name": "database", "type": "postgres", "data": reached})
    hook = {
        "id": "a", "name": "Order", "type": "n8n-nodes-base.webhook", "typeVersion": 2, "webhookId": "orders",
        "position": [0, 0], "parameters": {"httpMethod": "POST", "path": "orders", "responseMode": "lastNode"},
    }  # fmt: skip
    query = "select 6 * {{ $json.body.number }} as answer"
    ask = {
        "id": "b", "name": "Ask", "type": "n8n-nodes-base.postgres", "typeVersion": 2.5, "position": [200, 0],
        "parameters": {"operation": "executeQuery", "query": query, "options": {}},
        "credentials": {"postgres": {"id": credential["id"], "name": "database"}},
    }  # fmt: skip
    wires = {"Order": {"main": [[{"node": "Ask", "type": "main", "index": 0}]]}}
    document = {"name": "orders", "nodes": [hook, ask], "connections": wires, "settings": {}, "active": False}
    made = n8n.data("POST", "/rest/workflows", document)
    n8n.workflow = made["id"]
    n8n.data("PATCH", f"/rest/workflows/{n8n.workflow}", {"active": True, "versionId": made["versionId"]})


def check_whole(n8n: N8n, release: str) -> None:
    """The workflow, its credential and the account are there, and all work."""
    n8n.wait_until_open()
    assert n8n.log_in() == 200
    assert n8n.release() == release
    assert [one["name"] for one in n8n.data("GET", "/rest/workflows")] == ["orders"]
    assert [one["name"] for one in n8n.data("GET", "/rest/credentials")] == ["database"]
    assert n8n.order(7) == (200, {"answer": 42})


def test_a_rehearsal_finds_the_way_back_closed_in_a_network_that_leads_nowhere(n8n: N8n) -> None:
    on, world = n8n.containers.on_instance, n8n.containers.world
    before = n8n.containers.running()
    running = world.start(
        "rehearse", "demo", "--image", f"n8n=n8nio/n8n:{NEW}", "--output", "json", log="rehearsal.log"
    )
    listed = ("docker", "ps", "--format", "{{.Names}}")
    wait_until(lambda: "geusemaker-rehearsal-n8n-1" in on(*listed), 300, lambda: on(*listed))
    routes = on("docker", "exec", "geusemaker-rehearsal-n8n-1", "cat", "/proc/net/route").splitlines()[1:]
    assert routes and "00000000" not in [line.split()[1] for line in routes], "there is no way out"
    assert on("docker", "network", "inspect", "--format", "{{.Internal}}", "geusemaker-rehearsal_inside") == "true"
    assert on("docker", "port", "geusemaker-rehearsal-postgresql-1") == ""
    assert n8n.order(7) == (200, {"answer": 42}), "what runs goes on"
    assert running.wait(600) == 0, (world.folder / "rehearsal.log").read_text()
    told = (world.folder / "rehearsal.log").read_text()
    found = json.loads(told[told.index("\n{") :]) if "\n{" in told else json.loads(told)
    assert found["isolated"] and found["starts"] and len(found["migrations"]) == 186
    assert found["back"]["n8n"]["problem"] == "it is ready, and does not work (POST /rest/login: HTTP 500)"
    assert found["way_back"]["commands"] == ["geusemaker rollback demo v1 --with-data"]
    assert "rehearsal" not in on("sh", "-c", "docker ps -a; docker network ls; ls /opt/geusemaker")
    assert n8n.containers.running() == before and n8n.order(7) == (200, {"answer": 42})


def test_an_update_over_a_hundred_migrations_keeps_workflow_and_credential(n8n: N8n) -> None:
    n8n.containers.world.run("update", "demo", "--yes", "--image", f"n8n=n8nio/n8n:{NEW}", timeout=900)
    check_whole(n8n, NEW)


def test_the_way_back_takes_the_software_and_then_the_data(n8n: N8n) -> None:
    world = n8n.containers.world
    refused = world.run("rollback", "demo", "--yes", code=5).stderr
    assert f"a newer n8n has run 186 migrations that n8nio/n8n:{OLD} does not know" in refused
    named = re.search(r"`geusemaker (restore demo --checkpoint \S+)`", refused)
    assert named and "go back with --allow-data-downgrade" in refused
    back = world.run("rollback", "demo", "--yes", "--allow-data-downgrade", "--expose-known-hole", timeout=900)
    assert f"`geusemaker {named[1]}`" in back.stdout
    n8n.wait_until_open()
    # It said that it may not work, and it does not: it is ready, lets nobody in, and runs nothing.
    assert n8n.log_in() == 500
    assert n8n.order(7)[1] != {"answer": 42}
    world.run(*named[1].split(), "--yes", timeout=900)
    check_whole(n8n, OLD)


def test_a_worker_runs_what_n8n_queues(n8n: N8n) -> None:
    world = n8n.containers.world
    example = Path(__file__).parents[2] / "examples/n8n-queue.yaml"
    file = world.folder / "n8n-queue.yaml"
    file.write_text(re.sub(r"n8nio/n8n:\S+", f"n8nio/n8n:{NEW}", example.read_text()))
    done = world.run("update", "demo", "--yes", "-f", str(file), "--output", "json", timeout=900).document
    assert set(done["health_status"]) == {"caddy", "n8n", "postgresql", "redis", "worker"}
    check_whole(n8n, NEW)
    ran = world.run("logs", "demo", "worker", "--lines", "200").stdout
    assert re.search(r"Worker started execution \d+ \(job \d+\)", ran), ran
    assert world.run("exec", "demo", "redis", "--", "redis-cli", "exists", "bull:jobs:id").stdout == "1\n"
