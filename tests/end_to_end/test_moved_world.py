"""What is applied is what was shown: AWS changes between the question and the answer, and nothing is done."""

from __future__ import annotations

import os
import pty
import select
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.end_to_end.world import PROGRAM, World

pytestmark = pytest.mark.slow

UPDATE = ("update", "box", "--image", "qdrant=qdrant/qdrant:v1.14.2")


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
        lambda: deployed.run("update", "box", "--image", "qdrant=qdrant/qdrant:v1.14.3", "--yes"),
        *UPDATE,
    )
    assert code == 5 and "changed by somebody else since this plan was made" in screen
    after = deployed.inspect("box")
    assert after["active_version"] > before
    assert after["services"]["qdrant"]["image"].startswith("qdrant/qdrant:v1.14.3@")


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
    code, screen = at_the_question(deployed, lambda: None, "update", "box", "--image", "qdrant=qdrant/qdrant:v1.14.4")
    assert code == 0, screen
    assert deployed.inspect("box")["services"]["qdrant"]["image"].startswith("qdrant/qdrant:v1.14.4@")
