"""What PostgreSQL says of the C library that sorts its text."""

from __future__ import annotations

import shlex

import pytest

from geusemaker.models.image import ImageReference
from geusemaker.models.stack import ServiceConfig, StackConfig
from geusemaker.services import collation


def running(tag: str | None) -> StackConfig:
    """A config with this PostgreSQL; None: with none."""
    if tag is None:
        return StackConfig(services={"qdrant": ServiceConfig(image=ImageReference.parse("qdrant/qdrant:v1.20.0"))})
    return StackConfig(services={"postgresql": ServiceConfig(image=ImageReference.parse(f"postgres:{tag}"))})


def manifest(*names: str, recorded: str = "2.36") -> dict[str, object]:
    found = [{"database": name, "recorded": recorded, "actual": "2.41"} for name in names]
    return {"services": {"postgresql": {"user": "geusemaker", "collations": found}}}


def test_what_postgresql_says_is_told_with_what_to_type() -> None:
    [said] = collation.told(manifest("it's", "n8n"), running("16.16"))
    assert "glibc 2.36 → 2.41" in said and said.endswith(
        "or go to postgres:16.16-bookworm, which has the library of before."
    )
    for name in ("it's", "n8n"):
        assert collation.command("geusemaker", name) in said
    words = shlex.split(collation.command("geusemaker", "it's"))
    assert words[-4:] == [
        "-c",
        'REINDEX DATABASE "it\'s"',
        "-c",
        'ALTER DATABASE "it\'s" REFRESH COLLATION VERSION',
    ]


@pytest.mark.parametrize(
    ("found", "tag"),
    [(manifest("n8n", recorded="2.39"), "16.16"), (manifest("n8n"), "latest"), (manifest("n8n"), None)],
)
def test_where_no_tag_is_known_none_is_named(found: dict[str, object], tag: str | None) -> None:
    [said] = collation.told(found, running(tag))
    assert "REFRESH COLLATION VERSION" in said and "go to" not in said


@pytest.mark.parametrize("found", [None, {}, {"services": {"postgresql": {"collations": None}}}, manifest()])
def test_nothing_is_said_of_what_is_in_order_or_was_not_asked(found: dict[str, object] | None) -> None:
    assert collation.told(found, running(None)) == []
