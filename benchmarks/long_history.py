"""Gives a deployment a past: history entries, checkpoints and journal lines as years of updates would leave them.

Pulumi's folder backend keeps two files for each update, ``NAME-NANOSECONDS.history.json`` (config, result, times) and
``….checkpoint.json`` (the state it left); the name gives the order.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

_STEP = timedelta(hours=5)
_SERVICE = "qdrant"


@dataclass(frozen=True)
class _Past:
    """One operation of the past."""

    number: int
    kind: str
    source: int | None
    result: str
    config_of: int
    """The number of the version whose config it has."""


def _pasts(count: int) -> list[_Past]:
    """Versions 2 to ``count``: updates; of each ten one fails, and the next one takes it back."""
    pasts: list[_Past] = []
    healthy = 1
    for number in range(2, count + 1):
        if number % 10 == 8:
            pasts.append(_Past(number, "update", None, "failed", number))
        elif number % 10 == 9:
            pasts.append(_Past(number, "rollback", healthy, "succeeded", healthy))
        else:
            healthy = number
            pasts.append(_Past(number, "update", None, "succeeded", number))
    return pasts


def age(home: Path, name: str, count: int) -> None:
    """Let a deployment that was just made (v1, with qdrant) have had ``count`` updates, the last one now.

    The real v1 becomes the oldest entry. What comes after has configs that differ from each other, in a variable of
    the service's environment; what runs, and Pulumi's state, stay as v1 left them. So one real update is due. The
    newest version has the operation that the file system knows as the last one, and v1 another.
    """
    folder = home / ".state" / "backend" / ".pulumi" / "history" / "geusemaker" / name
    [entry_file] = folder.glob("*.history.json")
    [checkpoint_file] = folder.glob("*.checkpoint.json")
    entry = json.loads(entry_file.read_text())
    journal_file = home / ".state" / "journal" / f"{name}.jsonl"
    record = json.loads(journal_file.read_text())
    last, begun = record["operation_id"], f"op-{'0' * 14}-{1:06x}"
    entry["config"]["geusemaker:version"] = entry["config"]["geusemaker:version"].replace(last, begun)
    entry_file.write_text(json.dumps(entry, indent=4))
    record["operation_id"] = begun
    first = datetime.now(UTC).replace(microsecond=0) - _STEP * count
    records = [json.dumps(record | {"started_at": f"{first:%Y-%m-%dT%H:%M:%SZ}"})]
    previous = begun
    for past in _pasts(count):
        at = first + _STEP * (past.number - 1)
        operation = f"op-{at:%Y%m%d%H%M%S}-{past.number:06x}" if past.number < count else last
        stem = f"{folder}/{name}-{int(at.timestamp()) * 10**9 + past.number}"
        written = Path(f"{stem}.history.json")
        written.write_text(json.dumps(_entry(entry, past, at, operation, previous), indent=4))
        # The same bytes need no place twice: two thousand states are a gigabyte.
        os.link(checkpoint_file, f"{stem}.checkpoint.json")
        records.append(json.dumps(_record(record, past, at, operation)))
        previous = operation
    journal_file.write_text("\n".join(records) + "\n")
    for old in (entry_file, checkpoint_file):
        old.rename(folder / f"{name}-{int(first.timestamp()) * 10**9}{old.name[old.name.index('.') :]}")


def _entry(entry: dict[str, Any], past: _Past, at: datetime, operation: str, previous: str) -> dict[str, Any]:
    config = json.loads(entry["config"]["geusemaker:deployment"])
    config["services"][_SERVICE]["environment"] = {"RELEASE": str(past.config_of)} if past.config_of > 1 else {}
    version = json.loads(entry["config"]["geusemaker:version"])
    version |= {
        "number": past.number,
        "operation_id": operation,
        "previous_operation_id": previous,
        "kind": past.kind,
        "source_version": past.source,
        "created_at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
    }
    return entry | {
        "startTime": int(at.timestamp()),
        "endTime": int(at.timestamp()) + 9,
        "message": f"{past.kind} v{past.number}",
        "result": past.result,
        "config": entry["config"]
        | {
            "geusemaker:deployment": json.dumps(config, sort_keys=True),
            "geusemaker:version": json.dumps(version, separators=(",", ":")),
        },
    }


def _record(record: dict[str, Any], past: _Past, at: datetime, operation: str) -> dict[str, Any]:
    return record | {
        "operation_id": operation,
        "kind": past.kind,
        "number": past.number,
        "from_version": past.number - 1,
        "source_version": past.source,
        "started_at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "success": past.result == "succeeded",
        "changes": [f"{_SERVICE}.environment.RELEASE: {past.number - 1} -> {past.config_of}"],
        "manifest_before": record["manifest_after"],
    }
