"""A history of which some entries cannot be read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geusemaker.engine.updates import damage, read_updates
from geusemaker.errors import BackendDamagedError, EngineError
from geusemaker.models.history import HistoryEntry


class Backend:
    """Pages as the engine gives them: whole, or not at all."""

    def __init__(self, size: int, damaged: set[int]) -> None:
        self.size = size
        self.damaged = damaged
        self.asked = 0

    def read(self, size: int, page: int) -> list[dict[str, Any]]:
        self.asked += 1
        first = (page - 1) * size if size else 0
        numbers = range(first, min(first + size, self.size) if size else self.size)
        for number in numbers:
            if number in self.damaged:
                file = f".pulumi/history/geusemaker/prod/prod-{1795978822312330673 - number}.history.json"
                raise BackendDamagedError("x", file=file, reason="unexpected end of JSON input")
        return [{"number": number} for number in numbers]


@given(
    st.integers(0, 400).flatmap(lambda size: st.tuples(st.just(size), st.sets(st.integers(0, max(size - 1, 0))))),
    st.sampled_from([None, 1, 10, 100]),
)
def test_all_that_can_be_read_is_there_in_its_place(case: tuple[int, set[int]], limit: int | None) -> None:
    size, damaged = case
    found = read_updates(Backend(size, damaged).read, limit)
    wanted = list(range(size))[:limit]
    assert len(found) == len(wanted)
    for entry, number in zip(found, wanted, strict=True):
        if number in damaged:
            assert isinstance(entry, HistoryEntry) and entry.kind == "damaged"
            assert str(1795978822312330673 - number) in entry.unreadable and "JSON input" in entry.unreadable
            assert (entry.started_at.year, entry.started_at.month) == (2026, 11)
        else:
            assert entry == {"number": number}


def test_a_whole_history_costs_one_run_and_a_damaged_one_few() -> None:
    whole = Backend(100, set())
    read_updates(whole.read, 100)
    assert whole.asked == 1
    one_damaged = Backend(100, {3})
    read_updates(one_damaged.read, 100)
    assert one_damaged.asked <= 17


def test_another_failure_is_one() -> None:
    def read_page(size: int, page: int) -> list[dict[str, Any]]:
        raise EngineError("no network")

    with pytest.raises(EngineError, match="no network"):
        read_updates(read_page, 10)


@pytest.mark.parametrize("at_first", [True, False])
def test_damage_of_something_else_than_an_entry_is_no_entry(at_first: bool) -> None:
    asked = []

    def read_page(size: int, page: int) -> list[dict[str, Any]]:
        asked.append(size)
        raise BackendDamagedError("corrupt store", file="" if at_first or len(asked) > 1 else "prod-1.history.json")

    with pytest.raises(BackendDamagedError, match="corrupt store"):
        read_updates(read_page, 10)


def test_what_is_damaged_is_told() -> None:
    [entry] = read_updates(Backend(1, {0}).read, None)
    assert isinstance(entry, HistoryEntry)
    assert damage([entry]) == (entry.unreadable,)
    other = BackendDamagedError("x", file="named otherwise", reason="EOF")

    def read_page(size: int, page: int) -> list[dict[str, Any]]:
        raise other

    [unnamed] = read_updates(read_page, 1)
    assert isinstance(unnamed, HistoryEntry) and unnamed.started_at.year == 1970
