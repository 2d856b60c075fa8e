"""The local cloud on a Docker daemon: an instance is a container with systemd, sshd and dockerd; images are real."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from geusemaker.local_cloud.docker.parts import LABEL
from tests.end_to_end.containers import Containers, containers_in
from tests.end_to_end.world import World, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """A deployment of a real PostgreSQL 17.5 and a small web server in Crawl4AI's place."""
    with containers_in(tmp_path_factory.mktemp("docker")) as made:
        _prepare(made)
        yield made


def _prepare(made: Containers) -> None:
    made.build_instance_image()
    made.images.push_crawl4ai("0.6.0", "0.7.0")
    made.images.push_postgres("17.5", "17.6")
    made.world.run(
        "deploy", "demo", "--yes", "--service", "crawl4ai", "--service", "postgresql",
        "--image", "crawl4ai=unclecode/crawl4ai:0.6.0", "--image", "postgresql=postgres:17.5",
        "--instance-type", "t3.large",
    )  # fmt: skip


def test_an_instance_is_a_container_of_its_types_size(containers: Containers) -> None:
    [instance] = containers.world.json("local", "status")["instances"]
    assert (instance["kind"], instance["state"]) == ("docker", "running")
    assert containers.inspect()["HostConfig"]["Memory"] == 8 * 2**30
    assert containers.on_instance("cat", "/etc/os-release").startswith('PRETTY_NAME="Debian GNU/Linux 13 (trixie)"')
    assert containers.on_instance("docker", "version", "--format", "{{.Server.Version}}").startswith("26.1")
    assert (
        containers.on_instance("systemctl", "is-active", "ssh", "docker", "mnt-efs.mount") == "active\nactive\nactive"
    )


def test_rows_outlive_an_update_and_its_rollback(containers: Containers) -> None:
    containers.sql("create table orders (id int primary key); insert into orders select generate_series(1, 1000)")
    containers.world.run(
        "update", "demo", "--yes", "--image", "crawl4ai=unclecode/crawl4ai:0.7.0", "--image", "postgresql=postgres:17.6"
    )
    assert containers.crawler() == "0.7.0"
    containers.sql("insert into orders values (1001)")
    dump = "/mnt/efs/.geusemaker/checkpoints/v1/*/n8n.dump"
    readable = f"cat {dump} | docker exec -i geusemaker-postgresql-1 pg_restore --file=-"
    dumps = containers.on_instance("sh", "-c", readable)
    assert "COPY public.orders" in dumps
    # The tag now means other bytes; the version that is gone back to is pinned to those it ran.
    containers.images.push_crawl4ai("0.6.0", says="0.6.0, pushed again")
    containers.world.run("rollback", "demo", "--yes")
    assert containers.crawler() == "0.6.0"
    assert containers.sql("select count(*), max(id) from orders") == "1001|1001"
    assert containers.world.json("status", "demo")["status"] == "healthy"


def test_a_release_that_ends_again_and_again_is_taken_back(containers: Containers) -> None:
    containers.images.push_broken_crawl4ai("0.8.0")
    before = containers.inspect()["Id"]
    failed = containers.world.run("update", "demo", "--yes", "--image", "crawl4ai=unclecode/crawl4ai:0.8.0", code=3)
    assert "crawl4ai" in failed.stderr
    assert containers.crawler() == "0.6.0"
    assert containers.inspect()["Id"] == before


def test_a_release_that_never_answers_is_taken_back_at_its_own_deadline(containers: Containers) -> None:
    containers.images.push_silent_crawl4ai("0.8.1")
    silent = ("--image", "crawl4ai=unclecode/crawl4ai:0.8.1", "--health-deadline", "10")
    failed = containers.world.json("update", "demo", "--yes", *silent, code=3)
    assert failed["error_message"].startswith("Not healthy: crawl4ai: ")
    assert failed["duration_seconds"] < 3 * 60, "its own 10 s and the way back, not the operation's 15 min"
    assert containers.crawler() == "0.6.0"
    assert containers.sql("select count(*) from orders") == "1001"


def test_a_tag_that_no_registry_has_changes_nothing(containers: Containers) -> None:
    refused = containers.world.run("update", "demo", "--yes", "--image", "crawl4ai=unclecode/crawl4ai:9.9.9", code=5)
    assert "has no image unclecode/crawl4ai:9.9.9" in refused.stderr
    assert containers.crawler() == "0.6.0"


def test_a_resize_and_its_rollback_stop_the_instance_and_keep_its_images_and_data(containers: Containers) -> None:
    before = containers.inspect()
    images = set(containers.on_instance("docker", "images", "--quiet", "--no-trunc").split())
    containers.world.run("update", "demo", "--yes", "--instance-type", "m5.xlarge")
    after = containers.inspect()
    assert after["Id"] == before["Id"]
    assert after["State"]["StartedAt"] > before["State"]["StartedAt"]
    assert after["HostConfig"]["Memory"] == 16 * 2**30
    assert set(containers.on_instance("docker", "images", "--quiet", "--no-trunc").split()) == images
    assert containers.sql("select count(*) from orders") == "1001"
    assert containers.crawler() == "0.6.0"
    containers.world.run("rollback", "demo", "--yes")
    back = containers.inspect()
    assert (back["Id"], back["HostConfig"]["Memory"]) == (before["Id"], 8 * 2**30)
    assert back["State"]["StartedAt"] > after["State"]["StartedAt"]
    assert containers.sql("select count(*) from orders") == "1001"
    assert containers.crawler() == "0.6.0"


def test_everything_comes_back_after_the_local_cloud_was_stopped(containers: Containers) -> None:
    containers.world.run("local", "stop")
    assert containers.docker.run("ps", "--quiet", "--filter", f"label={LABEL}={containers.world.cloud}") == ""
    containers.world.run("local", "start")
    # The machine has booted; Docker brings its containers back by itself, as after any reboot.
    wait_until(
        lambda: containers.world.json("status", "demo", code=None)["status"] == "healthy",
        timeout=120,
        problem=lambda: containers.on_instance("docker", "ps", "--all"),
    )
    assert containers.sql("select count(*) from orders") == "1001"
    assert containers.crawler() == "0.6.0"


def test_a_boot_while_the_file_system_is_away_is_made_up_for(containers: Containers) -> None:
    def mount() -> str:
        return containers.on_instance("systemctl", "show", "--property", "ActiveState", "mnt-efs.mount")

    [file_system] = (containers.world.cloud / "file_systems").glob("fs-*")
    [instance] = containers.world.json("local", "status")["instances"]
    ec2 = containers.world.aws("ec2")
    ec2.stop_instances(InstanceIds=[instance["id"]])
    away = file_system.rename(file_system.with_name("away"))
    try:
        ec2.start_instances(InstanceIds=[instance["id"]])
        wait_until(lambda: mount() == "ActiveState=failed", timeout=90, problem=mount)
        status = containers.world.json("status", "demo", code=None)
        assert status["status"] == "unhealthy" and f"{file_system.name} is not mounted" in status["summary"]
        refused = containers.world.run("recover", "demo", "--yes", code=1).stderr
        assert "error: /mnt/efs could not be mounted: mount.nfs4: mounting fs-" in refused
        assert "state: Nothing was changed; v" in refused
    finally:
        away.rename(file_system)
    # Nobody does anything: the instance itself tries again.
    wait_until(
        lambda: containers.world.json("status", "demo", code=None)["status"] == "healthy",
        timeout=120,
        problem=lambda: containers.on_instance("journalctl", "--no-pager", "-u", "geusemaker-docker.service"),
    )
    assert containers.sql("select count(*) from orders") == "1001"


def test_nothing_is_pulled_once_a_container_has_stopped(containers: Containers) -> None:
    # Both images are new to the instance, and with its type everything stops.
    containers.images.push_crawl4ai("0.9.0")
    containers.images.push_postgres("17.7")
    began = f"{time.time():.3f}"
    watch = f"docker events --since {began} --format '{{{{.TimeNano}}}} {{{{.Action}}}}' > /root/events"
    containers.docker.run("exec", "--detach", containers.inspect()["Id"], "sh", "-c", watch)
    containers.world.run(
        "update", "demo", "--yes", "--instance-type", "t3.xlarge",
        "--image", "crawl4ai=unclecode/crawl4ai:0.9.0", "--image", "postgresql=postgres:17.7",
    )  # fmt: skip
    assert containers.crawler() == "0.9.0"
    events = [line.split(maxsplit=1) for line in containers.on_instance("cat", "/root/events").splitlines()]
    first_stop = min(int(at) for at, action in events if action in ("kill", "die")) / 1e9
    pulls = containers.pulls(began)
    assert {repository for _, repository in pulls} == {"unclecode/crawl4ai", "library/postgres"}
    assert max(at for at, _ in pulls) < first_stop


def test_its_runtime_cannot_change_while_it_holds_anything(containers: Containers) -> None:
    refused = containers.world.run("deploy", "other", "--yes", "--local-runtime", "process", code=1)
    assert "has instances or data, and its runtime is docker" in refused.stderr
    assert containers.world.json("local", "status")["runtime"] == "docker"


def test_no_daemon_is_told_before_anything_is_made(tmp_path: Path) -> None:
    world = World.at(tmp_path)
    world.extra = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    refused = world.run("deploy", "demo", "--yes", "--local-runtime", "docker", code=1)
    assert "No Docker daemon answers" in refused.stderr
    assert "apt-get install docker.io" in refused.stderr
    assert world.json("local", "status")["runtime"] == "process"
    aws = world.run("deploy", "demo", "--target", "aws", "--local-runtime", "docker", "--yes", code=2)
    assert "--local-runtime is for the local cloud only" in aws.stderr
