"""Two deployments, a second local cloud and a pipeline on one machine, all at work at the same time."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.test_examples import PIPELINE, SMOKE_TEST
from tests.end_to_end.world import World

pytestmark = pytest.mark.slow


@pytest.fixture
def other(tmp_path: Path) -> Iterator[World]:
    """Somebody else on the same machine: another workspace and another local cloud."""
    machine = World.at(tmp_path)
    yield machine
    machine.run("local", "reset", "--yes")


def listening() -> dict[str, str]:
    """Address → socket of everything on this machine that listens on IPv4, as the kernel writes them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[1]: f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}


def listeners(world: World) -> set[str]:
    """The addresses that a machine's processes listen on."""
    sockets = set()
    for file in (file for pid in world.processes() for file in Path(f"/proc/{pid}/fd").glob("*")):
        with contextlib.suppress(OSError):  # closed meanwhile
            sockets.add(str(file.readlink()))
    return {address for address, socket in listening().items() if socket in sockets}


def wait_for_end(running: subprocess.Popen[str], log: Path, code: int = 0) -> None:
    """A command that was started ends with ``code``."""
    assert running.wait(300) == code, log.read_text()


def serves(world: World, name: str) -> tuple[str, list[str]]:
    """The release that answers, and the collections it has."""
    found = world.http(name, "qdrant", "/collections")["result"]["collections"]
    return world.http(name, "qdrant", "/")["version"], sorted(entry["name"] for entry in found)


def start_pipeline(world: World, name: str, release: str) -> subprocess.Popen[str]:
    address = world.inspect(name)["services"]["qdrant"]["address"]
    smoke_test = (sys.executable, "-c", SMOKE_TEST, address, release)
    image = f"qdrant/qdrant:v{release}"
    return world.spawn(sys.executable, str(PIPELINE), name, "qdrant", image, *smoke_test, log="pipeline.log")


def test_changes_side_by_side_leave_each_other_alone_and_a_reset_leaves_nothing(world: World, other: World) -> None:
    deployments = ((world, "shop"), (world, "blog"), (other, "shop"))
    assert [machine.processes() for machine in (world, other)] == [set(), set()]
    deploy = ("--service", "qdrant", "--image", "qdrant=qdrant/qdrant:v1.20.0", "--yes")
    deploying = [machine.start("deploy", name, *deploy, log=f"{name}.log") for machine, name in deployments]
    for running, (machine, name) in zip(deploying, deployments, strict=True):
        wait_for_end(running, machine.folder / f"{name}.log")
    for number, (machine, name) in enumerate(deployments):
        machine.http(name, "qdrant", f"/collections/of-{number}", {"vectors": {"size": 4}}, method="PUT")

    # One that fails and goes back, a pipeline, and one of the same name in another cloud.
    crash = world.start("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.20.1-crash", "--yes", log="crash.log")
    pipeline = start_pipeline(world, "blog", "1.20.1")
    same_name = other.start("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.20.2", "--yes", log="update.log")
    wait_for_end(crash, world.folder / "crash.log", code=3)
    wait_for_end(pipeline, world.folder / "pipeline.log")
    wait_for_end(same_name, other.folder / "update.log")
    assert [serves(machine, name) for machine, name in deployments] == [
        ("1.20.0", ["of-0"]),
        ("1.20.1", ["of-1"]),
        ("1.20.2", ["of-2"]),
    ]

    ours, theirs = listeners(world), listeners(other)
    assert ours and theirs and not ours & theirs
    other.run("local", "reset", "--yes")
    assert (other.processes(), theirs & listening().keys(), other.cloud.exists()) == (set(), set(), False)
    assert listeners(world) == ours
    assert [serves(world, name) for name in ("shop", "blog")] == [("1.20.0", ["of-0"]), ("1.20.1", ["of-1"])]
    assert world.json("status", "shop")["status"] == world.json("status", "blog")["status"] == "healthy"
    world.run("local", "reset", "--yes")
    assert (world.processes(), ours & listening().keys(), world.cloud.exists()) == (set(), set(), False)
