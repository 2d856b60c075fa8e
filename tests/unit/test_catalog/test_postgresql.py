"""PostgreSQL: what its tags tell, and which C library sorts its text."""

from __future__ import annotations

import pytest

from geusemaker.catalog import postgresql
from geusemaker.models.image import ImageReference


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("16", "16"),
        ("16.9", "16"),
        ("v17", "17"),
        ("17-alpine", "17"),
        ("pg16", "16"),
        ("0.8.0-pg17", "17"),
        ("2.11.2-pg15-oss", "15"),
        ("9.6.24", "9.6"),
        ("9", None),
        ("0.8.0", None),
        ("latest", None),
        ("20240101", None),
        ("bookworm", None),
    ],
)
def test_postgresql_major_of_a_tag(tag: str, expected: str | None) -> None:
    assert postgresql.major(tag) == expected


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
    assert postgresql.library(ImageReference.parse(f"postgres:{tag}")) == library


def test_another_publisher_s_image_is_not_known() -> None:
    assert postgresql.library(ImageReference.parse("pgvector/pgvector:16.9")) is None


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
    said = postgresql.reordered(ImageReference.parse(f"postgres:{old}"), ImageReference.parse(f"postgres:{new}"))
    assert bool(said) == (keeping is not None)
    assert (keeping or "") in said and (bool(keeping) or "keeps it" not in said)


def test_the_write_ahead_log_stays_with_the_data() -> None:
    assert (
        postgresql.SERVICE.misfits(
            ImageReference.parse("a:1"), {"POSTGRES_INITDB_ARGS": "--data-checksums -E UTF8-X"}, {}
        )
        == []
    )
    [said] = postgresql.SERVICE.misfits(ImageReference.parse("a:1"), {"POSTGRES_INITDB_ARGS": "-k -X /wal"}, {})
    assert "--waldir" in said
