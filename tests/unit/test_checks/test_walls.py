"""What a change tells of walls that go up or come down."""

from __future__ import annotations

import pytest

from geusemaker.checks.walls import check_key, check_walls, needs_key
from geusemaker.models.stack import ServiceConfig, StackConfig
from tests.unit.test_program.test_compose import config


def at(rendering: int, **environment: str) -> StackConfig:
    base = config("postgresql", "n8n", "qdrant", "crawl4ai", rendering=rendering)
    keyed = base.services["qdrant"].model_copy(update={"environment": environment})
    services: dict[str, ServiceConfig] = {**base.services, "qdrant": keyed}
    return base.model_copy(update={"services": services})


def test_who_is_reached_by_whom_is_told_where_it_changes() -> None:
    [told] = check_walls(at(3), at(2), None)
    assert (told.name, told.status) == ("walls", "warn")
    assert told.detail.endswith("postgresql by n8n; qdrant by n8n; crawl4ai by n8n")
    [down] = check_walls(at(2), at(3), None)
    assert down.detail == "they come down: every service reaches every other"
    assert check_walls(at(3), at(3), None) == check_walls(at(2), at(1), None) == check_walls(at(3), None, None) == []


def test_who_has_to_show_the_key_is_told_where_it_is_new() -> None:
    assert needs_key(at(3), at(2))
    assert not needs_key(at(3), None) and not needs_key(at(3), at(3)) and not needs_key(at(2), at(2))
    assert not needs_key(at(3, QDRANT__SERVICE__API_KEY="mine"), at(2))
    assert not needs_key(at(3), config("postgresql", "n8n", rendering=2)), "nobody calls a Qdrant that is new"


@pytest.mark.parametrize(
    ("workflows", "end"),
    [
        (None, "n8n could not be asked which workflows name it; those that do need it"),
        ([], "no workflow of n8n names it"),
        (["Ask the docs"], "the workflows 'Ask the docs' name it, and need the key in their credentials"),
        (list("abcdefghij"), "'h' and 2 more name it, and need the key in their credentials"),
    ],
)
def test_the_workflows_are_named(workflows: list[str] | None, end: str) -> None:
    told = check_key("prod", workflows)
    assert (told.name, told.status) == ("Qdrant key", "warn")
    assert "`geusemaker secrets show prod qdrant_key`" in told.detail and told.detail.endswith(end)
