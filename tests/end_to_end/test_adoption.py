"""The workspace is lost and the data is not: another one takes it up, by the file system's id."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from tests.end_to_end.world import World, wait_until

pytestmark = pytest.mark.slow

ROWS = "SELECT note FROM public.kept ORDER BY note"


def sql(world: World, statement: str) -> list[str]:
    answer = world.docker(
        "exec", "geusemaker-postgresql-1", "psql", "-At", "-U", "geusemaker", "-d", "n8n", "-c", statement
    )
    return answer.split()


def n8n_key(world: World) -> str:
    """The key that n8n has in its own file on the file system."""
    [file] = world.cloud.glob("file_systems/*/n8n/config")
    key = json.loads(file.read_text())["encryptionKey"]
    assert isinstance(key, str)
    return key


def test_the_data_of_a_lost_workspace_is_taken_up(world: World) -> None:
    services = ("--service", "postgresql", "--service", "n8n", "--service", "qdrant")
    world.run("deploy", "box", *services, "--yes")
    sql(world, "CREATE TABLE public.kept (note text)")
    sql(world, "INSERT INTO public.kept VALUES ('old')")
    world.http("box", "n8n", "/rest/workflows", {"name": "invoices", "nodes": []})
    world.http("box", "qdrant", "/collections/notes", {"vectors": {"size": 2, "distance": "Dot"}}, method="PUT")
    key = n8n_key(world)
    efs, ec2 = world.aws("efs"), world.aws("ec2")
    [file_system] = [one["FileSystemId"] for one in efs.describe_file_systems()["FileSystems"]]
    [volume] = [one["VolumeId"] for one in ec2.describe_volumes()["Volumes"] if one["Size"] == 20]
    [instance] = [one["InstanceId"] for many in ec2.describe_instances()["Reservations"] for one in many["Instances"]]
    [address] = [one["AllocationId"] for one in ec2.describe_addresses()["Addresses"]]

    folder = world.folder / "elsewhere"
    folder.mkdir()
    other = replace(world, folder=folder, home=folder / "workspace", _environments={})
    plain = other.json("deploy", "box", *services, "--yes", code=5)
    assert f"geusemaker deploy box --target local --adopt-data {file_system}" in plain["next_step"]

    adopting = ("deploy", "box", "--target", "local", "--adopt-data", file_system, *services, "--yes")
    living = other.json(*adopting, code=5)
    assert (
        instance in living["error_message"] and f"terminate-instances --instance-ids {instance}" in living["next_step"]
    )
    assert (
        "no file system fs-00000000"
        in other.json(*adopting[:4], "--adopt-data", "fs-00000000", "--yes", code=5)["error_message"]
    )
    assert world.json("status", "box")["status"] == "healthy", "nothing was touched"

    ec2.terminate_instances(InstanceIds=[instance])
    ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1})
    shutil.rmtree(world.home)
    shown = other.run(*adopting[:-1], "--dry-run").stdout
    assert file_system in shown and volume in shown and address in shown and "taken up" in shown
    # The key is not on the data any more: that is said before anything starts, and nothing on the data is changed.
    [config] = world.cloud.glob("file_systems/*/n8n/config")
    config.rename(config.with_name("config.away"))
    unknown = other.json(*adopting, code=4)
    assert "n8n's encryption key is not on the data" in unknown["error_message"]
    assert "--n8n-key-file" in unknown["next_step"] and "credentials will be unreadable" in unknown["next_step"]
    config.with_name("config.away").rename(config)
    done = other.json(*adopting)
    assert done["success"] is True, done
    assert other.json("status", "box")["status"] == "healthy"
    assert sql(other, ROWS) == ["old"]
    assert n8n_key(other) == key
    assert [one["name"] for one in other.http("box", "n8n", "/rest/workflows")["data"]] == ["invoices"]
    assert [one["name"] for one in other.http("box", "qdrant", "/collections")["result"]["collections"]] == ["notes"]
    assert [one["FileSystemId"] for one in efs.describe_file_systems()["FileSystems"]] == [file_system]
    assert [one["VolumeId"] for one in ec2.describe_volumes()["Volumes"] if one["Size"] == 20] == [volume]
    assert [one["AllocationId"] for one in ec2.describe_addresses()["Addresses"]] == [address]

    # What follows is as ever: a fresh machine has n8n's key, too.
    fresh = other.second_machine()
    assert fresh.json("update", "box", "--env", "n8n.N8N_LOG_LEVEL=debug", "--yes")["success"] is True
    assert fresh.json("rollback", "box", "--yes")["success"] is True
    assert other.json("destroy", "box", "--yes")["success"] is True
    assert other.json("deploy", "box", "--yes")["success"] is True
    wait_until(lambda: sql(other, ROWS) == ["old"], 30, lambda: "the row is gone")
    assert key not in "".join(other.outputs)
