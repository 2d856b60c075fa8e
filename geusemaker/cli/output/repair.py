"""What ``doctor NAME --repair`` would do, and what it did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from geusemaker.cli.output.text import Line, Row, line, quoted, verbatim

if TYPE_CHECKING:
    from geusemaker.models.doctor import RepairReport, RepairStep
    from geusemaker.models.result import RotationResult


def render_steps(steps: Sequence[RepairStep]) -> list[Line]:
    """Each damaged file, and what is to be done about it."""
    lines: list[Line] = [line("Damaged", "bold")]
    for step in steps:
        lines.append(Row([("    ", ""), (step.file, "red")], None))
        lines += [line(f"        {step.reason}"), line(f"        → {step.action}")]
    return lines


def render_repair(report: RepairReport) -> list[Line]:
    """What was done, where the damaged files are, and what to type next."""
    if not report.steps:
        return [line(f"Nothing to repair: no file of {report.deployment} is damaged.", "green")]
    lines: list[Line] = [verbatim(f"mended: {step.file}", "green") for step in report.steps]
    lines += [verbatim(f"kept: {place}", "dim") for place in report.kept]
    return [*lines, line(f"next: {report.next_step}")]


def render_rotation(result: RotationResult) -> list[Line]:
    """What holds now, what the old one still opens, and what to do."""
    with_what = "a new passphrase" if result.provider == "passphrase" else result.provider
    lines: list[Line] = [line(f"The secrets of {result.deployment} are encrypted with {with_what}.", "green")]
    if result.passphrase_file:
        lines.append(line(f"It is in {quoted(result.passphrase_file)}: back it up apart."))
    return [*lines, line(result.still_opens), line(f"next: {result.next_step}")]
