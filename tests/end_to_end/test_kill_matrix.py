"""Killed at every phase of a change, in every way: one command gets back, and nothing is lost, doubled or left over.

Each point starts an update or a rollback that resizes the instance and replaces n8n's image, waits until it is in a
phase, and kills with SIGKILL: our process, the engine under it, both, or all that runs on the operator's machine. What
then has to hold is the same everywhere.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from tests.end_to_end.world import World, find_engine, wait_until

pytestmark = pytest.mark.slow

Verb = Literal["update", "rollback"]
Victim = Literal["process", "engine", "both", "machine"]

SMALL = {"type": "t3.large", "n8n": "n8nio/n8n:1.100.0"}
FAST, SLOW = "n8nio/n8n:1.100.1", "n8nio/n8n:1.100.2-slow"
FAST_VERSION, SLOW_VERSION = 2, 3


@dataclass(frozen=True)
class Phase:
    """Where a change is when it is killed."""

    line: str
    """What the progress says there."""
    instance: str = ""
    """State and type of the instance, where the line alone does not tell."""
    engine: str = ""
    """What the engine is at; empty where none runs."""
    fault: str = ""
    """The call that AWS is slow to answer, so that there is time to kill."""
    slow: bool = False
    """Needs a release that takes its time to become healthy."""
    fresh: bool = False
    """Needs an image that is not on the instance yet."""
    begun: bool = True
    """Whether there was an intent to change something."""
    verified: bool = False
    """Whether the new version was found healthy already."""


PHASES = {
    "validating": Phase("validate", begun=False),
    "planning": Phase("] plan", engine="preview", begun=False),
    "checking": Phase("check: planning again", engine="preview"),
    "checked": Phase("check: done"),
    "pulling": Phase("prefetch: n8n pulling", fresh=True),
    "pulled": Phase("prefetch: done"),
    "dumping": Phase("] checkpoint: "),
    "holding": Phase("hold: n8n stopping", engine="up"),
    "held": Phase("hold: done", engine="up"),
    "stopping": Phase("Instance instance update started", engine="up", fault="StopInstances"),
    "stopped": Phase(
        "Instance instance update started", "stopped t3.large", engine="up", fault="ModifyInstanceAttribute"
    ),
    "starting": Phase("Instance instance update started", "stopped t3.xlarge", engine="up", fault="StartInstances"),
    "composing": Phase("apply: apply runs", engine="up"),
    "replacing": Phase("apply: n8n starting", engine="up"),
    "gate": Phase("apply: gate started", engine="up", slow=True),
    "verified": Phase("apply: done", verified=True),
    "recording": Phase("verify: done", verified=True),
}

POINTS: list[tuple[Verb, str, Victim]] = [
    ("update", "validating", "process"),
    ("update", "planning", "engine"),
    ("update", "checking", "both"),
    ("update", "checking", "engine"),
    ("update", "checked", "process"),
    ("update", "pulling", "process"),
    ("update", "pulled", "process"),
    ("update", "dumping", "process"),
    ("update", "holding", "process"),
    ("update", "held", "process"),
    ("update", "stopping", "both"),
    ("update", "stopped", "process"),
    ("update", "stopped", "engine"),
    ("update", "stopped", "machine"),
    ("update", "starting", "both"),
    ("update", "composing", "process"),
    ("update", "composing", "engine"),
    ("update", "replacing", "both"),
    ("update", "gate", "process"),
    ("update", "gate", "engine"),
    ("update", "gate", "machine"),
    ("update", "verified", "process"),
    ("rollback", "planning", "both"),
    ("rollback", "checking", "process"),
    ("rollback", "pulled", "process"),
    ("rollback", "dumping", "process"),
    ("rollback", "holding", "process"),
    ("rollback", "held", "process"),
    ("rollback", "stopping", "process"),
    ("rollback", "stopping", "engine"),
    ("rollback", "stopped", "both"),
    ("rollback", "starting", "process"),
    ("rollback", "composing", "both"),
    ("rollback", "replacing", "process"),
    ("rollback", "gate", "both"),
    ("rollback", "gate", "engine"),
    ("rollback", "recording", "process"),
]

ONCE: frozenset[tuple[Verb, str, Victim]] = frozenset(
    {
        ("update", "planning", "engine"),
        ("update", "checked", "process"),
        ("update", "held", "process"),
        ("update", "stopped", "process"),
        ("update", "composing", "process"),
        ("update", "verified", "process"),
        ("rollback", "stopped", "both"),
        ("rollback", "recording", "process"),
    }
)
"""One point of each state that a kill can leave: nothing begun, begun, held, the instance stopped, half replaced,
verified, recorded. The others are `make soak`'s. Every call of every verb is killed in
tests/unit/test_services/test_every_call.py."""


@dataclass
class Shop:
    """The deployment that is killed."""

    world: World
    before: dict[str, Any]
    """What ``inspect`` said before the kill."""
    patches: Iterator[int] = field(default_factory=lambda: itertools.count(10))
    turns: Iterator[str] = field(default_factory=lambda: itertools.cycle(("recover", "recover", "rollback")))
    """The ways back, taken in turn."""
    clients: dict[str, Any] = field(default_factory=dict)

    def aws(self, service: str) -> Any:
        """A boto3 client, kept while the local cloud runs."""
        if service not in self.clients:
            self.clients[service] = self.world.aws(service)
        return self.clients[service]

    def command(self, verb: Verb, phase: Phase) -> tuple[str, ...]:
        if verb == "rollback":
            return "rollback", "shop", "--to-version", str(SLOW_VERSION if phase.slow else FAST_VERSION), "--yes"
        image = f"n8nio/n8n:1.100.{next(self.patches)}" if phase.fresh else SLOW if phase.slow else FAST
        return "update", "shop", "--instance-type", "t3.xlarge", "--image", f"n8n={image}", "--yes"

    def instances(self) -> list[str]:
        """State and type of each instance there is."""
        reservations = self.aws("ec2").describe_instances()["Reservations"]
        found = [instance for reservation in reservations for instance in reservation["Instances"]]
        return [
            f"{instance['State']['Name']} {instance['InstanceType']}"
            for instance in found
            if instance["State"]["Name"] != "terminated"
        ]


@pytest.fixture(scope="module")
def shop(world: World) -> Shop:
    services = ("--service", "postgresql", "--service", "n8n")
    world.run("deploy", "shop", *services, "--image", f"n8n={SMALL['n8n']}", "--yes")
    world.http("shop", "n8n", "/rest/workflows", {"name": "kept", "nodes": []})
    world.run("update", "shop", "--instance-type", "t3.xlarge", "--image", f"n8n={FAST}", "--yes")
    world.run("update", "shop", "--image", f"n8n={SLOW}", "--yes")
    for version in (FAST_VERSION, SLOW_VERSION):
        world.run("pin", "shop", str(version))
    world.run("rollback", "shop", "--to-version", "1", "--yes")
    return Shop(world, world.inspect("shop"))


def kill(shop: Shop, process: subprocess.Popen[str], victim: Victim, phase: Phase) -> None:
    engine: list[int] = []

    def engine_runs() -> bool:
        engine.extend(filter(None, [find_engine(process.pid, phase.engine)]))
        return bool(engine)

    if victim != "process":
        wait_until(engine_runs, 10, lambda: f"there is no engine at {phase.engine}")
    if victim == "machine":
        os.kill(shop.world.json("local", "status")["pid"], signal.SIGKILL)
        shop.clients.clear()
    if victim != "engine":
        process.kill()
    if victim != "process":
        os.kill(engine[0], signal.SIGKILL)


def running(inspection: dict[str, Any]) -> dict[str, str]:
    image: str = inspection["services"]["n8n"]["image"]
    return {"type": inspection["instance"]["type"], "n8n": image.partition("@")[0]}


def assert_in_order(shop: Shop) -> dict[str, Any]:
    """All is well, there is one of everything, and nothing of an operation is left over."""
    world, before = shop.world, shop.before
    after = world.inspect("shop")
    assert (after["status"], after["problems"]) == ("healthy", []), after["summary"]
    assert after["summary"] == f"v{after['active_version']} is active and healthy."
    active = next(version for version in after["versions"] if version["number"] == after["active_version"])
    assert active["healthy"] is True
    assert running(after) == {
        "type": active["config"]["instance_type"],
        "n8n": active["config"]["images"]["n8n"].partition("@")[0],
    }
    numbers = [version["number"] for version in after["versions"]]
    assert numbers == sorted(set(numbers))
    known = {version["number"]: version["operation_id"] for version in after["versions"]}
    assert {version["number"]: version["operation_id"] for version in before["versions"]}.items() <= known.items()

    assert after["instance"]["id"] == before["instance"]["id"] and after["efs"]["id"] == before["efs"]["id"]
    assert len(shop.instances()) == 1
    assert len(shop.aws("ec2").describe_addresses()["Addresses"]) == 1
    assert len(shop.aws("efs").describe_file_systems()["FileSystems"]) == 1
    address = after["services"]["n8n"]["address"]
    with urllib.request.urlopen(f"http://{address}/rest/workflows", timeout=10) as answer:
        assert [workflow["name"] for workflow in json.loads(answer.read())["data"]] == ["kept"]

    backend = world.home / ".state" / "backend" / ".pulumi"
    assert list(backend.glob("locks/**/*.json")) == []
    assert list(backend.rglob("*.attrs")) == [], "a kill can leave one empty, and the stack then cannot be read"
    state = json.loads((backend / "stacks" / "geusemaker" / "shop.json").read_text())
    assert not state["checkpoint"]["latest"].get("pending_operations")
    lease = world.cloud / "file_systems" / after["efs"]["id"] / ".geusemaker" / "lease.json"
    assert json.loads(lease.read_text())["state"] == "released"
    return after


@pytest.mark.parametrize(
    ("verb", "name", "victim"),
    [pytest.param(*point, marks=[] if point in ONCE else [pytest.mark.soak]) for point in POINTS],
)
def test_one_command_gets_back(shop: Shop, verb: Verb, name: str, victim: Victim) -> None:
    phase, world, before = PHASES[name], shop.world, shop.before
    faults = {phase.fault: {"delay_seconds": 1.5, "times": 1}} if phase.fault else {}
    (world.cloud / "faults.json").write_text(json.dumps(faults))
    process = world.start(*shop.command(verb, phase))
    world.wait_for_line(phase.line)
    if phase.instance:
        wait_until(lambda: shop.instances() == [phase.instance], 30, lambda: str(shop.instances()))
    kill(shop, process, victim, phase)
    code = process.wait(timeout=180)

    if victim == "engine":
        # Our process lives: it has gone back by itself, or changed nothing.
        assert code == (3 if phase.engine == "up" else 1), (world.folder / "running.log").read_text()
    status = world.json("status", "shop", code=None)
    assert status["exit_code"] == (0 if status["status"] == "healthy" else 7)
    given = status["interruption"]["number"] if status["interruption"] else 0
    if victim == "engine":
        assert status["status"] == "healthy"
    elif not phase.begun:
        assert (status["status"], status["active_version"]) == ("healthy", before["active_version"])
        world.run("recover", "shop", "--yes")
    elif phase.verified:
        assert status["status"] == "healthy" and status["active_version"] > before["active_version"]
        assert "killed" in status["summary"] and "geusemaker recover shop" in status["summary"]
        world.run("recover", "shop", "--yes")
    elif name in ("holding", "held") and status["status"] == "failed":
        # The engine was waiting for our process just then, and failed in order when that was gone.
        given = world.inspect("shop")["versions"][-1]["number"]
        assert f"v{before['active_version']} was the last healthy version" in status["summary"]
        assert "geusemaker rollback shop" in status["summary"]
        assert world.json(next(shop.turns), "shop", "--yes")["success"] is True
    else:
        assert status["status"] == "interrupted"
        assert f"The {verb} to v{given} " in status["summary"] and "geusemaker recover shop" in status["summary"]
        assert f"v{before['active_version']} was the last healthy version" in status["summary"]
        world.run("update", "shop", "--image", "n8n=n8nio/n8n:1.104.0", "--yes", code=5)
        assert world.json(next(shop.turns), "shop", "--yes")["success"] is True

    after = assert_in_order(shop)
    if phase.verified:
        assert running(after)["type"] == "t3.xlarge"
        world.run("rollback", "shop", "--to-version", "1", "--yes")
        after = assert_in_order(shop)
    if phase.begun and victim != "engine":
        assert after["active_version"] > given > before["active_version"] or phase.verified
    assert running(after) == SMALL
    shop.before = after


def test_the_next_change_is_an_ordinary_one(shop: Shop) -> None:
    shop.world.run("update", "shop", "--image", "n8n=n8nio/n8n:1.100.9", "--yes")
    assert running(assert_in_order(shop)) == {"type": "t3.large", "n8n": "n8nio/n8n:1.100.9"}
