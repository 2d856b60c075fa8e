"""Machines for the stories. Each module has one; what it deployed is gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    machine = World.at(tmp_path_factory.mktemp("machine"))
    yield machine
    machine.run("local", "reset", "--yes")
