"""Which PostgreSQL runs for an image tag."""

from __future__ import annotations

import pytest

from geusemaker.local_cloud.containers.services.pgbinaries import (
    Binaries,
    NoSuchMajorError,
    ask,
    choose,
    installed,
)

AT_HAND = [Binaries(version, f"/{version}") for version in ("16.2", "17.9", "17.10", "16.14")]


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("16", "16.14"),
        ("16.9", "16.14"),
        ("16.2", "16.2"),
        ("16.2-alpine", "16.2"),
        ("16-bookworm", "16.14"),
        ("17.12-crash", "17.10"),
        ("17", "17.10"),
        ("latest", "17.10"),
    ],
)
def test_the_exact_version_runs_where_it_is_at_hand_else_the_newest_of_its_major(tag: str, version: str) -> None:
    assert choose(tag, AT_HAND).version == version


@pytest.mark.parametrize("tag", ["15", "15.13", "19.0-alpine", "1"])
def test_another_major_is_refused_and_the_versions_at_hand_are_named(tag: str) -> None:
    with pytest.raises(NoSuchMajorError, match=r"it has real ones of other major versions \(17\.10, 17\.9, 16\.14"):
        choose(tag, AT_HAND)


def test_this_environment_has_16_17_and_18_and_a_process_without_site_packages_finds_them() -> None:
    assert {"16", "17", "18"} <= {one.major for one in installed()}
    assert ask() == installed()
