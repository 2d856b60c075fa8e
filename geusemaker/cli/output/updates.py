"""What there is newer of a deployment's services, and which published holes that closes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from geusemaker.cli.output.text import Line, columns, line

if TYPE_CHECKING:
    from geusemaker.models.updates import ServiceUpdates, Updates, UpdateStep

Cells = list[tuple[str, str]]


def render_updates(updates: Updates) -> list[Line]:
    """A row a step: the next patch, the next minor version, and the newest; the document has all."""
    lines = [line(), line("Updates", "bold")]
    if not updates.services:
        return [*lines, line("    none to look for: nothing of the catalogue runs", "dim")]
    return [
        *lines,
        *columns(update_rows(updates), indent=2),
        *(line(f"  {note}", "dim") for note in update_notes(updates)),
    ]


def update_rows(updates: Updates) -> list[Cells]:
    """Service, what runs, what there is newer and what that closes: text and style of each."""
    return [row for found in updates.services for row in _rows(found)]


def update_notes(updates: Updates) -> list[str]:
    """What is not known, and whether anybody was asked for published holes."""
    problems = [one.problem for one in updates.services] + [one.holes_problem for one in updates.services]
    notes = [f"not known: {problem}" for problem in dict.fromkeys(problems) if problem]
    nobody = "Nobody was asked for published holes (GEUSEMAKER_ADVISORIES says whom)."
    return notes if updates.asked_for_holes else [*notes, nobody]


def _rows(found: ServiceUpdates) -> list[Cells]:
    runs = found.image.rpartition(":")[2]
    first: Cells = [(found.service, ""), (runs, "")]
    if not found.steps:
        told = "unknown" if found.problem else "none newer to go to"
        return [[*first, (told, "dim"), (_has(found), "yellow")]]
    rows: list[Cells] = []
    for at, (step, between) in enumerate(_shown(found.steps)):
        more = f" ({between} more in between)" if between else ""
        tag = f"→ {step.image.rpartition(':')[2]}{more}"
        rows.append([*(first if at == 0 else [("", ""), ("", "")]), (tag, ""), (_closes(found, step), "green")])
    return rows


def _shown(steps: Sequence[UpdateStep]) -> list[tuple[UpdateStep, int]]:
    """The first two and the last, and how many are left out before each."""
    left_out = len(steps) - 3
    chosen = [(step, 0) for step in steps[:2]]
    return chosen if len(steps) < 3 else [*chosen, (steps[-1], left_out)]


def _closes(found: ServiceUpdates, step: UpdateStep) -> str:
    from geusemaker.models.advisory import counted, named

    if not step.closes:
        return ""
    left = len(found.holes or ()) - len(step.closes)
    return f"closes {counted(step.closes)} ({named(step.closes)})" + (f", {left} stay" if left else "")


def _has(found: ServiceUpdates) -> str:
    from geusemaker.models.advisory import counted, named

    return f"has {counted(found.holes)} ({named(found.holes)})" if found.holes else ""
