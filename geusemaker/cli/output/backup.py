"""Backups, and what making one came to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geusemaker.cli.output.restore import told_content
from geusemaker.cli.output.text import Line, columns, count, duration, line, moment, size

if TYPE_CHECKING:
    from geusemaker.models.checkpoint import BackupList, BackupState
    from geusemaker.models.result import BackupResult, ScheduleResult


def render_backups(found: BackupList) -> list[Line]:
    """One row a backup, newest first."""
    planned = line(f"    {told_plan(found.state)}")
    if not found.backups:
        none = line(f"{found.deployment} has no backup yet", "bold")
        return [none, planned, line(f"next: `geusemaker backup {found.deployment}`")]
    rows = [
        (
            (one.operation, ""),
            (moment(one.taken_at), ""),
            (f"v{one.version}", ""),
            (size(one.bytes), "dim"),
            ("read back whole" if one.verified_at else "NOT read back", "" if one.verified_at else "yellow"),
            ("planned" if one.planned else "", "dim"),
            (told_content(one), "dim"),
        )
        for one in found.backups
    ]
    lines: list[Line] = [line(f"{found.deployment}: {count(len(rows), 'backup')}", "bold"), *columns(rows, 4)]
    return [*lines, planned, line(f"    `geusemaker restore {found.deployment} --backup ID` puts one in place")]


def render_backup(result: BackupResult) -> list[Line]:
    """What was copied, and the command that puts it in place."""
    lines: list[Line] = [
        [
            (f"{result.deployment} is backed up: {result.backup}", "bold green"),
            (f" ({size(result.bytes)}, {duration(result.duration_seconds)})", "dim"),
        ],
        line(f"    v{result.checkpoint.version}'s data: {told_content(result.checkpoint)}"),
    ]
    return [*lines, line(f"next: `geusemaker restore {result.deployment} --backup {result.backup}` puts it in place")]


def render_schedule(result: ScheduleResult) -> list[Line]:
    """What is planned from now on."""
    lines = [line(f"{result.deployment}: {told_plan(result.backups)}", "bold green")]
    if result.backups.every_seconds and not result.backups.last:
        lines.append(line("    the first one comes within minutes"))
    return lines


def told_plan(state: BackupState) -> str:
    """``a backup is taken every 24h, the newest 7 stay``."""
    if not state.every_seconds:
        return "no backup is taken by itself"
    return f"a backup is taken every {state.every}, the newest {state.keep} of those stay"


def told_last(state: BackupState) -> str:
    """``last backup: 2026-12-01 03:00, 5h old, 3.0 MiB``; empty where there is none, nor is to be."""
    if not state.last:
        return "last backup: none" if state.every_seconds else ""
    old = duration(state.last_age_seconds)
    return f"last backup: {moment(state.last_at)}, {old} old, {size(state.last_bytes)}"
