"""The local cloud on a Docker daemon: an instance is a container with systemd, sshd and dockerd; images are real."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from geusemaker.local_cloud.amis import BARE_AMD64
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


def test_it_is_reached_as_a_machine_of_its_own(containers: Containers) -> None:
    world = containers.world
    assert world.run("ssh", "demo", "--", "sudo -n id -u; exit 7", code=7).stdout == "0\n"
    psql = ("psql", "-U", "geusemaker", "-d", "n8n", "-Atc", "SELECT 6*7")
    printed = world.run("exec", "demo", "postgresql", "--", *psql)
    assert (printed.stdout, printed.stderr) == ("42\n", "")
    tunnel = world.start("tunnel", "demo", "crawl4ai", "--output", "json", log="tunnel.log")
    told = world.folder / "tunnel.log"
    wait_until(lambda: "\n}" in told.read_text(), 60, told.read_text)
    with urllib.request.urlopen(f"{json.loads(told.read_text())['addresses']['crawl4ai']}/health") as answer:
        assert answer.status == 200
    logs = world.start("logs", "demo", "postgresql", "--follow", "--lines", "1", log="logs.log")
    seen = world.folder / "logs.log"
    wait_until(lambda: "  " in seen.read_text(), 60, seen.read_text)
    containers.on_instance("docker", "restart", "geusemaker-postgresql-1")
    wait_until(lambda: "postgresql: its container was started" in seen.read_text(), 90, seen.read_text)
    ready = "database system is ready to accept connections"
    wait_until(lambda: ready in seen.read_text().partition("its container was started")[2], 90, seen.read_text)
    for running in (tunnel, logs):
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
    wait_until(lambda: world.json("status", "demo", code=None)["status"] == "healthy", 60, seen.read_text)


METADATA = """
set -eu
ip address flush dev lo label lo:imds
ip netns add elsewhere
ip link add outside type veth peer name inside netns elsewhere
ip address add 169.254.169.253/30 dev outside
ip address add 198.51.100.1/30 dev outside
ip link set outside up
ip netns exec elsewhere ip address add 169.254.169.254/30 dev inside
ip netns exec elsewhere ip address add 198.51.100.2/30 dev inside
ip netns exec elsewhere ip link set inside up
mkdir -p /run/elsewhere
echo secret > /run/elsewhere/told
for port in 80 2049; do
    ip netns exec elsewhere setsid python3 -m http.server -d /run/elsewhere $port > /dev/null 2>&1 < /dev/null &
done
"""
"""In the place of AWS's metadata service and of EFS: a machine beside the instance, at their address and port.

The local cloud's own metadata service is on the instance, where no packet of a container is forwarded to.
"""


def test_a_browser_in_a_container_reaches_neither_database_nor_metadata_service_nor_file_system(
    containers: Containers,
) -> None:
    crawler = ("docker", "exec", "geusemaker-crawl4ai-1", "busybox")
    shown = "'{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}'"

    def on_instance(*words: str) -> str:
        return containers.on_instance("sh", "-c", " ".join(words)).strip()

    def answers(*words: str) -> bool:
        return on_instance(*words, "> /dev/null 2>&1 && echo yes || echo no") == "yes"

    def fetches(url: str) -> bool:
        return answers(*crawler, "wget", "-T", "10", "-q", "-O", "-", url)

    def stands() -> None:
        wait_until(lambda: answers(*crawler, "true"), 120, lambda: on_instance("docker", "ps", "--all"))

    database = on_instance("docker", "inspect", "--format", shown, "geusemaker-postgresql-1")
    image = on_instance("docker", "inspect", "--format", "'{{.Image}}'", "geusemaker-crawl4ai-1")
    beside = ("docker", "run", "--rm", "--network", "geusemaker_postgresql", "--entrypoint", "/bin/busybox", image)
    assert answers(*beside, "nc", "-w", "30", "postgresql", "5432"), "so it is there to be reached"
    assert not answers(*crawler, "nc", "-w", "5", database, "5432")
    assert not answers(*crawler, "nc", "-w", "5", "postgresql", "5432"), "nor does it know the name"

    on_instance(METADATA)
    link_local, efs = "http://169.254.169.254/told", "http://198.51.100.2:2049/told"
    for url in (link_local, efs):
        wait_until(partial(answers, "curl", "-sSf", "-m", "5", url), 60, lambda: "the instance does not reach it")
        assert not fetches(url)
    assert fetches("http://198.51.100.2/told"), "it is the port"
    door = "DOCKER-USER --destination 169.254.169.254 --jump ACCEPT"
    on_instance("iptables --insert", door)
    assert fetches(link_local), "nothing but the wall keeps it away"
    on_instance("iptables --flush DOCKER-USER && systemctl restart docker.service")
    stands()
    assert not fetches(link_local) and not fetches(efs)

    taken = "'{{json .HostConfig.CapDrop}} {{json .HostConfig.SecurityOpt}} {{json .HostConfig.CapAdd}}'"
    had = on_instance("docker", "inspect", "--format", taken, "geusemaker-crawl4ai-1")
    assert had == '["ALL"] ["no-new-privileges:true"] null'
    status = partial(containers.world.json, "status", "demo", code=None)
    wait_until(lambda: status()["status"] == "healthy", 120, lambda: status()["summary"])


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


def test_a_domain_is_answered_by_the_real_caddy_over_tls(containers: Containers) -> None:
    host = "crawl.example.com"
    containers.images.push_caddy("2.11.9")
    containers.images.push_crawl4ai("0.8.2", "0.9.3")
    containers.world.run("update", "demo", "--yes", "--image", "crawl4ai=unclecode/crawl4ai:0.8.2")
    containers.world.run(
        "update", "demo", "--yes", "--image", "crawl4ai=unclecode/crawl4ai:0.9.3", "--domain", f"crawl4ai={host}"
    )
    assert {"caddy", "crawl4ai", "postgresql"} == containers.running().keys()
    url = f"https://{host}:10443/health"
    trusting = ("curl", "-sS", "--cacert", "/mnt/efs/caddy/caddy/pki/authorities/local/root.crt")
    curl = (*trusting, "--resolve", f"{host}:10443:127.0.0.1", "--retry", "5", "--retry-all-errors")
    assert json.loads(containers.on_instance(*curl, url))["version"] == "0.9.3"
    domain = containers.world.json("status", "demo")["domains"][host]
    assert (domain["service"], domain["problem"]) == ("crawl4ai", "") and domain["certificate_until"]
    certificate = containers.on_instance("sha256sum", "/mnt/efs/caddy/caddy/pki/authorities/local/root.crt")

    before = containers.running()["caddy"]
    back = containers.world.json("rollback", "demo", "--yes")
    assert back["success"] and containers.running()["caddy"] != before, "told that what it leads to is closed"
    closed = containers.on_instance(*curl, "--retry", "0", "-o", "/dev/null", "-w", "%{http_code}", url)
    assert closed == "503", "Crawl4AI before 0.9.0 lets anybody in"
    assert containers.on_instance("sha256sum", "/mnt/efs/caddy/caddy/pki/authorities/local/root.crt") == certificate
    containers.world.run("update", "demo", "--yes", "--no-domain")
    assert {"crawl4ai", "postgresql"} == containers.running().keys()


def example(name: str, service: str) -> dict[str, Any]:
    """What an example says of a service of one's own."""
    text = (Path(__file__).parents[2] / "examples" / name).read_text()
    return dict(yaml.safe_load(text)["services"][service])


def test_a_real_redis_of_ones_own_keeps_its_data_over_a_rollback_that_takes_it_out(containers: Containers) -> None:
    """And a chat beside it, as Open WebUI's example has it: on the data volume, in front of Ollama, with its key."""
    world = containers.world
    containers.images.push_redis("7.4.11", "7.4.12")
    containers.images.push_ollama("0.6.4")
    containers.images.push_open_webui("v0.6.36")
    stack = yaml.safe_load(world.run("export", "demo").stdout)
    stack["services"]["redis"] = example("n8n-queue.yaml", "redis")
    # A Docker daemon's mirror stands for Docker Hub alone.
    stack["services"]["chat"] = example("open-webui.yaml", "chat") | {"image": "openwebui/open-webui:v0.6.36"}
    stack["services"]["ollama"] = {"image": "ollama/ollama:0.6.4"}
    (world.folder / "key").write_text("the key of the chat")
    world.run("secrets", "set", "demo", "chat.WEBUI_SECRET_KEY", "--from", f"@{world.folder / 'key'}")
    file = world.folder / "stack.yaml"
    file.write_text(yaml.safe_dump(stack))
    world.run("update", "demo", "--yes", "-f", str(file))
    assert containers.on_instance("curl", "-sSf", "http://127.0.0.1:3000/ollama") == '{"version": "0.6.4"}'
    kept = containers.on_instance("sh", "-c", "wc -l < /mnt/data/own/chat/data/starts").strip()
    redis = ("exec", "demo", "redis", "--", "redis-cli")
    assert world.run(*redis, "set", "queue", "waiting").stdout.strip() == "OK"
    world.run("update", "demo", "--yes", "--image", "redis=redis:7.4.12")
    assert world.run(*redis, "get", "queue").stdout.strip() == "waiting"
    without = world.json("update", "demo", "--yes", "--without", "redis")
    assert "own/redis" in " ".join(without["data_kept"])
    assert "geusemaker-redis-1" not in containers.on_instance("docker", "ps", "--all")
    assert containers.on_instance("sh", "-c", "wc -l < /mnt/data/own/chat/data/starts").strip() == kept == "1"
    assert world.json("rollback", "demo", "--yes")["health_status"]["redis"] is True
    assert world.run(*redis, "get", "queue").stdout.strip() == "waiting"
    assert "7.4.12" in world.json("inspect", "demo")["services"]["redis"]["image"]


def test_a_bare_instance_becomes_one_that_works_in_minutes(containers: Containers) -> None:
    """Of an image that has systemd, sshd and Python, from Debian's packages: what happens on AWS, at its real pace."""
    world = containers.world
    world.run("destroy", "demo", "--yes")
    deployed = world.run(
        "deploy", "bare", "--yes", "--ami", BARE_AMD64, "--service", "crawl4ai", "--purchase", "spot",
        "--image", "crawl4ai=unclecode/crawl4ai:0.6.0", timeout=900,
    )  # fmt: skip
    told = deployed.stdout
    marks = [
        "mount runs on the instance",
        "Installing nfs-common",
        "Installing docker-cli",
        "prefetch",
        "apply runs on",
    ]
    assert [mark for mark in marks if mark in told] == marks
    assert sorted(marks, key=told.index) == marks, "its images come before the services, and after Docker"
    held = containers.on_instance("apt-mark", "showhold").split()
    assert {"containerd", "docker-compose", "docker.io", "runc"} <= set(held)
    units = ("docker", "mnt-efs.mount", "apt-daily-upgrade.timer", "systemd-journald")
    assert containers.on_instance("systemctl", "is-active", *units) == "\n".join(["active"] * len(units))
    updates = containers.on_instance("unattended-upgrade", "--dry-run", "--debug")
    assert "Allowed origins are: " in updates and "docker" not in updates
    assert "max 500M" in containers.on_instance("journalctl", "--no-pager", "-u", "systemd-journald.service")
    requires = containers.on_instance("systemctl", "show", "--property", "RequiresMountsFor", "docker.service")
    assert "/mnt/efs" in requires and "/mnt/data" in requires
    record = world.json("history", "bare")["versions"][0]
    print(f"A bare instance was set up, and healthy, in {record['duration_seconds']:.0f} s")
    before = containers.running()
    # Of Debian's archive all is the newest on a day as young as this instance.
    assert "Docker is the newest that there is." in world.run("recover", "bare", "--renew-docker", "--yes").stdout
    world.run("update", "bare", "--yes", "--image", "crawl4ai=unclecode/crawl4ai:0.7.0")
    assert containers.running() != before and world.json("status", "bare")["status"] == "healthy"


def test_a_spot_instance_that_ec2_takes_back_stops_in_order_and_comes_back(containers: Containers) -> None:
    world = containers.world
    instance = world.json("inspect", "bare")["instance"]["id"]
    assert containers.on_instance("systemctl", "is-active", "geusemaker-notice.service").strip() == "active"
    world.run("local", "interrupt", instance, "--notice", "20")
    [note] = world.cloud.glob("file_systems/*/.geusemaker/interruption.json")
    told = json.loads(note.read_text())
    assert (told["instance_id"], told["action"], told["stopped"]) == (instance, "stop", ["crawl4ai"])
    assert told["stopped_at"] and "EC2 starts it by itself" in world.json("status", "bare", code=8)["summary"]
    world.run("local", "interrupt", instance, "--return")
    wait_until(lambda: "returned_at" in note.read_text(), 90, lambda: world.run("status", "bare", code=None).stdout)
    assert "Put on record" in world.run("recover", "bare", "--yes").stdout and not note.exists()
    assert world.json("status", "bare")["status"] == "healthy" and containers.running().keys() == {"crawl4ai"}
