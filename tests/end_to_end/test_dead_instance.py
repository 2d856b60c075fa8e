"""What should run and does not: a service, or an instance that is stopped, gone or lets nobody in; and the way back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.end_to_end.world import World, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deployed(world: World) -> World:
    """v1, v2, and v3, which is the rollback to v1; a collection that has to be there in the end."""
    world.run("deploy", "shop", "--service", "qdrant", "--yes")
    world.run("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.20.2", "--yes")
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
    # How long services were away in changes of the other machine stands beside the data, out of reach now.
    assert [version.pop("away_seconds") for version in dead["versions"]][:3] == [None, None, None]
    known = [{name: fact for name, fact in version.items() if name != "away_seconds"} for version in alive["versions"]]
    assert dead["versions"] == known
    assert told(dead) == told(alive) and len(told(dead)) == 1
    shown = elsewhere.run("inspect", "shop", "--show-history", "--all-columns").stdout
    history = elsewhere.run("history", "shop", "--all-columns").stdout
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
    assert "`geusemaker recover shop --reboot`" in elsewhere.json("status", "shop", code=8)["summary"]
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


def test_a_reboot_that_is_due_is_made_in_order(deployed: World) -> None:
    before = deployed.inspect("shop")
    assert "No reboot is due." in deployed.run("recover", "shop", "--reboot", "--yes").stdout
    (deployed.instance_disk() / "run/reboot-required").touch()
    (deployed.instance_disk() / "run/reboot-required.pkgs").write_text("linux-image-cloud-amd64\n")
    due = deployed.json("status", "shop")
    assert due["status"] == "healthy"
    assert due["patching"]["reboot"] == ["linux-image-cloud-amd64 asks for it"]
    assert "`geusemaker recover shop --reboot` makes it." in deployed.run("status", "shop").stdout
    done = deployed.run("recover", "shop", "--reboot", "--yes").stdout
    assert "the instance reboots: linux-image-cloud-amd64 asks for it" in done
    after = deployed.inspect("shop")
    assert (after["status"], after["instance"]["id"]) == ("healthy", before["instance"]["id"])
    assert after["patching"]["reboot"] == []
    assert after["services"]["qdrant"]["started_at"] != before["services"]["qdrant"]["started_at"]
    found = deployed.http("shop", "qdrant", "/collections")["result"]["collections"]
    assert [collection["name"] for collection in found] == ["kept"]


def test_docker_is_renewed_when_that_is_said_and_held_back_again(deployed: World) -> None:
    packages, disk = ("docker.io", "containerd"), deployed.instance_disk()
    installed = json.loads((disk / "var/lib/dpkg/status.json").read_text())
    assert "Docker is the newest that there is." in deployed.run("recover", "shop", "--renew-docker", "--yes").stdout
    newer = {name: f"{installed[name]}.1" for name in packages}
    (disk / "var/lib/apt/newer.json").write_text(json.dumps(newer))
    done = deployed.run("recover", "shop", "--renew-docker", "--yes").stdout
    for name in packages:
        assert f"Docker is renewed: {name} {installed[name]} → {newer[name]}" in done
    assert json.loads((disk / "var/lib/dpkg/status.json").read_text()) == installed | newer
    assert {"docker.io", "containerd", "runc"} <= json.loads((disk / "var/lib/dpkg/held.json").read_text()).keys()
    assert deployed.json("status", "shop")["status"] == "healthy"
    found = deployed.http("shop", "qdrant", "/collections")["result"]["collections"]
    assert [collection["name"] for collection in found] == ["kept"]


def unhealthy(world: World) -> dict[str, Any]:
    """What ``status`` says of a deployment that was looked at and is not healthy."""
    told = world.json("status", "shop", code=7)
    assert (told["status"], told["exit_code"]) == ("unhealthy", 7)
    return told


def test_a_service_that_does_not_run_is_repaired_by_each_verb_that_is_about_what_runs(deployed: World) -> None:
    version = deployed.json("status", "shop")["active_version"]
    for hurt, verb in (
        (("stop",), ("recover", "shop")),
        (("rm", "-f"), ("update", "shop")),
        (("stop",), ("rollback", "shop", "--to-version", "{active}")),
    ):
        deployed.docker(*hurt, "geusemaker-qdrant-1")
        assert unhealthy(deployed)["repairs"]
        plan = deployed.run("recover", "shop", "--dry-run").stdout
        assert "Repairs" in plan and "qdrant: " in plan
        typed = [word.format(active=version) for word in verb]
        assert deployed.json(*typed, "--yes")["success"] is True
        after = deployed.json("status", "shop")
        assert after["status"] == "healthy" and after["active_version"] == version + 1
        version += 1
    for command in (("recover", "shop"), ("update", "shop")):
        assert deployed.json(*command, "--yes")["operation_id"] == "", "there is nothing to do"
    found = deployed.http("shop", "qdrant", "/collections")["result"]["collections"]
    assert [collection["name"] for collection in found] == ["kept"]


def test_what_is_stopped_on_purpose_stays_so_until_it_is_started(deployed: World, elsewhere: World) -> None:
    assert deployed.json("stop", "shop", "qdrant", "--reason", "disk work", "--yes")["success"] is True
    told = elsewhere.json("status", "shop", code=7)
    assert (told["status"], told["repairs"]) == ("stopped", [])
    assert "qdrant is stopped on purpose, by " in told["summary"] and "(disk work)" in told["summary"]
    assert elsewhere.json("recover", "shop", "--yes")["operation_id"] == ""

    ec2, known = deployed.aws("ec2"), deployed.inspect("shop")["instance"]["id"]
    ec2.reboot_instances(InstanceIds=[known])
    wait_until(
        lambda: deployed.json("status", "shop", code=None)["status"] == "stopped",
        60,
        lambda: str(deployed.json("status", "shop", code=None)),
    )
    assert "qdrant stays stopped: " in deployed.run("rollback", "shop", "--to-version", "2", "--yes").stdout
    assert deployed.json("status", "shop", code=7)["status"] == "stopped"

    started = elsewhere.json("start", "shop", "--yes")
    assert started["success"] is True and started["health_status"] == {"qdrant": True}
    after = deployed.inspect("shop")
    assert after["status"] == "healthy" and "v1.20.2" in after["services"]["qdrant"]["image"]


def test_an_instance_that_is_stopped_on_purpose_is_left_alone_until_it_is_started(
    deployed: World, elsewhere: World
) -> None:
    before = deployed.inspect("shop")
    stopped = deployed.json("stop", "shop", "--instance", "--reason", "the weekend", "--yes")
    assert stopped["success"] is True and stopped["undo"] == "geusemaker start shop"
    [reservation] = deployed.aws("ec2").describe_instances()["Reservations"]
    assert reservation["Instances"][0]["State"]["Name"] == "stopped"
    told = elsewhere.json("status", "shop", code=7)
    assert (told["status"], told["repairs"], told["problems"]) == ("stopped", [], [])
    assert "its instance is stopped on purpose, by " in told["summary"] and "(the weekend)" in told["summary"]
    assert elsewhere.json("recover", "shop", "--yes")["operation_id"] == ""
    refused = elsewhere.json("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.20.3", "--yes", code=5)
    assert refused["next_step"] == "Run `geusemaker start shop` first."
    deployed.pulumi("shop", "refresh", "--yes")  # what plain Pulumi finds then hurts nothing afterwards

    started = elsewhere.json("start", "shop", "--yes")
    assert started["success"] is True and started["health_status"] == {"qdrant": True}
    after = deployed.inspect("shop")
    assert (after["status"], after["instance"], after["efs"]) == ("healthy", before["instance"], before["efs"])
    assert "ec2/instance" not in (plan := deployed.run("update", "shop", "--retention", "4", "--dry-run").stdout), plan
    found = deployed.http("shop", "qdrant", "/collections")["result"]["collections"]
    assert [collection["name"] for collection in found] == ["kept"]


def test_an_emptied_file_system_is_told_and_refused_before_anything(deployed: World) -> None:
    [folder] = deployed.cloud.glob("file_systems/*/.geusemaker")
    sentinel = folder / "sentinel.json"
    kept = sentinel.read_bytes()
    sentinel.unlink()
    assert "the sentinel file on fs-" in unhealthy(deployed)["summary"]
    for command in (("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.20.3"), ("recover", "shop")):
        assert "sentinel file" in deployed.json(*command, "--yes", code=5)["error_message"]
    sentinel.write_bytes(kept)
    assert deployed.json("status", "shop")["status"] == "healthy"


def test_a_damaged_lease_is_told_refused_and_made_anew_by_recover(deployed: World) -> None:
    [lease] = deployed.cloud.glob("file_systems/*/.geusemaker/lease.json")
    lease.write_text("{")
    told = unhealthy(deployed)["summary"]
    assert "lease" in told and "`geusemaker recover shop`" in told
    for command in (("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.20.3"), ("stop", "shop", "qdrant")):
        refused = deployed.json(*command, "--yes", code=5)
        assert "`geusemaker recover shop`" in refused["error_message"] and "Nothing was changed" in refused["state"]
    assert lease.read_text() == "{"
    assert deployed.json("recover", "shop", "--yes")["success"] is True
    assert deployed.json("status", "shop")["status"] == "healthy"
    [aside] = lease.parent.glob("lease.json.damaged-*")
    assert aside.read_text() == "{"


def test_an_instance_that_lets_nobody_in_is_told_apart_and_replaced_as_the_advice_says(deployed: World) -> None:
    before = deployed.inspect("shop")
    [keys] = deployed.instance_disk().glob("**/authorized_keys")
    keys.write_text("")
    told = deployed.json("status", "shop", code=8)
    assert "refused the login" in told["summary"] and "--reboot" not in told["summary"]
    assert f"--instance-ids {before['instance']['id']}`, then `geusemaker recover shop`" in told["summary"]
    assert "--reboot" not in deployed.json("recover", "shop", "--yes", code=5)["error_message"]

    deployed.aws("ec2").terminate_instances(InstanceIds=[before["instance"]["id"]])
    wait_until(
        lambda: "there is no instance" in deployed.json("status", "shop", code=8)["summary"], 60, lambda: "it lives"
    )
    refused = deployed.json("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.20.3", "--yes", code=5)
    assert "geusemaker recover shop" in refused["error_message"]
    assert deployed.json("recover", "shop", "--yes")["success"] is True
    after = deployed.inspect("shop")
    assert (after["status"], after["efs"]) == ("healthy", before["efs"])
    assert after["instance"]["address"] == before["instance"]["address"]
    found = deployed.http("shop", "qdrant", "/collections")["result"]["collections"]
    assert [collection["name"] for collection in found] == ["kept"]


def test_an_address_released_by_other_means_is_seen_before_a_change(deployed: World) -> None:
    ec2 = deployed.aws("ec2")
    [address] = ec2.describe_addresses()["Addresses"]
    ec2.disassociate_address(AssociationId=address["AssociationId"])
    ec2.release_address(AllocationId=address["AllocationId"])
    assert "has no Elastic IP" in deployed.json("status", "shop", code=8)["summary"]
    refused = deployed.json("update", "shop", "--image", "qdrant=qdrant/qdrant:v1.20.3", "--yes", code=5)
    assert "geusemaker recover shop" in refused["error_message"]
    assert deployed.json("recover", "shop", "--yes")["success"] is True
    assert deployed.json("status", "shop")["status"] == "healthy"
