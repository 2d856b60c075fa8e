"""What is applied is what was shown: AWS changes between the question and the answer, and nothing is done."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.end_to_end.world import PROGRAM, World, find_engine, wait_until

pytestmark = pytest.mark.slow

UPDATE = ("update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.2")


@pytest.fixture(scope="module")
def deployed(world: World) -> World:
    world.run("deploy", "box", "--service", "qdrant", "--yes")
    return world


def at_the_question(world: World, meanwhile: Callable[[], object], *arguments: str) -> tuple[int, str]:
    """Type a command on a terminal, let something happen while it asks, then say yes: its exit code and screen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(world.folder)
        os.execve(PROGRAM, [str(PROGRAM), *arguments], {**world.environment(), "TERM": "dumb", "NO_COLOR": "1"})
    screen, asked, deadline = b"", False, time.monotonic() + 300
    while True:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"no end in sight:\n{screen.decode()}"
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # EIO: the command has ended
            break
        if not chunk:
            break
        screen += chunk
        if not asked and b"[y/N] " in screen:
            asked = True
            meanwhile()
            os.write(terminal, b"yes\n")
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert asked, screen.decode()
    return os.waitstatus_to_exitcode(status), screen.decode().replace("\r\n", "\n")


def facts(inspection: dict[str, Any]) -> tuple[Any, ...]:
    return inspection["versions"], inspection["services"]["qdrant"]["pid"], inspection["services"]["qdrant"]["image"]


def instance(world: World) -> dict[str, Any]:
    [found] = [one for group in world.aws("ec2").describe_instances()["Reservations"] for one in group["Instances"]]
    assert isinstance(found, dict)
    return found


def refused(world: World, meanwhile: Callable[[], object], what: str) -> str:
    """The update is stopped; the screen after the answer."""
    before = facts(world.inspect("box"))
    code, screen = at_the_question(world, meanwhile, *UPDATE)
    assert code == 5, screen
    after_answer = screen.partition("[y/N] ")[2]
    assert "update box: v" in after_answer, "the plan as it is now"
    assert "fail  moved" in after_answer and what in after_answer, after_answer
    assert "error: The plan is not any more what was shown" in after_answer
    assert "prefetch" not in after_answer and "apply runs" not in after_answer
    assert facts(world.inspect("box")) == before
    return after_answer


def test_a_security_group_that_is_opened_meanwhile(deployed: World) -> None:
    ec2 = deployed.aws("ec2")
    group = instance(deployed)["SecurityGroups"][0]["GroupId"]
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "198.51.100.0/24"}]}
    refused(
        deployed,
        lambda: ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule]),
        "tcp 22-22 198.51.100.0/24",
    )
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])


def test_an_update_by_somebody_else_meanwhile(deployed: World) -> None:
    before = deployed.inspect("box")["active_version"]
    code, screen = at_the_question(
        deployed,
        lambda: deployed.run("update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.3", "--yes"),
        *UPDATE,
    )
    assert code == 5 and "changed by somebody else since this plan was made" in screen
    after = deployed.inspect("box")
    assert after["active_version"] > before
    assert after["services"]["qdrant"]["image"].startswith("qdrant/qdrant:v1.20.3@")


def test_an_instance_that_is_resized_meanwhile_is_recovered_first(deployed: World) -> None:
    ec2, known = deployed.aws("ec2"), instance(deployed)["InstanceId"]

    def resize() -> None:
        ec2.stop_instances(InstanceIds=[known])
        ec2.get_waiter("instance_stopped").wait(InstanceIds=[known], WaiterConfig={"Delay": 1})
        ec2.modify_instance_attribute(InstanceId=known, InstanceType={"Value": "m5.large"})
        ec2.start_instances(InstanceIds=[known])
        ec2.get_waiter("instance_running").wait(InstanceIds=[known], WaiterConfig={"Delay": 1})

    before = deployed.inspect("box")["versions"]
    code, screen = at_the_question(deployed, resize, *UPDATE)
    assert code == 5, screen
    assert "was t3.large of" in screen and "is m5.large of" in screen
    assert deployed.inspect("box")["versions"] == before
    again = deployed.json(*UPDATE, "--yes", code=5)
    assert "changed by other means; `geusemaker recover box` puts that right" in again["error_message"]
    assert deployed.json("recover", "box", "--yes")["success"] is True
    assert instance(deployed)["InstanceType"] == "t3.large"
    assert deployed.json(*UPDATE, "--yes")["success"] is True


def test_a_world_that_stays_as_it_was_is_changed(deployed: World) -> None:
    code, screen = at_the_question(deployed, lambda: None, "update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.4")
    assert code == 0, screen
    assert deployed.inspect("box")["services"]["qdrant"]["image"].startswith("qdrant/qdrant:v1.20.4@")


def test_with_another_accounts_credentials_nothing_is_done_and_both_are_named(deployed: World) -> None:
    deployed.run("update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.5", "--yes")
    own = deployed.aws("sts").get_caller_identity()["Account"]
    before = facts(deployed.inspect("box"))
    state = deployed.pulumi("box", "stack", "export")
    elsewhere = World(
        folder=deployed.folder, home=deployed.home, cloud=deployed.folder / "another", outputs=deployed.outputs
    )
    elsewhere.run("local", "start")
    try:
        other = elsewhere.aws("sts").get_caller_identity()["Account"]
        assert other != own
        for command in (
            ("recover", "box", "--yes"),
            ("update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.6", "--yes"),
            ("rollback", "box", "--yes"),
            ("restore", "box", "--yes"),
            ("mark", "box", "1", "bad"),
            ("destroy", "box", "--yes"),
        ):
            answer = elsewhere.json(*command, code=5)
            assert own in answer["error_message"] and other in answer["error_message"], command
        seen = elsewhere.json("status", "box", code=None)
        assert own in seen["summary"] and other in seen["summary"] and seen["status"] != "healthy"
        assert elsewhere.json("status", "box", code=None)["instance"] is None
    finally:
        elsewhere.run("local", "reset", "--yes")
    assert deployed.pulumi("box", "stack", "export") == state
    assert facts(deployed.inspect("box")) == before


def test_a_deployment_of_before_learns_its_account_and_its_plan_shows_no_more(deployed: World) -> None:
    """Its history, config file and state are made what a geusemaker of before wrote."""

    def resources() -> str:
        shown = deployed.run("update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.6", "--dry-run").stdout
        return shown.partition("Resources")[2].partition("Checks")[0]

    with_account = resources()
    own = deployed.aws("sts").get_caller_identity()["Account"]
    kept = [*(deployed.home / ".state/backend/.pulumi/history").rglob("*.history.json")]
    for file in (*kept, deployed.home / "stacks/Pulumi.box.yaml"):
        text = file.read_text()
        assert own in text
        text = re.sub(r'\\*"account_id\\*": ?\\*"\d{12}\\*", ?|, ?\\*"partition\\*": ?\\*"aws\\*"', "", text)
        file.write_text(text)
        assert '"account_id' not in text
    state = json.loads(deployed.pulumi("box", "stack", "export"))
    providers = [each for each in state["deployment"]["resources"] if each["type"] == "pulumi:providers:aws"]
    for provider in providers:
        del provider["inputs"]["allowedAccountIds"], provider["outputs"]["allowedAccountIds"]
    deployed.pulumi("box", "stack", "import", stdin=json.dumps(state))

    before = instance(deployed)["InstanceId"]
    assert resources() == with_account and "replace" not in with_account
    deployed.run("update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.6", "--yes")

    assert instance(deployed)["InstanceId"] == before
    written = (deployed.home / "stacks/Pulumi.box.yaml").read_text()
    assert own in written.partition("allowedAccountIds")[2].splitlines()[1] and f'"account_id": "{own}"' in written


def groups(world: World, name: str) -> list[str]:
    named = [{"Name": "tag:geusemaker:deployment", "Values": [name]}]
    return sorted(
        one["GroupName"] for one in world.aws("ec2").describe_security_groups(Filters=named)["SecurityGroups"]
    )


def test_what_a_killed_first_deploy_was_making_is_taken_up_and_goes_with_the_rest(world: World) -> None:
    world.run("local", "start")
    # The provider takes AWS's own rule out of a group that it has made, before it tells the engine of the group.
    with world.aws_refusing("RevokeSecurityGroupEgress", delay_seconds=8):
        running = world.start("deploy", "gone", "--service", "qdrant", "--yes", log="gone.log")
        wait_until(lambda: len(groups(world, "gone")) == 2, 120, (world.folder / "gone.log").read_text)
        engine = find_engine(running.pid, "up")
        assert engine is not None
        running.kill()
        os.kill(engine, signal.SIGKILL)
        running.wait()
    state = json.loads(world.pulumi("gone", "stack", "export"))["deployment"]
    assert "storage" in [one["resource"]["urn"].rpartition("::")[2] for one in state["pending_operations"]]
    ec2 = world.aws("ec2")
    theirs = ec2.create_security_group(
        GroupName="storage-0000000",
        Description="another workspace's",
        TagSpecifications=[
            {"ResourceType": "security-group", "Tags": [{"Key": "geusemaker:deployment", "Value": "gone"}]}
        ],
    )["GroupId"]

    answer = world.run("destroy", "gone", "--yes")

    assert "storage-0000000" in groups(world, "gone") and len(groups(world, "gone")) == 1, answer.stderr
    assert f"securityGroup:SecurityGroup {theirs}".rpartition(":")[2] in answer.stdout + answer.stderr
    ec2.delete_security_group(GroupId=theirs)
