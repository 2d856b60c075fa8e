"""What a rehearsal says of a change and of its way back, as a table."""

from __future__ import annotations

import pytest

from geusemaker.agent.protocol.rehearsal import Rehearsal, RehearsedService
from geusemaker.models.image import ImageReference
from geusemaker.models.stack import ServiceConfig, StackConfig
from geusemaker.models.version import WayBackKind
from geusemaker.services.rehearse import verdict
from tests.unit.samples import config

OLD, NEW, PG = (
    "n8nio/n8n:1.100.1@sha256:" + "1" * 64,
    "n8nio/n8n:2.41.1@sha256:" + "2" * 64,
    "postgres:16.9@sha256:" + "3" * 64,
)
WORKS = RehearsedService(True, 8.4, works=True)
LOCKED = RehearsedService(True, 8.4, works=False, problem="POST /rest/login: HTTP 500")
DOWN = RehearsedService(False, 2.0, reason="it exited (exit code 1)")
SILENT = RehearsedService(False, 2.0)


def rehearsal(
    ahead: dict[str, RehearsedService] | None = None, back: dict[str, RehearsedService] | None = None, **more: object
) -> Rehearsal:
    both = {"postgresql": WORKS, "n8n": WORKS}
    values = {
        "at": "2026-12-01T15:30:00.123+00:00",
        "images": {"postgresql": PG, "n8n": NEW},
        "before": {"postgresql": PG, "n8n": OLD},
        "ahead": both | (ahead or {}),
        "back": both if back is None else back,
        **more,
    }
    return Rehearsal(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("back", "kind", "why"),
    [
        (None, "rollback", "n8n 1.100.1 on what n8n 2.41.1 left works, ready after 8 s"),
        (
            {"postgresql": WORKS, "n8n": LOCKED},
            "with-data",
            "n8n 1.100.1 on what n8n 2.41.1 left: it is ready, and does not work (POST /rest/login: HTTP 500)",
        ),
        ({"postgresql": WORKS, "n8n": DOWN}, "with-data", "n8n 1.100.1 on what n8n 2.41.1 left: it exited"),
        ({"postgresql": DOWN}, "none", "PostgreSQL 16.9 on what PostgreSQL 16.9 left: it exited (exit code 1)"),
        ({"postgresql": SILENT}, "none", "it does not become ready"),
        ({"postgresql": WORKS}, "unknown", "n8n was not started"),
    ],
)
def test_the_way_back_is_what_was_measured(
    back: dict[str, RehearsedService] | None, kind: WayBackKind, why: str
) -> None:
    found, because = verdict.measured(rehearsal(back=back))
    assert found == kind and why in because


def test_what_was_tried_starts_or_does_not() -> None:
    assert verdict.starts(rehearsal())
    assert not verdict.starts(rehearsal({"n8n": LOCKED})) and not verdict.starts(rehearsal({"postgresql": DOWN}))
    assert not verdict.starts(Rehearsal())


def test_a_result_names_tags_and_problems() -> None:
    found = verdict.results({"n8n": LOCKED, "postgresql": WORKS}, {"postgresql": PG, "n8n": NEW})
    assert (found["n8n"].image, found["n8n"].works) == ("n8nio/n8n:2.41.1", False)
    assert found["n8n"].problem == "it is ready, and does not work (POST /rest/login: HTTP 500)"
    assert found["postgresql"].works and found["postgresql"].problem == ""


def test_a_rollback_over_migrations_needs_a_word_unless_it_is_known_to_work() -> None:
    assert not verdict.asks_for_a_word(rehearsal())
    assert verdict.asks_for_a_word(rehearsal(migrations=["One1"]))
    known = {"postgresql": PG, "n8n": OLD.replace("1.100.1", "1.123.81")}
    assert not verdict.asks_for_a_word(rehearsal(migrations=["One1"], before=known))


def test_a_plan_tells_of_it() -> None:
    assert verdict.told(None) == "" and verdict.told(rehearsal(at="yesterday")) == ""
    told = verdict.told(rehearsal({"n8n": DOWN}))
    assert told == (
        "rehearsed at 2026-12-01 15:30 UTC: n8n 2.41.1 did not start (it exited (exit code 1)); a rollback works "
        "(n8n 1.100.1 on what n8n 2.41.1 left works, ready after 8 s)"
    )
    assert "UTC: a rollback needs the data of before (" in verdict.told(
        rehearsal(back={"postgresql": WORKS, "n8n": LOCKED})
    )


def test_the_newest_of_just_this_change_is_taken() -> None:
    before = config()
    after = config(services={**before.services, "n8n": ServiceConfig(image=ImageReference.parse(NEW))})

    def of(one: StackConfig) -> dict[str, str]:
        return {name: str(one.services[name].image) for name in ("postgresql", "n8n")}

    first, second = (rehearsal(before=of(before), images=of(after), operation=one) for one in ("op-1", "op-2"))
    other = rehearsal(before=of(after), images=of(before))
    broken = rehearsal(before=of(before), images={"n8n": "@@@"})
    assert verdict.latest([first, second, other, broken], before, after) == second
    assert verdict.latest([other, broken], before, after) is None
    assert verdict.latest([rehearsal(before=of(before), images=of(before))], before, before) is None
