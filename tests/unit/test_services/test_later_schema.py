"""What a later geusemaker wrote: told as such by whoever looks, and left alone by whoever changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from geusemaker.cli.output.history import render_history
from geusemaker.errors import RefusedError
from geusemaker.models.history import StackTags
from geusemaker.models.request import DeployRequest
from tests.unit.fakes import World

CHANGES: dict[str, Callable[[World], Any]] = {
    "deploy": lambda world: world.deploy(DeployRequest()),
    "update": lambda world: world.n8n("1.109.0"),
    "rollback": lambda world: world.rollback(),
    "rollback to": lambda world: world.rollback(to_version=1),
    "recover": lambda world: world.recover(),
    "restore": lambda world: world.restore(),
    "stop": lambda world: world.stop(),
    "start": lambda world: world.start(),
    "destroy": lambda world: world.destroy(),
    "destroy with data": lambda world: world.destroy(delete_data=True),
}


def of_a_later_one(text: str) -> str:
    return json.dumps({**json.loads(text), "a_field_of_later": True})


@pytest.fixture
def later(deployed: World) -> World:
    """v1 of this geusemaker, v2 of a later one."""
    deployed.n8n("1.101.0")
    newest = deployed.engine.entries[0]
    for key in ("deployment", "provenance"):
        newest[key] = of_a_later_one(newest[key])
    return deployed


def test_status_and_history_show_it_as_unreadable(later: World) -> None:
    found = later.inspect()
    assert found.status == "unreadable" and found.active_version == 2
    assert "newest version of prod (v2) cannot be read" in found.summary and "upgrade this one" in found.summary
    assert [(one.number, one.succeeded) for one in found.unreadable] == [(2, True)]
    assert [one.number for one in found.versions] == [1]
    rows = ["".join(text for text, _ in line) for line in render_history(found, all_columns=True)]
    [row] = [row for row in rows if row.startswith("v2")]
    assert (
        "unreadable" in row
        and "a_field_of_later" in row
        and rows.index(row) > rows.index(next(row for row in rows if row.startswith("v1")))
    )


@pytest.mark.parametrize("verb", CHANGES)
def test_every_change_is_refused(later: World, verb: str) -> None:
    before = (list(later.engine.entries), dict(later.machine.services), later.engine.intent_tag)
    with pytest.raises(RefusedError, match="newest version of prod \\(v2\\) cannot be read") as refused:
        CHANGES[verb](later)
    assert refused.value.exit_code == 5 and "upgrade this one" in refused.value.next_step
    assert before == (later.engine.entries, later.machine.services, later.engine.intent_tag)


def test_its_number_is_not_given_again(later: World) -> None:
    later.engine.intent_tag = ""
    assert later.state().next_number == 3


def test_an_older_one_that_cannot_be_read_hinders_nothing(later: World) -> None:
    later.engine.entries.insert(
        0,
        {
            **later.engine.entries[1],
            "provenance": later.engine.entries[1]["provenance"]
            .replace('"number":1', '"number":3')
            .replace("op-001", "op-009"),
        },
    )
    later.engine.intent_tag = ""
    found = later.inspect()
    assert found.status != "unreadable" and [one.number for one in found.unreadable] == [2]


@pytest.mark.parametrize(
    "tag", ['{"operation_id":"op-9","kind":"rehearse","number":9}', "not json"], ids=["another kind", "another form"]
)
@pytest.mark.parametrize("verb", CHANGES)
def test_an_intent_of_a_later_one_is_told_as_such(deployed: World, verb: str, tag: str) -> None:
    deployed.n8n("1.101.0")
    deployed.engine.intent_tag = tag
    with pytest.raises(RefusedError, match="note of the latest operation on prod cannot be read") as refused:
        CHANGES[verb](deployed)
    assert refused.value.exit_code == 5 and "whether one is under way is not known" in refused.value.message
    assert deployed.engine.intent_tag == tag


def test_marks_wait_for_it_too(deployed: World) -> None:
    deployed.engine.intent_tag = '{"kind":"rehearse"}'
    with pytest.raises(RefusedError, match="note of the latest operation"):
        deployed.mark(1, bad=True)


def test_status_tells_of_the_intent(deployed: World) -> None:
    deployed.engine.intent_tag = '{"kind":"rehearse"}'
    found = deployed.inspect()
    assert found.status == "unreadable" and "note of the latest operation" in found.summary


def test_what_cannot_be_read_is_named_without_its_value() -> None:
    tags = StackTags.read(intent='{"kind":"pa$$word"}', marks=None, verdicts=None, notes={})
    assert tags.intent is None and tags.unreadable and "pa$$word" not in tags.unreadable


def test_a_deployment_with_nothing_that_can_be_read_is_there(later: World) -> None:
    later.engine.entries = later.engine.entries[:1]
    later.engine.intent_tag = ""
    assert later.inspect().status == "unreadable"


@pytest.mark.parametrize("tag", ["marks_tag", "verdicts_tag"])
@pytest.mark.parametrize("stored", ['{"bad":[1],"schema":2}', '{"failed":{"1":"oom"}}', "[1]", '{"bad":[1', "null"])
def test_marks_that_cannot_be_read_are_told_and_not_taken_for_none(deployed: World, tag: str, stored: str) -> None:
    deployed.n8n("1.101.0")
    setattr(deployed.engine, tag, stored)
    found = deployed.inspect()
    assert (found.status, found.exit_code) == ("unreadable", 8)
    assert "which of them are bad or failed is not known" in found.summary and tag.partition("_")[0] in found.summary
    changes: dict[str, Callable[[World], Any]] = {**CHANGES, "mark": lambda world: world.mark(1, bad=True)}
    for change in changes.values():
        with pytest.raises(RefusedError, match="What was noted of the versions of prod cannot be read"):
            change(deployed)
    assert getattr(deployed.engine, tag) == stored
