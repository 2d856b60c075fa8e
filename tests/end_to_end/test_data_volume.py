"""The data volume grows while it is used, by an update or by other means, and what is on it stays."""

from __future__ import annotations

from typing import Any

import pytest

from tests.end_to_end.world import World

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deployed(world: World) -> World:
    # A VPC that resolves no names of EFS: it is mounted by its mount target's address, and all else is as ever.
    world.run("local", "start")
    ec2 = world.aws("ec2")
    [vpc] = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    ec2.modify_vpc_attribute(VpcId=vpc["VpcId"], EnableDnsHostnames={"Value": False})
    both = ("--service", "qdrant", "--service", "ollama")
    world.run("deploy", "shop", *both, "--data-volume", "5", "--models-on", "volume", "--yes")
    world.http("shop", "qdrant", "/collections/kept", {"vectors": {"size": 4, "distance": "Dot"}}, method="PUT")
    return world


def assert_has(world: World, gib: int, inspection: dict[str, Any]) -> None:
    """The volume and the file system on it have that size, and the collection is on it."""
    volume = inspection["data_volume"]
    assert (inspection["status"], volume["size_gib"], volume["mounted"]) == ("healthy", gib, True)
    [seen] = world.aws("ec2").describe_volumes(VolumeIds=[volume["id"]])["Volumes"]
    assert seen["Size"] == gib
    assert int((world.cloud / "volumes" / volume["id"] / "blocks").read_text()) == gib * 2**30 // 4096
    [kept] = world.http("shop", "qdrant", "/collections")["result"]["collections"]
    assert kept["name"] == "kept"


def test_efs_is_mounted_by_its_address_where_no_name_leads_there(deployed: World) -> None:
    found = deployed.inspect("shop")["efs"]
    [target] = deployed.aws("efs").describe_mount_targets(FileSystemId=found["id"])["MountTargets"]
    unit = (deployed.instance_disk() / "etc/systemd/system/mnt-efs.mount").read_text()
    assert f"What={target['IpAddress']}:/\n" in unit and found["mounted"] is True
    passed = deployed.run("update", "shop", "--retention", "4", "--dry-run", "--verbose").stdout
    assert "EFS is mounted by its mount target's address" in " ".join(passed.split())


def test_models_lie_on_it_where_the_first_deploy_says_so(deployed: World) -> None:
    volume = deployed.inspect("shop")["data_volume"]["id"]
    assert (deployed.cloud / "volumes" / volume / "data/ollama").is_dir()
    assert not list(deployed.cloud.glob("file_systems/*/ollama"))
    refused = deployed.run("update", "shop", "--models-on", "efs", "--yes", code=2).stderr
    assert "shop's models lie on the data volume; that is chosen at the first deploy" in refused
    assert deployed.json("update", "shop", "--models-on", "volume", "--yes")["operation_id"] == ""
    assert "models_on: volume" in deployed.run("export", "shop").stdout


def test_it_grows_while_qdrant_runs_and_a_rollback_keeps_its_size(deployed: World) -> None:
    before = deployed.inspect("shop")
    assert_has(deployed, 5, before)
    grown = deployed.run("update", "shop", "--data-volume", "8", "--verbose", "--yes").stdout
    assert "data_volume_gib" in grown and "it grows to 8 GiB" in grown and "no container is replaced" in grown
    after = deployed.inspect("shop")
    assert_has(deployed, 8, after)
    assert after["services"] == before["services"], "the same container, which was not even restarted"
    assert "only grows" in deployed.run("update", "shop", "--data-volume", "7", "--yes", code=2).stderr
    deployed.run("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.20.2", "--yes")
    deployed.run("rollback", "shop", "--to-version", "1", "--yes")
    assert_has(deployed, 8, deployed.inspect("shop"))


def test_a_size_that_aws_does_not_give_now_is_gone_back_from(deployed: World) -> None:
    said = "You've reached the maximum modification rate."
    with deployed.aws_refusing("ModifyVolume", code="VolumeModificationRateExceeded", message=said):
        failed = deployed.json("update", "shop", "--data-volume", "9", "--yes", code=3)
    assert "VolumeModificationRateExceeded" in failed["error_message"]
    assert_has(deployed, 8, deployed.inspect("shop"))


def test_a_size_changed_by_other_means_is_taken_up_by_recover(deployed: World) -> None:
    volume = deployed.inspect("shop")["data_volume"]["id"]
    deployed.aws("ec2").modify_volume(VolumeId=volume, Size=10)
    drifted = deployed.json("status", "shop", code=7)
    assert (drifted["status"], "has 10 GiB, not 8" in drifted["summary"]) == ("drifted", True)
    refused = deployed.run("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.20.3", "--yes", code=5)
    assert "changed by other means; `geusemaker recover shop` takes that up" in refused.stderr
    assert deployed.json("recover", "shop", "--yes")["success"] is True
    assert_has(deployed, 10, deployed.inspect("shop"))
