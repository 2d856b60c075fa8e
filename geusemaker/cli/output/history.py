"""Versions and rollbacks as a table: like ``helm history``, with what else one asks at such a moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from geusemaker.cli.output.inspection import render_notes
from geusemaker.cli.output.plan import TARGET_NAMES, render_change, render_change_text
from geusemaker.cli.output.text import Line, columns, count, duration, line, moment

if TYPE_CHECKING:
    from geusemaker.models.base import Model
    from geusemaker.models.fields import Told
    from geusemaker.models.plan import ConfigChange
    from geusemaker.models.result import Inspection, RestoreRecord
    from geusemaker.models.stack import StackConfig
    from geusemaker.models.version import RollbackRecord, UnreadableVersion, Version

_HEADER = ("VERSION", "WHEN", "WHO", "KIND", "FROM", "STATUS", "HEALTH", "APPLY", "CHANGES", "REASON")
_ROLLBACK_HEADER = ("WHEN", "WHO", "TRIGGER", "FROM → TO", "RESULT", "TOOK", "REVERTED", "REASON")
_RESTORE_HEADER = ("WHEN", "WHO", "CHECKPOINT", "INTO", "RESULT", "TOOK", "REPLACED DATA IS IN", "REASON")
_NEWEST_ROLLBACKS = 20
"""What is shown of the rollbacks unless all are asked for: most deployments never have more."""
_STATUS_STYLES = {"active": "green", "failed": "red", "interrupted": "yellow", "pending": "yellow"}


def render_history(inspection: Inspection, show_all: bool = False) -> list[Line]:
    """All versions, newest last, then the rollbacks and the restores.

    Args:
        inspection: what is known about the deployment.
        show_all: with archived versions, and with every rollback instead of the newest ones.
    """
    title = f"{inspection.deployment}: {count(len(inspection.versions), 'version')}"
    active = f", v{inspection.active_version} is active" if inspection.active_version else ""
    lines: list[Line] = [[(title + active, "bold"), (f"  [{TARGET_NAMES[inspection.target]}]", "cyan")], line()]
    records = {record.operation_id: record for record in inspection.rollbacks if record.operation_id}
    versions = sorted(inspection.versions, key=lambda version: version.number)
    numbered: list[tuple[float, Sequence[tuple[str, str]]]] = []
    for index, version in enumerate(versions):
        if show_all or not version.archived or version.status == "active":
            record = records.get(version.provenance.operation_id)
            numbered.append((version.number, _version_row(version, _predecessor(versions, index), record)))
    hidden = len(versions) - len(numbered)
    numbered += [(_or_newest(version.number), _unreadable_row(version)) for version in inspection.unreadable]
    rows: list[Sequence[tuple[str, str]]] = [[(title, "bold") for title in _HEADER]]
    rows += [row for _, row in sorted(numbered, key=lambda pair: pair[0])]
    lines += columns(rows)
    if hidden:
        lines.append(line(f"{count(hidden, 'archived version')} not shown (--all shows everything)", "dim"))
    if inspection.rollbacks:
        lines += [line(), line("Rollbacks", "bold")]
        rows = [[(title, "bold") for title in _ROLLBACK_HEADER]]
        rollbacks = sorted(inspection.rollbacks, key=lambda item: item.timestamp)
        shown = rollbacks if show_all else rollbacks[-_NEWEST_ROLLBACKS:]
        rows += [_rollback_row(record) for record in shown]
        lines += columns(rows)
        if len(shown) < len(rollbacks):
            hidden = len(rollbacks) - len(shown)
            lines.append(line(f"{count(hidden, 'earlier rollback')} not shown (--all shows everything)", "dim"))
    if inspection.restores:
        lines += [line(), line("Restores of data", "bold")]
        header = [(title, "bold") for title in _RESTORE_HEADER]
        lines += columns([header, *(_restore_row(record) for record in inspection.restores)])
    if inspection.notes:
        lines += [line(), *render_notes(inspection)]
    return lines


def config_changes(old: StackConfig | None, new: StackConfig) -> list[str]:
    """What differs between two configs, in a few words each: ``n8n 1.91.0 → 1.92.0``, ``+qdrant``, ``-ollama``."""
    from geusemaker.models.plan import ConfigChange

    if old is None:
        return [new.instance_type, f"{count(len(new.services), 'service')}"]
    changes: list[str] = []
    words: dict[str, bool] = {}
    for name, declared, before, after in _differing(old, new):
        if name == "services":
            continue
        if declared.history:
            words[declared.history] = declared.system
        elif not declared.not_shown:
            changes.append(f"{before} → {after}")
    for name in sorted({*old.services, *new.services}):
        if name not in old.services:
            changes.append(f"+{name}")
        elif name not in new.services:
            changes.append(f"-{name}")
        else:
            for _, declared, before, after in _differing(old.services[name], new.services[name]):
                step = ConfigChange(path=name, old=str(before), new=str(after))
                changes.append(f"{name} {declared.history}" if declared.history else _one(step))
    return [*changes, *sorted(words, key=lambda word: words[word])]  # settings of geusemaker's own first


def _differing(old: Model, new: Model) -> Iterator[tuple[str, Told, Any, Any]]:
    """(name, how it is told, old value, new value) of the fields that differ."""
    from geusemaker.models.fields import told

    for name, field in type(old).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield name, told(field.metadata), before, after


def _one(change: ConfigChange) -> str:
    what, step = render_change(change)
    return f"{what} {step}"


def _predecessor(versions: Sequence[Version], index: int) -> StackConfig | None:
    """The config a version started from: for a rollback whatever was there, else the last one that worked."""
    earlier = versions[:index]
    if not earlier:
        return None
    if versions[index].provenance.kind in ("rollback", "recover"):
        return earlier[-1].config
    return next((version.config for version in reversed(earlier) if version.healthy), earlier[-1].config)


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
        (", ".join(config_changes(before, version.config)) or "none", ""),
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
        (f"written by another geusemaker: {_one_line(version.why)}", "dim"),
    ]


def _origin(version: Version) -> str:
    """The first version that was this, rather than a chain of copies; one that is not read any more, by its number."""
    if version.same_as is not None:
        return f"same as v{version.same_as}"
    source = version.provenance.source_version
    return f"v{source}" if source else "-"


def _rollback_row(record: RollbackRecord) -> Sequence[tuple[str, str]]:
    to = f"v{record.version}" if record.version else "(none)"
    source = f" (config of v{record.source_version})" if record.source_version else ""
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
