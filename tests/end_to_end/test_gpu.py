"""CPU, GPU, CPU and back, with a stand-in for driver and container toolkit that refuses as Docker does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from geusemaker.local_cloud.amis import DEBIAN_13_AMD64, DEEP_LEARNING_AMD64
from tests.end_to_end.world import World

pytestmark = pytest.mark.slow

OLLAMA = "ollama/ollama:0.32.15"
REFUSED = 'could not select device driver "nvidia" with capabilities: [[gpu]]'


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World.at(tmp_path)
    try:
        world.run("deploy", "box", "--service", "ollama", "--settle-seconds", "0", "--yes")
        yield world
    finally:
        world.run("local", "reset", "--yes", code=None)


def ami(world: World) -> tuple[str, str]:
    """Image and type of the one instance."""
    found = [
        one
        for group in world.aws("ec2").describe_instances()["Reservations"]
        for one in group["Instances"]
        if one["State"]["Name"] == "running"
    ]
    assert len(found) == 1
    return found[0]["ImageId"], found[0]["InstanceType"]


def reserving(world: World) -> Path:
    """A compose file that reserves GPUs."""
    devices = [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    deploy = {"resources": {"reservations": {"devices": devices}}}
    file = world.folder / "compose.json"
    file.write_text(json.dumps({"name": "try", "services": {"gpu": {"image": OLLAMA, "deploy": deploy}}}))
    return file


def test_cpu_gpu_cpu_and_back(world: World) -> None:
    world.http("box", "ollama", "/api/pull", {"model": "tiny"})
    unprepared = ("update", "box", "--instance-type", "g5.xlarge", "--yes")
    refused = world.run(*unprepared, code=5)
    assert "--allow-replace allows that" in refused.stderr and "give --root-volume" in refused.stderr
    # Debian's image on such a type: the check says it beforehand, and Docker would refuse the container.
    plain = world.run(*unprepared, "--ami", DEBIAN_13_AMD64, code=5)
    assert "has neither NVIDIA's driver nor the container toolkit" in plain.stderr
    with pytest.raises(AssertionError, match=re.escape(REFUSED)):
        world.docker("compose", "-f", str(reserving(world)), "up", "--detach")

    up = world.json(*unprepared, "--allow-replace", "--root-volume", "100")
    assert up["success"] and up["undo"] == "geusemaker rollback box v1 --allow-replace"
    assert ami(world) == (DEEP_LEARNING_AMD64, "g5.xlarge")
    status = world.json("status", "box")
    assert "1 GPU (NVIDIA A10G)" in status["services"]["ollama"]["detail"]
    seen = world.run("exec", "box", "ollama", "--", "nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    assert seen.stdout.strip().endswith("NVIDIA A10G")

    assert world.json("update", "box", "--instance-type", "t3.large", "--yes")["success"], "in place"
    assert ami(world) == (DEEP_LEARNING_AMD64, "t3.large")
    back = world.json("rollback", "box", "v1", "--allow-replace", "--yes")
    assert back["success"] and ami(world) == (DEBIAN_13_AMD64, "t3.large")
    models = world.http("box", "ollama", "/api/tags")["models"]
    assert [one["name"] for one in models] == ["tiny:latest"], "the data stays, whatever drives it"
