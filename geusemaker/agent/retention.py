"""When a planned backup is due, when the last one is too old, and which ones go. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from geusemaker.agent.clock import seconds_between

RETRY_SECONDS: Final = 3600.0
"""So long after one that failed another one is tried, if one is due then."""


class Planned(NamedTuple):
    """A backup that the plan took."""

    name: str
    taken_at: str
    """ISO 8601, UTC, all in one form: they sort by it."""
    whole: bool
    """Whether it was read again after it was written, and found whole."""


def surplus(backups: Sequence[Planned], keep: int) -> list[str]:
    """The names of those that go, so that the newest ``keep`` whole ones stay.

    The newest whole one stays whatever ``keep`` says. One that is not whole counts for nothing, and goes once a whole
    one is newer; where none is whole nothing goes.
    """
    by_age = sorted(backups, key=lambda one: (one.taken_at, one.name))
    whole = [one for one in by_age if one.whole]
    if not whole:
        return []
    kept = set(whole[-max(1, keep) :])
    return [one.name for one in by_age[: by_age.index(whole[-1])] if one not in kept]


def is_due(now: str, every: float, done_at: str, failed_at: str) -> bool:
    """Whether one is to be taken now.

    Args:
        now: the time.
        every: seconds from one to the next.
        done_at: when the last good one was taken, whoever asked for it; empty: never.
        failed_at: when one failed since; empty: none did.
    """
    if failed_at and 0 <= seconds_between(failed_at, now) < min(every, RETRY_SECONDS):
        return False
    return not (done_at and 0 <= seconds_between(done_at, now) < every)  # one of the future is a clock that was wrong


def is_old(now: str, every: float, since: str, done_at: str) -> bool:
    """Whether there should have been one: none for twice the interval, since the plan was made."""
    return seconds_between(max(since, done_at), now) > 2 * every
