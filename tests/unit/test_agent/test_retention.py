"""Which planned backups go, when one is due, and when the last one is too old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.agent.retention import RETRY_SECONDS, Planned, is_due, is_old, surplus

NOON: Final = datetime(2026, 12, 1, 12, tzinfo=UTC)
DAY: Final = 86_400.0


def at(seconds: float) -> str:
    """So long after noon, as the agent writes it."""
    return (NOON + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


NOW: Final = at(0)


def planned(*whole: bool) -> list[Planned]:
    """One an hour, the oldest first."""
    return [Planned(f"v1/op-{hour}", at(3600 * hour), one) for hour, one in enumerate(whole)]


BACKUPS: Final = st.lists(st.booleans(), max_size=12).flatmap(lambda whole: st.permutations(planned(*whole)))


@given(BACKUPS, st.integers(-3, 15))
def test_the_newest_whole_ones_stay_and_never_fewer_than_one(backups: list[Planned], keep: int) -> None:
    gone = surplus(backups, keep)
    whole = [one for one in sorted(backups, key=lambda one: one.taken_at) if one.whole]
    left = [one for one in whole if one.name not in gone]
    assert len(set(gone)) == len(gone) and set(gone) <= {one.name for one in backups}
    assert left == whole[-max(1, keep) :], "exactly the newest so many, and never less than the newest"
    assert surplus([one for one in backups if one.name not in gone], keep) == [], "again is fine"


@given(BACKUPS, st.integers(1, 15))
def test_nothing_goes_that_is_newer_than_the_newest_whole_one(backups: list[Planned], keep: int) -> None:
    newest = max((one.taken_at for one in backups if one.whole), default="")
    gone = set(surplus(backups, keep))
    assert all(one.taken_at < newest for one in backups if one.name in gone)
    broken = {one.name for one in backups if not one.whole and one.taken_at < newest}
    assert broken <= gone, "what is not whole makes way for what is"


def test_by_example() -> None:
    assert surplus(planned(True, True, True), 2) == ["v1/op-0"]
    assert surplus(planned(True, False, True, False), 1) == ["v1/op-0", "v1/op-1"]
    assert surplus(planned(True, False, False), 1) == []
    assert surplus(planned(False, False), 1) == [] == surplus([], 1)


@pytest.mark.parametrize(
    ("every", "done", "failed", "due"),
    [
        (DAY, "", "", True),
        (DAY, at(-DAY), "", True),
        (DAY, at(-DAY + 1), "", False),
        (DAY, at(-2 * DAY), at(-60), False),
        (DAY, at(-2 * DAY), at(-RETRY_SECONDS), True),
        (900, "", at(-900), True),
        (DAY, at(DAY), "", True),  # by a clock that was wrong
        (DAY, "", at(DAY), True),
        (DAY, "no time", "neither", True),
    ],
)
def test_when_one_is_due(every: float, done: str, failed: str, due: bool) -> None:
    assert is_due(NOW, every, done, failed) is due


@pytest.mark.parametrize(
    ("since", "done", "old"),
    [
        (at(-3 * DAY), "", True),
        (at(-DAY), "", False),
        (at(-9 * DAY), at(-2 * DAY), False),
        (at(-9 * DAY), at(-2 * DAY - 1), True),
        (at(-60), at(-9 * DAY), False),  # it was planned just now
    ],
)
def test_when_the_last_one_is_too_old(since: str, done: str, old: bool) -> None:
    assert is_old(NOW, DAY, since, done) is old
