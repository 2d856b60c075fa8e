"""Which event an operation is, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from geusemaker.models.history import Intent
from geusemaker.models.record import OperationRecord
from geusemaker.services.tell.events import of_record
from tests.unit.fakes import Killed, World


class Noting:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.texts: list[str] = []

    def begins(self, intent: Intent) -> None:
        self.said.append(("begins", intent.kind))

    def ended(self, record: OperationRecord) -> None:
        event, document = of_record(record)
        self.said.append((event, record.kind))
        self.texts.append(document["text"])

    def interrupted(self, intent: Intent) -> None:
        self.said.append(("interrupted", intent.kind))

    def gave_up(self, text: str) -> None:
        self.said.append(("gave-up", text))


@pytest.fixture
def noting() -> Noting:
    return Noting()


@pytest.fixture
def world(tmp_path: Path, noting: Noting) -> World:
    """A deployment that runs, and whoever is told of it from now on."""
    world = World(tmp_path)
    world.deploy()
    world.teller = noting
    return world


def test_a_change_is_told_before_and_after(world: World, noting: Noting) -> None:
    world.update(images={"n8n": "n8nio/n8n:2.43.0"})
    assert noting.said == [("begins", "update"), ("after-change", "update")]
    assert "v2 is active" in noting.texts[0] and "2.43.0" in noting.texts[0]


def test_a_failure_and_its_way_back_are_told_each(world: World, noting: Noting) -> None:
    world.update(images={"n8n": "n8nio/n8n:2.43.0-crash"})
    assert [said for said in noting.said if said[0] != "begins"] == [("failed", "update"), ("rolled-back", "rollback")]
    assert "went back by itself (health_check_failed)" in noting.texts[1]


def test_a_rollback_by_a_person_is_a_change(world: World, noting: Noting) -> None:
    world.update(images={"n8n": "n8nio/n8n:2.43.0"})
    world.rollback()
    assert noting.said[-2:] == [("begins", "rollback"), ("after-change", "rollback")]


def test_what_is_looked_at_or_refused_is_not_told(world: World, noting: Noting) -> None:
    world.update(images={"n8n": "n8nio/n8n:2.43.0"}, dry_run=True)
    with pytest.raises(Exception, match="Not confirmed"):
        world.update(images={"n8n": "n8nio/n8n:2.43.0"}, confirm=lambda plan: False)
    assert noting.said == []


def test_a_killed_operation_is_told_of_by_whoever_repairs_it(world: World, noting: Noting) -> None:
    world.kill_at = "up.apply"
    with pytest.raises(Killed):
        world.update(images={"n8n": "n8nio/n8n:2.43.0"})
    world.recover()
    assert ("interrupted", "update") in noting.said


def test_services_that_went_back_alone_are_named(world: World, noting: Noting) -> None:
    world.update(images={"n8n": "n8nio/n8n:2.43.0"})
    world.rollback(services=("n8n",), to_version=1)
    assert noting.texts[1].startswith("prod: rollback (n8n back to v1) done: v3 is active")
