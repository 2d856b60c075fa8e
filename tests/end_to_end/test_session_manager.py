"""An instance that no port leads to: all of it goes through Session Manager, there, back and there again."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from tests.end_to_end.world import World

pytestmark = pytest.mark.slow

LIGHT = ("deploy", "closet", "--service", "qdrant", "--yes", "--settle-seconds", "0")


@pytest.fixture(scope="module")
def closed(world: World) -> World:
    """A deployment without any port, by who may do just what the policy allows that geusemaker prints for it."""
    world.cloud.mkdir(mode=0o700, exist_ok=True)
    both = [json.loads(world.run("doctor", "--aws-policy", *more).stdout) for more in ((), ("--connect", "ssm"))]
    statements = [statement for document in both for statement in document["Statement"]]
    (world.cloud / "policy.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": statements}))
    world.run(*LIGHT, "--connect", "ssm")
    return world


def ssh_rules(world: World) -> list[str]:
    """Who may connect by SSH, as AWS has it."""
    rules = world.aws("ec2").describe_security_group_rules()["SecurityGroupRules"]
    return [rule["CidrIpv4"] for rule in rules if rule["FromPort"] == 2222 and not rule["IsEgress"]]


def leading(world: World) -> list[str]:
    """The programs that lead to an instance of this world."""
    endpoint, found = world.aws("ssm").meta.endpoint_url, []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = file.read_bytes().decode(errors="replace").split("\0")
            if "session-manager-plugin" in words and endpoint in words:
                found.append(" ".join(words))
    return found


def test_it_is_changed_looked_at_and_reached_with_no_port_open(closed: World) -> None:
    assert ssh_rules(closed) == []
    update = closed.json("update", "closet", "--env", "qdrant.QDRANT__LOG_LEVEL=WARN", "--yes")
    assert update["success"] and update["version"] == 2
    assert closed.json("rollback", "closet", "--yes")["version"] == 3
    assert closed.json("status", "closet")["status"] == "healthy"
    assert "Qdrant HTTP listening" in closed.run("logs", "closet", "--lines", "5").stdout
    closed.run("ssh", "closet", "--", "exit 7", code=7)
    assert leading(closed) == []


def test_ssh_is_taken_instead_and_given_up_again(closed: World) -> None:
    there = closed.json("update", "closet", "--connect", "ssh", "--yes")
    assert there["changes"] == ["connect: ssm -> ssh"] and len(ssh_rules(closed)) == 1
    # As an instance is that was made without the agent.
    gone = "systemctl disable --now amazon-ssm-agent; rm $GEUSEMAKER_INSTANCE_ROOT/usr/lib/systemd/system/amazon-ssm*"
    closed.run("ssh", "closet", "--", gone)
    before = closed.instance_disk()
    back = closed.json("update", "closet", "--connect", "ssm", "--yes")
    assert back["changes"] == ["connect: ssh -> ssm"] and ssh_rules(closed) == []
    closed.run("ssh", "closet", "--", "systemctl is-active amazon-ssm-agent")
    assert closed.instance_disk() == before and leading(closed) == []
