"""A rollback from another process takes over from an update that bakes, at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.world import World


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World.at(tmp_path_factory.mktemp("machine"))
    yield made
    made.run("local", "reset", "--yes")


@pytest.mark.soak
def test_a_rollback_ends_a_bake_and_an_update_does_not(world: World) -> None:
    world.run(
        "deploy", "shop", "--service", "postgresql", "--service", "n8n", "--image", "n8n=n8nio/n8n:1.100.0", "--yes"
    )
    baked = ("--bake", "10m", "--test-url", "n8n/healthz")
    process = world.start("update", "shop", "--image", "n8n=n8nio/n8n:1.101.0", *baked, "--yes")
    world.wait_for_line("looking on for 10 min")
    refused = world.run("update", "shop", "--image", "n8n=n8nio/n8n:1.102.0", "--yes", code=6)
    assert "geusemaker recover shop" in refused.stderr
    world.run("rollback", "shop", "--yes")
    assert process.wait(120) == 6
    assert "a rollback of" in (world.folder / "running.log").read_text()
    after = world.inspect("shop")
    assert after["status"] in ("healthy", "settling") and "1.100.0" in after["services"]["n8n"]["image"]
