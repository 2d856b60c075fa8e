"""How a deployment is now, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from geusemaker.cli.output.inspection import (
    domain_rows,
    service_rows,
    told_active,
    told_backups,
    told_image,
    told_interruption,
)
from geusemaker.cli.output.markdown.pieces import bullets, document, heading, prose, table
from geusemaker.cli.output.markdown.plan import titled
from geusemaker.cli.output.plan import TARGET_NAMES
from geusemaker.cli.output.updates import update_notes, update_rows

if TYPE_CHECKING:
    from geusemaker.models.inspection import Inspection
    from geusemaker.models.updates import Updates


def status_markdown(inspection: Inspection, updates: Updates | None = None) -> str:
    """Status, what to do next and the services; ``updates``: what there is newer of them, if it was asked."""
    title = f"{inspection.deployment}: {inspection.status or 'unknown'}{told_active(inspection)}"
    running = told_interruption(inspection.interruption) if inspection.interruption is not None else ""
    facts = [f"problem: {one}" for one in inspection.problems] + [f"note: {one}" for one in inspection.notes]
    services = table(("service", "is", "state", "image", "address", "says"), _texts(service_rows(inspection)))
    return document(
        heading(f"{title} ({TARGET_NAMES[inspection.target]})"),
        prose(running),
        prose(inspection.summary),
        bullets(facts),
        titled("Services", services),
        table(("address", "answers", "certificate", "service"), _texts(domain_rows(inspection))),
        prose(told_backups(inspection)),
        prose(told_image(inspection)),
        _updates(updates) if updates is not None else "",
    )


def _updates(updates: Updates) -> str:
    rows = table(("service", "runs", "newer", "holes"), _texts(update_rows(updates)))
    content = document(rows or "None to look for: nothing of the catalogue runs.", bullets(update_notes(updates)))
    return titled("Updates", content.rstrip("\n"))


def _texts(rows: Sequence[Sequence[tuple[str, str]]]) -> list[list[str]]:
    return [[text for text, _ in row] for row in rows]
