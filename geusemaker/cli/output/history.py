"""Versions and rollbacks as a table: like ``helm history``, with what else one asks at such a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from geusemaker.cli.output.changes import config_changes, predecessor, set_secrets
from geusemaker.cli.output.inspection import render_notes
from geusemaker.cli.output.plan import TARGET_NAMES, render_change_text
from geusemaker.cli.output.text import Line, Row, columns, count, duration, line, moment
from geusemaker.cli.output.timeline import render_timeline
from geusemaker.models.parts import parts_told

if TYPE_CHECKING:
    from geusemaker.models.inspection import Inspection, RestoreRecord
    from geusemaker.models.stack import StackConfig
    from geusemaker.models.version import RollbackRecord, UnreadableVersion, Version

_HEADER = ("VERSION", "WHEN", "WHO", "KIND", "FROM", "STATUS", "HEALTH", "APPLY", "WAY BACK", "CHANGES", "REASON")
_ROLLBACK_HEADER = ("WHEN", "WHO", "TRIGGER", "FROM → TO", "RESULT", "TOOK", "REVERTED", "REASON")
_RESTORE_HEADER = ("WHEN", "WHO", "CHECKPOINT", "INTO", "RESULT", "TOOK", "REPLACED DATA IS IN", "REASON")
_NEWEST_ROLLBACKS = 20
"""What is shown of the rollbacks unless all are asked for: most deployments never have more."""
_STATUS_STYLES = {"active": "green", "failed": "red", "interrupted": "yellow", "pending": "yellow"}


def render_history(
    inspection: Inspection, show_all: bool = False, *, all_columns: bool = False, width: int | None = None
) -> list[Line]:
    """All versions, newest last, then the restores.

    Args:
        inspection: what is known about the deployment.
        show_all: with archived versions, each failed attempt by itself, and every rollback instead of the newest ones.
        all_columns: as tables with a column for everything, rollbacks in one of their own.
        width: the terminal's columns; None: as wide as it takes.
    """
    title = (history_title(inspection), "bold")
    lines: list[Line] = [[title, (f"  [{TARGET_NAMES[inspection.target]}]", "cyan")], line()]
    if inspection.versions:
        lines[0] = [*lines[0], (f"  times in {zone()}", "dim")]
    lines += _wide(inspection, show_all) if all_columns else render_timeline(inspection, width, show_all)
    if inspection.notes:
        lines += [line(), *render_notes(inspection)]
    return lines


def history_title(inspection: Inspection) -> str:
    """``prod: 4 versions, v4 is active``."""
    active = f", v{inspection.active_version} is active" if inspection.active_version else ""
    return f"{inspection.deployment}: {count(len(inspection.versions), 'version')}{active}"


def zone() -> str:
    """The name of the operator's time zone, which all times are shown in."""
    return datetime.now().astimezone().tzname() or "local time"


@dataclass(frozen=True)
class WideTable:
    """One of the tables that have a column for everything."""

    title: str
    header: tuple[str, ...]
    rows: list[Sequence[tuple[str, str]]]
    """Each cell's text and style."""
    hidden: str = ""
    """What is not shown; empty: all is."""


def wide_tables(inspection: Inspection, show_all: bool) -> list[WideTable]:
    """Versions, rollbacks and restores, everything that is known of each in a column."""
    records = {record.operation_id: record for record in inspection.rollbacks if record.operation_id}
    versions = sorted(inspection.versions, key=lambda version: version.number)
    numbered: list[tuple[float, Sequence[tuple[str, str]]]] = []
    for index, version in enumerate(versions):
        if show_all or not version.archived or version.status == "active":
            record = records.get(version.provenance.operation_id)
            numbered.append((version.number, _version_row(version, predecessor(versions, index), record)))
    hidden = len(versions) - len(numbered)
    numbered += [(_or_newest(version.number), _unreadable_row(version)) for version in inspection.unreadable]
    rows = [row for _, row in sorted(numbered, key=lambda pair: pair[0])]
    tables = [WideTable("", _HEADER, rows, _not_shown(hidden, "archived version"))]
    if inspection.rollbacks:
        rollbacks = sorted(inspection.rollbacks, key=lambda item: item.timestamp)
        shown = rollbacks if show_all else rollbacks[-_NEWEST_ROLLBACKS:]
        left_out = _not_shown(len(rollbacks) - len(shown), "earlier rollback")
        tables.append(WideTable("Rollbacks", _ROLLBACK_HEADER, [_rollback_row(one) for one in shown], left_out))
    if inspection.restores:
        restores = [_restore_row(record) for record in inspection.restores]
        tables.append(WideTable("Restores of data", _RESTORE_HEADER, restores))
    return tables


def _not_shown(number: int, what: str) -> str:
    return f"{count(number, what)} not shown (--all shows everything)" if number else ""


def _wide(inspection: Inspection, show_all: bool) -> list[Line]:
    lines: list[Line] = []
    for table in wide_tables(inspection, show_all):
        lines += [line(), line(table.title, "bold")] if table.title else []
        lines += columns([[(title, "bold") for title in table.header], *table.rows])
        lines += [line(table.hidden, "dim")] if table.hidden else []
    return [Row(row, None) for row in lines]  # wider than any terminal: broken by it, not by words


def _version_row(
    version: Version, before: StackConfig | None, record: RollbackRecord | None
) -> Sequence[tuple[str, str]]:
    origin = version.provenance
    kind = origin.kind if origin.trigger == "manual" else f"{origin.kind} ({origin.trigger})"
    marks = [word for word in ("bad", "pinned", "archived") if getattr(version, word)]
    if version.failed_as is not None and version.status != "failed":
        marks.append("failed when last tried")
    if version.newer_data_as is not None:
        marks.append("on newer data")
    status = ", ".join([version.status, *marks])
    health = ("healthy", "green") if version.healthy else ("-", "dim")
    if not version.healthy and version.status in ("failed", "active"):
        health = ("not healthy", "red")
    reason = origin.reason or (record.error_message if record and record.error_message else "")
    reason = "; ".join(filter(None, [version.note, reason]))
    return [
        (f"v{version.number}", "bold" if version.status == "active" else ""),
        (moment(origin.created_at), ""),
        (origin.actor, ""),
        (kind, ""),
        (_origin(version), ""),
        (status, _STATUS_STYLES.get(version.status, "")),
        health,
        (duration(version.duration_seconds), ""),
        (version.way_back or "-", ""),
        (", ".join([*config_changes(before, version.config), *set_secrets(version)]) or "none", ""),
        (_one_line(reason), "dim"),
    ]


def _or_newest(number: int | None) -> float:
    return float("inf") if number is None else number


def _unreadable_row(version: UnreadableVersion) -> Sequence[tuple[str, str]]:
    """What can be told of a version that another geusemaker wrote."""
    return [
        (f"v{version.number}" if version.number is not None else "v?", ""),
        (moment(version.created_at), ""),
        ("-", "dim"),
        ("-", "dim"),
        ("-", "dim"),
        ("unreadable", "yellow"),
        ("-", "dim"),
        ("-", "dim"),
        ("-", "dim"),
        ("-", "dim"),
        (f"written by another geusemaker: {_one_line(version.why)}", "dim"),
    ]


def _origin(version: Version) -> str:
    """The first version that was this, rather than a chain of copies; one that is not read any more, by its number."""
    if parts := parts_told(version.provenance.services_from):
        return parts
    if version.same_as is not None:
        return f"same as v{version.same_as}"
    source = version.provenance.source_version
    return f"v{source}" if source else "-"


def _rollback_row(record: RollbackRecord) -> Sequence[tuple[str, str]]:
    to = f"v{record.version}" if record.version else "(none)"
    source = f" (config of v{record.source_version})" if record.source_version else ""
    source += f" ({parts})" if (parts := parts_told(record.services_from)) else ""
    reverted = ", ".join(render_change_text(change) for change in record.rolled_back_changes)
    if record.resources_deleted:
        reverted = ", ".join([reverted, f"deleted: {', '.join(record.resources_deleted)}"]).lstrip(", ")
    return [
        (moment(record.timestamp), ""),
        (record.actor or "-", ""),
        (record.trigger, ""),
        (f"v{record.previous_state_version} → {to}{source}", ""),
        ("done", "green") if record.success else ("failed", "red"),
        (duration(record.duration_seconds), ""),
        (reverted or "-", ""),
        (_one_line(record.error_message or record.reason), "dim"),
    ]


def _restore_row(record: RestoreRecord) -> Sequence[tuple[str, str]]:
    return [
        (moment(record.timestamp), ""),
        (record.actor, ""),
        (record.checkpoint or "-", ""),
        (f"v{record.version}", ""),
        ("done", "green") if record.success else ("failed", "red"),
        (duration(record.duration_seconds), ""),
        (record.taken or "-", ""),
        (_one_line(record.error_message or record.reason), "dim"),
    ]


def _one_line(text: str) -> str:
    return " ".join(text.split())
