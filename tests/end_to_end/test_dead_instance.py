"""The instance is stopped, or runs and answers no more: what can be seen from elsewhere, and the way back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.end_to_end.world import World

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deployed(world: World) -> World:
    """v1, v2, and v3, which is the rollback to v1; a collection that has to be there in the end."""
    world.run("deploy", "shop", "--service", "qdrant", "--yes")
    world.run("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.14.2", "--yes")
    world.run("rollback", "shop", "--yes", "--reason", "slow queries")
    world.http("shop", "qdrant", "/collections/kept", {"vectors": {"size": 4, "distance": "Dot"}}, method="PUT")
    return world


@pytest.fixture(scope="module")
def elsewhere(deployed: World) -> World:
    """A second machine: an empty home, the backend's URL and the passphrase."""
    return deployed.second_machine()


def told(inspection: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What a rollback's record says, whoever tells it."""
    fields = ("version", "source_version", "previous_state_version", "success", "trigger", "reason", "actor")
    return [tuple(record[field] for field in fields) for record in inspection["rollbacks"]]


def sees_everything(elsewhere: World, alive: dict[str, Any]) -> None:
    dead = elsewhere.inspect("shop")
    assert dead["status"] == "unreachable"
    assert dead["versions"] == alive["versions"]
    assert told(dead) == told(alive) and len(told(dead)) == 1
    shown = elsewhere.run("inspect", "shop", "--show-history").stdout
    history = elsewhere.run("history", "shop").stdout
    assert history in shown
    assert "v2 → v3 (config of v1)" in history and "slow queries" in history
    numbers = [line.split()[0] for line in history.splitlines() if line.startswith("v")]
    assert numbers == [f"v{version['number']}" for version in alive["versions"]]


def test_a_stopped_instance_hides_no_history_and_comes_back(deployed: World, elsewhere: World) -> None:
    alive = deployed.inspect("shop")
    ec2, known = deployed.aws("ec2"), alive["instance"]["id"]
    ec2.stop_instances(InstanceIds=[known])
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[known], WaiterConfig={"Delay": 1})
    sees_everything(elsewhere, alive)
    assert elsewhere.json("recover", "shop", "--yes")["success"] is True
    after = deployed.inspect("shop")
    assert (after["status"], after["instance"], after["efs"]) == ("healthy", alive["instance"], alive["efs"])


def test_an_instance_without_ssh_hides_no_history_and_is_rebooted_when_that_is_said(
    deployed: World, elsewhere: World
) -> None:
    alive = deployed.inspect("shop")
    (deployed.instance_disk() / "run" / "sshd.deaf").touch()
    sees_everything(elsewhere, alive)
    assert "`geusemaker recover shop --reboot`" in elsewhere.json("status", "shop")["summary"]
    for command in (("rollback", "shop", "--to-version", "2"), ("recover", "shop")):
        refused = elsewhere.json(*command, "--yes", code=5)
        assert "if nobody gets in any more, `geusemaker recover shop --reboot` stops" in refused["error_message"]
    [reservation] = deployed.aws("ec2").describe_instances()["Reservations"]
    assert reservation["Instances"][0]["State"]["Name"] == "running"

    assert elsewhere.json("recover", "shop", "--reboot", "--yes")["success"] is True
    after = deployed.inspect("shop")
    assert (after["status"], after["instance"], after["efs"]) == ("healthy", alive["instance"], alive["efs"])
    found = deployed.http("shop", "qdrant", "/collections")["result"]["collections"]
    assert [collection["name"] for collection in found] == ["kept"]
