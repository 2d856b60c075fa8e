"""From on demand to spot and back: the instance is another each time, the data the same, and no request stays."""

from __future__ import annotations

from typing import Any

import pytest

from tests.end_to_end.world import World

pytestmark = pytest.mark.slow


def instance(world: World) -> dict[str, Any]:
    """What EC2 says of the one instance that runs."""
    found = [
        one
        for group in world.aws("ec2").describe_instances()["Reservations"]
        for one in group["Instances"]
        if one["State"]["Name"] == "running"
    ]
    [one] = found
    return dict(one)


def requests(world: World) -> dict[str, str]:
    """Instance → state of its spot request."""
    found = world.aws("ec2").describe_spot_instance_requests()["SpotInstanceRequests"]
    return {one["InstanceId"]: one["State"] for one in found}


def collections(world: World) -> list[str]:
    return [one["name"] for one in world.http("box", "qdrant", "/collections")["result"]["collections"]]


def test_on_demand_to_spot_and_back(world: World) -> None:
    world.limit()
    world.run("deploy", "box", "--service", "qdrant", "--settle-seconds", "0", "--yes")
    world.http("box", "qdrant", "/collections/kept", {"vectors": {"size": 2, "distance": "Dot"}}, method="PUT")
    first = instance(world)
    assert "InstanceLifecycle" not in first and requests(world) == {}

    spot = ("update", "box", "--purchase", "spot", "--yes")
    refused = world.run(*spot, code=5)
    assert "because instanceMarketOptions changed (--allow-replace allows that)" in refused.stderr
    assert instance(world)["InstanceId"] == first["InstanceId"]
    up = world.json(*spot, "--allow-replace")
    assert up["success"] and up["undo"] == "geusemaker rollback box v1 --allow-replace"
    second = instance(world)
    assert second["InstanceLifecycle"] == "spot" and second["InstanceId"] != first["InstanceId"]
    assert second["PublicIpAddress"] == first["PublicIpAddress"] and requests(world) == {second["InstanceId"]: "active"}
    assert collections(world) == ["kept"]
    assert "purchase: spot" in world.run("export", "box").stdout
    assert world.json("update", "box", "--purchase", "spot", "--yes")["operation_id"] == "", "it is that already"

    # EC2 never changes the type of a spot instance, so another one takes its place.
    grow = ("update", "box", "--instance-type", "t3.xlarge", "--yes")
    refused = world.run(*grow, code=5)
    assert "because instanceType changed (--allow-replace allows that)" in refused.stderr

    refused = world.run("rollback", "box", "v1", "--yes", code=5)
    assert "(--allow-replace allows that)" in refused.stderr
    assert world.json("rollback", "box", "v1", "--allow-replace", "--yes")["success"]
    third = instance(world)
    assert "InstanceLifecycle" not in third and requests(world) == {second["InstanceId"]: "cancelled"}
    assert collections(world) == ["kept"]

    # Whether AWS has capacity shows when the old instance is gone: the change goes back, and makes that one again.
    full = {"code": "InsufficientInstanceCapacity", "message": "There is no Spot capacity available.", "status": 500}
    with world.aws_refusing("RunInstances", **full, instance_type="t3.xlarge"):
        failed = world.json("update", "box", "--instance-type", "t3.xlarge", *spot[2:], "--allow-replace", code=3)
    assert "AWS has no capacity for this instance type in this zone" in failed["error_message"]
    fourth = instance(world)
    assert (fourth["InstanceType"], "InstanceLifecycle" in fourth) == ("t3.large", False)
    assert fourth["InstanceId"] != third["InstanceId"] and collections(world) == ["kept"]

    world.run("destroy", "box", "--yes")
    assert set(requests(world).values()) == {"cancelled"}, "EC2 would make another instance for one that is open"
    left = [one for group in world.aws("ec2").describe_instances()["Reservations"] for one in group["Instances"]]
    assert {one["State"]["Name"] for one in left} == {"terminated"}
