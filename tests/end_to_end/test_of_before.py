"""A deployment that the code of before made, when the agent was one file: this geusemaker changes it and goes back."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

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
    return folder


def test_it_is_updated_and_rolled_back(world: World, before: Path) -> None:
    world.extra["PYTHONPATH"] = str(before)
    world.run("deploy", "box", "--service", "postgresql", "--service", "n8n", "--service", "qdrant", "--yes")
    world.run("update", "box", "--env", "qdrant.RELEASE=2", "--yes")
    old = world.inspect("box")
    home = world.instance_disk() / "opt/geusemaker"
    assert (home / "agent.py").is_file()
    del world.extra["PYTHONPATH"]

    told = world.run("status", "box", code=1).stderr
    assert "`geusemaker local stop && geusemaker local start`" in told
    world.run("local", "stop")
    world.run("local", "start")
    wait_until(lambda: world.run("status", "box", code=None).code == 0, 120, lambda: world.run("status", "box").stdout)
    assert world.inspect("box")["versions"] == old["versions"]

    failed = world.json("update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.2-crash", "--yes", code=3)
    assert failed["rolled_back_to"] == 2
    assert world.json("update", "box", "--env", "qdrant.RELEASE=3", "--yes")["success"] is True
    done = world.json("rollback", "box", "--to-version", "1", "--yes")
    assert (done["success"], done["source_version"]) == (True, 1)
    after = world.inspect("box")
    assert (after["status"], after["versions"][-1]["config"]) == ("healthy", old["versions"][0]["config"])
    assert after["efs"] == old["efs"] and after["instance"]["id"] == old["instance"]["id"]
    assert (home / "agent").is_symlink(), "the agent of now came without a hand"
