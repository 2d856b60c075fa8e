"""The history as Markdown tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geusemaker.cli.output.history import history_title, wide_tables, zone
from geusemaker.cli.output.markdown.pieces import bullets, document, heading, prose, table
from geusemaker.cli.output.markdown.plan import titled
from geusemaker.cli.output.plan import TARGET_NAMES
from geusemaker.cli.output.text import moment
from geusemaker.cli.output.timeline import timeline_entries, timeline_notes, told_restore

if TYPE_CHECKING:
    from geusemaker.models.inspection import Inspection

_HEADER = ("", "version", "when", "who", "what", "status", "why")


def history_markdown(inspection: Inspection, show_all: bool = False, *, all_columns: bool = False) -> str:
    """All versions, newest last, then the restores.

    Args:
        inspection: what is known about the deployment.
        show_all: with archived versions, and each failed attempt by itself.
        all_columns: as tables with a column for everything, rollbacks in one of their own.
    """
    parts = [heading(f"{history_title(inspection)} ({TARGET_NAMES[inspection.target]})")]
    if inspection.versions:
        parts.append(prose(f"Times in {zone()}."))
    parts += _wide(inspection, show_all) if all_columns else _timeline(inspection, show_all)
    return document(*parts, bullets(f"note: {note}" for note in inspection.notes))


def _timeline(inspection: Inspection, show_all: bool) -> list[str]:
    rows = [
        (one.mark, one.label, moment(one.when), one.who, one.what, one.word, one.below)
        for one in timeline_entries(inspection, show_all)
    ]
    restores = (f"{moment(one.timestamp)} {one.actor}: {told_restore(one)}" for one in inspection.restores)
    notes = [prose(note) for note in timeline_notes(inspection, show_all)]
    return [table(_HEADER, rows), *notes, titled("Restores of data", bullets(restores))]


def _wide(inspection: Inspection, show_all: bool) -> list[str]:
    parts: list[str] = []
    for one in wide_tables(inspection, show_all):
        header = tuple(title.lower() for title in one.header)
        told = table(header, [[text for text, _ in row] for row in one.rows])
        parts += [titled(one.title, told) if one.title else told, prose(one.hidden)]
    return parts
