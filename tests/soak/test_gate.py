"""Releases that fail a moment after they seemed well, again and again on a busy machine: none is called healthy."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.end_to_end.load import busy_machine
from tests.end_to_end.world import World

TIMES = int(os.environ.get("SOAK_TIMES", "20"))
SETTLE_SECONDS = "10"
"""The local cloud's default. The release that lives shortly lives for 8."""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World.at(tmp_path_factory.mktemp("machine"))
    world.run(
        *("deploy", "prod", "--service", "postgresql", "--service", "n8n", "--image", "n8n=n8nio/n8n:1.100.1"),
        *("--settle-seconds", SETTLE_SECONDS, "--yes"),
    )
    yield world
    world.run("local", "reset", "--yes")


@pytest.mark.soak
@pytest.mark.parametrize("number", range(TIMES))
@pytest.mark.parametrize("kind", ["oom", "badmigration", "shortlived"])
def test_it_is_caught_and_taken_back(deployed: World, kind: str, number: int) -> None:
    with busy_machine():
        image = f"n8n=n8nio/n8n:1.101.{number}-{kind}"
        document = deployed.run("update", "prod", "--image", image, "--yes", "--output", "json", code=3).document
    assert document["success"] is False and "n8n" in document["error_message"]
    assert document["rolled_back_to"] is not None and document["health_status"]["n8n"] is True
    running = deployed.inspect("prod")["services"]["n8n"]["image"]
    assert running.startswith("n8nio/n8n:1.100.1@")
