"""The images of new deployments: what is recorded is what the catalogue has, and how they are chosen anew."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from geusemaker.catalog import SERVICES, defaults
from geusemaker.cloud.advisories import Osv
from geusemaker.cloud.registry import Registry
from geusemaker.local_cloud.registry import RegistryServer, serve
from geusemaker.models.advisory import Hole
from geusemaker.models.history import utc_now
from geusemaker.models.image import ImageReference
from geusemaker.services.doctor.service import defaults_check
from tests import osv
from tools.defaults import Asking, candidates, choose, renew

DAY = date(2026, 12, 24)
HOLE = Hole(id="GHSA-1", severity="high")


def parse(*tags: str, repository: str = "n8nio/n8n") -> list[ImageReference]:
    return [ImageReference.parse(f"{repository}:{tag}") for tag in tags]


def test_the_catalogue_has_what_is_recorded() -> None:
    recorded = defaults.read()
    assert recorded.images == {name: service.image for name, service in SERVICES.items()}
    assert recorded.day <= utc_now().date()


@pytest.mark.parametrize(
    ("days", "told"), [(0, "{day}, for"), (1, "{day}, 1 day ago, for"), (30, "{day}, 30 days ago, for")]
)
def test_doctor_tells_the_day(days: int, told: str) -> None:
    day = defaults.read().day
    check = defaults_check(day + timedelta(days=days))
    assert check.status == "pass" and told.format(day=day) in check.detail


def test_several_steps_lead_to_a_candidate() -> None:
    tags = ("v1.21.0", "v1.21.1", "v1.22.0", "v1.24.0")
    found = candidates(SERVICES["qdrant"], parse("v1.20.0", repository="qdrant/qdrant")[0], tags)
    assert [image.tag for image in found] == ["v1.20.0", "v1.21.1", "v1.22.0"]


@pytest.mark.parametrize(
    ("published", "bad", "expected"),
    [
        ({"1", "2", "3"}, set(), "3"),
        ({"1", "2"}, set(), "2"),
        ({"1", "2", "3"}, {"3"}, "2"),
        ({"1", "2", "3"}, {"1", "2", "3"}, "3"),
        (set(), set(), "1"),
    ],
)
def test_the_newest_without_a_hole_is_chosen(published: set[str], bad: set[str], expected: str) -> None:
    image, left = choose(
        parse("1", "2", "3"), lambda one: one.tag in published, lambda one: (HOLE,) if one.tag in bad else ()
    )
    assert image.tag == expected and bool(left) == (expected in bad)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryServer]:
    server = serve(tmp_path / "registry")
    yield server
    server.close()


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    return Path(shutil.copytree(defaults.FILE.parent, tmp_path / "catalogue"))


def test_the_choice_is_written_with_its_day(registry: RegistryServer, catalogue: Path, tmp_path: Path) -> None:
    told: list[str] = []
    fixed = SERVICES["n8n"].image.rpartition(":")[2]
    records = (osv.record("GHSA-1", osv.N8N, {"introduced": "0"}, {"fixed": fixed}),)
    with osv.serving(records) as database:
        asking = Asking(Registry(registry.url), Osv(database.url, tmp_path / "advisories.json", utc_now))
        assert renew(catalogue, asking, DAY, told.append)
    recorded = defaults.read(catalogue / "defaults.json")
    assert recorded.day == DAY and recorded.images.keys() == SERVICES.keys()
    for name, image in recorded.images.items():
        assert (catalogue / f"{name}.py").read_text().count(f'    image="{image}",\n') == 1
    n8n = ImageReference.parse(recorded.images["n8n"]).release
    assert n8n is not None and n8n >= (ImageReference.parse(SERVICES["n8n"].image).release or ())
    assert len(told) == len(SERVICES)


@pytest.mark.parametrize("away", ["registry", "database"])
def test_where_somebody_is_away_all_stays(registry: RegistryServer, catalogue: Path, tmp_path: Path, away: str) -> None:
    before = {file.name: file.read_bytes() for file in catalogue.iterdir() if file.is_file()}
    told: list[str] = []
    with osv.serving() as database:
        database.status = 500 if away == "database" else 200
        url = registry.url if away == "database" else "http://127.0.0.1:1"
        asking = Asking(Registry(url), Osv(database.url, tmp_path / "advisories.json", utc_now))
        assert not renew(catalogue, asking, DAY, told.append)
    assert {file.name: file.read_bytes() for file in catalogue.iterdir() if file.is_file()} == before
    assert told[-1] == f"What was chosen on {defaults.read().day} stays, of all services."
