"""The example pipelines, run as a pipeline runs them: a good release stays, one that fails its smoke test goes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.world import PROGRAM, World

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


# The shell scripts of examples/github, as a workflow runs them: on a fresh home, with nothing but the backend.

SCRIPTS = Path(__file__).parents[2] / "examples" / "github" / "scripts"


@pytest.fixture(scope="module")
def runner(deployed: World) -> World:
    """A pipeline's machine: the backend's URL, the passphrase, and a file of the deployment."""
    machine = deployed.second_machine()
    (machine.folder / "stack.yaml").write_text(deployed.run("export", "shop").stdout)
    smoke_test = machine.folder / "smoke.sh"
    smoke_test.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} smoke.py "${{1#http://}}" "$WANTED"\n')
    smoke_test.chmod(0o755)
    (machine.folder / "smoke.py").write_text(SMOKE_TEST)
    return machine


def step(runner: World, script: str, **variables: str) -> tuple[int, str, str]:
    """(exit code, what came into the job's summary, stderr) of a workflow's step."""
    summary = runner.folder / "summary.md"
    summary.write_text("")
    environment = {
        **runner.environment(),
        "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(summary),
        "DEPLOYMENT": "shop",
        "STACK_FILE": "stack.yaml",
        **variables,
    }
    done = subprocess.run(
        ["bash", SCRIPTS / script],
        env=environment,
        cwd=runner.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert environment["PULUMI_CONFIG_PASSPHRASE"] not in done.stdout + done.stderr + summary.read_text()
    return done.returncode, summary.read_text(), done.stderr


def wanted(runner: World, tag: str) -> None:
    """A pull request: the file asks for another Qdrant."""
    file = runner.folder / "stack.yaml"
    text, changed = re.subn(r"qdrant/qdrant:\S+", f"qdrant/qdrant:{tag}", file.read_text())
    assert changed == 1
    file.write_text(text)


@pytest.mark.slow
def test_a_pull_request_is_told_what_merging_it_changes(deployed: World, runner: World) -> None:
    before = deployed.inspect("shop")
    wanted(runner, "v1.20.3")
    code, summary, told = step(runner, "plan.sh")
    assert code == 0, told
    assert summary == (runner.folder / "plan.md").read_text()
    assert f"### update shop: v{before['active_version']} → v{before['active_version'] + 1} (local cloud)" in summary
    assert re.search(r"^\| qdrant\S* \| v1\.20\.\d → v1\.20\.3 \|$", summary, re.MULTILINE), summary
    assert deployed.inspect("shop") == before


@pytest.mark.slow
def test_a_merge_is_applied_and_tried_out_through_a_tunnel(deployed: World, runner: World) -> None:
    smoke = {"SERVICE": "qdrant", "SMOKE_TEST": "./smoke.sh", "WANTED": "1.20.3", "REASON": "commit 1234abc"}
    code, summary, told = step(runner, "apply.sh", **smoke)
    assert code == 0, summary + told
    after = deployed.inspect("shop")
    assert (active(after)["kind"], active(after)["reason"]) == ("update", "commit 1234abc")
    assert after["services"]["qdrant"]["image"].startswith("qdrant/qdrant:v1.20.3@")
    assert f"### shop is updated: v{after['active_version']} is active and healthy (" in summary
    assert summary.endswith(f"The smoke test passed on v{after['active_version']}.\n")


@pytest.mark.slow
def test_a_merge_that_fails_its_smoke_test_is_taken_back(deployed: World, runner: World) -> None:
    before = deployed.inspect("shop")
    wanted(runner, "v1.20.4")
    code, summary, told = step(runner, "apply.sh", SERVICE="qdrant", SMOKE_TEST="./smoke.sh", WANTED="other")
    assert code == 3, summary + told
    after = deployed.inspect("shop")
    assert (active(after)["kind"], active(after)["reason"]) == ("rollback", "smoke test failed")
    assert (after["status"], after["services"]["qdrant"]["image"]) == (
        "healthy",
        before["services"]["qdrant"]["image"],
    )
    assert f"The smoke test failed on v{before['active_version'] + 1}." in summary
    assert f"### shop is rolled back: v{after['active_version']} is active and healthy" in summary
    # The next run of the same commit would bring the trouble back.
    code, summary, _ = step(runner, "plan.sh")
    assert code == 5 and summary.startswith("### update shop failed\n")


@pytest.mark.slow
def test_a_scheduled_recover_finds_nothing_to_repair(deployed: World, runner: World) -> None:
    code, summary, told = step(runner, "recover.sh")
    assert code == 0, told
    assert summary.startswith("### shop: nothing to repair (")
