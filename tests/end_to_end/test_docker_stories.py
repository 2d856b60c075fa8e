"""Failures and ways back on real containers: PostgreSQL's majors, memory, a registry that is away, a failed resize."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator

import pytest

from tests.end_to_end.containers import Containers, containers_in
from tests.end_to_end.world import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """A deployment of a real PostgreSQL 15 with rows in it, and a small web server in Crawl4AI's place."""
    with containers_in(tmp_path_factory.mktemp("docker")) as made:
        made.build_instance_image()
        made.images.push_crawl4ai("0.6.0", "0.7.0")
        made.images.push_postgres("15.13", "15.14", major=15)
        made.images.push_postgres("17.5", major=17)
        made.world.run(
            "deploy", "demo", "--yes", "--service", "crawl4ai", "--service", "postgresql",
            "--image", "crawl4ai=unclecode/crawl4ai:0.6.0", "--image", "postgresql=postgres:15.13",
            "--instance-type", "t3.large",
        )  # fmt: skip
        made.sql("create table orders (id int primary key); insert into orders select generate_series(1, 1000)")
        yield made


def orders(containers: Containers) -> int:
    return int(containers.sql("select count(*) from orders"))


def tagged(containers: Containers, service: str) -> str:
    """The image that the container says it is of."""
    label = '{{index .Config.Labels "io.geusemaker.image"}}'
    return containers.on_instance("docker", "inspect", "--format", label, f"geusemaker-{service}-1")


def test_postgresql_15_is_not_updated_to_17(containers: Containers) -> None:
    before, images = containers.running(), containers.on_instance("docker", "images", "--quiet")
    refused = containers.world.run("update", "demo", "--yes", "--image", "postgresql=postgres:17.5", code=5)
    assert "PostgreSQL data: the data is of PostgreSQL 15, and postgres:17.5 does not start on it" in refused.stderr
    assert "Nothing was changed; v1 stays active." in refused.stderr
    assert containers.running() == before
    assert containers.on_instance("docker", "images", "--quiet") == images
    assert orders(containers) == 1000


def test_a_release_that_runs_out_of_memory_is_taken_back(containers: Containers) -> None:
    if containers.on_instance("docker", "info", "--format", "{{.MemoryLimit}}") != "true":
        pytest.skip("OUT OF MEMORY IS NOT TESTED: this kernel has no memory control group for containers in containers")
    containers.images.push_hungry_crawl4ai("0.8.0")
    database = containers.running()["postgresql"]
    failed = containers.world.json("update", "demo", "--yes", "--image", "crawl4ai=unclecode/crawl4ai:0.8.0", code=3)
    assert failed["error_message"] == "Not healthy: crawl4ai: it ran out of memory (exit code 137)."
    assert (failed["rolled_back_to"], failed["health_status"]) == (1, {"crawl4ai": True, "postgresql": True})
    assert containers.crawler() == "0.6.0"
    assert containers.running()["postgresql"] == database


def test_a_process_killed_in_a_container_that_serves_on_fails_no_change(containers: Containers) -> None:
    containers.images.push_crawl4ai_with_hungry_tab("0.8.1")
    containers.world.run("update", "demo", "--yes", "--image", "crawl4ai=unclecode/crawl4ai:0.8.1")
    state = ("docker", "inspect", "--format", "{{.State.OOMKilled}} {{.State.Running}}", "geusemaker-crawl4ai-1")
    wait_until(
        lambda: containers.on_instance(*state) == "true true",
        timeout=30,
        problem=lambda: f"nothing was killed: {containers.on_instance(*state)}",
    )
    containers.world.run("update", "demo", "--yes", "--image", "postgresql=postgres:15.14")
    assert containers.on_instance(*state) == "true true"
    assert orders(containers) == 1000


def test_a_failed_update_that_was_left_is_rolled_back_to_what_ran(containers: Containers) -> None:
    containers.images.push_unstartable_crawl4ai("0.9.0")
    database = containers.running()["postgresql"]
    # The engine keeps the inputs of before of a command that failed: to it, going back is no change.
    left = containers.world.json(
        "update", "demo", "--yes", "--image", "crawl4ai=unclecode/crawl4ai:0.9.0", "--no-auto-rollback", code=4
    )
    assert "/no/such/program" in left["error_message"]
    assert "Run `geusemaker rollback demo`" in left["next_step"]
    assert containers.running() == {"postgresql": database}
    containers.world.run("rollback", "demo", "--yes")
    assert (containers.crawler(), tagged(containers, "crawl4ai")) == ("0.8.1", "unclecode/crawl4ai:0.8.1")
    assert containers.running()["postgresql"] == database
    assert containers.world.json("status", "demo")["status"] == "healthy"
    assert orders(containers) == 1000


def test_a_resize_and_new_images_in_one_update_go_back_in_one_rollback(containers: Containers) -> None:
    containers.world.run(
        "update", "demo", "--yes", "--instance-type", "m5.xlarge",
        "--image", "crawl4ai=unclecode/crawl4ai:0.7.0", "--image", "postgresql=postgres:15.13",
    )  # fmt: skip
    assert containers.inspect()["HostConfig"]["Memory"] == 16 * 2**30
    assert (containers.crawler(), tagged(containers, "postgresql")) == ("0.7.0", "postgres:15.13")
    containers.sql("insert into orders values (1001)")
    containers.world.run("rollback", "demo", "--yes")
    assert containers.inspect()["HostConfig"]["Memory"] == 8 * 2**30
    assert (containers.crawler(), tagged(containers, "postgresql")) == ("0.8.1", "postgres:15.14")
    assert orders(containers) == 1001


# docs/data.md tells this to whoever has to go to another major version.
CROSS = """
set -eu
cd /mnt/efs/postgresql
docker exec geusemaker-postgresql-1 pg_dumpall -U geusemaker |
    sed '/^\\\\restrict [[:alnum:]]*$/d; /^\\\\unrestrict [[:alnum:]]*$/d' | gzip > all.sql.gz
docker stop geusemaker-postgresql-1
mv pgdata pgdata-before
docker run --detach --rm --name newer --env-file /opt/geusemaker/postgresql.env --env POSTGRES_USER=geusemaker \\
    --env POSTGRES_DB=n8n --env PGDATA=/var/lib/postgresql/data/pgdata \\
    --volume /mnt/efs/postgresql:/var/lib/postgresql/data postgres:17.5
until docker exec newer pg_isready -h 127.0.0.1; do sleep 1; done
gunzip -c all.sql.gz | docker exec -i newer psql -q -U geusemaker -d postgres
docker stop newer
"""
UNCROSS = """
set -eu
cd /mnt/efs/postgresql
docker stop geusemaker-postgresql-1
mv pgdata pgdata-after
mv pgdata-before pgdata
"""


def test_data_carried_to_17_by_hand_is_not_rolled_back_to_15_before_it_is_carried_back(containers: Containers) -> None:
    kept = orders(containers)
    containers.on_instance("sh", "-c", CROSS)
    # On record PostgreSQL 15 ran last; what is on disk decides.
    flags = ("--no-checkpoint", "--no-way-back")
    containers.world.run("update", "demo", "--yes", "--image", "postgresql=postgres:17.5", *flags)
    assert containers.sql("show server_version_num").startswith("17")
    assert orders(containers) == kept
    before = containers.running()
    for command in (("rollback", "demo"), ("update", "demo", "--image", "postgresql=postgres:15.13")):
        refused = containers.world.run(*command, "--yes", code=5)
        assert "PostgreSQL data: the data is of PostgreSQL 17, and postgres:15.1" in refused.stderr
        assert "Nothing was changed" in refused.stderr
    assert containers.running() == before
    assert orders(containers) == kept

    containers.on_instance("sh", "-c", UNCROSS)
    containers.world.run("rollback", "demo", "--yes", "--no-checkpoint")
    assert containers.sql("show server_version_num").startswith("15")
    assert orders(containers) == kept


def gguf() -> bytes:
    """The smallest model that Ollama takes: one tensor (github.com/ggml-org/ggml/blob/master/docs/gguf.md)."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    about = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    tensor = text("token_embd.weight") + struct.pack("<IQIQ", 1, 8, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + about + tensor
    return head + b"\0" * (-len(head) % 32) + struct.pack("<8f", *range(8))


def test_a_model_of_a_real_ollama_outlives_an_update_and_its_rollback(containers: Containers) -> None:
    containers.images.push_real_ollama("0.6.4", "0.6.5")
    ollama, model = "http://127.0.0.1:11434", gguf()
    containers.world.run("update", "demo", "--yes", "--service", "ollama", "--image", "ollama=ollama/ollama:0.6.4")
    blob = f"sha256:{hashlib.sha256(model).hexdigest()}"
    put = ("exec", "-i", containers.inspect()["Id"], "curl", "-sSf", "--data-binary", "@-")
    containers.docker.run(*put, f"{ollama}/api/blobs/{blob}", stdin=model)
    create = {"model": "tiny", "files": {"tiny.gguf": blob}, "stream": False}
    made = containers.docker.run(*put, f"{ollama}/api/create", stdin=json.dumps(create).encode())
    assert json.loads(made) == {"status": "success"}

    def there() -> tuple[str, list[str]]:
        version, models = (
            json.loads(containers.on_instance("curl", "-sSf", f"{ollama}/api/{ask}")) for ask in ("version", "tags")
        )
        return version["version"], [one["name"] for one in models["models"]]

    assert there() == ("0.6.4", ["tiny:latest"])
    containers.world.run("update", "demo", "--yes", "--image", "ollama=ollama/ollama:0.6.5")
    assert there() == ("0.6.5", ["tiny:latest"])
    containers.world.run("rollback", "demo", "--yes")
    assert there() == ("0.6.4", ["tiny:latest"])
    journal = containers.world.home / ".state/journal/demo.jsonl"
    last = json.loads(journal.read_text().splitlines()[-1])
    assert (last["kind"], last["manifest_after"]["services"]["ollama"]["models"]) == ("rollback", ["tiny:latest"])
    assert (
        last["manifest_after"]["services"]["ollama"]["source"]
        == last["manifest_before"]["services"]["ollama"]["source"]
    )


# The registry's large packets do not arrive: what it says of images does, their layers do not.
STALLED = ("INPUT", "-p", "tcp", "--sport", "5000", "-m", "length", "--length", "1400:65535", "-j", "DROP")


def test_a_pull_that_stalls_is_told_of_while_everything_still_runs(containers: Containers) -> None:
    containers.images.push_crawl4ai("0.9.1")
    before = containers.running()
    containers.on_instance("iptables", "-I", *STALLED)
    update = containers.world.start("update", "demo", "--yes", "--image", "crawl4ai=unclecode/crawl4ai:0.9.1")
    containers.world.wait_for_line("crawl4ai pulling (0 of 1 layers after 15 s)")
    assert containers.running() == before
    assert orders(containers) == 1001
    containers.on_instance("iptables", "-D", *STALLED)
    assert update.wait(120) == 0
    assert containers.crawler() == "0.9.1"


REPOSITORY = "/var/lib/registry/docker/registry/v2/repositories/unclecode/crawl4ai/_manifests"


def test_an_image_that_its_registry_withdrew_is_brought_back_from_the_instance(containers: Containers) -> None:
    containers.docker.run("exec", containers.registry(), "rm", "-r", REPOSITORY)
    gone = containers.world.run("update", "demo", "--yes", "--image", "crawl4ai=unclecode/crawl4ai:0.7.0", code=5)
    assert "has no image unclecode/crawl4ai:0.7.0" in gone.stderr
    back = containers.world.run("rollback", "demo", "--yes")
    assert "no image unclecode/crawl4ai:0.8.1" in back.stdout and "kept on the instance" in back.stdout
    assert containers.crawler() == "0.8.1"
    # And forward again, for the registry that is down.
    containers.images.push_crawl4ai("0.9.1")
    containers.world.run("update", "demo", "--yes", "--image", "crawl4ai=unclecode/crawl4ai:0.9.1")
    assert containers.crawler() == "0.9.1"


def test_without_a_registry_a_rollback_works_and_a_new_image_is_refused(containers: Containers) -> None:
    containers.images.push_crawl4ai("0.9.2")
    containers.docker.run("stop", containers.registry())
    before = containers.running()
    refused = containers.world.run("update", "demo", "--yes", "--image", "crawl4ai=unclecode/crawl4ai:0.9.2", code=5)
    assert "The local cloud's registry cannot be reached" in refused.stderr
    assert "Nothing was changed." in refused.stderr
    assert "Run the command again once the registry answers." in refused.stderr
    assert containers.running() == before
    containers.world.run("rollback", "demo", "--yes")
    assert containers.crawler() == "0.8.1"
    assert orders(containers) == 1001
    assert containers.world.json("status", "demo")["status"] == "healthy"
