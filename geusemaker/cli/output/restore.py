"""Checkpoints, and what restoring one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geusemaker.cli.output.plan import TARGET_NAMES, amount, render_checks, render_replacements
from geusemaker.cli.output.result import render_health, render_undo
from geusemaker.cli.output.text import Line, columns, count, duration, line, moment, quoted, size

if TYPE_CHECKING:
    from geusemaker.models.checkpoint import Checkpoint, CheckpointList, RestorePlan
    from geusemaker.models.result import RestoreResult

_BEFORE = {"update": "an update", "rollback": "a rollback", "recover": "a recovery", "restore": "a restore"}


def render_checkpoints(found: CheckpointList) -> list[Line]:
    """One row a checkpoint, newest first; then which one a restore takes."""
    if not found.checkpoints:
        return [
            line(f"{found.deployment} has no checkpoint yet", "bold"),
            line("    one is taken before a change of PostgreSQL's, n8n's or Qdrant's image"),
        ]
    rows = [
        (
            (one.checkpoint, "bold" if one.checkpoint == found.default else ""),
            (moment(one.taken_at), ""),
            (_occasion(one), ""),
            (size(one.bytes), "dim"),
            (told_content(one), "dim"),
        )
        for one in found.checkpoints
    ]
    default = f"takes {found.default}" if found.default else "needs --checkpoint"
    lines: list[Line] = [line(f"{found.deployment}: {count(len(rows), 'checkpoint')}", "bold"), *columns(rows, 4)]
    return [*lines, line(f"    `geusemaker restore {found.deployment}` {default}; nothing restores one by itself")]


def render_restore_plan(plan: RestorePlan, *, verbose: bool = False) -> list[Line]:
    """The confirmation view, without the question; ``verbose``: with the checks that passed."""
    taken = plan.checkpoint
    lines: list[Line] = [
        [
            (f"restore {plan.deployment}: {taken.checkpoint}", "bold"),
            (f"  of {moment(taken.taken_at)}, {_occasion(taken)}", ""),
            (f"  [{TARGET_NAMES[plan.target_kind]}]", "cyan"),
        ]
    ]
    if plan.reason:
        lines.append(line(f"    reason: {plan.reason}"))
    lines += [line(), line("Checks", "bold"), *render_checks(plan.checks, passed=verbose)]
    lines += [line(), line("Data, now → then", "bold"), *render_replacements(plan.replaced, plan.left)]
    lines.append(line())
    notices = [("Downtime", plan.downtime), ("Data", plan.data_notice)]
    return [*lines, *columns([((title, "bold"), (text, "")) for title, text in notices]), line()]


def render_restore(result: RestoreResult, target: str | None) -> list[Line]:
    """What was done, and how to undo it; or what went wrong and what to type next."""
    where: Line = [(f"  [{TARGET_NAMES[target]}]", "cyan")] if target else []
    if not result.success:
        lines: list[Line] = [[("error: ", "bold red"), (result.error_message or "The restore failed.", ""), *where]]
    else:
        took = f" ({duration(result.duration_seconds)})"
        text = f"{result.deployment} is restored: its data is as in {result.checkpoint}"
        lines = [[(text, "bold green"), (took, "dim"), *where]]
    lines += render_health(result.health_status)
    lines += [line(f"    {old} as it was before is kept as {new}") for old, new in result.kept.items()]
    folders = [quoted(f"/mnt/efs/{folder}") for folder in result.set_aside]
    lines += [line(f"    n8n's files as they were before are kept in {folder}") for folder in folders]
    if result.next_step:
        lines.append(line(f"next: {result.next_step}"))
    return [*lines, *render_undo(result.undo if result.success else "")]


def _occasion(checkpoint: Checkpoint) -> str:
    return "a backup" if checkpoint.is_backup else f"before {_BEFORE.get(checkpoint.kind, checkpoint.kind)}"


def told_content(checkpoint: Checkpoint) -> str:
    """Its databases, collections and files, and how much is in each."""
    return "; ".join([*(f"{held.name}: {amount(held)}" for held in checkpoint.holds), *_files(checkpoint)])


def _files(checkpoint: Checkpoint) -> list[str]:
    files = checkpoint.n8n_files
    return [f"n8n's files: {files.files}, {size(files.bytes)} (linked)"] if files is not None and files.files else []
