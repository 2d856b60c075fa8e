"""Marks by several hands at once, labels, and images that no disk holds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.end_to_end.world import World

pytestmark = pytest.mark.slow

MARKS = (("mark", "shop", "1", "bad"), ("pin", "shop", "2"), ("mark", "shop", "2", "bad"), ("pin", "shop", "1"))
UNMARKS = (("mark", "shop", "1", "good"), ("unpin", "shop", "2"), ("mark", "shop", "2", "good"), ("unpin", "shop", "1"))


@pytest.fixture(scope="module")
def deployed(world: World) -> World:
    world.run("deploy", "shop", "--service", "qdrant", "--yes")
    world.run("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.20.2", "--yes")
    world.run("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.20.3", "--yes")
    return world


@pytest.fixture(scope="module")
def other(deployed: World) -> World:
    return deployed.second_machine()


def at_once(*typed: tuple[World, tuple[str, ...]]) -> None:
    """Type commands on several machines at the same moment; each of them does what it is told."""
    processes = [world.start(*arguments) for world, arguments in typed]
    assert [process.wait(timeout=300) for process in processes] == [0] * len(processes)


def marks(world: World) -> dict[int, tuple[bool, bool]]:
    return {one["number"]: (one["bad"], one["pinned"]) for one in world.inspect("shop")["versions"]}


def test_marks_of_two_machines_at_once_all_stay(deployed: World, other: World) -> None:
    other.inspect("shop")
    at_once(*zip((deployed, other, deployed, other), MARKS, strict=True))
    assert marks(deployed) == {1: (True, True), 2: (True, True), 3: (False, False)}
    at_once(*zip((other, deployed, other, deployed), UNMARKS, strict=True))
    assert set(marks(deployed).values()) == {(False, False)}
    # To the next change, they are nobody's change.
    assert deployed.json("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.20.4", "--yes")["success"] is True


def test_labels_alone_run_no_engine_and_another_machine_finds_the_deployment_by_them(
    deployed: World, other: World
) -> None:
    history = deployed.pulumi("shop", "stack", "history", "--output", "json")
    labelled = ("update", "shop", "--label", "customer=acme", "--label", "tier=gold", "--yes")
    result = deployed.json(*labelled)
    assert (result["kind"], result["version"]) == ("label", deployed.inspect("shop")["active_version"])
    assert result["changes"] == ["labels.customer: (none) -> acme", "labels.tier: (none) -> gold"]
    assert deployed.pulumi("shop", "stack", "history", "--output", "json") == history
    assert deployed.pulumi("shop", "stack", "tag", "get", "geusemaker:label-customer").strip() == "acme"
    [listed] = other.json("list")["deployments"]
    assert listed["labels"] == {"customer": "acme", "tier": "gold"} == other.inspect("shop")["labels"]
    file = other.folder / "stack.yaml"
    file.write_text(other.run("export", "shop").stdout.replace("    tier: gold\n", ""))
    drift = other.run("diff", "shop", "-f", str(file), code=7).stdout
    assert "labels  customer=acme, tier=gold → customer=acme\n" in drift
    assert other.json("update", "shop", "-f", str(file), "--yes")["kind"] == "label"
    assert deployed.inspect("shop")["labels"] == {"customer": "acme"}


def test_images_that_cannot_fit_are_refused_before_anything_is_changed(deployed: World) -> None:
    before = deployed.inspect("shop")
    refused: dict[str, Any] = deployed.json(
        *("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.20.5-huge", "--yes"), code=5
    )
    assert "GiB free, but images to pull take about" in refused["error_message"]
    after = deployed.inspect("shop")
    assert (after["versions"], after["services"]) == (before["versions"], before["services"])


def test_what_is_on_the_instance_needs_no_room(deployed: World) -> None:
    document = deployed.json("rollback", "shop", "--dry-run")
    [disk] = [check for check in document["plan"]["checks"] if check["name"] == "disk space"]
    assert disk["status"] == "pass" and disk["detail"].endswith("every image is there")


def test_marks_of_one_machine_at_once_all_stay_while_the_instance_is_stopped(deployed: World) -> None:
    ec2, known = deployed.aws("ec2"), deployed.inspect("shop")["instance"]["id"]
    ec2.stop_instances(InstanceIds=[known])
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[known], WaiterConfig={"Delay": 1})
    at_once(*((deployed, arguments) for arguments in MARKS))
    found = marks(deployed)
    assert (found[1], found[2]) == ((True, True), (True, True))
