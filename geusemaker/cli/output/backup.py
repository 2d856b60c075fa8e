"""Backups, and what making one came to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geusemaker.cli.output.restore import told_content
from geusemaker.cli.output.text import Line, columns, count, duration, line, moment, size

if TYPE_CHECKING:
    from geusemaker.models.checkpoint import BackupList
    from geusemaker.models.result import BackupResult


def render_backups(found: BackupList) -> list[Line]:
    """One row a backup, newest first."""
    if not found.backups:
        return [
            line(f"{found.deployment} has no backup yet", "bold"),
            line(f"next: `geusemaker backup {found.deployment}`"),
        ]
    rows = [
        (
            (one.operation, ""),
            (moment(one.taken_at), ""),
            (f"v{one.version}", ""),
            (size(one.bytes), "dim"),
            ("read back whole" if one.verified_at else "NOT read back", "" if one.verified_at else "yellow"),
            (told_content(one), "dim"),
        )
        for one in found.backups
    ]
    lines: list[Line] = [line(f"{found.deployment}: {count(len(rows), 'backup')}", "bold"), *columns(rows, 4)]
    return [*lines, line(f"    `geusemaker restore {found.deployment} --backup ID` puts one in place")]


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
