"""Which C library sorts PostgreSQL's text, told before and after."""

from __future__ import annotations

import shlex

import pytest

from geusemaker.models.image import ImageReference
from geusemaker.services import collation


@pytest.mark.parametrize(
    ("tag", "library"),
    [
        *(("16.9", "bookworm"), ("16.10", "trixie"), ("16.9-bookworm", "bookworm"), ("16.16-bookworm", "bookworm")),
        *(("17.5", "bookworm"), ("17.6", "trixie"), ("15.13", "bookworm"), ("15.14", "trixie"), ("18.0", "trixie")),
        *(("14.19", "trixie"), ("13.21", "bookworm"), ("15.8-bullseye", "bullseye"), ("16.9-alpine3.20", "musl")),
        *(("12.22", None), ("16", None), ("latest", None), ("16.9-special", None), ("alpine", "musl")),
    ],
)
def test_the_library_of_an_official_tag(tag: str, library: str | None) -> None:
    assert collation.library(ImageReference.parse(f"postgres:{tag}")) == library


def test_another_publisher_s_image_is_not_known() -> None:
    assert collation.library(ImageReference.parse("pgvector/pgvector:16.9")) is None


@pytest.mark.parametrize(
    ("old", "new", "keeping"),
    [
        ("16.9", "16.16", "postgres:16.16-bookworm keeps it"),
        ("16.16", "16.9", "postgres:16.9-trixie keeps it"),
        ("16.9", "16.16-bookworm", None),
        ("16.10", "16.16", None),
        ("16.9", "16.16-alpine3.24", "postgres:16.16-bookworm keeps it"),
        ("16.9-alpine", "16.16", ""),
        ("16", "16-alpine", ""),
        ("16.9", "16", None),
    ],
)
def test_a_change_of_library_is_foreseen_with_the_tag_that_keeps_it(old: str, new: str, keeping: str | None) -> None:
    said = collation.foreseen(ImageReference.parse(f"postgres:{old}"), ImageReference.parse(f"postgres:{new}"))
    assert bool(said) == (keeping is not None)
    assert (keeping or "") in said and (bool(keeping) or "keeps it" not in said)


def manifest(*names: str, recorded: str = "2.36") -> dict[str, object]:
    found = [{"database": name, "recorded": recorded, "actual": "2.41"} for name in names]
    return {"services": {"postgresql": {"user": "geusemaker", "collations": found}}}


def test_what_postgresql_says_is_told_with_what_to_type() -> None:
    [said] = collation.told(manifest("it's", "n8n"), ImageReference.parse("postgres:16.16"))
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
    [said] = collation.told(found, ImageReference.parse(f"postgres:{tag}") if tag else None)
    assert "REFRESH COLLATION VERSION" in said and "go to" not in said


@pytest.mark.parametrize("found", [None, {}, {"services": {"postgresql": {"collations": None}}}, manifest()])
def test_nothing_is_said_of_what_is_in_order_or_was_not_asked(found: dict[str, object] | None) -> None:
    assert collation.told(found, None) == []
