"""Newer releases of what runs: which the catalogue permits as a step, and which holes each closes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.catalog import SERVICES
from geusemaker.cloud.advisories import Osv
from geusemaker.cloud.registry import ImageNotFoundError
from geusemaker.models.history import utc_now
from geusemaker.models.image import ImageReference
from geusemaker.models.updates import ServiceUpdates, Updates
from geusemaker.services.updates import UpdatesService, steps
from tests import osv
from tests.unit.fakes import World

N8N = ("1.100.0", "1.100.1", "1.100.2", "1.101.0", "1.101.3", "1.102.0-exp.0", "2.0.0", "latest", "2", "2.1", "v2.2.0")


@pytest.mark.parametrize(
    ("service", "image", "tags", "expected"),
    [
        ("n8n", "n8nio/n8n:1.100.1", N8N, ["1.100.2", "1.101.3", "2.0.0"]),
        ("n8n", "n8nio/n8n:2.0.0", N8N, []),
        ("n8n", "n8nio/n8n:latest", N8N, []),
        ("postgresql", "postgres:16.9", ("16.8", "16.9", "16.14", "16.15-alpine", "17.1", "16", "19beta1"), ["16.14"]),
        ("postgresql", "postgres:16.9-alpine", ("16.14", "16.15-alpine", "16.15-alpine3.24"), ["16.15-alpine"]),
        (
            *("qdrant", "qdrant/qdrant:v1.14.1"),
            ("v1.14.0", "v1.14.2", "v1.15.5", "v1.15.10", "v1.16.3", "v2.0.0", "1.15.11", "v1.15.12-unprivileged"),
            ["v1.14.2", "v1.15.10"],
        ),
        ("ollama", "ollama/ollama:0.32.15", ("0.33.0-rc2", "0.33.0", "0.33.1-rocm", "0.40.0"), ["0.33.0", "0.40.0"]),
        ("ollama", "ollama/ollama:0.32.15-rocm", ("0.33.0", "0.33.1-rocm"), ["0.33.1-rocm"]),
    ],
)
def test_steps(service: str, image: str, tags: tuple[str, ...], expected: list[str]) -> None:
    assert [one.tag for one in steps(SERVICES[service], ImageReference.parse(image), tags)] == expected


releases = st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 5))


@given(releases, st.lists(releases, max_size=20), st.sampled_from(["n8n", "qdrant", "ollama"]))
def test_each_step_goes_forward_and_is_the_newest_of_its_line(
    here: tuple[int, int, int], there: list[tuple[int, int, int]], service: str
) -> None:
    image = ImageReference.parse("any:" + ".".join(map(str, here)))
    found = [one.release or () for one in steps(SERVICES[service], image, [".".join(map(str, one)) for one in there])]
    assert found == sorted(found) and all(one > here for one in found)
    lines = [one[:2] for one in found]
    assert len(set(lines)) == len(lines)
    if service == "qdrant":
        assert all(line[0] == here[0] and line[1] in (here[1], here[1] + 1) for line in lines)
    else:
        assert found == [max(one for one in there if one[:2] == line) for line in lines]
        assert set(lines) == {one[:2] for one in there if one > here}


# --- of a deployment ---------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[osv.Osv]:
    with osv.serving() as running:
        yield running


@pytest.fixture
def listed(deployed: World, server: osv.Osv, tmp_path: Path) -> World:
    """n8n 1.100.1 and the others as deployed; the registry lists newer ones."""
    deployed.registry.listed = {"n8nio/n8n": ("1.100.2", "1.101.3", "1.121.3", "2.42.6"), "postgres": ("16.9", "16.15")}
    deployed.advisories = Osv(server.url, tmp_path / "advisories.json", utc_now)
    return deployed


def look(world: World) -> Updates:
    return UpdatesService(world.collaborators()).look()


def of(world: World, service: str) -> ServiceUpdates:
    return next(one for one in look(world).services if one.service == service)


def test_what_each_step_closes(listed: World) -> None:
    found = of(listed, "n8n")
    assert found.holes is not None and len(found.holes) == 3 and found.image == "n8nio/n8n:1.100.1"
    assert [(one.image, [hole.id for hole in one.closes or ()]) for one in found.steps] == [
        ("n8nio/n8n:1.100.2", []),
        ("n8nio/n8n:1.101.3", ["GHSA-2222-2222-2222"]),
        ("n8nio/n8n:1.121.3", ["GHSA-2222-2222-2222", "GHSA-v364-rw7m-3263", "GHSA-v4pr-fm98-w9pg"]),
        ("n8nio/n8n:2.42.6", ["GHSA-2222-2222-2222", "GHSA-v364-rw7m-3263", "GHSA-v4pr-fm98-w9pg"]),
    ]
    database = of(listed, "postgresql")
    assert [(one.image, one.closes) for one in database.steps] == [("postgres:16.15", ())]
    assert (database.problem, database.holes_problem) == ("", "")


def test_what_comes_after_the_stable_one_is_left_out(listed: World) -> None:
    digest = listed.registry.digest

    def stable(image: ImageReference) -> str:
        return digest(image.model_copy(update={"tag": "1.121.3"}) if image.tag == "stable" else image)

    listed.registry.digest = stable  # type: ignore[method-assign]
    assert [one.image for one in of(listed, "n8n").steps][-1] == "n8nio/n8n:1.121.3"
    listed.registry.withdrawn = {"n8nio/n8n:stable"}
    listed.registry.digest = digest  # type: ignore[method-assign]
    assert [one.image for one in of(listed, "n8n").steps][-1] == "n8nio/n8n:2.42.6", "there is no such tag"


def test_who_is_away_is_told(listed: World, server: osv.Osv) -> None:
    listed.registry.reachable = False
    server.status = 500
    found = of(listed, "n8n")
    assert (found.steps, found.holes) == ((), None)
    assert found.problem == "The registry docker.io cannot be reached (timeout)"
    assert found.holes_problem == "127.0.0.1 answers 500"


def test_a_registry_that_lists_nothing_of_it(listed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(image: ImageReference) -> tuple[str, ...]:
        raise ImageNotFoundError(f"no image {image.tagged}")

    monkeypatch.setattr(listed.registry, "tags", gone)
    assert of(listed, "n8n").problem == "no image n8nio/n8n:1.100.1"


def test_an_image_of_no_release(listed: World) -> None:
    assert listed.n8n("stable").success
    found = of(listed, "n8n")
    assert found.problem == found.holes_problem == "which release it is cannot be told"
    assert (found.steps, found.holes) == ((), None)


def test_a_kept_answer_has_its_day(listed: World, server: osv.Osv, tmp_path: Path) -> None:
    look(listed)
    server.status = 500
    listed.advisories = Osv(server.url, tmp_path / "advisories.json", lambda: utc_now() + timedelta(days=3))
    found = of(listed, "n8n")
    assert found.day == utc_now().date() and found.holes is not None and found.holes_problem == ""


def test_where_nobody_is_asked_for_holes(listed: World, server: osv.Osv) -> None:
    listed.advisories = None
    found = look(listed)
    assert not found.asked_for_holes and server.asked == []
    assert [(one.holes, one.holes_problem) for one in found.services] == [(None, "")] * len(found.services)
    assert all(step.closes is None for one in found.services for step in one.steps)


def test_nobody_is_asked_for_holes_where_that_is_not_wanted(listed: World, server: osv.Osv) -> None:
    assert not UpdatesService(listed.collaborators(), advisories=False).look().asked_for_holes and server.asked == []


def test_who_does_not_answer_is_not_waited_for_for_ever(
    listed: World, server: osv.Osv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geusemaker.services.updates._SECONDS", 0.1)
    server.answers.clear()
    assert of(listed, "n8n").holes_problem == "no answer within 0.1 s"


def test_after_a_destroy_nothing_runs(listed: World) -> None:
    assert listed.destroy().success
    assert look(listed).services == ()
