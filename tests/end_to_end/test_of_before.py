"""A deployment that the code of before made, when the agent was one file: this geusemaker changes it and goes back."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any, Self

import pytest

from tests.end_to_end.world import World, wait_until

pytestmark = pytest.mark.slow

BEFORE = "89992903f5583f9afd1c0e88353571e903388e7a"
"""The last commit with the agent as one file, a change as one class, and the services' tables in many places."""
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it was then, in a folder of its own."""
    packed = subprocess.run(["git", "-C", ROOT, "archive", BEFORE, "geusemaker"], capture_output=True)
    if packed.returncode != 0:
        pytest.skip(f"this copy of the project has no history back to {BEFORE}: {packed.stderr.decode().strip()}")
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    # What an installation has now starts at a module that there was not then.
    program = folder / "geusemaker.sh"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from geusemaker.cli.app import main; main()" "$@"\n')
    program.chmod(0o755)
    return folder


def as_then(told: Any, then: Any) -> Any:
    """What is told now, without the fields that there were not then."""
    if isinstance(then, dict):
        return {name: as_then(told.get(name), value) for name, value in then.items()}
    if isinstance(then, list) and isinstance(told, list):
        return [as_then(*pair) for pair in zip(told, then, strict=True)]
    return told


class Rules:
    """The rules of the deployment's security groups, watched all the time, one of them made by hand."""

    FOREIGN = "198.51.100.0/24"

    def __init__(self, world: World) -> None:
        self._ec2 = world.aws("ec2")
        groups = self._ec2.describe_security_groups(Filters=[{"Name": "tag:geusemaker:deployment", "Values": ["box"]}])
        self._groups = [group["GroupId"] for group in groups["SecurityGroups"]]
        [instance] = [group["GroupId"] for group in groups["SecurityGroups"] if "SSH" in group["Description"]]
        by_hand = {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "IpRanges": [{"CidrIp": self.FOREIGN}]}
        self._ec2.authorize_security_group_ingress(GroupId=instance, IpPermissions=[by_hand])
        self.looks = self.without_ssh = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def told(self) -> dict[str, dict[str, Any]]:
        wanted = [{"Name": "group-id", "Values": self._groups}]
        rules = self._ec2.describe_security_group_rules(Filters=wanted)["SecurityGroupRules"]
        return {rule["SecurityGroupRuleId"]: rule for rule in rules}

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            ssh = [rule for rule in self.told().values() if rule["FromPort"] == 2222 and not rule["IsEgress"]]
            self.looks += 1
            self.without_ssh += not ssh


def test_it_is_updated_and_rolled_back(world: World, before: Path) -> None:
    world.extra["PYTHONPATH"], now = str(before), world.program
    world.program = before / "geusemaker.sh"
    world.run("deploy", "box", "--service", "postgresql", "--service", "n8n", "--service", "qdrant", "--yes")
    world.run("update", "box", "--env", "qdrant.RELEASE=2", "--yes")
    old = world.inspect("box")
    home = world.instance_disk() / "opt/geusemaker"
    assert (home / "agent.py").is_file()
    del world.extra["PYTHONPATH"]
    world.program = now

    told = world.run("status", "box", code=1).stderr
    assert "`geusemaker local stop && geusemaker local start`" in told
    world.run("local", "stop")
    world.run("local", "start")
    wait_until(lambda: world.run("status", "box", code=None).code == 0, 120, lambda: world.run("status", "box").stdout)
    assert as_then(world.inspect("box")["versions"], old["versions"]) == old["versions"]

    with Rules(world) as rules:
        shown = world.json("update", "box", "--env", "qdrant.RELEASE=3", "--dry-run")["plan"]["operations"]
        steps = {(one["type"].rpartition(":")[2], one["op"]) for one in shown if "SecurityGroup" in one["type"]}
        assert steps == {
            ("SecurityGroup", "same"),
            ("SecurityGroupIngressRule", "import"),
            ("SecurityGroupEgressRule", "import"),
        }
        before_change = rules.told()
        assert len(before_change) == 4 and rules.FOREIGN in [one.get("CidrIpv4") for one in before_change.values()]

        failed = world.json("update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.2-crash", "--yes", code=3)
        assert failed["rolled_back_to"] == 2
        assert world.json("update", "box", "--env", "qdrant.RELEASE=3", "--yes")["success"] is True
        done = world.json("rollback", "box", "--to-version", "1", "--yes")
        assert (done["success"], done["source_version"]) == (True, 1)
        after = world.inspect("box")
        assert after["status"] == "healthy"
        assert as_then(after["versions"][-1]["config"], old["versions"][0]["config"]) == old["versions"][0]["config"]
        assert as_then(after["efs"], old["efs"]) == old["efs"] and after["instance"]["id"] == old["instance"]["id"]
        assert (home / "agent").is_symlink(), "the agent of now came without a hand"

    # Walls go up because somebody asks for them, and one command takes them down.
    def finds(name: str) -> bool:
        return world.run("exec", "box", "postgresql", "--", "getent", "hosts", name, code=None).code == 0

    assert after["versions"][-1]["config"]["rendering"] < 3 and finds("qdrant")
    told = world.run("update", "box", "--rendering", "newest", "--yes").stdout
    assert "postgresql by n8n; qdrant by n8n" in told and "`geusemaker secrets show box qdrant_key`" in told
    assert finds("n8n") and not finds("qdrant")
    assert world.json("rollback", "box", "--yes")["success"] and finds("qdrant")
    assert world.inspect("box")["status"] == "healthy"
    assert rules.told() == before_change, "each rule is the one that it was, the one that somebody made by hand too"
    assert rules.without_ssh == 0 and rules.looks > 10
