"""One version: what it runs, how it came about, how it went, and what a return to it would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geusemaker.cli.output.plan import render_change, render_resources
from geusemaker.cli.output.result import render_health
from geusemaker.cli.output.text import Line, columns, duration, line, moment, one_line, short_digest, verbatim
from geusemaker.models.parts import parts_told

if TYPE_CHECKING:
    from geusemaker.models.version_report import VersionReport


def render_version(report: VersionReport) -> list[Line]:
    """The view of ``inspect NAME vN``."""
    version = report.version
    words = [version.status, *(word for word in ("bad", "pinned", "archived") if getattr(version, word))]
    if version.same_as not in (None, version.number):
        words.append(f"same as v{version.same_as}")
    lines: list[Line] = [line(f"{report.deployment} v{version.number}: {', '.join(words)}", "bold"), *_origin(report)]
    if report.error_message:
        lines.append([("    ", ""), ("went wrong: ", "red"), (one_line(report.error_message), "")])
    elif not version.healthy:
        lines.append(line("    never became healthy", "red"))
    lines += render_health(report.health_status)
    if report.evidence:
        lines.append(verbatim(f"    evidence: {report.evidence}"))
    lines += [[("    ", ""), ("note: ", "yellow"), (note, "")] for note in report.notes]
    rows = [((change.path, ""), (short_digest(change.new or ""), "")) for change in report.config_told]
    return [*lines, line(), line("Config", "bold"), *columns(rows, indent=4), line(), *_return(report)]


def _origin(report: VersionReport) -> list[Line]:
    origin = report.version.provenance
    kind = origin.kind if origin.trigger == "manual" else f"{origin.kind} ({origin.trigger})"
    of = f" to v{origin.source_version}" if origin.source_version else ""
    of += f" ({parts})" if (parts := parts_told(origin.services_from)) else ""
    took = report.operation_seconds if report.operation_seconds is not None else report.version.duration_seconds
    what = "took" if report.operation_seconds is not None else "applied in"
    lines = [line(f"    {kind}{of} by {origin.actor}, {moment(origin.created_at)}, {what} {duration(took)}")]
    lines += [line(f"    reason: {origin.reason}")] if origin.reason else []
    return lines + ([line(f"    {report.version.note}", "dim")] if report.version.note else [])


def _return(report: VersionReport) -> list[Line]:
    """What a return would do."""
    if report.active:
        return [line("It is the active version.")]
    back = report.back
    if back is None:
        return [line("There is no active version to go to it from.")]
    if not report.command:
        return [line(f"A return to it would change nothing: it is the same system as {back.old}, which is active.")]
    lines: list[Line] = [line(f"A return to it from {back.old}, which is active", "bold")]
    lines += columns([((what, ""), (step, "")) for what, step in map(render_change, back.changes)], indent=4)
    lines += render_resources(back.resources)
    lines += [line(f"    it {objection}", "yellow") for objection in report.objections]
    if report.default_target:
        lines.append(line("    a plain rollback goes here"))
    return [*lines, verbatim(f"    {report.command}")]
