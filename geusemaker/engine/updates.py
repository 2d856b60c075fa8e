"""Reading a stack's history where some of its entries cannot be read. Pure but for the pages it asks for.

The engine reads a page of the history whole or not at all: one damaged file stops it, in every backend. So a page that
fails is asked for in halves, down to the entries that are damaged; they are told as such, and the rest is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from geusemaker.errors import BackendDamagedError
from geusemaker.models.history import DAMAGED, HistoryEntry

_PAGE: Final = 128
"""Entries a page, a power of two: halves of pages are pages again."""

_STAMP: Final = re.compile(r"-(\d{16,20})\.history\.json")
"""The time at which an update ended, in nanoseconds, in the name of its file (pkg/backend/diy/state.go)."""

ReadPage = Callable[[int, int], list[dict[str, Any]]]
"""(entries a page, page from 1) → the entries, newest first; BackendDamagedError where one cannot be read."""


def read_updates(read_page: ReadPage, limit: int | None) -> list[dict[str, Any] | HistoryEntry]:
    """The newest ``limit`` entries of a history (None: all), newest first, as the engine prints them.

    Those that cannot be read stand in their places as entries of kind ``damaged``.

    Raises:
        EngineError: the history cannot be read for another reason.
    """
    try:
        return [*read_page(limit or 0, 1)]
    except BackendDamagedError as error:
        if not error.file:
            raise  # what is damaged is no entry
    found: list[dict[str, Any] | HistoryEntry] = []
    page = 0
    while limit is None or len(found) < limit:
        page += 1
        more = _read_page(read_page, _PAGE, page)
        found += more
        if len(more) < _PAGE:
            break
    return found[:limit]


def damage(entries: Iterable[HistoryEntry]) -> tuple[str, ...]:
    """What is said of each entry that cannot be read."""
    return tuple(entry.unreadable for entry in entries if entry.kind == DAMAGED)


def _read_page(read_page: ReadPage, size: int, page: int) -> list[dict[str, Any] | HistoryEntry]:
    try:
        return [*read_page(size, page)]
    except BackendDamagedError as error:
        if not error.file:
            raise
        if size == 1:
            return [_damaged(error)]
    half = size // 2
    return [*_read_page(read_page, half, 2 * page - 1), *_read_page(read_page, half, 2 * page)]


def _damaged(error: BackendDamagedError) -> HistoryEntry:
    stamp = _STAMP.search(error.file)
    ended = datetime.fromtimestamp(int(stamp[1]) / 1e9, UTC) if stamp else datetime.fromtimestamp(0, UTC)
    return HistoryEntry(kind=DAMAGED, result="", started_at=ended, unreadable=f"{error.file}: {error.reason}")
