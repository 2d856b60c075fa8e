"""n8n: what it is asked for, which tables are its own, and which releases get on with each other's data."""

from __future__ import annotations

import pytest

from geusemaker.catalog.n8n import SERVICE
from geusemaker.models.checkpoint import Checkpoint, DataNow
from geusemaker.models.image import ImageReference
from tests.unit.samples import NIGHT


@pytest.mark.parametrize(
    ("environment", "paths"),
    [
        ({}, ["/rest/settings"]),
        ({"N8N_ENDPOINT_REST": "api"}, ["/api/settings"]),
        ({"N8N_ENDPOINT_REST": "/a/b/"}, ["/a/b/settings"]),
        ({"N8N_ENDPOINT_REST": "", "N8N_PATH": ""}, ["/rest/settings"]),
        ({"N8N_PATH": "/"}, ["/rest/settings"]),
        ({"N8N_PATH": "/n8n/"}, ["/rest/settings", "/n8n/rest/settings"]),
        ({"N8N_PATH": "n8n", "N8N_ENDPOINT_REST": "api"}, ["/api/settings", "/n8n/api/settings"]),
        ({"N8N_DISABLE_UI": "false"}, ["/rest/settings"]),
        ({"N8N_DISABLE_UI": "yes"}, ["/rest/settings"]),  # n8n takes that for no
        ({"N8N_DISABLE_UI": "true"}, None),
        ({"N8N_DISABLE_UI": "TRUE", "N8N_PATH": "/n8n"}, None),
        ({"N8N_DISABLE_UI": "1"}, None),
    ],
)
def test_n8n_is_asked_for_its_settings_where_its_operator_put_them(
    environment: dict[str, str], paths: list[str] | None
) -> None:
    assert SERVICE.probe(environment).get("also") == paths


def test_what_needs_parts_that_are_not_deployed_does_not_fit() -> None:
    assert SERVICE.misfits(ImageReference.parse("a:1"), {"EXECUTIONS_MODE": "regular", "TZ": "UTC"}, {}) == []
    [queue, runners] = SERVICE.misfits(
        ImageReference.parse("a:1"), {"EXECUTIONS_MODE": "Queue ", "N8N_RUNNERS_MODE": "external"}, {}
    )
    assert "needs Redis and workers" in queue and "--env n8n.N8N_RUNNERS_MODE=" in runners


@pytest.mark.parametrize(
    ("tag", "whole"),
    [
        *((tag, True) for tag in ("2.41.1", "2.50.0-rc1", "3.0.1")),
        *((tag, False) for tag in ("2.40.9", "1.123.81", "latest", "stable", "2")),
    ],
)
def test_which_n8n_migrates_as_a_whole(tag: str, whole: bool) -> None:
    assert SERVICE.is_all_or_nothing(ImageReference.parse(f"n8nio/n8n:{tag}")) is whole


def n8n(tag: str, repository: str = "n8nio/n8n") -> ImageReference:
    return ImageReference.parse(f"{repository}:{tag}")


@pytest.mark.parametrize(
    ("wanted", "migrated_by", "works"),
    [
        ("1.123.5", ("2.41.1",), True),
        ("1.123.81", ("2.41.1-slow",), True),
        ("1.123.5", ("2.41.1", "2.42.6"), False),
        ("1.123.5", ("2.41.3",), False),
        ("1.122.0", ("2.41.1",), False),
        ("1.123.5", ("latest",), False),
        ("stable", ("2.41.1",), False),
        ("1.123.5", (), False),
    ],
)
def test_only_what_was_tried_is_known_to_work(wanted: str, migrated_by: tuple[str, ...], works: bool) -> None:
    assert SERVICE.known_to_work(n8n(wanted), [n8n(tag) for tag in migrated_by]) is works
    assert not SERVICE.known_to_work(n8n(wanted, "example.com/ours"), [n8n(tag) for tag in migrated_by])
    assert works <= SERVICE.known_to_work(n8n(wanted, "docker.n8n.io/n8nio/n8n"), [n8n(tag) for tag in migrated_by])


def test_what_left_a_checkpoint_of_unknown_migrations_need_not_be_on_record() -> None:
    taken = Checkpoint(
        checkpoint="v1/op-1", version=1, operation="op-1", kind="update", taken_at=NIGHT, migrations=("Later2",)
    )
    verdict = SERVICE.restore_check(taken, DataNow(migrations=("First1",)), n8n("1.100.1"))
    assert verdict is not None and verdict.status == "warn" and "(Later2)" in verdict.detail


@pytest.mark.parametrize(
    ("then", "now", "refused"), [("a", "b", True), ("a", "a", False), ("", "b", False), ("a", "", False)]
)
def test_a_checkpoint_of_another_key_is_not_restored(then: str, now: str, refused: bool) -> None:
    taken = Checkpoint(
        checkpoint="v1/op-1", version=1, operation="op-1", kind="update", taken_at=NIGHT, migrations=(), n8n_key=then
    )
    verdict = SERVICE.restore_check(taken, DataNow(migrations=(), n8n_key=now), n8n("1.100.1"))
    assert verdict is not None and (verdict.status == "fail") is refused
    assert ("another encryption key" in verdict.detail) is refused


def test_the_lists_fit_together() -> None:
    tables = SERVICE.tables
    assert tables is not None
    assert {"role", "test_definition", "test_metric"} <= tables.dropped and tables.own >= tables.kept | tables.dropped
    assert tables.kept >= tables.pruned | tables.listed
    assert not tables.is_kept("test_metric") and tables.is_kept("user") and tables.is_kept("data_table_user_x")
    assert not {"n8n_chat_histories", "n8n_vectors", "documents"} & tables.own
