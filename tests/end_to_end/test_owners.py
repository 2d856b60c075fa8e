"""Who holds a deployment: two changes at once, another machine's, a dead one's, and one past its deadline."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.world import World, find_engine, wait_until

pytestmark = pytest.mark.slow

FAST, SLOW = "n8nio/n8n:1.100.1", "n8nio/n8n:1.100.2-slow"


@pytest.fixture(scope="module")
def deployed(world: World) -> World:
    services = ("--service", "postgresql", "--service", "n8n")
    world.run("deploy", "shop", *services, "--image", f"n8n={SLOW}", "--yes")
    world.run("update", "shop", "--image", f"n8n={FAST}", "--yes")
    return world


@pytest.fixture(scope="module")
def elsewhere(deployed: World) -> World:
    """Another machine: a host name of its own, in a namespace of its own."""
    other = deployed.second_machine()
    other.prefix = (
        "unshare",
        "--user",
        "--map-root-user",
        "--uts",
        "sh",
        "-c",
        'hostname elsewhere && exec "$@"',
        "sh",
    )
    probe = subprocess.run([*other.prefix, "hostname"], capture_output=True, text=True)
    if probe.stdout.strip() != "elsewhere":
        pytest.skip(f"no namespaces for a second host name here: {probe.stderr.strip()}")
    return other


def running(inspection: dict[str, Any]) -> str:
    image: str = inspection["services"]["n8n"]["image"]
    return image.partition("@")[0]


def test_of_two_rollbacks_at_once_one_is_applied_and_the_other_names_who_holds_it(deployed: World) -> None:
    before = deployed.inspect("shop")
    both = [deployed.start("rollback", "shop", "--yes", log=f"{number}.log") for number in (1, 2)]
    codes = [process.wait(timeout=180) for process in both]
    logs = [(deployed.folder / f"{number}.log").read_text() for number in (1, 2)]
    assert sorted(codes) == [0, 6], logs
    done, refused = codes.index(0), codes.index(6)
    assert re.search(rf"held by a rollback .*process {both[done].pid} on {os.uname().nodename}", logs[refused]), logs
    assert "Nothing was changed by this one." in logs[refused]
    after = deployed.inspect("shop")
    assert (after["status"], running(after)) == ("healthy", SLOW)
    assert [version["number"] for version in after["versions"]][len(before["versions"]) :] == [after["active_version"]]


def test_a_change_waits_for_the_one_before_it_and_starts_from_what_that_made(deployed: World) -> None:
    process = deployed.start("update", "shop", "--env", "postgresql.NOTE=first", "--yes")
    deployed.wait_for_line("apply: apply started")
    waited = deployed.run("update", "shop", "--image", f"n8n={FAST}", "--wait-lock", "3m", "--yes")
    assert process.wait(timeout=60) == 0
    assert re.search(rf"Waiting, 3 min at most: shop is held by an update .*process {process.pid} on", waited.stdout)
    after = deployed.inspect("shop")
    last, *_ = reversed(after["versions"])
    assert (after["status"], running(after)) == ("healthy", FAST)
    assert last["config"]["services"]["postgresql"]["environment"]["NOTE"] == "first", "it was planned anew"


def test_a_resize_stops_nothing_while_another_run_of_the_engine_holds_the_stack(deployed: World) -> None:
    before = deployed.inspect("shop")
    locks = deployed.home / ".state/backend/.pulumi/locks/organization/geusemaker/shop"
    locks.mkdir(parents=True, exist_ok=True)
    lock = locks / "2f1c3d0a-0000-4000-8000-000000000000.json"
    owner = {
        "pid": os.getpid(),
        "username": "bob",
        "hostname": os.uname().nodename,
        "timestamp": "2026-01-01T00:00:00Z",
    }
    lock.write_text(json.dumps(owner))
    refused = deployed.run("update", "shop", "--instance-type", "t3.xlarge", "--yes", code=6)
    lock.unlink()
    assert f"Another run of the engine holds shop: bob on {os.uname().nodename}" in refused.stderr
    after = deployed.inspect("shop")
    assert (after["status"], after["services"]) == ("healthy", before["services"]), "the same containers, never stopped"


def test_a_dead_owner_on_another_machine_is_gone_when_the_operator_says_so(deployed: World, elsewhere: World) -> None:
    before = deployed.inspect("shop")
    process = elsewhere.start("rollback", "shop", "--yes")
    elsewhere.wait_for_line("apply: gate started")
    engine = find_engine(process.pid, "up")
    assert engine is not None
    process.kill()
    os.kill(engine, signal.SIGKILL)
    process.wait()

    status = deployed.json("status", "shop", code=7)
    assert status["status"] == "running" and f"process {process.pid} on elsewhere" in status["summary"]
    for verb in ("recover", "rollback"):
        refused = deployed.run(verb, "shop", "--yes", code=6)
        assert f"process {process.pid} on elsewhere" in refused.stderr and "--owner-is-gone" in refused.stderr
    assert deployed.json("recover", "shop", "--owner-is-gone", "--yes")["success"] is True
    after = deployed.inspect("shop")
    assert after["summary"] == f"v{after['active_version']} is active and healthy."
    assert running(after) == running(before) == FAST


def test_what_another_machine_left_after_its_work_is_given_back(deployed: World, elsewhere: World) -> None:
    process = elsewhere.start("update", "shop", "--image", "n8n=n8nio/n8n:1.100.3", "--yes")
    elsewhere.wait_for_line("apply: done")
    process.kill()
    process.wait()

    refused = deployed.run("update", "shop", "--image", f"n8n={FAST}", "--yes", code=6)
    assert "--owner-is-gone" in refused.stderr
    deployed.run("recover", "shop", "--owner-is-gone", "--yes")
    after = deployed.inspect("shop")
    assert (after["status"], running(after)) == ("healthy", "n8nio/n8n:1.100.3")
    assert after["summary"] == f"v{after['active_version']} is active and healthy."
    deployed.run("update", "shop", "--image", f"n8n={FAST}", "--yes")


@pytest.mark.soak
def test_a_change_past_its_deadline_is_stopped_and_taken_back(deployed: World) -> None:
    """Five minutes, the shortest deadline there is, of a gate that waits."""
    before = deployed.inspect("shop")
    started = time.monotonic()
    process = deployed.start(
        *("update", "shop", "--image", "n8n=n8nio/n8n:1.100.4-unhealthy", "--deadline", "5"),
        *("--health-deadline", "900", "--yes"),
    )
    wait_until(lambda: deployed.json("status", "shop", code=None)["status"] == "running", 60, lambda: "it never began")
    deployed.run("rollback", "shop", "--yes", code=6)
    assert process.wait(timeout=480) == 3
    assert time.monotonic() - started >= 300

    told = (deployed.folder / "running.log").read_text()
    assert "was not done within its deadline of 5 minutes" in told
    assert f"is active, with the config of v{before['active_version']}" in told
    assert "Traceback" not in told
    after = deployed.inspect("shop")
    assert (after["status"], running(after)) == ("healthy", running(before))
    assert after["rollbacks"][-1]["trigger"] == "timeout" and after["rollbacks"][-1]["success"] is True
    assert after["versions"][-1]["trigger"] == "timeout"
    evidence = re.search(r"^evidence: (.+)$", told, re.MULTILINE)
    assert evidence is not None and Path(evidence[1]).is_dir()
