"""The product's main job: deploy, change, change, go back. On the real engine, with all services."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from geusemaker.catalog import SERVICE_NAMES
from tests import osv
from tests.end_to_end.world import World

TYPED = "pa$word ${x} $$ 'a' \"b\" \\n é 😀"


@pytest.fixture(scope="module")
def told(world: World) -> dict[str, Any]:
    """Everything that happens, once; the tests look at what was seen on the way."""
    seen: dict[str, Any] = {}
    world.limit()
    seen["deploy"] = world.json(
        *("deploy", "demo", "--target", "local", "--image", "n8n=n8nio/n8n:1.100.0", "--yes"),
        *("--env", f"ollama.NOTE={TYPED}"),
    )
    seen["v1"] = world.inspect("demo")
    world.http("demo", "n8n", "/rest/workflows", {"name": "invoices", "nodes": []})
    world.http("demo", "qdrant", "/collections/papers", {"vectors": {"size": 4, "distance": "Dot"}}, method="PUT")
    seen["update 2"] = world.json("update", "demo", "--image", "n8n=n8nio/n8n:1.101.0", "--yes", "--reason", "new")
    seen["v2"] = world.inspect("demo")
    seen["update 3"] = world.json(
        "update", "demo", "--instance-type", "t3.xlarge", "--image", "ollama=ollama/ollama:0.33.0", "--yes"
    )
    seen["v3"] = world.inspect("demo")
    seen["dry run"] = world.json("rollback", "demo", "--to-version", "1", "--dry-run")
    with osv.serving() as database:
        world.extra["GEUSEMAKER_ADVISORIES"] = database.url
        seen["holes"] = world.run("rollback", "demo", "--to-version", "1", "--dry-run").stdout
        seen["holes asked"] = list(database.asked)
        seen["newer"] = world.json("status", "demo", "--updates")
    del world.extra["GEUSEMAKER_ADVISORIES"]
    seen["after dry run"] = world.inspect("demo")
    seen["rollback"] = world.json("rollback", "--to-version", "2", "--force")
    seen["v4"] = world.inspect("demo")
    seen["environment"] = json.loads(world.docker("inspect", "geusemaker-ollama-1"))[0]["Config"]["Env"]
    return seen


def images(inspection: dict[str, Any]) -> dict[str, str]:
    return {name: service["image"].partition("@")[0] for name, service in inspection["services"].items()}


def pids(inspection: dict[str, Any]) -> dict[str, int]:
    return {name: service["pid"] for name, service in inspection["services"].items()}


def test_deploy_brings_all_services_up_healthy(told: dict[str, Any]) -> None:
    document = told["deploy"]
    assert document["success"] is True
    assert document["deployment"] == "demo"
    assert document["version"] == 1
    assert document["error_message"] is None
    assert document["health_status"] == dict.fromkeys(SERVICE_NAMES, True)
    assert told["v1"]["status"] == "healthy"
    assert told["v1"]["instance"]["type"] == "t3.large"
    assert told["v1"]["efs"]["mounted"] is True


def test_what_was_typed_arrives_as_it_was_typed(told: dict[str, Any]) -> None:
    assert f"NOTE={TYPED}" in told["environment"]


def test_an_image_change_restarts_only_its_own_container(told: dict[str, Any]) -> None:
    assert told["update 2"]["version"] == 2
    assert images(told["v2"])["n8n"] == "n8nio/n8n:1.101.0"
    changed = {name for name in SERVICE_NAMES if pids(told["v1"])[name] != pids(told["v2"])[name]}
    assert changed == {"n8n"}


def test_update_changes_instance_type_and_image_together(told: dict[str, Any]) -> None:
    assert told["update 3"]["version"] == 3
    assert told["v3"]["instance"]["type"] == "t3.xlarge"
    assert images(told["v3"])["ollama"] == "ollama/ollama:0.33.0"


def test_a_resize_keeps_instance_address_and_file_system(told: dict[str, Any]) -> None:
    for when in ("v2", "v3", "v4"):
        assert told[when]["instance"]["id"] == told["v1"]["instance"]["id"]
        assert told[when]["instance"]["address"] == told["v1"]["instance"]["address"]
        assert told[when]["efs"] == told["v1"]["efs"]


def test_a_dry_run_changes_nothing(told: dict[str, Any]) -> None:
    assert told["dry run"]["success"] is True
    assert told["dry run"]["changes_reverted"]
    assert told["after dry run"]["versions"] == told["v3"]["versions"]
    assert pids(told["after dry run"]) == pids(told["v3"])


def test_a_rollback_says_which_holes_it_brings_back_where_somebody_is_asked(told: dict[str, Any]) -> None:
    assert told["dry run"]["plan"]["holes"] is None, "the local cloud asks nobody outside"
    shown = " ".join(told["holes"].split())
    assert (
        "Going back to ollama 0.32.15 brings back one high hole, fixed in 0.33.0 (GHSA-3333-3333-3333); "
        "going back to n8n 1.100.0 brings back one critical hole, fixed in 1.101.0 (GHSA-2222-2222-2222)."
    ) in shown or (
        "Going back to n8n 1.100.0 brings back one critical hole, fixed in 1.101.0 (GHSA-2222-2222-2222); "
        "going back to ollama 0.32.15 brings back one high hole, fixed in 0.33.0 (GHSA-3333-3333-3333)."
    ) in shown
    asked = {(question["package"]["name"], question["version"]) for question in told["holes asked"]}
    assert asked == {("n8n", "1.100.0"), ("github.com/ollama/ollama", "0.32.15")}


def test_what_is_newer_is_told_as_far_as_a_step_leads(told: dict[str, Any]) -> None:
    assert told["newer"]["exit_code"] == 0
    newer = {one["service"]: one for one in told["newer"]["updates"]["services"]}
    n8n, qdrant = ([step["image"] for step in newer[name]["steps"]] for name in ("n8n", "qdrant"))
    assert (n8n[0], n8n[-1], qdrant) == ("n8nio/n8n:1.101.3", "n8nio/n8n:2.43.3", []), "the newest Qdrant runs"
    assert {step["image"].partition(".")[0] for step in newer["postgresql"]["steps"]} <= {"postgres:17"}
    closed = {step["image"]: [hole["id"] for hole in step["closes"]] for step in newer["n8n"]["steps"]}
    assert closed["n8nio/n8n:1.101.3"] == []
    assert closed["n8nio/n8n:2.43.3"] == ["GHSA-v364-rw7m-3263", "GHSA-v4pr-fm98-w9pg"]


def test_rollback_brings_the_version_back_as_a_new_one(told: dict[str, Any]) -> None:
    document = told["rollback"]
    assert document["success"] is True
    assert (document["version"], document["source_version"], document["trigger"]) == (4, 2, "manual")
    assert any("ollama" in change for change in document["changes_reverted"])
    assert images(told["v4"]) == images(told["v2"])
    assert told["v4"]["instance"]["type"] == "t3.large"
    assert told["v4"]["active_version"] == 4
    by_number = {version["number"]: version for version in told["v4"]["versions"]}
    assert by_number[4]["config"]["images"] == by_number[2]["config"]["images"]
    assert by_number[4]["source_version"] == 2


def test_rollbacks_are_recorded(told: dict[str, Any]) -> None:
    (record,) = told["v4"]["rollbacks"]
    assert (record["version"], record["previous_state_version"]) == (4, 3)
    assert record["success"] is True
    assert record["trigger"] == "manual"
    assert record["resources_deleted"] == []


def test_versions_are_told_apart_and_the_way_back_is_named(world: World, told: dict[str, Any]) -> None:
    found = world.json("diff", "demo", "v2", "v3")
    assert (found["old_version"], found["new_version"], found["same"]) == (2, 3, False)
    assert {"instance_type", "ollama.image"} <= {change["path"] for change in found["changes"]}
    assert "aws:ec2/instance:Instance" in {operation["type"] for operation in found["resources"]}
    assert told["rollback"]["undo"] == "geusemaker rollback demo v3"
    one = world.json("inspect", "demo", "v3")
    assert one["command"] == told["rollback"]["undo"] and one["version"]["config"]["instance_type"] == "t3.xlarge"
    assert one["health_status"] == dict.fromkeys(SERVICE_NAMES, True)
    assert world.json("status", "demo", "--watch")["status"] == "healthy", "nothing runs: one look"


def test_data_outlives_every_change(world: World, told: dict[str, Any]) -> None:
    workflows = world.http("demo", "n8n", "/rest/workflows")["data"]
    assert [workflow["name"] for workflow in workflows] == ["invoices"]
    collections = world.http("demo", "qdrant", "/collections")["result"]["collections"]
    assert [collection["name"] for collection in collections] == ["papers"]


def test_aws_sees_what_is_there(world: World, told: dict[str, Any]) -> None:
    instance_id = told["v4"]["instance"]["id"]
    reservations = world.aws("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"]
    assert reservations[0]["Instances"][0]["InstanceType"] == "t3.large"
    efs = world.aws("efs")
    assert [found["FileSystemId"] for found in efs.describe_file_systems()["FileSystems"]] == [told["v4"]["efs"]["id"]]
    targets = efs.describe_mount_targets(FileSystemId=told["v4"]["efs"]["id"])["MountTargets"]
    assert len(targets) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("update", "demo", "--image", "redis=redis:7", "--yes"), 2, "no service"),
        pytest.param(
            ("update", "demo", "--instance-type", "t9.gigantic", "--yes"), 5, "t9.gigantic", marks=pytest.mark.slow
        ),
        pytest.param(
            ("update", "demo", "--instance-type", "huge", "--yes"), 2, "instance type", marks=pytest.mark.slow
        ),
        pytest.param(
            ("update", "demo", "--image", "n8n=UPPER CASE", "--yes"), 2, "image reference", marks=pytest.mark.slow
        ),
        (("update", "demo", "--image", "n8n=n8nio/n8n:1.1.1-missing", "--yes"), 5, "n8nio/n8n:1.1.1-missing"),
        pytest.param(("update", "nope", "--instance-type", "t3.large", "--yes"), 1, "nope", marks=pytest.mark.slow),
        pytest.param(("deploy", "Bad_Name", "--yes"), 2, "name", marks=pytest.mark.slow),
        (("deploy", "demo", "--yes"), 5, "deployed already"),
        (("rollback", "demo", "--to-version", "99", "--yes"), 5, "no version 99"),
        pytest.param(("rollback", "demo", "--to-version", "4", "--yes"), 5, "active", marks=pytest.mark.slow),
        pytest.param(("rollback", "demo", "--to-version", "0", "--yes"), 5, "no version 0", marks=pytest.mark.slow),
        pytest.param(("rollback", "demo", "--to-version", "3"), 1, "no terminal to ask on", marks=pytest.mark.slow),
        pytest.param(("update", "demo", "--deadline", "4", "--yes"), 2, "deadline", marks=pytest.mark.slow),
        pytest.param(("destroy", "demo", "--delete-data", "--yes"), 1, "--confirm-name", marks=pytest.mark.slow),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    world: World, told: dict[str, Any], arguments: tuple[str, ...], code: int, says: str
) -> None:
    answer = world.run(*arguments, "--output", "json", code=code)
    document = answer.document
    assert document["success"] is False
    assert says in document["error_message"]
    assert "Traceback" not in answer.stderr


def test_refusals_left_everything_as_it_was(world: World, told: dict[str, Any]) -> None:
    now = world.inspect("demo")
    assert now["versions"] == told["v4"]["versions"]
    assert pids(now) == pids(told["v4"])


@pytest.mark.slow
def test_the_deployment_is_kept_in_a_file(world: World, told: dict[str, Any]) -> None:
    file = world.folder / "stack.yaml"
    file.write_text(world.run("export", "demo").stdout)
    world.run("diff", "demo", "-f", str(file))
    assert world.json("update", "demo", "-f", str(file), "--yes")["version"] == 4, "nothing is to be done"

    left = world.folder / "left.yaml"
    left.write_text(world.run("export", "demo", "--version", "v3").stdout)
    assert "t3.large → t3.xlarge" in world.run("diff", "demo", "-f", str(left), code=7).stdout
    refused = world.json("update", "demo", "-f", str(left), "--yes", code=5)
    assert "v3 was left by the rollback v4" in refused["error_message"] and "--again" in refused["next_step"]

    edited = yaml.safe_load(file.read_text())
    del edited["services"]["crawl4ai"], edited["services"]["ollama"]["environment"]["NOTE"]
    edited["deployment"]["ssh_cidrs"].append("10.0.0.0/8")
    file.write_text(yaml.safe_dump(edited))
    refused = world.json("update", "demo", "-f", str(file), "--yes", code=5)
    assert "does not have crawl4ai" in refused["error_message"]
    assert world.json("update", "demo", "-f", str(file), "--yes", "--prune")["version"] == 5
    now = world.inspect("demo")
    assert images(now) == {name: image for name, image in images(told["v4"]).items() if name != "crawl4ai"}
    variables = json.loads(world.docker("inspect", "geusemaker-ollama-1"))[0]["Config"]["Env"]
    assert not any(variable.startswith("NOTE=") for variable in variables)
    groups = world.aws("ec2").describe_security_groups()["SecurityGroups"]
    ranges = [allowed["CidrIp"] for group in groups for rule in group["IpPermissions"] for allowed in rule["IpRanges"]]
    assert "10.0.0.0/8" in ranges


@pytest.mark.slow
def test_services_go_back_alone(world: World, told: dict[str, Any]) -> None:
    """Another Ollama, with its note, and Crawl4AI that was taken out: of v3, and not its instance type."""
    before = world.inspect("demo")
    both = ("--service", "ollama", "--service", "crawl4ai")
    assert "--to-version" in world.json("rollback", "demo", *both, "--yes", code=2)["next_step"]
    document = world.json("rollback", "demo", *both, "--to-version", "3", "--yes")
    assert (document["version"], document["source_version"]) == (6, None)
    assert document["services_from"] == {"ollama": 3, "crawl4ai": 3}
    now = world.inspect("demo")
    assert now["status"] == "healthy" and now["instance"]["type"] == "t3.large"
    assert images(now) == {**images(before), **{name: images(told["v3"])[name] for name in ("ollama", "crawl4ai")}}
    stay = ("n8n", "postgresql", "qdrant")
    assert {name: pids(now)[name] for name in stay} == {name: pids(before)[name] for name in stay}
    variables = json.loads(world.docker("inspect", "geusemaker-ollama-1"))[0]["Config"]["Env"]
    assert f"NOTE={TYPED}" in variables
    assert "ollama and crawl4ai back to v3" in world.run("history", "demo").stdout
