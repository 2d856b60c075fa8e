"""A deployment of years: 2,000 updates lie behind it, and every answer is right all the same."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.long_history import age
from tests.end_to_end.world import World

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def old(world: World) -> World:
    """v1999 is the newest of a long past; of each ten versions one failed and one is the rollback after it."""
    world.run("deploy", "box", "--service", "qdrant", "--yes")
    age(world.home, "box", 1999)
    return world


def kept(world: World) -> list[int]:
    """The versions that are not archived."""
    return [version["number"] for version in world.inspect("box")["versions"] if not version["archived"]]


def test_the_next_number_is_one_more(old: World) -> None:
    assert old.json("update", "box", "--image", "qdrant=qdrant/qdrant:v1.20.2", "--yes")["version"] == 2000


def test_all_are_listed_and_retention_keeps_the_newest(old: World) -> None:
    versions = old.inspect("box")["versions"]
    assert [version["number"] for version in versions] == list(range(1, 2001))
    assert kept(old) == [1994, 1995, 1996, 1997, 1998, 1999, 2000]
    every, newest = (old.run("history", "box", "--all-columns", *more).stdout.splitlines() for more in (("--all",), ()))
    assert sum(line.startswith("v") for line in every) == 2000
    assert sum(line.startswith("v") for line in newest) == 7
    assert "1,993 archived versions not shown (--all shows everything)" in newest


def test_a_rollback_goes_where_it_should(old: World) -> None:
    dry: dict[str, Any] = old.json("rollback", "box", "--dry-run")
    assert dry["source_version"] == 1999  # it has v1997's config, v1998 failed
    refused = old.json("rollback", "box", "--to-version", "5", "--yes", code=5)
    assert "v5 of box is archived" in refused["error_message"]
    done = old.json("rollback", "box", "--to-version", "5", "--allow-archived", "--yes")
    assert (done["success"], done["version"], done["source_version"]) == (True, 2001, 5)
    after = old.inspect("box")
    assert (after["status"], after["active_version"], len(after["versions"])) == ("healthy", 2001, 2001)
    assert after["versions"][-1]["config"] == after["versions"][4]["config"]


def test_a_pin_keeps_the_oldest(old: World) -> None:
    old.run("pin", "box", "1")
    assert kept(old)[0] == 1
    assert old.json("rollback", "box", "--dry-run")["source_version"] == 1
