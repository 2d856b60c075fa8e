"""The services over a world in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.fakes import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Nothing deployed yet."""
    return World(tmp_path)


@pytest.fixture
def deployed(world: World) -> World:
    """v1 is active and healthy."""
    assert world.deploy().success
    return world
