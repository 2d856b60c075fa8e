"""A spot instance that EC2 takes back, with and without notice: one record, a healthy end, and the data as it was."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.end_to_end.world import World, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deployed(world: World) -> World:
    """v1 on a spot instance, with a collection that has to be there in the end."""
    world.run("deploy", "shop", "--service", "qdrant", "--purchase", "spot", "--yes")
    world.http("shop", "qdrant", "/collections/kept", {"vectors": {"size": 4, "distance": "Dot"}}, method="PUT")
    return world


def interrupt(world: World, *arguments: str) -> str:
    """Have EC2 take the instance back; its id."""
    instance = str(world.json("inspect", "shop")["instance"]["id"])
    world.run("local", "interrupt", instance, *arguments)
    return instance


def records(world: World) -> list[dict[str, Any]]:
    """What this machine's journal has of interruptions."""
    [journal] = world.home.glob(".state/**/*.jsonl")
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    return [entry for entry in entries if entry["trigger"] == "spot_interruption"]


def looks_until(world: World, line: str, number: signal.Signals) -> None:
    """Have a process look again and again until it says so, and end it."""
    process = world.start("recover", "shop", "--every", "10s")
    try:
        world.wait_for_line(line)
        process.send_signal(number)
        assert process.wait(60) == 0
    finally:
        process.kill()


def is_as_it_was(world: World) -> dict[str, Any]:
    found = world.json("status", "shop")
    assert found["status"] == "healthy"
    collections = world.http("shop", "qdrant", "/collections")["result"]["collections"]
    assert [collection["name"] for collection in collections] == ["kept"]
    return found


def test_with_notice_services_stop_in_order_and_ec2_brings_both_back(deployed: World) -> None:
    instance = interrupt(deployed, "--notice", "10")
    [note] = deployed.cloud.glob("file_systems/*/.geusemaker/interruption.json")
    told = json.loads(note.read_text())
    assert (told["instance_id"], told["action"], told["stopped"]) == (instance, "stop", ["qdrant"]) and told[
        "stopped_at"
    ]
    down = deployed.json("status", "shop", code=8)
    assert f"the instance is stopped (EC2 took {instance} back" in down["summary"]
    assert "EC2 starts it by itself" in down["summary"]
    refused = deployed.json("recover", "shop", "--yes", code=5)
    assert f"EC2 took {instance} back" in refused["error_message"]
    assert "geusemaker recover shop --on-demand" in refused["next_step"]

    deployed.run("local", "interrupt", instance, "--return")
    wait_until(lambda: "returned_at" in note.read_text(), 60, lambda: deployed.run("status", "shop", code=None).stdout)
    is_as_it_was(deployed)
    assert "Put on record" in deployed.run("recover", "shop", "--yes").stdout
    [record] = records(deployed)
    assert (record["kind"], record["success"], record["number"]) == ("recover", True, 1)
    assert not note.exists() and "Put on record" not in deployed.run("recover", "shop", "--yes").stdout


def test_without_notice_an_unattended_process_replaces_what_is_gone(deployed: World) -> None:
    instance = interrupt(deployed, "--notice", "0", "--gone")
    assert f"there is no instance (EC2 took {instance} back" in deployed.json("status", "shop", code=8)["summary"]
    looks_until(deployed, "shop is back: v2", signal.SIGTERM)
    assert "brought back: 1." in (deployed.folder / "running.log").read_text()
    found = is_as_it_was(deployed)
    assert found["active_version"] == 2
    last = deployed.inspect("shop")["versions"][-1]
    assert (last["kind"], last["trigger"]) == ("recover", "spot_interruption")
    assert last["config"]["purchase"] == "spot"
    assert len(records(deployed)) == 2


def test_what_somebody_stopped_is_left_and_on_demand_is_another_instance(deployed: World) -> None:
    known = deployed.inspect("shop")["instance"]["id"]
    ec2 = deployed.aws("ec2")
    ec2.stop_instances(InstanceIds=[known])
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[known], WaiterConfig={"Delay": 1})
    looks_until(deployed, "Left as it is", signal.SIGINT)
    assert deployed.json("recover", "shop", "--on-demand", "--yes")["success"] is True
    found = deployed.inspect("shop")
    assert found["versions"][-1]["config"].get("purchase", "on-demand") == "on-demand"
    assert found["instance"]["id"] != known and len(records(deployed)) == 2, "somebody wanted it stopped"
    is_as_it_was(deployed)
