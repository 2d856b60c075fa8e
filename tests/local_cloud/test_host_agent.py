"""The agent over SSH on an instance of the local cloud, with its container engine and registry."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from geusemaker.errors import HostError
from geusemaker.host.client import AgentClient
from geusemaker.local_cloud.client import LocalCloud
from geusemaker.local_cloud.containers.services.pgbinaries import installed
from geusemaker.local_cloud.registry import move_tag
from geusemaker.models.image import ImageReference
from geusemaker.models.stack import Secrets, StackConfig
from geusemaker.program import compose
from tests.end_to_end.world import wait_until
from tests.local_cloud.cloud_box import Box, Operator
from tests.unit.test_agent.support import compose_of

POSTGRES = "postgres:16.9"
QDRANT = "qdrant/qdrant:v1.14.1"
N8N = "n8nio/n8n:1.100.1"
OLLAMA = "ollama/ollama:0.9.6"
SECRETS = Secrets(
    ssh_private_key="-",
    host_private_key="-",
    postgresql_password="postgresql-password-of-the-tests",
    n8n_encryption_key="encryption-key-of-the-tests",
    crawl4ai_token="token-of-the-tests",
)
_operations = itertools.count(1)


@dataclass
class Site:
    """One deployment on one instance, driven as the services and the Pulumi program drive it."""

    box: Box
    cloud: LocalCloud
    file_system_id: str
    client: AgentClient
    last: str | None = None
    settle_seconds: float = 0.2
    events: list[dict[str, Any]] = field(default_factory=list)

    def run(self, verb: str, **document: Any) -> dict[str, Any]:
        return self.client.run(verb, document, on_line=self.events.append, timeout=120)

    def pinned(self, tagged: str) -> ImageReference:
        """The reference with the digest that the registry has for its tag."""
        image = ImageReference.parse(tagged)
        url = f"{self.cloud.status().registry}/v2/{image.path}/manifests/{image.tag}"
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as answer:
            return image.pinned(answer.headers["Docker-Content-Digest"])

    def config(self, *images: str, deadline: int = 20) -> StackConfig:
        services = {"postgres": "postgresql"}
        named = {services.get(name := image.split(":")[0].split("/")[-1], name): image for image in images}
        return StackConfig.model_validate(
            {
                "services": {name: {"image": str(self.pinned(image))} for name, image in named.items()},
                "health": {"deadline_seconds": deadline},
            }
        )

    def mount(self) -> dict[str, Any]:
        return self.run(
            "mount",
            deployment="prod",
            instance_id=self.box.id,
            file_system_id=self.file_system_id,
            source=f"{self.file_system_id}.efs.us-east-1.amazonaws.com:/",
            options="nfsvers=4.1,hard,timeo=600,retrans=2,noresvport,_netdev",
            deadline_seconds=10,
        )

    def begin(self, operation: str | None = None, **more: Any) -> str:
        operation = operation or f"op-{next(_operations)}"
        self.run("begin", operation=operation, expects=self.last, instance_id=self.box.id, **more)
        return operation

    def end(self, operation: str, outcome: str = "done") -> None:
        self.run("end", operation=operation, outcome=outcome)
        self.last = operation

    def apply(self, operation: str, config: StackConfig) -> dict[str, Any]:
        return self.run(
            "apply",
            operation=operation,
            expects=self.last,
            kind="update",
            deployment="prod",
            instance_id=self.box.id,
            file_system_id=self.file_system_id,
            compose=compose.render(config, data_volume=False),
            environment=compose.secret_environment(config, SECRETS),
            directories=compose.data_directories(config, data_volume=False),
        )

    def gate(self, operation: str, config: StackConfig) -> dict[str, Any]:
        return self.run(
            "gate",
            operation=operation,
            file_system_id=self.file_system_id,
            settle_seconds=self.settle_seconds,
            services=compose.probes(config),
            consecutive_successes=2,
            deadline_seconds=config.health.deadline_seconds,
        )

    def change(self, *images: str, deadline: int = 20) -> dict[str, Any]:
        """A whole operation; the apply's answer, with the gate's services in it."""
        config = self.config(*images, deadline=deadline)
        operation = self.begin()
        try:
            answer = self.apply(operation, config)
            answer["services"] = self.gate(operation, config)["services"]
        except HostError:
            self.end(operation, "failed")
            raise
        self.end(operation)
        return answer

    def psql(self, statement: str) -> str:
        """What psql on the instance answers."""
        done = subprocess.run(self._psql(statement), env=self._environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """While this lasts, another session holds a table of n8n's."""
        statement = f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(120)"
        holds = f"SELECT count(*) FROM pg_locks WHERE relation = '{table}'::regclass AND granted"
        with subprocess.Popen(self._psql(statement), env=self._environment, stdout=subprocess.DEVNULL) as process:
            try:
                wait_until(lambda: self.psql(holds) != "0", 30, lambda: f"{table} is not locked")
                yield
            finally:
                self.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK%'")
                process.wait(10)

    def _psql(self, statement: str) -> list[str]:
        words = ["exec", "geusemaker-postgresql-1", "psql", "-At", "-U", "geusemaker", "-d", "n8n", "-c", statement]
        return [str(self.box.disk / "usr/bin/docker"), *words]

    @property
    def _environment(self) -> dict[str, str]:
        facts = json.loads((self.box.disk / "etc/geusemaker-local.json").read_text())
        own = {"GEUSEMAKER_INSTANCE_ROOT": str(self.box.disk), "GEUSEMAKER_LOOPBACK": facts["loopback"]}
        return {**os.environ, **own}

    def pids(self) -> dict[str, int]:
        services = self.run("health")["services"]
        return {name: service["pid"] for name, service in services.items()}


def new_client(box: Box) -> AgentClient:
    return AgentClient(
        box.address,
        2222,
        "admin",
        private_key=box.login_key.export_private_key().decode(),
        host_key=box.host_key.export_public_key().decode(),
    )


@pytest.fixture(scope="module")
def site(cloud: LocalCloud, operator: Operator, box: Box) -> Iterator[Site]:
    with new_client(box) as client:
        made = Site(box, cloud, operator.file_system("data"), client)
        assert made.mount()["mounted"]
        yield made


def test_services_run_healthy_on_the_mounted_file_system(site: Site) -> None:
    answer = site.change(POSTGRES, N8N, QDRANT)
    assert answer["changed"] == ["n8n", "postgresql", "qdrant"]
    for name, tagged in (("postgresql", POSTGRES), ("n8n", N8N), ("qdrant", QDRANT)):
        assert answer["services"][name]["image"] == str(site.pinned(tagged))
    efs = site.cloud.folder / "file_systems" / site.file_system_id
    assert (efs / "postgresql/pgdata/PG_VERSION").read_text().strip() == "16"
    assert json.loads((efs / ".geusemaker/sentinel.json").read_text())["postgresql"] is True
    health = site.run("health", services=compose.probes(site.config(POSTGRES, N8N, QDRANT)))
    assert all(service["healthy"] for service in health["services"].values())
    assert health["mount"] == {"mounted": True, "file_system_id": site.file_system_id}
    assert health["lease"]["state"] == "released"


def test_mounting_again_changes_nothing(site: Site) -> None:
    answer = site.mount()
    assert (answer["first"], answer["unchanged"]) == (False, True)


@pytest.mark.slow
def test_a_new_image_restarts_only_its_own_container(site: Site) -> None:
    site.change(POSTGRES, N8N, QDRANT)
    before = site.pids()
    answer = site.change(POSTGRES, N8N, "qdrant/qdrant:v1.14.2")
    after = site.pids()
    assert (answer["changed"], answer["unchanged"]) == (["qdrant"], ["n8n", "postgresql"])
    assert {name for name in before if before[name] != after[name]} == {"qdrant"}


@pytest.mark.slow
def test_applying_what_runs_already_changes_nothing(site: Site) -> None:
    site.change(POSTGRES, N8N, QDRANT)
    before = site.pids()
    answer = site.change(POSTGRES, N8N, QDRANT)
    assert (answer["changed"], site.pids()) == ([], before)


@pytest.mark.slow
def test_a_service_left_out_is_removed_and_its_data_stays(site: Site) -> None:
    site.change(POSTGRES, N8N, QDRANT)
    assert site.change(POSTGRES, N8N)["removed"] == ["qdrant"]
    manifest = site.run("manifest")
    assert manifest["services"]["qdrant"]["source"].startswith("disk")
    assert (site.cloud.folder / "file_systems" / site.file_system_id / "qdrant").is_dir()


def test_a_release_that_crashes_is_detected_at_once(site: Site) -> None:
    site.change(POSTGRES, N8N, QDRANT)
    config = site.config(POSTGRES, N8N, "qdrant/qdrant:v1.15.0-crash", deadline=60)
    operation = site.begin()
    site.apply(operation, config)
    started = time.monotonic()
    with pytest.raises(HostError) as caught:
        site.gate(operation, config)
    assert time.monotonic() - started < 45
    assert caught.value.code == "unhealthy"
    failed = caught.value.detail["services"]["qdrant"]
    assert failed["state"] == "restarting"
    assert failed["logs"]
    evidence = site.run("evidence", operation=operation)["services"]
    assert evidence["qdrant"]["logs"]
    assert evidence["n8n"]["probe"]["healthy"] is True
    site.end(operation, "failed")
    assert set(site.change(POSTGRES, N8N, QDRANT)["changed"]) == {"qdrant"}


@pytest.mark.slow
def test_n8n_that_crashes_beside_a_new_postgresql_is_told_from_one_that_waits_for_it(site: Site) -> None:
    site.change(QDRANT)
    with pytest.raises(HostError) as caught:
        site.change(POSTGRES, "n8nio/n8n:1.101.0-crash", deadline=60)
    assert caught.value.detail["services"]["n8n"]["state"] == "restarting"
    assert caught.value.detail["services"]["postgresql"]["state"] == "healthy"
    assert site.change(POSTGRES, N8N)["services"]["n8n"]["healthy"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "reason"), [("qdrant/qdrant:v1.15.0-unhealthy", "HTTP 503"), ("postgres:16.10-unhealthy", "starting up")]
)
def test_a_release_that_never_gets_healthy_ends_at_its_own_deadline(site: Site, image: str, reason: str) -> None:
    started = time.monotonic()
    with pytest.raises(HostError) as caught:
        site.change(image, deadline=5)
    assert 5 <= time.monotonic() - started < 60
    (failed,) = caught.value.detail["services"].values()
    assert (failed["state"], reason in failed["reason"]) == ("unhealthy", True)


def test_a_release_whose_migration_fails_is_never_called_healthy(site: Site) -> None:
    site.change(POSTGRES, N8N)
    with pytest.raises(HostError) as caught:
        site.change(POSTGRES, "n8nio/n8n:1.101.0-badmigration", deadline=60)
    assert caught.value.detail["services"]["n8n"]["state"] in ("restarting", "exited")
    site.change(POSTGRES, N8N)


def test_a_migration_that_gets_on_may_take_longer_than_the_deadline(site: Site) -> None:
    site.change(POSTGRES, N8N)
    changed = site.change(POSTGRES, "n8nio/n8n:1.101.0-longmigration", deadline=5)
    assert changed["services"]["n8n"]["healthy"]
    assert [event for event in site.events if event.get("state") == "migrating"]


def test_a_migration_that_waits_for_a_lock_is_told_and_ends_at_the_deadline(site: Site) -> None:
    site.change(POSTGRES, N8N)
    with site.locked("role"), pytest.raises(HostError) as caught:
        site.change(POSTGRES, "n8nio/n8n:1.113.3", deadline=5)
    reason = caught.value.detail["services"]["n8n"]["reason"]
    assert "its migration waits for a lock that session" in reason
    site.change(POSTGRES, "n8nio/n8n:1.113.3")


def test_a_release_that_runs_out_of_memory_says_so(site: Site) -> None:
    with pytest.raises(HostError) as caught:
        site.change("qdrant/qdrant:v1.15.0-oom", deadline=60)
    assert "out of memory" in caught.value.message


def test_a_release_that_lives_shortly_is_never_called_healthy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "settle_seconds", 10)
    with pytest.raises(HostError) as caught:
        site.change("qdrant/qdrant:v1.15.0-shortlived", deadline=60)
    assert caught.value.detail["services"]["qdrant"]["state"] in ("restarting", "exited")
    assert "have to stay so for 10 s" in str(site.events)


@pytest.mark.slow
def test_an_image_that_is_not_in_the_registry_changes_nothing(site: Site) -> None:
    site.change(QDRANT)
    before = site.pids()
    missing = f"qdrant/qdrant@sha256:{'0' * 64}"
    operation = site.begin()
    with pytest.raises(HostError) as caught:
        site.run("prefetch", operation=operation, compose=compose_of({"qdrant": missing}))
    site.end(operation, "abandoned")
    assert caught.value.code == "image_missing"
    assert site.pids() == before


def test_prefetch_pulls_while_the_old_containers_serve(site: Site) -> None:
    site.change(QDRANT)
    before = site.pids()
    operation = site.begin()
    images = {"qdrant": str(site.pinned("qdrant/qdrant:v1.16.0")), "ollama": str(site.pinned(OLLAMA))}
    file = compose_of(images)
    assert site.run("prefetch", operation=operation, compose=file) == {"pulled": ["ollama", "qdrant"], "present": []}
    assert site.run("prefetch", operation=operation, compose=file) == {"pulled": [], "present": ["ollama", "qdrant"]}
    site.end(operation, "abandoned")
    assert site.pids() == before


@pytest.mark.slow
def test_a_moved_tag_does_not_change_what_a_digest_brings(site: Site) -> None:
    old = site.pinned("qdrant/qdrant:v1.13.0")
    site.change("qdrant/qdrant:v1.13.0")
    moved = move_tag(site.cloud.folder / "registry", "qdrant/qdrant:v1.13.0")
    assert moved != old.digest
    assert site.pinned("qdrant/qdrant:v1.13.0").digest == moved
    assert site.run("health")["services"]["qdrant"]["image"] == str(old)


def test_the_gate_sees_that_another_image_runs_than_was_wanted(site: Site) -> None:
    site.change(QDRANT)
    operation = site.begin()
    with pytest.raises(HostError) as caught:
        site.gate(operation, site.config("qdrant/qdrant:v1.14.2"))
    site.end(operation, "failed")
    assert caught.value.code == "image_mismatch"
    assert QDRANT in caught.value.message


def test_only_the_operation_that_holds_the_lease_changes_anything(site: Site) -> None:
    site.change(QDRANT)
    before = site.pids()
    holder = site.begin(actor="somebody", owner={"host": "elsewhere", "pid": 4711}, kind="update")
    with pytest.raises(HostError) as refused:
        site.begin()
    assert refused.value.code == "lease_held"
    assert refused.value.detail["holder"]["operation"] == holder
    assert "somebody" in refused.value.message
    config = site.config(QDRANT)
    for verb in (site.apply, site.gate):
        with pytest.raises(HostError) as lost:
            verb("op-of-nobody", config)
        assert lost.value.code == "lease_lost"
    for verb_name, document in (
        ("hold", {}),
        ("gc", {"keep": []}),
        ("prefetch", {"compose": compose_of({"qdrant": QDRANT})}),
    ):
        with pytest.raises(HostError) as lost:
            site.run(verb_name, operation="op-of-nobody", **document)
        assert lost.value.code == "lease_lost"
    site.end(holder)
    assert site.pids() == before


@pytest.mark.slow
def test_what_was_held_stays_down_over_a_reboot_until_apply(site: Site, operator: Operator) -> None:
    site.change(POSTGRES, N8N)
    operation = site.begin()
    assert site.run("hold", operation=operation) == {"stopped": ["n8n", "postgresql"]}
    operator.ec2.stop_instances(InstanceIds=[site.box.id])
    operator.ec2.start_instances(InstanceIds=[site.box.id])
    deadline = time.monotonic() + 30
    while not site.client.is_reachable():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    states = {name: service["state"] for name, service in site.run("health")["services"].items()}
    assert states == {"n8n": "exited", "postgresql": "exited"}
    assert site.mount()["mounted"]
    config = site.config(POSTGRES, N8N)
    site.apply(operation, config)
    assert site.gate(operation, config)["healthy"]
    site.end(operation)


@pytest.mark.slow
def test_a_boot_while_the_file_system_is_away_is_made_up_for(site: Site, cloud: LocalCloud, operator: Operator) -> None:
    site.change(QDRANT)
    data = cloud.folder / "file_systems" / site.file_system_id
    away = data.rename(data.with_name("away"))
    try:
        operator.ec2.reboot_instances(InstanceIds=[site.box.id])
        deadline = time.monotonic() + 30
        while not site.client.is_reachable():
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert not site.run("health")["mount"]["mounted"]
        assert not (site.box.disk / "run/docker.sock").exists()
    finally:
        away.rename(data)
    deadline = time.monotonic() + 60
    while not (found := site.run("health"))["mount"]["mounted"] or found["services"]["qdrant"]["state"] != "running":
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def test_cancelling_ends_a_gate_that_waits(site: Site) -> None:
    config = site.config("qdrant/qdrant:v1.15.0-unhealthy", deadline=120)
    operation = site.begin()
    site.apply(operation, config)
    outcome: list[HostError] = []

    def wait() -> None:
        with new_client(site.box) as client, pytest.raises(HostError) as caught:
            document = {"operation": operation, "file_system_id": site.file_system_id}
            client.run("gate", {**document, "services": compose.probes(config), "deadline_seconds": 120}, timeout=120)
        outcome.append(caught.value)

    waiting = threading.Thread(target=wait)
    waiting.start()
    deadline = time.monotonic() + 20
    while not any(one["verb"] == "gate" for one in site.run("lease")["operations_running"]):
        assert time.monotonic() < deadline
    started = time.monotonic()
    assert site.run("cancel", operation=operation)["ended"]
    waiting.join(60)
    assert time.monotonic() - started < 60
    assert outcome[0].code == "cancelled"
    with pytest.raises(HostError) as refused:
        site.gate(operation, config)
    assert refused.value.code == "cancelled"
    site.end(operation, "interrupted")


@pytest.mark.slow
def test_the_manifest_lists_what_the_services_hold(site: Site) -> None:
    site.change(POSTGRES, N8N, QDRANT, OLLAMA)
    health = site.run("health", services=compose.probes(site.config(POSTGRES, N8N, QDRANT, OLLAMA)))["services"]
    address = {name: f"http://{service['address']}" for name, service in health.items()}
    _send(f"{address['qdrant']}/collections/books", {"vectors": {"size": 4, "distance": "Dot"}}, "PUT")
    _send(f"{address['ollama']}/api/pull", {"model": "llama3:8b", "stream": False}, "POST")
    workflow = _send(f"{address['n8n']}/rest/workflows", {"name": "Nightly"}, "POST")
    manifest = site.run("manifest")
    assert manifest["file_system_id"] == site.file_system_id
    assert manifest["sentinel"]["deployment"] == "prod"
    services = manifest["services"]
    assert services["qdrant"]["collections"] == ["books"]
    assert services["ollama"]["models"] == ["llama3:8b"]
    assert services["postgresql"]["version"] == "16"
    assert "public.workflow_entity" in services["postgresql"]["databases"]["n8n"]
    assert services["n8n"]["workflows"] == [str(workflow["data"]["id"])]
    assert manifest["served"]["postgresql"]["image"] == str(site.pinned(POSTGRES))

    operation = site.begin()
    site.run("hold", operation=operation)
    down = site.run("manifest")["services"]
    site.end(operation, "abandoned")
    assert down["postgresql"]["version"] == "16"
    assert down["postgresql"]["databases"] is None
    assert (down["qdrant"]["collections"], down["ollama"]["models"]) == (["books"], ["llama3:8b"])


@pytest.mark.slow
def test_images_that_no_kept_version_needs_are_removed_and_the_running_ones_are_not(site: Site) -> None:
    site.change("qdrant/qdrant:v1.11.0")
    unwanted = site.pinned("qdrant/qdrant:v1.11.0").by_digest
    site.change("qdrant/qdrant:v1.12.0")
    running, kept = site.pinned("qdrant/qdrant:v1.12.0").by_digest, site.pinned(QDRANT).by_digest
    operation = site.begin()
    file = compose_of({"qdrant": kept})
    site.run("prefetch", operation=operation, compose=file)
    removed = site.run("gc", operation=operation, keep=[kept], repositories=["qdrant/qdrant"])["removed"]
    assert unwanted in removed
    assert not {running, kept} & set(removed)
    assert site.run("prefetch", operation=operation, compose=file)["present"] == ["qdrant"]
    site.end(operation, "done")


@pytest.mark.skipif(
    "16.2" not in {one.version for one in installed()}, reason="no PostgreSQL older than 16.10 here: NOT TESTED"
)
def test_an_older_minor_restores_what_a_newer_one_dumped(site: Site) -> None:
    """As after a rollback. Also the plain form of a geusemaker of before, in which 16.10 and later write \\restrict."""
    newer = next(one for one in installed() if one.version.startswith("16."))
    answer = site.change("postgres:16", N8N)
    address = "http://{address}:{port}".format(
        address=site.run("health")["services"]["n8n"]["address"].partition(":")[0], port=5678
    )
    made = _send(f"{address}/rest/workflows", {"name": "ünï 'quoted'"}, "POST")["data"]
    assert answer["services"]["postgresql"]["healthy"]
    operation = site.begin()
    taken = site.run("checkpoint", operation=operation, number=1, kind="update", services=["postgresql"])
    site.end(operation)
    folder = next(site.box.disk.glob("mnt/efs/.geusemaker/checkpoints")) / taken["checkpoint"]
    assert (folder / "n8n.dump").read_bytes().startswith(b"PGDMP")

    before = folder.with_name("op-of-before")
    shutil.copytree(folder, before)
    login = ("-h", address.split(":")[1].strip("/"), "-U", "geusemaker", "-d", "n8n")
    environment = {"PGPASSWORD": SECRETS.postgresql_password}
    plain = subprocess.run([f"{newer.folder}/pg_dump", *login], env=environment, capture_output=True, check=True).stdout
    assert b"\n\\restrict " in plain
    packed = gzip.compress(plain)
    (before / "n8n.sql.gz").write_bytes(packed)
    about = json.loads((before / "checkpoint.json").read_text())
    for held in about["holds"]:
        if held["name"] == "n8n":
            held.update(file="n8n.sql.gz", sha256=hashlib.sha256(packed).hexdigest())
    (before / "checkpoint.json").write_text(json.dumps({**about, "checkpoint": "v1/op-of-before"}))

    for name in (taken["checkpoint"], "v1/op-of-before"):
        site.change("postgres:16.2", N8N)
        _send(f"{address}/rest/workflows", {"name": "later"}, "POST")
        config = site.config("postgres:16.2", N8N)
        operation = site.begin()
        site.run("restore", operation=operation, number=2, checkpoint=name, services=["postgresql"])
        site.gate(operation, config)
        site.end(operation)
        assert site.run("manifest")["services"]["n8n"]["workflows"] == [made["id"]], name


def test_no_secret_is_written_anywhere_but_the_env_files(site: Site) -> None:
    site.events.clear()
    answer = site.change(POSTGRES, N8N)
    logs = site.run("logs", service=None, lines=200)
    seen = json.dumps([answer, logs, site.events, site.run("evidence")])
    for secret in (SECRETS.postgresql_password, SECRETS.n8n_encryption_key):
        assert secret not in seen
        holders = [
            path.relative_to(site.box.disk).as_posix()
            for folder in ("opt", "run")
            for path in (site.box.disk / folder).rglob("*")
            if path.is_file() and secret.encode() in path.read_bytes()
        ]
        assert all(name.endswith(".env") and (site.box.disk / name).stat().st_mode & 0o077 == 0 for name in holders)
        assert holders


def _send(url: str, document: dict[str, Any], method: str) -> Any:
    request = urllib.request.Request(
        url, json.dumps(document).encode(), {"Content-Type": "application/json"}, method=method
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read().splitlines()[-1])
