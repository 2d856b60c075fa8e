"""Which checkpoint, what it replaces, and whether what runs can read it."""

from __future__ import annotations

from typing import Any

import pytest

from geusemaker.errors import InvalidInputError, RefusedError
from geusemaker.models.checkpoint import Checkpoint, DataNow, Held
from geusemaker.models.image import ImageReference
from geusemaker.models.stack import ServiceConfig, StackConfig
from geusemaker.services.restore.choice import (
    choose_backup,
    choose_checkpoint,
    choose_services,
    replacements,
    restore_checks,
    restore_notice,
)
from tests.unit.samples import config

DATABASE = {"service": "postgresql", "name": "n8n", "tables": 2, "rows": 12, "workflows": 3, "bytes": 9}
COLLECTION = {"service": "qdrant", "name": "docs", "points": 5, "bytes": 9}


def checkpoint(name: str, minute: int = 0, **more: Any) -> Checkpoint:
    """``vN/OPERATION``, taken before an update unless told otherwise."""
    version, _, operation = name.partition("/")
    values: dict[str, Any] = {
        "checkpoint": name,
        "version": int(version[1:]),
        "operation": operation,
        "kind": "update",
        "taken_at": f"2025-01-21T02:{minute:02}:00Z",
        "holds": [DATABASE, COLLECTION],
        "added by a later geusemaker": True,
    }
    return Checkpoint.model_validate(values | more)


THREE = (
    checkpoint("v1/op-a", 1),
    checkpoint("v2/op-b", 2),
    checkpoint("v2/op-c", 3, kind="restore"),
)


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (None, "v2/op-b"),
        ("v1", "v1/op-a"),
        ("v2", "v2/op-b"),
        ("v2/op-c", "v2/op-c"),
        ("v1/op-a", "v1/op-a"),
    ],
)
def test_which_one(wanted: str | None, chosen: str) -> None:
    assert choose_checkpoint("prod", THREE, wanted).checkpoint == chosen


def test_a_version_that_has_only_restores_of_them_means_the_newest() -> None:
    only = [checkpoint(f"v1/op-{name}", minute, kind="restore") for minute, name in enumerate("ab")]
    assert choose_checkpoint("prod", only, "v1").checkpoint == "v1/op-b"
    with pytest.raises(RefusedError, match=r"taken before a change\. .*There is v1/op-b, v1/op-a"):
        choose_checkpoint("prod", only, None)


@pytest.mark.parametrize("wanted", ["v9", "v1/op-b", None])
def test_one_that_is_not_there_is_refused(wanted: str | None) -> None:
    known = THREE if wanted else ()
    with pytest.raises(RefusedError) as refused:
        choose_checkpoint("prod", known, wanted)
    expected = "v2/op-c, v2/op-b, v1/op-a" if known else "One is taken before a change"
    assert refused.value.exit_code == 5 and expected in refused.value.next_step


@pytest.mark.parametrize("wanted", ["1", "op-a", "v0", "v1/", "v1/../x", "latest"])
def test_what_is_no_name_is_a_usage_error(wanted: str) -> None:
    with pytest.raises(InvalidInputError, match="is not the name of a checkpoint"):
        choose_checkpoint("prod", THREE, wanted)


def with_qdrant() -> StackConfig:
    base = config()
    qdrant = ServiceConfig(image=ImageReference.parse("qdrant/qdrant:v1.14.1"))
    return base.model_copy(update={"services": {**base.services, "qdrant": qdrant}})


def test_services_are_those_it_has_and_that_run() -> None:
    both = THREE[0]
    assert choose_services("prod", both, with_qdrant(), ()) == ("postgresql", "qdrant")
    assert choose_services("prod", both, with_qdrant(), ("qdrant",)) == ("qdrant",)
    assert choose_services("prod", both, config(), ()) == ("postgresql",), "qdrant is not enabled: it is left out"
    with pytest.raises(RefusedError, match=r"qdrant is not enabled now.*geusemaker update prod --service qdrant"):
        choose_services("prod", both, config(), ("qdrant",))
    collections = checkpoint("v1/op-a", holds=[COLLECTION])
    with pytest.raises(RefusedError, match="qdrant is not enabled"):
        choose_services("prod", collections, config(), ())
    with pytest.raises(RefusedError, match="has nothing of postgresql"):
        choose_services("prod", collections, with_qdrant(), ("postgresql",))
    with pytest.raises(InvalidInputError, match="No checkpoint has data of ollama"):
        choose_services("prod", both, with_qdrant(), ("ollama",))


@pytest.mark.parametrize("tables", [0, 1])
def test_what_is_replaced_and_what_stays(tables: int) -> None:
    then = checkpoint("v1/op-a", holds=[DATABASE, DATABASE | {"name": "postgres"}, COLLECTION | {"name": "gone"}])
    later, own = DATABASE | {"name": "later"}, DATABASE | {"name": "postgres", "tables": tables}
    now = DataNow.model_validate({"holds": [DATABASE | {"rows": 20}, later, own, COLLECTION]})
    replaced, left = replacements(then, now, ("postgresql", "qdrant"))
    assert [(one.then.name, one.then.rows, one.now and one.now.rows) for one in replaced] == [
        ("n8n", 12, 20),
        ("gone", None, None),
    ]
    assert [held.name for held in left] == ["later", *(["postgres"] if tables else []), "docs"]
    replaced, left = replacements(then, now, ("qdrant",))
    assert [one.then.name for one in replaced] == ["gone"] and left == (Held.model_validate(COLLECTION),)


@pytest.mark.parametrize(
    ("made_by", "runs", "status"),
    [
        ("1.14.0", "1.14.1", "pass"),
        ("1.14.1", "1.14.0", "pass"),
        ("1.14.1", "1.15.0", "warn"),
        ("1.14.1", "1.16.0", "fail"),
        ("1.15.0", "1.14.1", "fail"),
        ("1.15.0", "2.0.0", "fail"),
        ("", "1.14.0", "warn"),
    ],
)
def test_qdrant_restores_within_its_minor_version(made_by: str, runs: str, status: str) -> None:
    then = checkpoint("v1/op-a", versions={"qdrant": made_by})
    now = DataNow(versions={"qdrant": runs})
    [check] = restore_checks(then, now, ("qdrant",), with_qdrant())
    assert check.status == status and (status != "fail" or "go to v1 first" in check.detail)


@pytest.mark.parametrize(
    ("then", "now", "ran", "runs", "status"),
    [
        ("AB", "AB", "1.100.0", "1.100.0", "pass"),
        ("A", "ABC", "1.100.0", "1.101.0", "pass"),
        ("ABC", "A", "1.101.0", "1.100.0", "fail"),
        ("ABC", "A", "1.101.0", "1.101.0", "pass"),  # n8n was not started on that database yet, or it is an older copy
        ("ABC", "A", "latest", "1.100.0", "warn"),
        ("ABC", "", "1.101.0", "1.102.0", "pass"),
    ],
)
def test_n8n_reads_only_migrations_it_knows(then: str, now: str, ran: str, runs: str, status: str) -> None:
    taken = checkpoint("v1/op-a", migrations=list(then), images={"n8n": f"n8nio/n8n:{ran}@sha256:{'ab' * 32}"})
    [check] = restore_checks(taken, DataNow(migrations=tuple(now)), ("postgresql",), config(n8n=runs))
    assert check.status == status and (status != "fail" or "go to v1 first" in check.detail)


def test_without_n8n_there_is_nothing_to_judge() -> None:
    postgresql = config().services["postgresql"]
    alone = config(services={"postgresql": postgresql})
    assert restore_checks(checkpoint("v1/op-a", migrations=["A"]), DataNow(), ("postgresql",), alone) == []
    assert restore_checks(checkpoint("v1/op-a"), DataNow(), ("postgresql",), config()) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"n8n_files": {"folders": ["binaryData"], "files": 1, "bytes": 3, "sha256": "x"}}, "their 1 file of then"),
        ({"n8n_files": {"folders": [], "files": 0}}, "their 0 files of then; those of now are set aside"),
        ({}, "has no files of n8n's executions (binary data); those of now stay as they are"),
        ({"holds": [{**DATABASE, "workflows": None}]}, ""),
    ],
)
def test_what_becomes_of_n8n_s_files_is_said(more: dict[str, Any], said: str) -> None:
    notice = restore_notice(checkpoint("v1/op-a", **more), ("postgresql",))
    assert said in notice and bool(said) == bool(notice)


WITH_BACKUPS = (
    *THREE,
    checkpoint("v2/op-d", 4, kind="backup", verified_at="2025-01-21T02:05:00Z"),
    checkpoint("v2/op-e", 6, kind="backup"),
)


@pytest.mark.parametrize(
    ("wanted", "chosen"), [("latest", "v2/op-d"), ("op-e", "v2/op-e"), ("v2/op-d", "v2/op-d"), ("op-d", "v2/op-d")]
)
def test_which_backup(wanted: str, chosen: str) -> None:
    assert choose_backup("prod", WITH_BACKUPS, wanted).checkpoint == chosen


def test_one_that_was_never_read_again_is_the_latest_only_where_there_is_no_other() -> None:
    assert choose_backup("prod", WITH_BACKUPS[-1:], "latest").operation == "op-e"


def test_no_such_backup() -> None:
    with pytest.raises(InvalidInputError, match=r"op-b is no backup") as caught:
        choose_backup("prod", WITH_BACKUPS, "op-b")
    assert "--checkpoint" in caught.value.next_step
    with pytest.raises(RefusedError, match="prod has no backup op-x") as refusal:
        choose_backup("prod", WITH_BACKUPS, "op-x")
    assert refusal.value.next_step == "`geusemaker backup prod --list` shows those there are."
    with pytest.raises(RefusedError, match="prod has no backup") as refusal:
        choose_backup("prod", THREE, "latest")
    assert refusal.value.next_step == "`geusemaker backup prod` makes one."


def test_a_backup_is_restored_only_where_it_is_asked_for() -> None:
    assert choose_checkpoint("prod", WITH_BACKUPS, None).checkpoint == "v2/op-b"
    assert choose_checkpoint("prod", WITH_BACKUPS, "v2").checkpoint == "v2/op-b"
    assert choose_checkpoint("prod", WITH_BACKUPS, "v2/op-e").checkpoint == "v2/op-e"
