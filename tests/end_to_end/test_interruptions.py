"""Killed in the middle, stopped, looked at from elsewhere: nothing is lost, and the next command says what to do."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.world import World, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deployed(world: World) -> World:
    world.run(
        *("deploy", "shop", "--service", "postgresql", "--service", "n8n", "--image", "n8n=n8nio/n8n:1.100.0", "--yes")
    )
    world.http("shop", "n8n", "/rest/workflows", {"name": "kept", "nodes": []})
    return world


def children(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(status.parent.name))
    return found


def kill_with_engine(pid: int) -> None:
    for victim in (pid, *children(pid)):
        os.kill(victim, signal.SIGKILL)


def running(inspection: dict[str, Any], service: str) -> str:
    image: str = inspection["services"][service]["image"]
    return image.partition("@")[0]


def workflows(world: World) -> list[str]:
    return [workflow["name"] for workflow in world.http("shop", "n8n", "/rest/workflows")["data"]]


def test_recover_has_nothing_to_do_when_all_is_well(deployed: World) -> None:
    before = deployed.inspect("shop")
    assert deployed.json("recover", "shop", "--yes")["success"] is True
    assert deployed.inspect("shop")["versions"] == before["versions"]


def test_ctrl_c_leaves_a_state_that_the_next_command_explains(deployed: World) -> None:
    before = deployed.inspect("shop")
    process = deployed.start("update", "shop", "--image", "n8n=n8nio/n8n:1.105.0-slow", "--yes")
    deployed.wait_for_line("apply: gate runs")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert "geusemaker recover shop" in (deployed.folder / "running.log").read_text()
    assert deployed.json("rollback", "shop", "--yes")["success"] is True
    assert running(deployed.inspect("shop"), "n8n") == running(before, "n8n")


def test_everything_comes_back_after_the_local_cloud_was_killed(deployed: World) -> None:
    before = deployed.inspect("shop")
    pid = deployed.json("local", "status")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not deployed.json("local", "status")["running"], 10, lambda: "it still runs")
    deployed.run("local", "start")
    deployed.run("local", "stop")
    deployed.run("local", "start")
    wait_until(lambda: deployed.inspect("shop")["status"] == "healthy", 30, lambda: str(deployed.inspect("shop")))
    after = deployed.inspect("shop")
    assert after["instance"] == before["instance"]
    assert after["efs"] == before["efs"]
    assert workflows(deployed) == ["kept"]


def test_a_second_machine_sees_everything_and_rolls_back(deployed: World) -> None:
    deployed.run("update", "shop", "--instance-type", "t3.xlarge", "--yes")
    here = deployed.inspect("shop")
    other = deployed.second_machine()
    there = other.inspect("shop")
    assert there["versions"] == here["versions"]
    assert [record["version"] for record in there["rollbacks"]] == [record["version"] for record in here["rollbacks"]]
    assert other.json("rollback", "shop", "--yes")["success"] is True
    assert deployed.inspect("shop")["instance"]["type"] == "t3.large"
    # And the first machine goes on working, its secrets unharmed.
    assert deployed.json("update", "shop", "--image", "n8n=n8nio/n8n:1.107.0", "--yes")["success"] is True
    assert workflows(deployed) == ["kept"]


def test_destroy_keeps_the_data_and_a_new_deploy_takes_it_up(deployed: World) -> None:
    before = deployed.inspect("shop")
    deployed.run("destroy", "shop", "--yes")
    destroyed = deployed.inspect("shop")
    assert destroyed["status"] == "destroyed"
    assert destroyed["instance"] is None
    assert deployed.json("deploy", "shop", "--yes")["success"] is True
    after = deployed.inspect("shop")
    assert after["efs"]["id"] == before["efs"]["id"]
    assert after["active_version"] > before["active_version"]
    assert workflows(deployed) == ["kept"]


def test_delete_data_removes_everything(deployed: World) -> None:
    deployed.run("destroy", "shop", "--delete-data", "--yes", "--confirm-name", "shop")
    assert deployed.aws("efs").describe_file_systems()["FileSystems"] == []
    assert deployed.json("list") == {"deployments": []}


def test_a_first_deploy_killed_while_it_creates_is_done_again_without_a_second_of_anything(tmp_path: Path) -> None:
    world = World.at(tmp_path)
    try:
        world.run("local", "start")
        (world.cloud / "faults.json").write_text('{"RunInstances": {"delay_seconds": 3, "times": 1}}')
        process = world.start("deploy", "shop", "--service", "qdrant", "--yes")
        # Killed before the call was sent there would be nothing to find again.
        asked = "RunInstances is made to wait"
        wait_until(lambda: asked in (world.cloud / "daemon.log").read_text(), 120, lambda: "it was never asked for")
        kill_with_engine(process.pid)
        process.wait()
        ec2 = world.aws("ec2")
        # One that starts while the plan is shown and agreed to makes it another plan, which is refused.
        running = [{"Name": "instance-state-name", "Values": ["running"]}]
        wait_until(
            lambda: bool(ec2.describe_instances(Filters=running)["Reservations"]), 30, lambda: "it was never made"
        )
        assert world.json("status", "shop", code=7)["status"] == "interrupted"
        assert world.json("deploy", "shop", "--service", "qdrant", "--yes")["success"] is True
        after = world.inspect("shop")
        assert after["status"] == "healthy"
        found = [one for group in ec2.describe_instances()["Reservations"] for one in group["Instances"]]
        assert [one["InstanceId"] for one in found] == [after["instance"]["id"]]
        assert len(ec2.describe_addresses()["Addresses"]) == 1
        assert len(world.aws("efs").describe_file_systems()["FileSystems"]) == 1
    finally:
        world.run("local", "reset", "--yes")
