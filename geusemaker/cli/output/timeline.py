"""The history as it fits a terminal: one line a version, the reason beneath, what failed folded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from geusemaker.cli.output.changes import config_changes, predecessor, set_secrets
from geusemaker.cli.output.text import Line, Row, count, line, moment, one_line, text_width
from geusemaker.models.parts import parts_told

if TYPE_CHECKING:
    from datetime import datetime

    from geusemaker.models.inspection import Inspection, RestoreRecord
    from geusemaker.models.version import UnreadableVersion, Version

ACTIVE, BACK = "●", "↩"
_NARROW = 60
"""Below so many columns only month and day are told of a moment."""
_WITH_WHO = 90
"""From so many columns on it is told who it was."""
_LEAST = 16
"""So many columns are left for what was changed, however narrow the terminal is."""
_STYLES = {"failed": "red", "interrupted": "yellow", "pending": "yellow"}
_LISTED_RESTORES = 5


@dataclass(frozen=True)
class Entry:
    """One line of the history."""

    first: int
    """The version's number, or the first of several."""
    last: int
    when: datetime | None
    who: str
    what: str
    style: str = ""
    mark: str = ""
    word: str = ""
    """What became of it, where that is not told by itself."""
    word_style: str = ""
    below: str = ""
    """Why, in the words of whoever did it."""

    @property
    def label(self) -> str:
        """``v3``, or ``v5–v7``; a version that cannot be read may have no number."""
        if self.first < 0:
            return "v?"
        return f"v{self.first}" if self.first == self.last else f"v{self.first}–v{self.last}"


def render_timeline(inspection: Inspection, width: int | None, show_all: bool) -> list[Line]:
    """The versions, newest last, then the restores.

    Args:
        inspection: what is known about the deployment.
        width: the terminal's columns; None: as wide as it takes.
        show_all: with archived versions, and each failed attempt by itself.
    """
    entries = timeline_entries(inspection, show_all)
    lines = [*_table(entries, width), *(line(f"  {note}", "dim") for note in timeline_notes(inspection, show_all))]
    return [*lines, *_restores(inspection.restores, show_all)]


def timeline_entries(inspection: Inspection, show_all: bool) -> list[Entry]:
    """A line of the history each, oldest first; what has no number last."""
    entries = sorted([*_versions(inspection, show_all), *_gaps(inspection)], key=lambda entry: entry.first)
    unreadable = [_unreadable(version) for version in inspection.unreadable]
    numbered = [entry for entry in unreadable if entry.first > 0]
    entries = sorted([*entries, *numbered], key=lambda entry: entry.first)
    return [*entries, *(entry for entry in unreadable if entry.first < 0)]


def timeline_notes(inspection: Inspection, show_all: bool) -> list[str]:
    """What is not shown, and what the marks mean that are."""
    hidden = 0 if show_all else sum(_is_hidden(version) for version in inspection.versions)
    notes = [f"{count(hidden, 'archived version')} not shown (--all shows everything)"] if hidden else []
    marks = {entry.mark for entry in timeline_entries(inspection, show_all) if entry.mark}
    legend = [(ACTIVE, "active"), (BACK, "a plain rollback goes here")]
    told = "   ".join(f"{mark} {meaning}" for mark, meaning in legend if mark in marks)
    return [*notes, *([told] if told else [])]


def _versions(inspection: Inspection, show_all: bool) -> Iterator[Entry]:
    versions = sorted(inspection.versions, key=lambda version: version.number)
    errors = {record.operation_id: record.error_message or "" for record in inspection.rollbacks if record.operation_id}
    entries = []
    for index, version in enumerate(versions):
        if not show_all and _is_hidden(version):
            continue
        mark = ACTIVE if version.status == "active" else BACK if version.number == inspection.default_target else ""
        attempt = not mark and (not version.healthy or version.provenance.trigger != "manual")
        before = predecessor(versions, index)
        changes = [] if version.provenance.kind == "rollback" else config_changes(before, version.config)
        entries.append(
            (attempt, version, _entry(version, mark, changes, errors.get(version.provenance.operation_id, "")))
        )
    for attempt, group in groupby(entries, key=lambda each: each[0]):
        found = list(group)
        failed = [(version, entry) for _, version, entry in found if not version.healthy]
        if show_all or not attempt or len(found) < 2 or not failed:
            yield from (entry for _, _, entry in found)
        else:
            yield _folded([version for _, version, _ in found], *failed[-1], len(failed))


def _is_hidden(version: Version) -> bool:
    return version.archived and version.status != "active"


def _entry(version: Version, mark: str, changes: Sequence[str], error: str) -> Entry:
    origin = version.provenance
    words: list[str] = [] if version.status in ("active", "superseded") else [version.status]
    words += [word for word in ("bad", "pinned", "archived") if getattr(version, word)]
    if version.failed_as is not None and version.status != "failed":
        words.append("failed when last tried")
    if version.newer_data_as is not None:
        words.append("on newer data")
    if not version.healthy and version.status == "active":
        words.append("not healthy")
    return Entry(
        first=version.number,
        last=version.number,
        when=origin.created_at,
        who=origin.actor,
        what=_what(version, [*changes, *set_secrets(version)]),
        style="bold" if mark == ACTIVE else "",
        mark=mark,
        word=", ".join(words),
        word_style=_STYLES.get(version.status, "yellow" if words else ""),
        below="; ".join(filter(None, [version.note, origin.reason or error])),
    )


def _what(version: Version, changes: Sequence[str]) -> str:
    """What the version is, in a few words: what changed, or which one it is again."""
    origin = version.provenance
    same = "" if version.same_as in (None, version.number) else f"same as v{version.same_as}"
    changed = ", ".join(changes)
    if origin.kind == "rollback":
        also = same if version.same_as != origin.source_version else ""
        by_itself = "" if origin.trigger == "manual" else f" by itself ({origin.trigger})"
        back = parts_told(origin.services_from) or f"back to v{origin.source_version}{by_itself}"
        return ", ".join(filter(None, [back, also]))
    if origin.kind == "update":
        return ": ".join(filter(None, [same, changed])) or "no change"
    kind = origin.kind if origin.trigger == "manual" else f"{origin.kind} ({origin.trigger})"
    return f"{kind}: {': '.join(filter(None, [same, changed])) or 'no change'}"


def _folded(versions: Sequence[Version], failed: Version, last: Entry, how_many: int) -> Entry:
    """Several attempts in a row that came to nothing, with the returns they made by themselves, as one line."""
    back = next((v.provenance.source_version for v in reversed(versions) if v.provenance.kind == "rollback"), None)
    what = ("last: " if how_many > 1 else "") + last.what + (f"; back to v{back} by itself" if back else "")
    return Entry(
        first=versions[0].number,
        last=versions[-1].number,
        when=versions[-1].provenance.created_at,
        who=failed.provenance.actor,
        what=what,
        style="dim",
        word=f"{how_many} failed" if how_many > 1 else "failed",
        word_style="red",
        below=last.below,
    )


def _gaps(inspection: Inspection) -> Iterator[Entry]:
    """Numbers that were used up: each run of them one line."""
    for _, group in groupby(enumerate(inspection.unused_numbers), key=lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in group]
        yield Entry(
            first=numbers[0],
            last=numbers[-1],
            when=None,
            who="",
            what="not used: its attempt ended before it made a version",
            style="dim",
        )


def _unreadable(version: UnreadableVersion) -> Entry:
    number = version.number if version.number is not None else -1
    return Entry(
        first=number,
        last=number,
        when=version.created_at,
        who="",
        what=f"written by another geusemaker: {one_line(version.why)}",
        word="unreadable",
        word_style="yellow",
        style="dim",
    )


def _table(entries: Sequence[Entry], width: int | None) -> list[Line]:
    """The entries as lines of at most ``width`` columns: what does not fit is cut, but for the reasons beneath."""
    narrow = width is not None and width < _NARROW
    with_who = width is None or width >= _WITH_WHO
    label = max((len(entry.label) for entry in entries), default=0)
    when = slice(5, 10) if narrow else slice(0, 16)
    who = max((text_width(entry.who) for entry in entries), default=0) if with_who else 0
    lines: list[Line] = []
    for entry in entries:
        pieces = [
            (f"{entry.mark or ' '} ", "green" if entry.mark == ACTIVE else "cyan"),
            (entry.label.ljust(label + 2), "bold" if entry.mark == ACTIVE else entry.style),
            ((moment(entry.when) if entry.when else " " * 16)[when] + "  ", "dim"),
        ]
        if who:
            pieces.append((entry.who + " " * (who - text_width(entry.who) + 2), "dim"))
        hang = sum(text_width(text) for text, _ in pieces)
        word = f"{entry.word}  " if entry.word else ""
        room = None if width is None else max(width - hang, _LEAST)
        if room is not None and text_width(word) > room:
            word = _cut(word.rstrip(), room)
        pieces.append((word, entry.word_style))
        what = one_line(entry.what)
        pieces.append((what if room is None else _cut(what, room - text_width(word)), entry.style))
        lines.append(Row(pieces, None))
        if entry.below:
            lines.append(Row([(" " * (label + 4), ""), (one_line(entry.below), "dim")], label + 4))
    return lines


def _cut(text: str, most: int) -> str:
    """The text, or as much of it as fits, with a sign that there is more."""
    if text_width(text) <= most:
        return text
    while text and text_width(text) > most - 1:
        text = text[:-1]
    return f"{text.rstrip(' ,:;')}…" if most > 0 else ""


def _restores(records: Sequence[RestoreRecord], show_all: bool) -> list[Line]:
    """What was restored; the newest few."""
    if not records:
        return []
    shown = records if show_all else records[-_LISTED_RESTORES:]
    lines: list[Line] = [line(), line("Restores of data", "bold")]
    for record in shown:
        head = [("  ", ""), (f"{moment(record.timestamp)}  ", "dim"), (f"{record.actor}  ", "dim")]
        lines.append(Row([*head, (one_line(told_restore(record)), "")], 4))
    if len(shown) < len(records):
        lines.append(line(f"  {count(len(records) - len(shown), 'earlier restore')} not shown (--all)", "dim"))
    return lines


def told_restore(record: RestoreRecord) -> str:
    """What was put in place, and where that is which it replaced; or why it failed."""
    done = f"data of {record.checkpoint} put in place" if record.success else f"failed: {record.error_message or '-'}"
    kept = f"; what it replaced is in {record.taken}" if record.taken else ""
    reason = f" ({record.reason})" if record.reason else ""
    return f"v{record.version}: {done}{kept}{reason}"
