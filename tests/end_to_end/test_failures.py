"""Changes that fail: what comes back by itself, what is recorded, what is refused before anything happens."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.end_to_end.load import busy_machine
from tests.end_to_end.world import World, wait_until


@pytest.fixture(scope="module")
def deployed(world: World) -> World:
    world.run(
        *("deploy", "shop", "--service", "postgresql", "--service", "n8n", "--service", "qdrant"),
        *("--image", "n8n=n8nio/n8n:1.100.0", "--yes"),
    )
    return world


def running(inspection: dict[str, Any], service: str) -> str:
    image: str = inspection["services"][service]["image"]
    return image.partition("@")[0]


def test_a_crashing_release_is_taken_back(deployed: World) -> None:
    before = deployed.inspect("shop")
    told = deployed.folder / "told"
    failing = ("update", "shop", "--image", "n8n=n8nio/n8n:1.101.0-crash", "--hook", f"cat >> {told}; echo >> {told}")
    document = deployed.json(*failing, "--yes", code=3)
    assert document["success"] is False
    assert "n8n" in document["error_message"]
    after = deployed.inspect("shop")
    assert document["version"] == after["active_version"]
    assert after["status"] == "healthy"
    assert running(after, "n8n") == "n8nio/n8n:1.100.0"
    for untouched in ("postgresql", "qdrant"):
        assert after["services"][untouched]["pid"] == before["services"][untouched]["pid"]
    failed, restored = after["versions"][-2:]
    assert (failed["status"], failed["healthy"]) == ("failed", False)
    assert (restored["kind"], restored["source_version"]) == ("rollback", before["active_version"])
    record = after["rollbacks"][-1]
    assert (record["trigger"], record["success"]) == ("health_check_failed", True)
    assert record["previous_state_version"] == failed["number"]
    wait_until(lambda: told.read_text().count("}\n") == 3, 60, told.read_text)
    events = {event["event"]: event for event in map(json.loads, told.read_text().splitlines())}
    assert {*events} == {"before-change", "failed", "rolled-back"}
    assert events["failed"]["number"] == failed["number"] and events["rolled-back"]["success"] is True


ASKED = """python3 -c 'import os, urllib.request as u; u.urlopen(os.environ["GEUSEMAKER_ADDRESS_N8N"] + "/healthz")'"""


@pytest.mark.slow
def test_what_does_worse_or_fails_a_test_after_its_gate_goes_back(deployed: World) -> None:
    """The gate asks for one second here, and this n8n dies after eight: only who looks on sees it."""
    baked = ("--bake", "2m", "--test", ASKED, "--test-url", "n8n/healthz")
    document = deployed.json("update", "shop", "--image", "n8n=n8nio/n8n:1.101.0-shortlived", *baked, "--yes", code=3)
    [seen, *_] = document["bake"]["regressions"]
    assert (document["bake"]["ended"], seen["service"]) == ("regression", "n8n") and seen["figure"] in (
        "restarts",
        "readiness",
    )
    assert document["bake"]["lasted_seconds"] < 120
    after = deployed.inspect("shop")
    record = after["rollbacks"][-1]
    assert (record["trigger"], record["success"]) == ("health_check_failed", True)
    assert "after the gate had passed" in record["reason"] and running(after, "n8n") == "n8nio/n8n:1.100.0"

    refusing = f"{ASKED} && echo it answers, and is not what we want && exit 9"
    failed = deployed.json("update", "shop", "--image", "n8n=n8nio/n8n:1.102.0", "--test", refusing, "--yes", code=3)
    told = failed["bake"]["failed_test"]
    assert (failed["bake"]["ended"], told["exit_code"]) == ("test_failed", 9)
    assert told["lines"] == ["it answers, and is not what we want"]
    assert running(deployed.inspect("shop"), "n8n") == "n8nio/n8n:1.100.0"


@pytest.mark.slow
def test_a_release_that_never_becomes_healthy_waits_only_its_own_deadline(deployed: World) -> None:
    silent = ("--image", "qdrant=qdrant/qdrant:v1.21.0-unhealthy", "--health-deadline", "6")
    document = deployed.json("update", "shop", *silent, "--yes", code=3)
    assert document["duration_seconds"] < 5 * 60, "its own 6 s and the way back, not the operation's 15 min"
    after = deployed.inspect("shop")
    assert after["status"] == "healthy"
    assert running(after, "qdrant") == "qdrant/qdrant:v1.20.0"


@pytest.mark.slow
def test_without_automatic_rollback_the_failure_stays_and_a_plain_rollback_mends_it(deployed: World) -> None:
    before = deployed.inspect("shop")
    arguments = ("update", "shop", "--image", "n8n=n8nio/n8n:1.102.0-crash", "--no-auto-rollback", "--yes")
    assert deployed.json(*arguments, code=4)["success"] is False
    failed = deployed.inspect("shop")
    assert failed["status"] == "failed"
    assert failed["active_version"] == before["active_version"]
    # The trap: Pulumi's state still has the old inputs, so going back must not be "no change".
    document = deployed.json("rollback", "shop", "--yes")
    assert document["source_version"] == before["active_version"]
    after = deployed.inspect("shop")
    assert after["status"] == "healthy"
    assert running(after, "n8n") == "n8nio/n8n:1.100.0"


@pytest.mark.slow
def test_a_resize_that_aws_has_no_capacity_for_goes_back_to_the_old_type(deployed: World) -> None:
    fault = {"code": "InsufficientInstanceCapacity", "instance_type": "m5.large", "times": 1000}
    with deployed.aws_refusing("StartInstances", **fault):
        document = deployed.json("update", "shop", "--instance-type", "m5.large", "--yes", code=3)
    assert "AWS has no capacity for this instance type" in document["error_message"]
    assert "choose another --instance-type" in document["next_step"]
    after = deployed.inspect("shop")
    assert after["rollbacks"][-1]["trigger"] == "apply_failed"
    assert after["instance"]["type"] == "t3.large"
    assert after["instance"]["state"] == "running"
    assert after["status"] == "healthy"


def test_secrets_are_in_nothing_that_was_printed_or_written(deployed: World) -> None:
    secrets = json.loads(deployed.pulumi("shop", "config", "get", "geusemaker:secrets"))
    values = [value for value in secrets.values() if "PRIVATE KEY" not in value]
    values += [secrets["ssh_private_key"].splitlines()[1], secrets["host_private_key"].splitlines()[1]]
    assert len(values) == 6
    printed = "\n".join(deployed.outputs)
    written = {
        path: path.read_text(encoding="utf-8", errors="replace") for path in deployed.home.rglob("*") if path.is_file()
    }
    written[deployed.cloud / "daemon.log"] = (deployed.cloud / "daemon.log").read_text()
    for value in values:
        assert value not in printed
        assert [path for path, text in written.items() if value in text] == []


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook on this machine: its address, and what it was told."""
    told: list[dict[str, Any]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *words: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/a-secret-path", told
        server.shutdown()


def test_the_instance_tells_of_a_service_that_dies_between_operations(deployed: World) -> None:
    disk = deployed.instance_disk()
    units = disk / "etc/systemd/system"
    (units / "geusemaker-watch.timer.d").mkdir()
    (units / "geusemaker-watch.timer.d/soon.conf").write_text("[Timer]\nOnActiveSec=1\nOnUnitActiveSec=1\n")
    with webhook() as (address, got):
        (deployed.folder / "addresses").write_text(f"{address}\n")
        deployed.run("secrets", "set", "shop", "notify", "--from", f"@{deployed.folder / 'addresses'}")
        (deployed.folder / "addresses").unlink()
        assert (disk / "opt/geusemaker/watch.json").stat().st_mode & 0o777 == 0o600

        def told(event: str) -> list[str]:
            return [one["text"] for one in got if one["event"] == event]

        deployed.docker("stop", "geusemaker-qdrant-1")
        wait_until(lambda: bool(told("unhealthy")), 60, lambda: (disk / "var/log/syslog").read_text()[-2000:])
        deployed.docker("start", "geusemaker-qdrant-1")
        wait_until(lambda: bool(told("healthy-again")), 60, lambda: (disk / "var/log/syslog").read_text()[-2000:])
        assert [text.partition(" is ")[0] for text in told("unhealthy")] == ["shop: qdrant"], "once"
        assert told("healthy-again") == ["shop: qdrant is healthy again."]
        (deployed.folder / "addresses").write_text("tell-nobody")
        deployed.run("secrets", "set", "shop", "notify", "--from", f"@{deployed.folder / 'addresses'}")
    assert not (units / "geusemaker-watch.timer").exists() and not (disk / "opt/geusemaker/watch.json").exists()
    for written in (*deployed.outputs, (disk / "var/log/syslog").read_text()):
        assert "a-secret-path" not in written
    assert deployed.inspect("shop")["status"] == "healthy"


@pytest.mark.slow
def test_a_release_that_fails_a_moment_late_is_taken_back(deployed: World) -> None:
    """The one of them that no other story has, on a busy machine; `make soak` does each twenty times."""
    ready = deployed.json("update", "shop", "--health-deadline", "90", "--settle-seconds", "10", "--yes")
    assert "settle_seconds: 1 -> 10" in ready["changes"]
    with busy_machine():
        document = deployed.json("update", "shop", "--image", "n8n=n8nio/n8n:1.101.0-badmigration", "--yes", code=3)
    assert document["success"] is False and "n8n" in document["error_message"]
    after = deployed.inspect("shop")
    assert running(after, "n8n") == "n8nio/n8n:1.100.0"
    assert after["active_version"] == document["version"]
