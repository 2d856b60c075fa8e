"""The example pipeline, run as a pipeline runs it: a good release stays, one that fails its smoke test goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.world import World

PIPELINE = Path(__file__).parents[2] / "examples" / "pipeline.py"
SMOKE_TEST = """
import json, sys, urllib.request
with urllib.request.urlopen(f"http://{sys.argv[1]}/") as answer:
    sys.exit(json.loads(answer.read())["version"] != sys.argv[2])
"""


@pytest.fixture(scope="module")
def deployed(world: World) -> World:
    world.run("deploy", "shop", "--service", "qdrant", "--image", "qdrant=qdrant/qdrant:v1.20.0", "--yes")
    return world


def release(world: World, image: str, *smoke_test: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PIPELINE, "shop", "qdrant", image, *smoke_test],
        env=world.environment(),
        cwd=world.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )


def active(inspection: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(
        version for version in inspection["versions"] if version["number"] == inspection["active_version"]
    )
    return found


@pytest.mark.slow
def test_the_pipeline_keeps_a_release_that_passes_its_smoke_test(deployed: World) -> None:
    address = deployed.inspect("shop")["services"]["qdrant"]["address"]
    done = release(deployed, "qdrant/qdrant:v1.20.1", sys.executable, "-c", SMOKE_TEST, address, "1.20.1")
    assert done.returncode == 0, done.stdout + done.stderr
    after = deployed.inspect("shop")
    assert (active(after)["kind"], active(after)["reason"]) == ("update", "pipeline")
    assert after["services"]["qdrant"]["image"].startswith("qdrant/qdrant:v1.20.1@")


@pytest.mark.slow
def test_the_pipeline_goes_back_when_the_smoke_test_fails(deployed: World) -> None:
    before = deployed.inspect("shop")
    done = release(deployed, "qdrant/qdrant:v1.20.2", "false")
    assert done.returncode == 3, done.stdout + done.stderr
    after = deployed.inspect("shop")
    assert (active(after)["kind"], active(after)["reason"]) == ("rollback", "smoke test failed")
    assert f"v{after['active_version']} is active" in done.stderr
    assert after["status"] == "healthy"
    assert after["services"]["qdrant"]["image"] == before["services"]["qdrant"]["image"]


def test_the_pipeline_says_in_a_sentence_that_there_is_no_such_deployment(tmp_path: Path) -> None:
    done = release(World.at(tmp_path), "qdrant/qdrant:v1.20.1", "true")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("There is no deployment shop.")
