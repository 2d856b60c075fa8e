"""Which published holes a plan says that a change brings back, and that no plan waits for it for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.cloud.advisories import Osv
from geusemaker.errors import EnvironmentProblemError
from geusemaker.models.advisory import Advisory as Record
from geusemaker.models.advisory import KnownHoles, Published, Span
from geusemaker.models.history import utc_now
from geusemaker.models.image import ImageReference
from geusemaker.models.request import ChangeOptions
from geusemaker.models.stack import ServiceConfig, StackConfig
from geusemaker.models.version import OperationKind
from geusemaker.services.change import holes
from geusemaker.services.change.holes import Returning, judge, returning
from geusemaker.services.change.model import Asked, Change
from tests import osv
from tests.unit import samples
from tests.unit.fakes import Shown, World


def config(*images: str) -> StackConfig:
    """Of services named by their images."""
    names = {"n8n": "n8n", "postgres": "postgresql", "qdrant": "qdrant", "crawl4ai": "crawl4ai", "app": "app"}
    parsed = [ImageReference.parse(image) for image in images]
    return StackConfig(services={names[image.path.rpartition("/")[2]]: ServiceConfig(image=image) for image in parsed})


def asked(before: StackConfig | None, after: StackConfig, kind: OperationKind = "rollback", **more: Any) -> Asked:
    state = samples.state() if before is None else samples.state(samples.version(6, config=before))
    options = more.pop("options", ChangeOptions())
    return Asked(Change(kind=kind, config=after, target=samples.target(), **more), options, state)


def found(*given: Any, **more: Any) -> list[tuple[str, str]]:
    return [(one.service, one.image.tag) for one in returning(asked(*given, **more))]


NEW = config("n8nio/n8n:2.42.6", "postgres:16.16")
OLD = config("n8nio/n8n:1.100.1", "postgres:16.16", "unclecode/crawl4ai:0.7.0")


def test_a_rollback_brings_back_older_images_and_services_that_do_not_run() -> None:
    assert found(NEW, OLD) == [("n8n", "1.100.1"), ("crawl4ai", "0.7.0")]
    assert found(NEW, OLD, "recover") == found(NEW, OLD)
    assert found(OLD, NEW) == [], "newer ones"
    assert found(NEW, NEW) == []
    assert found(None, OLD) == [("n8n", "1.100.1"), ("postgresql", "16.16"), ("crawl4ai", "0.7.0")]


def test_an_update_does_with_an_older_image() -> None:
    assert found(NEW, OLD, "update") == [("n8n", "1.100.1")], "a service that is enabled does not come back"
    assert found(NEW, config("n8nio/n8n:stable", "postgres:16.16"), "update") == []


def test_where_no_release_is_known_a_rollback_is_looked_at() -> None:
    ours = config("unclecode/crawl4ai:latest")
    assert found(ours, config("unclecode/crawl4ai:0.9.5")) == [("crawl4ai", "0.9.5")]
    assert found(ours, ours) == []


def test_nobody_reads_what_goes_back_by_itself() -> None:
    assert found(NEW, OLD, "deploy") == []
    assert found(NEW, OLD, trigger="health_check_failed") == []
    assert found(NEW, OLD, "recover", options=ChangeOptions(unattended=True)) == []


def judged(image: str, running: str | None, answer: Published | None, service: str = "n8n") -> KnownHoles:
    parse = ImageReference.parse
    one = Returning(service, parse(image), parse(running) if running is not None else None)
    return judge((one,), {} if answer is None else {service: answer})


SPAN = Span(events=(("introduced", "1.65.0"), ("fixed", "1.121.0")))
ANSWER = Published(advisories=(Record(id="GHSA-1", severity="critical", spans=(SPAN,)),))


def test_what_runs_now_and_has_the_hole_too_is_no_news() -> None:
    assert judged("n8nio/n8n:1.100.1", "n8nio/n8n:1.110.0", ANSWER) == KnownHoles()
    told = "going back to n8n 1.100.1 brings back one critical hole, fixed in 1.121.0 (GHSA-1)"
    assert judged("n8nio/n8n:1.100.1", "n8nio/n8n:1.121.0", ANSWER).told == told
    assert judged("n8nio/n8n:1.100.1", None, ANSWER).told == told, "nothing of it runs"


@pytest.mark.parametrize(
    ("image", "running", "answer", "unknown"),
    [
        ("n8nio/n8n:stable", "n8nio/n8n:2.42.6", ANSWER, "which release n8nio/n8n:stable is cannot be told"),
        ("acme/n8n:1.100.1", "n8nio/n8n:2.42.6", ANSWER, "which release acme/n8n:1.100.1 is cannot be told"),
        ("n8nio/n8n:1.100.1", "n8nio/n8n:stable", ANSWER, "which release n8nio/n8n:stable is cannot be told"),
        ("n8nio/n8n:1.100.1", "n8nio/n8n:2.42.6", None, "which release n8nio/n8n:1.100.1 is cannot be told"),
        ("n8nio/n8n:1.100.1", "n8nio/n8n:2.42.6", Published(problem="it rains"), "it rains"),
    ],
)
def test_what_is_unknown_is_said_and_nothing_made_of_it(
    image: str, running: str, answer: Published | None, unknown: str
) -> None:
    assert judged(image, running, answer) == KnownHoles(unknown=unknown)


def test_an_official_image_from_a_mirror_counts() -> None:
    assert judged("mirror.example.com/n8nio/n8n:1.100.1", "n8nio/n8n:2.42.6", ANSWER).returning


def test_a_kept_answer_is_told_with_its_day() -> None:
    kept = ANSWER.model_copy(update={"day": date(2026, 11, 20), "problem": "it rains"})
    assert judged("n8nio/n8n:1.100.1", "n8nio/n8n:2.42.6", kept).told.endswith("(as of 2026-11-20)")


@given(old=st.integers(0, 200), new=st.integers(0, 200), first=st.integers(0, 200), fixed=st.integers(0, 200))
def test_no_hole_is_told_that_what_runs_now_has(old: int, new: int, first: int, fixed: int) -> None:
    span = Span(events=(("introduced", f"1.{first}.0"), ("fixed", f"1.{fixed}.0")))
    answer = Published(advisories=(Record(id="GHSA-1", severity="high", spans=(span,)),))
    told = judged(f"n8nio/n8n:1.{old}.0", f"n8nio/n8n:1.{new}.0", answer).told
    assert bool(told) is not span.holds(f"1.{new}.0")


# --- in a plan ---------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[osv.Osv]:
    with osv.serving() as running:
        yield running


@pytest.fixture
def three(deployed: World, server: osv.Osv, tmp_path: Path) -> World:
    """v1 as deployed, v2 and v3 with newer n8n; the database of holes is asked from now on."""
    assert deployed.n8n("1.101.0").success and deployed.n8n("1.121.3").success
    deployed.advisories = Osv(server.url, tmp_path / "advisories.json", utc_now)
    return deployed


def plan_of(world: World, **request: Any) -> KnownHoles | None:
    shown = Shown()
    assert world.rollback(confirm=shown, **request).success
    return shown.plans[0].holes


def test_the_plan_of_a_rollback_has_them(three: World, server: osv.Osv) -> None:
    known = plan_of(three, to_version=2)
    assert known is not None and known.unknown == ""
    assert known.told == (
        "going back to n8n 1.101.0 brings back 2 critical holes, fixed in 1.121.3 "
        "(GHSA-v364-rw7m-3263, GHSA-v4pr-fm98-w9pg)"
    )
    assert [question["version"] for question in server.asked] == ["1.101.0"]
    assert plan_of(three, to_version=3) is None, "it goes forward to what is newer"


def test_nobody_is_asked_where_that_is_not_wanted(three: World, server: osv.Osv) -> None:
    assert plan_of(three, to_version=2, advisories=False) is None
    three.advisories = None
    assert plan_of(three, to_version=1) is None
    assert server.asked == []


def test_who_does_not_answer_is_not_waited_for(three: World, server: osv.Osv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "SECONDS", 0.2)
    server.answers.clear()
    began = time.monotonic()
    asking = holes.Asking(three.collaborators(), asked(NEW, OLD))
    assert asking.result() == KnownHoles(unknown="no answer within 0.2 s")
    assert time.monotonic() - began < 20


def test_a_database_that_fails_stops_no_rollback(three: World, server: osv.Osv) -> None:
    server.status = 503
    assert plan_of(three, to_version=2) == KnownHoles(unknown="127.0.0.1 answers 503")


def test_an_error_of_ours_is_a_problem_as_well(three: World) -> None:
    class Broken:
        def published(self, ecosystem: str, name: str, version: str) -> Published:
            raise EnvironmentProblemError("It rains.")

    three.advisories = Broken()
    assert plan_of(three, to_version=2) == KnownHoles(unknown="It rains")
